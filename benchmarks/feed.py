"""Whether feeding keeps up as datasets grow: images per second of the feed alone, for memory maps of growing size.

python benchmarks/feed.py
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap

from gan.devices import describe, select_device
from gan.feed import Feed
from pipeline.config import load_experiment


@click.command()
@click.option("--sizes", default="2000,20000,200000", show_default=True, help="Numbers of images, by commas.")
@click.option("--steps", type=click.IntRange(1), default=500, show_default=True, help="Of batch 64, in random order.")
@click.option("--device", default="auto", show_default=True)
def main(sizes: str, steps: int, device: str) -> None:
    """Print images per second. The files' pages are in memory as far as they fit."""
    torch_device = select_device(device)
    config = load_experiment("wgan")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in map(int, sizes.split(",")):
            images = random_images(Path(folder) / "images.npy", size)
            feed = Feed(images, config, 0, torch_device, resident=False)
            list(feed.steps(1, 20))
            started = time.perf_counter()
            for _ in feed.steps(1, steps):
                pass
            seconds = time.perf_counter() - started
            rows.append({"images": size, "gigabytes": images.nbytes / 1e9, "images per second": 64 * steps / seconds})
    print(describe(torch_device))
    print(pd.DataFrame(rows).round(1).to_markdown(index=False))


def random_images(path: Path, size: int, rows: int = 10_000) -> np.ndarray:
    """Write random images, uint8 [size, 64, 64, 3], and return their memory map."""
    numbers = np.random.default_rng(0)
    images = open_memmap(path, mode="w+", dtype=np.uint8, shape=(size, 64, 64, 3))
    for start in range(0, size, rows):
        part = images[start : start + rows]
        part[:] = numbers.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
