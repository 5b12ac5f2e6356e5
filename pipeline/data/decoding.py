"""From an image file to canonical pixels."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.data.findings import ELONGATED
from pipeline.data.items import Loaded, Pixels, Rejected, Rule

# Part of every dataset's fingerprint: raise it when the same file would give other pixels.
RULE_VERSION = 1
RULES = {
    fit: f"EXIF orientation applied, transparency on white, converted to RGB (colour profiles ignored), {shape}, "
    "Lanczos with antialiasing to image_size unless already that size"
    for fit, shape in {"crop": "central square", "pad": "made square by white on both sides"}.items()
}

# Raster formats only: others run outside programs (EPS) or are not pictures.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
MAX_FILE_BYTES = 64 * 2**20
ORIENTATION = 0x0112  # EXIF tag
WHITE = 255


def decode_file(path: Path, rule: Rule) -> Loaded:
    """Decode an image file; see decode_bytes. Rejected also for a file that cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            num_bytes = os.fstat(file.fileno()).st_size
            if num_bytes > MAX_FILE_BYTES:
                raise too_large(num_bytes)
            data = file.readall()
    except OSError as error:
        raise Rejected("unreadable", f"cannot be read: {error.strerror}") from error
    return decode_bytes(data, rule)


def decode_bytes(data: bytes, rule: Rule) -> Loaded:
    """Decode one encoded image by `rule`.

    Raises Rejected with the reason for anything else than one still image that decodes without a fault, and for one so
    large that Pillow takes it for a decompression bomb.
    """
    if not data:
        raise Rejected("empty", "empty file")
    pixels, notes = _decode_plain_jpeg(data) or _decode(data)
    return canonical(pixels, rule, notes)


def canonical(pixels: Pixels, rule: Rule, notes: tuple[str, ...] = ()) -> Loaded:
    """Make uint8 [H, W, 3], RGB, of any size > 0, an image by `rule`, and say what that changed."""
    height, width = pixels.shape[:2]
    shorter, longer = sorted((height, width))
    side = shorter if rule.fit == "crop" else longer
    if side < rule.image_size:
        notes = (*notes, "enlarged")
    if longer > ELONGATED * shorter:
        notes = (*notes, "elongated")
    square = _crop(pixels, side) if rule.fit == "crop" else pixels
    if side != rule.image_size:
        new_size = [max(1, round(length * rule.image_size / side)) for length in (square.shape[1], square.shape[0])]
        square = np.asarray(_as_image(square).resize(new_size, Image.Resampling.LANCZOS))
    return Loaded(_pad(square, rule.image_size), notes)


def too_large(num_bytes: int) -> Rejected:
    """Give the verdict on a file above MAX_FILE_BYTES."""
    return Rejected("too large", f"file of {num_bytes:,} bytes, more than {MAX_FILE_BYTES:,}")


def _decode_plain_jpeg(data: bytes) -> tuple[Pixels, tuple[str, ...]] | None:
    """Decode the usual JPEG faster than Pillow, to the same pixels: both use libjpeg-turbo.

    None for everything that is not plain: other formats, CMYK, APP1 segments (EXIF and XMP can turn the picture) and
    whatever libjpeg warns about, which Pillow then judges.
    """
    if not data.startswith(b"\xff\xd8") or b"\xff\xe1" in data:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("YCbCr", "Gray") or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        return simplejpeg.decode_jpeg(data), (("grey",) if colours == "Gray" else ())
    except ValueError:
        return None


def _decode(data: bytes) -> tuple[Pixels, tuple[str, ...]]:
    """Decode any format with Pillow to uint8 [H, W, 3], RGB."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; the pixels either decode or do not
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _refuse_sequence(image)
                return _upright_rgb(image)
    except Rejected:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Rejected("too large", f"too many pixels: more than {Image.MAX_IMAGE_PIXELS:,}") from error
    except UnidentifiedImageError as error:
        raise Rejected("not an image", "not an image") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Rejected("damaged", f"damaged: {reason}") from error


def _refuse_sequence(image: Image.Image) -> None:
    """Refuse animations and documents. Phones store previews behind the picture (MPO): there the first one counts."""
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":
        raise Rejected("animated", f"holds {num_frames} frames or pages instead of one still image")


def _upright_rgb(image: Image.Image) -> tuple[Pixels, tuple[str, ...]]:
    is_deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))  # of colours Pillow reads the upper 8 bits
    holds = {
        "palette": image.mode == "P",
        "CMYK": image.mode == "CMYK",
        "grey": image.mode in ("1", "L", "LA"),
        "rotated": image.getexif().get(ORIENTATION, 1) not in (0, 1),
        "16-bit": is_deep,
    }
    notes = [note for note, is_so in holds.items() if is_so]
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise Rejected("unknown range", "floating-point pixels, whose range is unknown")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image), tuple(dict.fromkeys((*notes, "16-bit", "grey")))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (WHITE, WHITE):
            notes.append("transparent")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB")), tuple(notes)


def _from_16_bit(image: Image.Image) -> Pixels:
    """Scale 16-bit grey to 8 bits (65535 becomes 255); Pillow's own conversion would clip it."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise Rejected("unknown range", "32-bit integer pixels, whose range is unknown")
    return np.repeat(((values + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)


def _as_image(pixels: Pixels) -> Image.Image:
    size = (pixels.shape[1], pixels.shape[0])
    return Image.frombuffer("RGB", size, np.ascontiguousarray(pixels), "raw", "RGB", 0, 1)


def _crop(pixels: Pixels, side: int) -> Pixels:
    """Return the central square."""
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def _pad(pixels: Pixels, side: int) -> Pixels:
    """Return the pixels in the middle of a white square; a square of that side as it is."""
    height, width = pixels.shape[:2]
    if (height, width) == (side, side):
        return pixels
    square = np.full((side, side, 3), WHITE, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
