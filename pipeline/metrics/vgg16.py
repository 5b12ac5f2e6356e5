"""VGG16, ImageNet features from before batch norm (Simonyan and Zisserman 2014, arXiv:1409.1556), as torch-fidelity's.

Weights: torchvision's own training on ImageNet-1k. torchvision is under the BSD 3-clause licence and says of its
weights that the terms of the data they were trained on may apply: ImageNet's are for non-commercial research.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from gan.errors import UserError
from pipeline.metrics.backbones import Backbone, Head, read_weights
from pipeline.metrics.downloads import PublishedWeights, locate
from pipeline.metrics.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, protocol_of

WEIGHTS = PublishedWeights(
    title="VGG16",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af",  # torchvision publishes these digits: they are in the file's name
    megabytes=528,
)


class VGG16(nn.Module):
    """The network with torch-fidelity's preprocessing, up to the ReLU of the second fully connected layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> [B, 4096], none below zero."""
        features: Tensor = self.network(self.preprocessing(images))
        return features


def load_vgg16(weights: Path | None) -> Backbone:
    """Build VGG16 with a state dict of torchvision's vgg16: the given file, else torchvision's download.

    UserError: no file and no download, or not a state dict of this network.
    """
    path, source = locate(weights, WEIGHTS)
    loaded = read_weights(path, source=source, remedy=WEIGHTS.remedy)
    network = VGG16(build_network(loaded.state, source))
    return Backbone(
        network=network.to(memory_format=torch.channels_last),
        num_features=4096,
        protocol={
            "extractor": "VGG16",
            "layer": "second fully connected layer after its ReLU (fc2_relu), 4096",
            "weights": WEIGHTS.label(loaded.sha256, "torchvision's IMAGENET1K_V1"),
            "weights_sha256": loaded.sha256,
            **protocol_of("ImageNet"),
        },
        source=source,
        remedy=WEIGHTS.remedy,
        head=Head(*(loaded.state[f"classifier.6.{name}"].float().numpy() for name in ("weight", "bias"))),
    )


def build_network(state: dict[str, Tensor], source: str) -> nn.Module:
    """Build torchvision's network with every tensor of the state dict, less its last layer, in eval mode.

    It takes over the tensors: half a gigabyte is neither drawn at random nor copied.
    """
    from torchvision.models import vgg16  # slow, and only used here

    with torch.device("meta"):
        network: nn.Module = vgg16()
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"{source}: must be the weights of torchvision's VGG16, got another network's (names or shapes differ); "
            f"{WEIGHTS.remedy}"
        ) from error
    network.classifier = network.classifier[:5]  # type: ignore[index]  # up to the second ReLU
    return network.float().eval()
