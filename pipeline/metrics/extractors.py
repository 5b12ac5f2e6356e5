"""Images -> features. One entry of EXTRACTORS is one feature space: how to load it, from its weights or a file."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from gan.errors import UserError
from gan.precision import exact_float32
from pipeline.metrics.backbones import Backbone, Head
from pipeline.metrics.clip import load_clip_vit_b32
from pipeline.metrics.dinov2 import load_dinov2
from pipeline.metrics.efficientnet import load_efficientnet_lite0
from pipeline.metrics.inception import load_inception
from pipeline.metrics.vgg16 import load_vgg16

Features = NDArray[np.float32]  # [N, D]


EXTRACTORS: Mapping[str, Callable[[Path | None], Backbone]] = {
    "clip_vit_b32": load_clip_vit_b32,
    "dinov2_vitb14": partial(load_dinov2, name="dinov2_vitb14"),
    "dinov2_vitl14": partial(load_dinov2, name="dinov2_vitl14"),
    "dinov2_vits14": partial(load_dinov2, name="dinov2_vits14"),
    "efficientnet_lite0": load_efficientnet_lite0,
    "inception": partial(load_inception, layer="2048"),
    "inception768": partial(load_inception, layer="768"),
    "vgg16": load_vgg16,
}

EXTRACTOR_PRECISIONS: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class Extractor:
    """A function from uint8 RGB images [B, 3, H, W], on any device, to float32 features [B, num_features].

    protocol: extractor, layer, weights, weights_sha256, resize, input and dtype, the same on every machine. remedy:
    what to do when the features are not finite, for messages. head: the network's classifier, if it has one for these
    features. dtype: of the network's products; weights, resize and features are float32 whatever it is.
    """

    name: str
    num_features: int
    protocol: Mapping[str, str]
    device: torch.device
    network: nn.Module
    remedy: str
    head: Head | None = None
    dtype: torch.dtype = torch.float32

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> float32 [B, num_features], without gradients."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 [B, 3, H, W], got {images.dtype} {tuple(images.shape)}")
        halved = torch.autocast(self.device.type, dtype=torch.float16, enabled=self.dtype == torch.float16)
        with torch.inference_mode(), exact_float32(), halved:
            features: Tensor = self.network(images.to(self.device))
        return features.float()

    def logits(self, features: Features) -> NDArray[np.float32] | None:
        """Class scores float32 [N, K] of features [N, D], or None where the network has no classifier for them."""
        return None if self.head is None else features @ self.head.weight.T + self.head.bias


def load_extractor(
    name: str, *, weights: Path | None = None, device: torch.device, precision: str = "fp32"
) -> Extractor:
    """Load an extractor of the table, from `weights` (a file) or from its default, and try it on one image.

    Leaves torch's random numbers as they were. precision: fp16 computes the network in half precision, on CUDA only;
    the protocol says so. UserError: unknown name, weights missing, unfit, or giving NaN, fp16 on another device.
    """
    _check(name, precision, device)
    with torch.random.fork_rng(devices=[]):  # building a network draws its initial weights
        backbone = EXTRACTORS[name](weights)
    extractor = Extractor(
        name=name,
        num_features=backbone.num_features,
        protocol=MappingProxyType(
            {**backbone.protocol, "dtype": str(EXTRACTOR_PRECISIONS[precision]).removeprefix("torch.")}
        ),
        device=device,
        network=backbone.network.eval().to(device),
        remedy=backbone.remedy,
        head=backbone.head,
        dtype=EXTRACTOR_PRECISIONS[precision],
    )
    if not extractor(torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)).isfinite().all():
        raise UserError(f"{backbone.source}: the {name} features are not finite (NaN); {backbone.remedy}")
    return extractor


def _check(name: str, precision: str, device: torch.device) -> None:
    if name not in EXTRACTORS:
        close = difflib.get_close_matches(name, EXTRACTORS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise UserError(f"--extractor must be one of {', '.join(sorted(EXTRACTORS))}, got '{name}'.{hint}")
    if precision not in EXTRACTOR_PRECISIONS:
        raise UserError(f"--extractor-precision must be one of {', '.join(EXTRACTOR_PRECISIONS)}, got '{precision}'.")
    if precision == "fp16" and device.type != "cuda":
        raise UserError(f"--extractor-precision fp16 needs a CUDA device, and the device is {device}. Use fp32.")


def extract_features(
    extractor: Extractor, batches: Iterable[Tensor], *, num_images: int, description: str, progress: bool = True
) -> Features:
    """Features of uint8 [B, 3, H, W] batches that hold num_images in all, as float32 [num_images, D] in their order.

    Shows images per second and the time left on stderr. UserError: a feature is NaN or infinite.
    """
    features = np.empty((num_images, extractor.num_features), dtype=np.float32)
    done = 0
    with tqdm(total=num_images, desc=description, unit=" images", disable=not progress) as bar:
        for images in batches:
            end = done + len(images)
            if end > num_images:
                raise ValueError(f"more than the announced {num_images} images")
            features[done:end] = extractor(images).cpu().numpy()
            if not np.isfinite(features[done:end]).all():
                raise UserError(
                    f"{description}: the {extractor.name} features of images {done} to {end - 1} are not finite (NaN); "
                    f"{extractor.remedy}"
                )
            done = end
            bar.update(len(images))
    if done != num_images:
        raise ValueError(f"{done} images instead of the announced {num_images}")
    return features
