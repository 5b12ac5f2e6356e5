"""From an image file to canonical pixels."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.data.items import Pixels, Rejected

# Part of every dataset's fingerprint: raise it when the same file would give other pixels.
RULE_VERSION = 1
RULE = (
    "EXIF orientation applied, central square, transparency on white, converted to RGB (colour profiles ignored), "
    "Lanczos with antialiasing to image_size unless already that size"
)

# Raster formats only: others run outside programs (EPS) or are not pictures.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
MAX_FILE_BYTES = 64 * 2**20


def decode_file(path: Path, image_size: int) -> Pixels:
    """Decode an image file; see decode_bytes. Rejected also for a file that cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Rejected(too_large(path.stat().st_size))
        data = path.read_bytes()
    except OSError as error:
        raise Rejected(f"cannot be read: {error.strerror}") from error
    return decode_bytes(data, image_size)


def decode_bytes(data: bytes, image_size: int) -> Pixels:
    """Decode one encoded image by RULE.

    Returns uint8 [image_size, image_size, 3], RGB. Raises Rejected with the reason for anything else than one still
    image that decodes without a fault, and for one so large that Pillow takes it for a decompression bomb.
    """
    if not data:
        raise Rejected("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; the pixels either decode or do not
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _refuse_sequence(image)
                return _canonical(image, image_size)
    except Rejected:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Rejected(f"too many pixels: more than {Image.MAX_IMAGE_PIXELS:,}") from error
    except UnidentifiedImageError as error:
        raise Rejected("not an image") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise Rejected(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def too_large(num_bytes: int) -> str:
    """Give the reason for refusing a file above MAX_FILE_BYTES."""
    return f"file of {num_bytes:,} bytes, more than {MAX_FILE_BYTES:,}"


def _refuse_sequence(image: Image.Image) -> None:
    """Refuse animations and documents. Phones store previews behind the picture (MPO): there the first one counts."""
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":
        raise Rejected(f"holds {num_frames} frames or pages instead of one still image")


def _canonical(image: Image.Image, image_size: int) -> Pixels:
    image = ImageOps.exif_transpose(image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = _to_rgb(image.crop((left, top, left + side, top + side)))
    if side != image_size:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise Rejected("floating-point pixels, whose range is unknown")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits (65535 becomes 255); Pillow's own conversion would clip it."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise Rejected("32-bit integer pixels, whose range is unknown")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
