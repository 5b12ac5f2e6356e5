"""OpenAI's CLIP ViT-B/32: features of images paired with texts (Radford et al. 2021, arXiv:2103.00020).

As torch-fidelity's clip-vit-b-32. Weights and code are under the MIT licence.

OpenAI's file is a TorchScript archive, which is a program: it runs only if its sha256 is the one that OpenAI
publishes. A state dict, such as fine-tuned weights, is read from a file without any code. To make one of an archive
that one trusts: python -c "import torch; torch.save(torch.jit.load('IN.pt', 'cpu').state_dict(), 'OUT.pth')"
"""

import hashlib
import io
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.errors import UserError
from pipeline.metrics.backbones import Backbone, Weights, read_weights
from pipeline.metrics.downloads import PublishedWeights, locate
from pipeline.metrics.preprocessing import Preprocessing, protocol_of

_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"  # openai/CLIP, clip/clip.py
WEIGHTS = PublishedWeights(
    title="CLIP ViT-B/32",
    url=f"https://openaipublic.azureedge.net/clip/models/{_SHA256}/ViT-B-32.pt",
    sha256=_SHA256,
    megabytes=338,
    cached_as=f"clip-vit-b-32-{_SHA256}.pt",  # torch-fidelity's name
)
_MEAN = (0.48145466, 0.4578275, 0.40821073)  # openai/CLIP, clip/clip.py
_STD = (0.26862954, 0.26130258, 0.27577711)
_TEXT = (  # the rest of the whole model: tensors of the text's encoder, and what describes the model
    *("transformer.", "token_embedding.", "ln_final.", "positional_embedding", "text_projection", "logit_scale"),
    *("input_resolution", "context_length", "vocab_size"),
)


class ClipImages(nn.Module):
    """CLIP's encoder of images with torch-fidelity's preprocessing (CLIP's own resize is bicubic, with a crop)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(_MEAN, _STD)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> [B, 512], projected, of any length."""
        features: Tensor = self.network(self.preprocessing(images))
        return features


def load_clip_vit_b32(weights: Path | None) -> Backbone:
    """Build the encoder of images: from OpenAI's archive or a state dict, else from OpenAI's download.

    UserError: no file and no download, another TorchScript archive, or not a state dict of this network.
    """
    path, source = locate(weights, WEIGHTS)
    loaded = read_archive(path, source) if _is_torchscript(path) else _read_state_dict(path, source)
    return Backbone(
        network=ClipImages(build_network(loaded.state, source)),
        num_features=512,
        protocol={
            "extractor": "CLIP ViT-B/32",
            "layer": "projected class token of the image encoder, 512",
            "weights": WEIGHTS.label(loaded.sha256, "OpenAI's ViT-B-32.pt"),
            "weights_sha256": loaded.sha256,
            **protocol_of("CLIP"),
        },
        source=source,
        remedy=WEIGHTS.remedy,
    )


def read_archive(path: Path, source: str) -> Weights:
    """Read the tensors of OpenAI's own TorchScript archive; no other is opened.

    The file is read once, so that what was hashed is what runs.
    """
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != WEIGHTS.sha256:
        raise UserError(
            f"{source}: must be OpenAI's own TorchScript archive, which has the sha256 {WEIGHTS.sha256}, or a state "
            f"dict, got a TorchScript archive (a program, which is not run) of sha256 {sha256}; {WEIGHTS.remedy}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript as a whole is deprecated
        archive = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    return Weights(archive.state_dict(), sha256)


def build_network(state: dict[str, Tensor], source: str) -> nn.Module:
    """Build torch-fidelity's encoder of images with every tensor that is not of the text's, in eval mode.

    In float32: OpenAI's tensors are float16, which float32 holds exactly.
    """
    from torch_fidelity.feature_extractor_clip import CLIPVisual  # slow, and only used here

    with torch.device("meta"):
        network: nn.Module = CLIPVisual(512, 224, vision_layers=12, vision_width=768, vision_patch_size=32)
    images = {name: value for name, value in state.items() if not name.startswith(_TEXT)}
    try:
        network.load_state_dict(images, strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"{source}: must be the weights of CLIP ViT-B/32, got another network's (names or shapes differ); "
            f"{WEIGHTS.remedy}"
        ) from error
    return network.get_submodule("visual").float().eval()


def _read_state_dict(path: Path, source: str) -> Weights:
    return read_weights(path, source=source, remedy=WEIGHTS.remedy)


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # whatever a damaged or hostile file makes zipfile raise; read_weights says what is wrong with it
        return False
