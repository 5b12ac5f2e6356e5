"""From a generator to uint8 images: one road for grids, files, metrics and the published model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan.config import Config, parse_config
from gan.errors import NotFiniteError, UserError
from gan.files import storage_errors
from gan.precision import exact_float32
from gan.randomness import sample_latents
from gan.tensor_files import read_tensors, write_tensors_atomic

CHUNK = 64
"""Images are computed in aligned chunks of this size, padded at the end: the bits of image i never depend on how
many are asked for, since a convolution may choose another algorithm for another batch size."""

FORMAT = 1


def to_uint8(images: Tensor) -> Tensor:
    """Map [-1, 1] to {0, ..., 255}: clamp, scale by 127.5, round half to even. Shape is kept."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, in plain float32 and without gradients, and restore the mode it was in."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode(), exact_float32():
            yield
    finally:
        network.train(was_training)


def decode(generator: nn.Module, latents: Tensor, device: torch.device) -> Tensor:
    """Return the images, uint8 [N, 3, H, W] on the CPU, of latents [N, latent_size].

    Raises NotFiniteError where a value is NaN or infinite, which no uint8 could show.
    """
    padding = -len(latents) % CHUNK
    padded = torch.cat([latents, latents.new_zeros(padding, latents.shape[1])])
    dtype = next(generator.parameters()).dtype
    with evaluating(generator):
        chunks = [to_uint8(_finite(generator(chunk.to(device, dtype)))).cpu() for chunk in torch.split(padded, CHUNK)]
    return torch.cat(chunks)[: len(latents)]


def _finite(images: Tensor) -> Tensor:
    if not bool(images.isfinite().all()):
        raise NotFiniteError(
            "the generator's images are not finite (NaN or infinity): its training diverged. Lower the learning rate."
        )
    return images


def sample(
    generator: nn.Module, *, seed: int, num: int, latent_size: int, device: torch.device, start: int = 0
) -> Iterator[Tensor]:
    """Yield images start, ..., start + num - 1 of a seed in order, uint8 [at most CHUNK, 3, H, W] on the CPU.

    Image i depends on (seed, i) alone.
    """
    stop = start + num
    for first in range(start - start % CHUNK, stop, CHUNK):
        latents = sample_latents(seed, range(first, first + CHUNK), latent_size)
        images = decode(generator, latents, device)
        yield images[max(start - first, 0) : min(stop - first, CHUNK)]


def interpolate(first: Tensor, last: Tensor, num: int) -> Tensor:
    """Return points [num, latent_size] on the great circle from one latent to another, both included.

    Source: White 2016, section 2.1, arXiv:1609.04468.
    """
    cosine = torch.dot(first, last) / (first.norm() * last.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    weights = torch.linspace(0, 1, num).unsqueeze(1)
    if float(torch.sin(angle)) < 1e-6:
        return (1 - weights) * first + weights * last
    return (torch.sin((1 - weights) * angle) * first + torch.sin(weights * angle) * last) / torch.sin(angle)


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator with the configuration and the number of discriminator updates that made it."""

    config: Config
    step: int
    network: nn.Module

    def sample(self, *, seed: int, num: int, device: torch.device, start: int = 0) -> Iterator[Tensor]:
        """Yield the images of `sample`."""
        yield from sample(
            self.network, seed=seed, num=num, latent_size=self.config.latent_size, device=device, start=start
        )

    def sample_indices(self, indices: Sequence[int], *, seed: int, device: torch.device) -> Tensor:
        """Return the images with these indices, uint8 [N, 3, H, W], in any order and with gaps."""
        chunks: dict[int, Tensor] = {}
        for index in indices:
            first = index - index % CHUNK
            if first not in chunks:
                (chunks[first],) = self.sample(seed=seed, num=CHUNK, device=device, start=first)
        return torch.stack([chunks[i - i % CHUNK][i % CHUNK] for i in indices])

    def interpolations(self, *, seed: int, num: int, length: int, device: torch.device) -> Tensor:
        """Return paths between images of a seed, uint8 [num * length, 3, H, W]: path i goes from image 2i to 2i + 1."""
        ends = sample_latents(seed, range(2 * num), self.config.latent_size)
        paths = [interpolate(first, last, length) for first, last in zip(ends[::2], ends[1::2], strict=True)]
        return decode(self.network, torch.cat(paths), device)


def save_generator(path: Path, config: Config, step: int, generator: nn.Module) -> None:
    """Write the generator's weights with its configuration, atomically."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in generator.state_dict().items()}
    content = {"format": FORMAT, "step": step, "config": config.to_dict(), "weights": weights}
    with storage_errors(path):
        write_tensors_atomic(path, content)


def load_generator(path: Path, device: torch.device) -> TrainedGenerator:
    """Read what `save_generator` wrote. Nothing is unpickled but tensors and plain values.

    Raises UserError where the file is missing, damaged, of another format or not of this configuration.
    """
    content = _read(path)
    try:
        config = parse_config(content["config"])
        network = config.generator.build(config.latent_size)
        network.load_state_dict(content["weights"])
        step = int(content["step"])
    except Exception as error:  # of many types: what is in the file decides what fails
        raise UserError(f"{path}: is not a generator of this version ({type(error).__name__}). Train again.") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise UserError(f"{path}: has weights that are not finite: its training diverged. Lower the learning rate.")
    network.to(device).to(memory_format=torch.channels_last)
    return TrainedGenerator(config, step, network.eval())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_tensors(path)
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist. Train the variant first.") from None
    except Exception as error:  # torch.load raises many types on damaged or hostile files
        raise UserError(f"{path}: is damaged or not a generator file. Train the variant again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: format must be {FORMAT}, got {found}. Train the variant again with this version.")
    return content
