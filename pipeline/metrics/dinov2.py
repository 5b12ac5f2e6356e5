"""DINOv2: features learnt from images alone (Oquab et al. 2023, arXiv:2304.07193), as torch-fidelity's.

Stein et al. 2023 (arXiv:2306.04675) find that distances of generated to real images agree with people's judgement
more in this space than in Inception's. Weights and code are under the Apache 2.0 licence.

torch-fidelity runs code that torch.hub downloads; here the network is timm's, which has Meta's names and shapes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.errors import UserError
from pipeline.metrics.backbones import Backbone, read_weights
from pipeline.metrics.downloads import PublishedWeights, locate
from pipeline.metrics.preprocessing import IMAGENET_MEAN, IMAGENET_STD, SIZE, Preprocessing, protocol_of

_PATCH = 14
_TRAINED_GRID = 37  # patches a side of the 518x518 images that the position embedding is for
_POSITIONS = "position embedding from 37x37 to 16x16 as Meta's: bicubic, scale (16 + 0.1) / 37, no antialiasing"


@dataclass(frozen=True)
class Variant:
    """One size of the network: how messages and timm call it, the length of its features, and Meta's file."""

    title: str
    timm_name: str
    num_features: int
    megabytes: int
    sha256: str


# Meta publishes no hashes: these are what many public projects have recorded of Meta's files.
VARIANTS: Mapping[str, Variant] = {
    "dinov2_vits14": Variant(
        *("DINOv2 ViT-S/14", "vit_small_patch14_dinov2", 384, 84),
        sha256="b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    ),
    "dinov2_vitb14": Variant(
        *("DINOv2 ViT-B/14", "vit_base_patch14_dinov2", 768, 330),
        sha256="0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    ),
    "dinov2_vitl14": Variant(
        *("DINOv2 ViT-L/14", "vit_large_patch14_dinov2", 1024, 1161),
        sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    ),
}


class DinoV2(nn.Module):
    """The network with torch-fidelity's preprocessing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> [B, D]: the class token after the last norm."""
        features: Tensor = self.network(self.preprocessing(images))
        return features


def published_weights(name: str) -> PublishedWeights:
    """Return Meta's file of a variant: without registers, without a head."""
    variant = VARIANTS[name]
    return PublishedWeights(
        title=variant.title,
        url=f"https://dl.fbaipublicfiles.com/dinov2/{name}/{name}_pretrain.pth",
        sha256=variant.sha256,
        megabytes=variant.megabytes,
    )


def load_dinov2(weights: Path | None, *, name: str) -> Backbone:
    """Build a variant of DINOv2 with a state dict under Meta's names: the given file, else Meta's download.

    UserError: no file and no download, or not a state dict of this network.
    """
    published = published_weights(name)
    path, source = locate(weights, published)
    loaded = read_weights(path, source=source, remedy=published.remedy)
    return Backbone(
        network=DinoV2(build_network(name, loaded.state, source)),
        num_features=VARIANTS[name].num_features,
        protocol={
            "extractor": published.title,
            "layer": f"class token after the last norm, {VARIANTS[name].num_features}; {_POSITIONS}",
            "weights": published.label(loaded.sha256, f"Meta's {published.file}"),
            "weights_sha256": loaded.sha256,
            **protocol_of("ImageNet"),
        },
        source=source,
        remedy=published.remedy,
    )


def build_network(name: str, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """Build timm's network with every tensor of the state dict but the mask token of the training, in eval mode."""
    import timm  # takes seconds to import, and only this function needs it

    network: nn.Module = timm.create_model(
        VARIANTS[name].timm_name, pretrained=False, img_size=SIZE, num_classes=0, weight_init="skip"
    )
    try:
        fitted = {key: value for key, value in state.items() if key != "mask_token"}
        fitted["pos_embed"] = resize_positions(fitted["pos_embed"])
        network.load_state_dict(fitted, strict=True)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{source}: must be the weights of {VARIANTS[name].title} without registers, got another network's "
            f"(names or shapes differ); {published_weights(name).remedy}"
        ) from error
    return network.eval()


def resize_positions(embedding: Tensor) -> Tensor:
    """Resize position embeddings [1, 1 + 37 * 37, D], the first of the class token, to [1, 1 + 16 * 16, D].

    Meta asks for 16.1 patches instead of 16 (once against a rounding error), so that output i lies at
    (i + 0.5) * 37 / 16.1 - 0.5 of the input; nothing is antialiased. timm's own resize does otherwise in both.
    Source: interpolate_pos_encoding of facebookresearch/dinov2, and the defaults in its hub/backbones.py.
    """
    class_token, patches = embedding[:, :1], embedding[:, 1:]
    grid = patches.float().reshape(1, _TRAINED_GRID, _TRAINED_GRID, -1).permute(0, 3, 1, 2)
    scale = (SIZE // _PATCH + 0.1) / _TRAINED_GRID
    resized = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat((class_token, resized.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)
