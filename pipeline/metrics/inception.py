"""The Inception-v3 of FID (TensorFlow's network of 2015-12-05), as torch-fidelity implements it."""

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gan.errors import UserError
from pipeline.metrics.backbones import (
    Backbone,
    Head,
    Weights,
    fold_batchnorm,
    read_weights,
    resize_by_products,
    spatial_mean,
)
from pipeline.metrics.downloads import PublishedWeights, locate
from pipeline.metrics.preprocessing import tensorflow_resize_matrix

WEIGHTS_VARIABLE = "GAN_INCEPTION_WEIGHTS"
_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
_FILE = _URL.rpartition("/")[2]
_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_REMEDY = (
    f"get {_FILE} from {_URL} and give it as --weights FILE or {WEIGHTS_VARIABLE}=FILE, "
    "or use --extractor efficientnet_lite0 meanwhile"
)
_IMAGE_SIZE = 299
_NUM_FEATURES = {"768": 768, "2048": 2048}
_LAST_BLOCK = {"768": "Mixed_6e", "2048": "Mixed_7c"}


class InceptionV3(nn.Module):
    """The blocks of torch-fidelity's network up to one layer, after the same preprocessing as two small products.

    The pixels are scaled before the resize instead of after it: it is linear and keeps constants.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        names = [name for name, _ in network.named_children()]
        self.blocks = nn.Sequential(*list(network.children())[: names.index(_LAST_BLOCK[layer]) + 1])

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> [B, D], where D is 768 or 2048."""
        rows, columns = (tensorflow_resize_matrix(length, _IMAGE_SIZE, images.device) for length in images.shape[-2:])
        return spatial_mean(self.blocks(resize_by_products((images.float() - 128) / 128, rows, columns)))


def load_inception(weights: Path | None, *, layer: str) -> Backbone:
    """Build Inception-v3 up to layer "768" or "2048" (FID's own).

    Weights: the given file, else the file that GAN_INCEPTION_WEIGHTS names, else torch-fidelity's download.
    UserError: no file and no download, or not a state dict of this network.
    """
    path, source = _locate(weights)
    loaded = read_weights(path, source=source, remedy=_REMEDY)
    whole = build_network(loaded, layer, source)
    network = InceptionV3(whole, layer)
    fold_batchnorm(network)
    original = loaded.sha256 == _SHA256
    hint = "" if layer == "768" else "; a file that is good up to layer 768 only serves --extractor inception768"
    return Backbone(
        network=network.to(memory_format=torch.channels_last),
        num_features=_NUM_FEATURES[layer],
        protocol={
            "extractor": "Inception-v3 (FID, 2015-12-05)",
            "layer": f"{layer}, spatial average",
            "weights": "torch-fidelity v0.2.0" if original else "given file, not torch-fidelity's own",
            "weights_sha256": loaded.sha256,
            "resize": "bilinear as in TensorFlow 1 (no half-pixel centres, no antialiasing), to 299x299",
            "input": "uint8 RGB, (x - 128) / 128 after the resize",
            "dtype": "float32",
        },
        source=source,
        remedy=_REMEDY + hint,
        head=_head(whole) if layer == "2048" else None,
    )


def _head(network: nn.Module) -> Head:
    """Return torch-fidelity's "logits_unbiased", which its Inception score is computed from: no bias."""
    weight = network.fc.weight.detach().numpy()  # type: ignore[operator, union-attr]
    return Head(weight, np.zeros(len(weight), dtype=np.float32))


def build_network(weights: Weights, layer: str, source: str) -> nn.Module:
    """Build torch-fidelity's network with the weights, in eval mode.

    Its constructor unpickles whatever file it is given, so that it gets our own serialisation of the tensors.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # slow, and only used here

    serialised = io.BytesIO()
    torch.save(weights.state, serialised)
    serialised.seek(0)
    try:
        network: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", [layer], feature_extractor_weights_path=serialised
        )
    except RuntimeError as error:
        raise UserError(
            f"{source}: must be the weights of torch-fidelity's Inception-v3, got another network's "
            f"(names or shapes differ); {_REMEDY}"
        ) from error
    return network


def _locate(weights: Path | None) -> tuple[Path, str]:
    """Choose the file to read, and say how to call it in a message."""
    published = PublishedWeights("Inception-v3", _URL, _SHA256, megabytes=96, variable=WEIGHTS_VARIABLE)
    return locate(weights, published)
