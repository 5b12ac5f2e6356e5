"""What the steps take in: real images, latents and seeds, each a function of (seed, epoch) or (seed, step) alone.

A thread prepares them in chunks while the device computes. The images lie on a CUDA device where they fit, else they
are read from the memory map chunk by chunk.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gan.config import Config
from gan.randomness import Stream, epoch_order, step_latents, step_uniform, torch_seed

CHUNK_STEPS = 16
RESIDENT_SHARE = 0.5  # of the device's free memory, at most, for the images


@dataclass(frozen=True)
class Inputs:
    """What one step takes in, on the device.

    pixels: uint8 [B, H, W, 3]. latents, fresh_latents: float32 [B, latent_size], the latter for a generator update.
    uniform: float32 [B] in [0, 1), for a gradient penalty. noise_seed: for dropout.
    """

    step: int
    noise_seed: int
    pixels: Tensor
    latents: Tensor
    fresh_latents: Tensor
    uniform: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors, in a fixed order."""
        return self.pixels, self.latents, self.fresh_latents, self.uniform


@dataclass
class Feed:
    """The inputs of all steps of a training.

    images: uint8 [N, H, W, 3], a memory map or an array. resident: whether to keep the images on the device; None
    where they are a CUDA device's and fit.
    """

    images: np.ndarray
    config: Config
    seed: int
    device: torch.device
    resident: bool | None = None

    def __post_init__(self) -> None:
        if self.resident is None:
            self.resident = _fits(self.images.nbytes, self.device)
        self._order_of: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))
        self._images = _upload(self.images, self.device) if self.resident else None

    def steps(self, first: int, last: int) -> Generator[Inputs, None, None]:
        """Yield the inputs of steps first, ..., last (from 1)."""
        starts = range(first, last + 1, CHUNK_STEPS)
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
            waiting: Future[_Chunk] | None = None
            try:
                for start in starts:
                    steps = range(start, min(start + CHUNK_STEPS, last + 1))
                    chunk = (waiting or pool.submit(self._chunk, steps)).result()
                    following = range(steps.stop, min(steps.stop + CHUNK_STEPS, last + 1))
                    waiting = pool.submit(self._chunk, following) if following else None
                    yield from chunk.inputs(self._images)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def indices(self, step: int) -> np.ndarray:
        """Return which images [B] are in the batch of step 1, 2, ..., sorted: the disk reads forwards."""
        epoch, position = divmod(step - 1, self.config.steps_per_epoch(len(self.images)))
        if epoch != self._order_of[0]:
            self._order_of = (epoch, epoch_order(self.seed, epoch, len(self.images)))
        start = position * self.config.batch_size
        return np.sort(self._order_of[1][start : start + self.config.batch_size])

    def _chunk(self, steps: range) -> "_Chunk":
        """Draw and read what these steps take in, and send it to the device."""
        indices = [self.indices(step) for step in steps]
        sizes = [len(each) for each in indices]
        wanted = np.concatenate(indices)

        def latents(stream: Stream, *, used: bool) -> Tensor:
            if not used:
                return torch.empty(sum(sizes), 0)
            rows = zip(steps, sizes, strict=True)
            return torch.cat([step_latents(self.seed, stream, k, n, self.config.latent_size) for k, n in rows])

        def uniform() -> Tensor:
            return torch.cat([step_uniform(self.seed, k, n) for k, n in zip(steps, sizes, strict=True)])

        host = (
            torch.from_numpy(wanted if self.resident else self.images[wanted]),
            latents(Stream.LATENTS, used=True),
            latents(Stream.FRESH_LATENTS, used=self.config.fresh_latents),
            uniform() if self.config.gradient_penalty is not None else torch.empty(sum(sizes), 0),
        )
        seeds = [torch_seed(self.seed, Stream.NOISE, step) for step in steps]
        return _Chunk(steps, sizes, seeds, *_send(host, self.device))


@dataclass(frozen=True)
class _Chunk:
    """The inputs of several steps, one after the other in each tensor. ready: when they have arrived."""

    steps: range
    sizes: list[int]
    noise_seeds: list[int]
    tensors: list[Tensor]
    ready: torch.cuda.Event | None

    def inputs(self, resident: Tensor | None) -> Iterator[Inputs]:
        if self.ready is not None:
            stream = torch.cuda.current_stream(self.tensors[0].device)
            stream.wait_event(self.ready)
            for tensor in self.tensors:
                tensor.record_stream(stream)
        split = (torch.split(tensor, self.sizes) for tensor in self.tensors)
        for step, seed, pixels, *latents in zip(self.steps, self.noise_seeds, *split, strict=True):
            images = pixels if resident is None else resident.index_select(0, pixels)
            yield Inputs(step, seed, images, *latents)


def _send(host: tuple[Tensor, ...], device: torch.device) -> tuple[list[Tensor], torch.cuda.Event | None]:
    """Copy tensors to the device beside its work; return them and when they have arrived."""
    if device.type != "cuda":
        return list(host), None
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        tensors = [tensor.pin_memory().to(device, non_blocking=True) for tensor in host]
        return tensors, stream.record_event()


def _fits(num_bytes: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes < RESIDENT_SHARE * free


def _upload(images: np.ndarray, device: torch.device, rows: int = 65536) -> Tensor:
    """Copy images to the device piece by piece: host memory stays free."""
    resident = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), rows):
        resident[start : start + rows] = torch.from_numpy(np.ascontiguousarray(images[start : start + rows]))
    return resident
