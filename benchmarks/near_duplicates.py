"""What the search for near duplicates finds in a prepared dataset, and which changes to a picture it sees through.

    python benchmarks/near_duplicates.py --data NAME

All pairs are compared (a matrix product: 40 s for 51,223 images), so that one sees what the search misses; then 2,000
images are changed in known ways and compared with themselves.
"""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageFilter

from pipeline.data.dataset import load_dataset
from pipeline.data.items import Pixels
from pipeline.data.near_duplicates import LENGTH, MAX_RMS, near_duplicates, thumbnail

NUM_CHANGED = 2000


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return an image saved as JPEG and read again."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def scaled(image: Image.Image, side: int) -> Image.Image:
    """Return an image scaled to another side and back."""
    return image.resize((side, side), Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)


def cropped(image: Image.Image, margin: int) -> Image.Image:
    """Return an image without its margin, scaled up again."""
    box = (margin, margin, image.width - margin, image.height - margin)
    return image.crop(box).resize(image.size, Image.Resampling.BICUBIC)


CHANGES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 90": lambda image: jpeg(image, 90),
    "JPEG of quality 50": lambda image: jpeg(image, 50),
    "scaled to 3/4 and back": lambda image: scaled(image, image.width * 3 // 4),
    "blurred by 1 pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "5 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "margin of 1 pixel cut off": lambda image: cropped(image, 1),
    "moved by 1 pixel": lambda image: Image.fromarray(np.roll(np.asarray(image), 1, 1)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@click.command()
@click.option("--data", required=True, metavar="NAME", help="A prepared dataset.")
def main(data: str) -> None:
    """Print both tables."""
    images = load_dataset(data, Path("data")).images
    thumbnails = np.stack([thumbnail(image) for image in images])
    started = time.perf_counter()
    found = near_duplicates(thumbnails)
    seconds = time.perf_counter() - started
    missed = missed_pairs(thumbnails, set(found[:, 0].tolist()))
    click.echo(f"{len(found):,} of {len(images):,} images nearly equal another one; {seconds:.1f} s")
    click.echo(f"pairs among the rest that the search missed: {missed}")
    rows = []
    for name, change in CHANGES.items():
        changed = [
            thumbnail(np.asarray(change(Image.fromarray(image)).convert("RGB"))) for image in images[:NUM_CHANGED]
        ]
        distances = np.sqrt(((np.stack(changed).astype(float) - thumbnails[:NUM_CHANGED]) ** 2).mean(1))
        rows.append({"change": name, "distance": np.median(distances), "found": f"{np.mean(distances <= MAX_RMS):.1%}"})
    click.echo(pd.DataFrame(rows).round(1).to_markdown(index=False))


def missed_pairs(thumbnails: Pixels, removed: set[int], rows: int = 2000) -> int:
    """Count the pairs of images that are near and of which none was found."""
    kept = np.array([index for index in range(len(thumbnails)) if index not in removed])
    values = thumbnails[kept].astype(np.float32)
    squares = (values**2).sum(1)
    near = 0
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        distances = squares[start : start + rows, None] + squares[None] - 2 * block @ values.T
        near += int((distances <= MAX_RMS**2 * LENGTH).sum()) - len(block)
    return near // 2


if __name__ == "__main__":
    main()
