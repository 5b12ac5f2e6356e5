"""How fast images become a dataset, and are read again, against the loop that one would write.

    python benchmarks/prepare.py --images 20000
    python benchmarks/prepare.py --memory 1000000

The loop is ImageFolder with Resize, CenterCrop and ToTensor, and a DataLoader with one worker a core, whose batches are
saved as one array. Both run as whole commands, interleaved; core-seconds are those of all processes, the start of
Python and the import of torch (which the loop needs and ours does not) included. The loop resamples with a bilinear
filter, ours with Lanczos, and looks for duplicates and near duplicates, hashes all pixels and syncs to the disk. The
floor is what reading, decoding and resampling take alone, in one process. Then both are read in random batches of 64,
as float tensors.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import psutil
from PIL import Image

SIDE = 96
MEMORY_SIDE = 32  # small images: a million of them take 3 GB, three times while they are prepared
LOOP = """
import sys, numpy, torch
from torchvision import datasets, transforms
steps = [transforms.Resize(64), transforms.CenterCrop(64), transforms.ToTensor()]
images = datasets.ImageFolder(sys.argv[1], transforms.Compose(steps))
loader = torch.utils.data.DataLoader(images, batch_size=64, num_workers=int(sys.argv[2]))
batches = [(batch * 255).round().byte().numpy() for batch, _ in loader]
numpy.save("loop.npy", numpy.concatenate(batches))
"""
READ_LOOP = """
import sys, time, torch
from torchvision import datasets, transforms
steps = [transforms.Resize(64), transforms.CenterCrop(64), transforms.ToTensor()]
images = datasets.ImageFolder(sys.argv[1], transforms.Compose(steps))
loader = torch.utils.data.DataLoader(images, batch_size=64, shuffle=True, num_workers=int(sys.argv[2]))
started = time.perf_counter()
for batch, _ in loader:
    batch.mul_(2).sub_(1)
print(len(images) / (time.perf_counter() - started))
"""
READ_OURS = """
import sys, time, torch
from pathlib import Path
from gan.feed import Feed
from pipeline.config import load_experiment
from pipeline.data.dataset import load_dataset
images = load_dataset("faces", Path("data")).images
feed = Feed(images, load_experiment("wgan"), 0, torch.device("cpu"), resident=False)
steps = 4 * len(images) // 64
list(feed.steps(1, 50))
started = time.perf_counter()
for _ in feed.steps(1, steps):
    pass
print(64 * steps / (time.perf_counter() - started))
"""


@click.command()
@click.option("--images", "num_images", type=click.IntRange(min=64), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--memory", type=click.IntRange(min=1000), help="Instead: the peak of memory for so many images.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(num_images: int, rounds: int, memory: int | None, json_path: Path | None) -> None:
    """Print times, core-seconds and ratios, or peaks of memory."""
    with tempfile.TemporaryDirectory() as name:
        result = measure_memory(Path(name), memory) if memory else measure_speed(Path(name), num_images, rounds)
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2))


def measure_speed(folder: Path, num_images: int, rounds: int) -> dict[str, object]:
    """Time both commands and both ways of reading, and what decoding alone takes."""
    jpegs = folder / "jpegs"
    write_jpegs(jpegs / "faces", num_images)
    cores = str(len(os.sched_getaffinity(0)))
    ours = [sys.executable, "-m", "pipeline", "prepare", "--source", str(jpegs), "--name", "faces"]
    commands = {"ours": ours, "loop": [sys.executable, "-c", LOOP, str(jpegs), cores]}
    wall: dict[str, list[float]] = {name: [] for name in commands}
    core: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            if name == "ours":
                subprocess.run(["rm", "-rf", str(folder / "data")], check=True)  # noqa: S607
            before = core_seconds()
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            wall[name].append(time.perf_counter() - started)
            core[name].append(core_seconds() - before)
    rates: dict[str, list[float]] = {"ours": [], "loop": []}
    for _ in range(rounds):
        for name, code in (("ours", READ_OURS), ("loop", READ_LOOP)):
            command = [sys.executable, "-c", code, str(jpegs), cores]
            done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            rates[name].append(float(done.stdout))
    floor = decoding_floor(sorted((jpegs / "faces").iterdir())[:2000])
    for name in commands:
        click.echo(
            f"{name}: {statistics.median(wall[name]):.1f} s, {statistics.median(core[name]):.1f} core-seconds "
            f"({1e6 * statistics.median(core[name]) / num_images:.0f} us an image)"
        )
    for name, seconds in floor.items():
        click.echo(f"floor: {name} alone {1e6 * seconds:.0f} us an image")
    click.echo(f"ratio of core-seconds: {ratio(core['loop'], core['ours']):.2f}")
    click.echo(f"ratio of seconds: {ratio(wall['loop'], wall['ours']):.2f}")
    for name, values in rates.items():
        click.echo(f"reading, {name}: {statistics.median(values):,.0f} images/s")
    click.echo(f"ratio of reading: {ratio(rates['ours'], rates['loop']):.1f}")
    return {"num_images": num_images, "seconds": wall, "core_seconds": core, "images_per_second": rates, "floor": floor}


def ratio(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the ratio of two medians."""
    return statistics.median(left) / statistics.median(right)


def core_seconds() -> float:
    """Return the processor time of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_jpegs(folder: Path, number: int) -> None:
    """Write distinct JPEGs of 96 x 96 pixels: drawn faces, shifted, mirrored and with some noise."""
    from pipeline.data.avatars import draw
    from pipeline.data.items import Rule

    folder.mkdir(parents=True)
    faces = [draw(index, Rule(SIDE)).pixels for index in range(min(number, 400))]
    random = np.random.default_rng(0)
    for index in range(number):
        face = faces[index % len(faces)][:, :: 1 if index // len(faces) % 2 else -1]
        noise = random.normal(0, 6, face.shape)
        picture = np.clip(np.roll(face, random.integers(-12, 13, 2), (0, 1)) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{index:07}.jpg", quality=90)


def decoding_floor(files: Sequence[Path]) -> dict[str, float]:
    """Return the seconds that reading, decoding and resampling take by themselves, one image, the best of 3 rounds."""
    import simplejpeg

    contents = [file.read_bytes() for file in files]
    pictures = [Image.fromarray(simplejpeg.decode_jpeg(content)) for content in contents]

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            work()
            times.append((time.perf_counter() - started) / len(files))
        return min(times)

    return {
        "reading the file": best(lambda: [file.read_bytes() for file in files]),
        "libjpeg-turbo": best(lambda: [simplejpeg.decode_jpeg(content) for content in contents]),
        "Pillow's Lanczos": best(lambda: [each.resize((64, 64), Image.Resampling.LANCZOS) for each in pictures]),
    }


def measure_memory(folder: Path, number: int) -> dict[str, object]:
    """Prepare a tenth of the number and the number itself, from one file that repeats, and print the peaks."""
    peaks = {}
    for images in (number // 10, number):
        write_repeated(folder / "images.npy", images)
        options = ["--source", f"npy:{folder / 'images.npy'}", "--image-size", str(MEMORY_SIDE), "--name", str(images)]
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "prepare", *options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peaks[images] = peak_of(process)
        if process.wait() != 0:
            raise click.ClickException("preparing failed")
        subprocess.run(["rm", "-rf", str(folder / "data")], check=True)  # noqa: S607
        pixels = images * MEMORY_SIDE**2 * 3 / 1e6
        click.echo(f"{images:,} images ({pixels:,.0f} MB): {peaks[images] / 1e6:,.0f} MB of private memory at most")
    growth = (peaks[number] - peaks[number // 10]) / (number - number // 10)
    click.echo(f"{growth:.0f} bytes for each image more")
    return {"peaks": peaks, "bytes_per_image": growth}


def write_repeated(path: Path, number: int) -> None:
    """Write images of tiles: a thousand that repeat, each time with other corners, so that no two are equal."""
    random = np.random.default_rng(0)
    tiles = random.integers(0, 256, (1000, 8, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    rows = np.lib.format.open_memmap(path, "w+", np.uint8, (number, MEMORY_SIDE, MEMORY_SIDE, 3))
    for start in range(0, number, 1000):
        tiles[:, :16, :16] = random.integers(0, 256, (1000, 1, 1, 3), dtype=np.uint8)
        rows[start : start + 1000] = tiles[: number - start]
    rows.flush()


def peak_of(process: "subprocess.Popen[bytes]") -> int:
    """Return the most private memory, in bytes, that a process and its children had together."""
    peak = 0
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            peak = max(peak, sum(each.memory_full_info().uss for each in family))
        except psutil.NoSuchProcess:
            continue
        threading.Event().wait(0.2)
    return peak


if __name__ == "__main__":
    main()
