"""Training speed: the engine and the loop that a user would write, interleaved in one process.

python benchmarks/train_step.py --json train_step.json
"""

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import pandas as pd
import psutil
import torch
from PIL import Image
from plain_loop import PlainLoop
from torch.utils.flop_counter import FlopCounterMode

from gan.config import Config
from gan.devices import describe, keep_freed_memory, select_device
from gan.feed import Feed
from gan.precision import autocast, resolve_precision
from gan.state import build
from gan.step import Rates, train_step
from gan.training import steps_of
from pipeline.config import load_experiment
from pipeline.data.dataset import Dataset
from pipeline.prepare import prepare

EXPERIMENTS = {"dcgan": ("dcgan", "dcgan_51"), "wgan": ("wgan",), "wgan_sgd": ("wgan_sgd",)}
REPORT_IMAGES = 51_223
FORMATS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Row:
    """The speed of one mode. fraction_of_ceiling: of the largest matrix product's operations per second."""

    variant: str
    device: str
    mode: str
    images_per_second: float
    ratio_to_plain: float
    fraction_of_ceiling: float
    milliseconds: float
    best_milliseconds: float


@click.command()
@click.option("--variants", default="dcgan,wgan,wgan_sgd", show_default=True, help="Separated by commas.")
@click.option("--steps", type=click.IntRange(1), help="Of each mode in a round, at least [default: 5; 200 on CUDA].")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="The median of them counts.")
@click.option("--precisions", help="Separated by commas [default: those that the device has units for].")
@click.option("--device", default="auto", show_default=True)
@click.option("--num-images", type=click.IntRange(256), default=2048, show_default=True, help="To train on.")
@click.option("--num-workers", type=click.IntRange(0), help="Of the plain loop [default: 2; 8 on CUDA].")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there too.")
@click.option("--profile", is_flag=True, help="Print the operations of a step by time instead.")
def main(
    variants: str, steps: int | None, rounds: int, precisions: str | None, device: str, num_images: int,
    num_workers: int | None, json_file: Path | None, profile: bool,
) -> None:  # fmt: skip
    """Print images per second of the plain loop and of the engine, and what share of the device that is."""
    torch_device = select_device(device)
    on_cuda = torch_device.type == "cuda"
    wanted = (precisions or default_precisions(torch_device)).split(",")
    ceilings = {name: matrix_ceiling(name, torch_device) for name in {"fp32", *wanted}}
    print(f"{describe(torch_device)}, torch {torch.__version__}")
    for name, ceiling in ceilings.items():
        print(f"largest matrix product, {name}: {ceiling / 1e9:,.0f} GFLOP/s")

    with tempfile.TemporaryDirectory() as folder:
        dataset, images = make_images(Path(folder), num_images)
        rows: list[Row] = []
        for variant in variants.split(","):
            config = load_experiment(variant)
            if profile:
                print_profile(config, dataset, torch_device, wanted[-1])
                continue
            modes = {"plain": plain_mode(config, images, torch_device, 8 if on_cuda else 2, num_workers)}
            modes |= our_modes(config, dataset, torch_device, wanted)
            whole_games = math.ceil((steps or (200 if on_cuda else 5)) / config.discriminator_steps)
            seconds = interleave(modes, whole_games * config.discriminator_steps, rounds, torch_device)
            rows += rows_of(variant, config, describe(torch_device), seconds, ceilings)
            print(pd.DataFrame(map(asdict, rows[-len(modes) :])).round(3).to_markdown(index=False), flush=True)
    if rows:
        print(total_of(rows))
    if json_file:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def default_precisions(device: torch.device) -> str:
    """Return the precisions worth measuring on a device."""
    if device.type == "cuda":
        return "fp32,tf32,bf16"
    return "fp32,bf16" if resolve_precision("auto", device) == "bf16" else "fp32"


def matrix_ceiling(precision: str, device: torch.device, repeats: int = 5) -> float:
    """Return the operations per second of a large square matrix product, the best of some."""
    size = 8192 if device.type == "cuda" else 2048
    with autocast(precision, device)():
        left, right = (torch.randn(size, size, device=device).to(FORMATS[precision]) for _ in range(2))
        seconds = []
        for _ in range(repeats + 1):
            started = now(device)
            torch.mm(left, right)
            seconds.append(now(device) - started)
    return float(2 * size**3 / min(seconds))


def now(device: torch.device) -> float:
    """Return the time in seconds at which the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def make_images(folder: Path, num_images: int) -> tuple[Dataset, Path]:
    """Draw images; return them as a dataset and as an ImageFolder of JPEG files of the networks' size."""
    dataset = prepare(("avatars",), name="images", num_images=num_images, root=folder / "data")
    files = folder / "files" / "faces"
    files.mkdir(parents=True)
    for number, image in enumerate(dataset.images):
        Image.fromarray(image).save(files / f"{number:06d}.jpg", quality=95)
    return dataset, files.parent


def plain_mode(
    config: Config, folder: Path, device: torch.device, default_workers: int, num_workers: int | None
) -> Callable[[int], object]:
    """Return what takes some steps of the plain loop."""
    workers = default_workers if num_workers is None else num_workers
    return PlainLoop(config, folder, device, workers).take


def our_modes(
    config: Config, dataset: Dataset, device: torch.device, precisions: list[str]
) -> dict[str, Callable[[int], object]]:
    """Return what takes some steps of the engine, for each precision and, on CUDA, with the images on the host."""
    modes = {f"ours {name}": our_mode(replace(config, precision=name), dataset, device) for name in precisions}
    if device.type == "cuda":
        streamed = our_mode(replace(config, precision=precisions[-1]), dataset, device, resident=False)
        modes[f"ours {precisions[-1]}, images on the host"] = streamed
    return modes


def our_mode(
    config: Config, dataset: Dataset, device: torch.device, resident: bool | None = None
) -> Callable[[int], object]:
    """Return what takes some steps of the engine; it reads the losses back at the end, as the loop does."""
    state = build(config, 0, device)
    take = steps_of(config, state, 10**9, device)
    inputs = Feed(dataset.images, config, 0, device, resident).steps(1, 10**9)

    def run(num_steps: int) -> object:
        for _ in range(num_steps):
            take(next(inputs))
        return state.sums.tolist()

    return run


def interleave(
    modes: dict[str, Callable[[int], object]], steps: int, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds a step of each mode, round by round, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in modes}
    for number in range(rounds + 1):
        for name, take in modes.items():
            with foreign_load() as foreign:
                # The plain loop gets glibc's own settings, which grow to these.
                keep_freed_memory(*((2**25, 2**26) if name == "plain" else ()))
                started = now(device)
                take(steps)
                taken = (now(device) - started) / steps
            if number:
                seconds[name].append(taken)
                print(f"{name}: {1e3 * taken:,.1f} ms a step; other processes: {foreign()}", flush=True)
    return seconds


class foreign_load:  # noqa: N801 -- a context manager
    """Watch how much of the processors other processes and the hypervisor take."""

    def __enter__(self) -> Callable[[], str]:
        self.before = self.now()
        return self.text

    def __exit__(self, *_exception: object) -> None:
        self.after = self.now()

    def now(self) -> tuple[float, float, float]:
        """Return seconds of all processors: busy, of this process and its children, of all time."""
        times, own = psutil.cpu_times(), psutil.Process()
        family = [own, *own.children(recursive=True)]
        mine = sum(sum(process.cpu_times()[:2]) for process in family)
        return sum(times) - times.idle - getattr(times, "iowait", 0.0), mine, sum(times)

    def text(self) -> str:
        """Return the share of others."""
        busy, own, total = (after - before for after, before in zip(self.after, self.before, strict=True))
        return f"{max(0.0, (busy - own) / max(total, 1e-9)):.0%}"


def rows_of(
    variant: str, config: Config, device: str, seconds: dict[str, list[float]], ceilings: dict[str, float]
) -> list[Row]:
    """Return a row a mode. The work is the engine's own: what the plain loop does beyond it counts as waste."""
    work = operations(config) * config.batch_size
    plain = statistics.median(seconds["plain"])
    rows = []
    for mode, taken in seconds.items():
        median = statistics.median(taken)
        precision = next((name for name in ceilings if f"ours {name}" in mode), "fp32")
        rows.append(
            Row(
                variant,
                device,
                mode,
                images_per_second=config.batch_size / median,
                ratio_to_plain=plain / median,
                fraction_of_ceiling=work / median / ceilings[precision],
                milliseconds=1e3 * median,
                best_milliseconds=1e3 * min(taken),
            )
        )
    return rows


def operations(config: Config, batch_size: int = 4) -> float:
    """Return the operations per image of an average step's products; a multiplication and an addition are two."""
    small = replace(config, batch_size=batch_size, precision="fp32")
    device = torch.device("cpu")
    state = build(small, 0, device)
    images = torch.zeros(batch_size * config.discriminator_steps, 64, 64, 3, dtype=torch.uint8).numpy()
    exact = autocast("fp32", device)
    with FlopCounterMode(display=False) as counter:
        for inputs in Feed(images, small, 0, device).steps(1, config.discriminator_steps):
            train_step(small, state, inputs, Rates(small, 1, device), exact)
    return float(counter.get_total_flops()) / config.discriminator_steps / batch_size


def total_of(rows: list[Row]) -> str:
    """Return how long the reports' four experiments take at these speeds."""
    fastest: dict[str, float] = {}
    for row in rows:
        if row.mode.startswith("ours"):
            fastest[row.variant] = min(row.milliseconds, fastest.get(row.variant, float("inf")))
    names = [(name, variant) for variant in fastest for name in EXPERIMENTS.get(variant, ())]
    hours = {name: load_experiment(name).num_steps(REPORT_IMAGES) * fastest[variant] / 3.6e6 for name, variant in names}
    parts = ", ".join(f"{name} {value:.2f} h" for name, value in hours.items())
    return f"At full length, {REPORT_IMAGES:,} images: {parts}; together {60 * sum(hours.values()):,.1f} minutes."


def print_profile(config: Config, dataset: Dataset, device: torch.device, precision: str) -> None:
    """Print the operations of some steps, the longest first."""
    take = our_mode(replace(config, precision=precision), dataset, device)
    take(config.discriminator_steps)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        take(config.discriminator_steps)
    key = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    averages = profiler.key_averages(group_by_input_shape=True)
    print(f"{config.variant}, {config.discriminator_steps} step(s), {precision}")
    print(averages.table(sort_by=key, row_limit=25, max_name_column_width=40, max_shapes_column_width=60))


if __name__ == "__main__":
    main()
