"""Random weights of the real architectures, under the names and in the shapes of the publishers' files."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity.feature_extractor_clip import CLIPVisual
from torchvision.models import vgg16

State = dict[str, Tensor]


def random_images(num: int) -> Tensor:
    """Smooth coloured noise: uint8 [num, 3, 64, 64]."""
    coarse = torch.rand(num, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 255
    return F.interpolate(coarse, size=(64, 64), mode="bilinear").to(torch.uint8)


def vgg16_shapes() -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: value.shape for name, value in vgg16().state_dict().items()}


def vgg16_state() -> State:
    """Of a variance that neither fades nor explodes from layer to layer.

    Entry (i, j) of a matrix is number i + j of a row of random ones, which alone takes space: a tenth of the network's.
    """
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in vgg16_shapes().items():
        scale = (2 / shape[1:].numel() if len(shape) > 1 else 0.01) ** 0.5
        if len(shape) == 2:
            state[name] = (torch.randn(sum(shape), generator=generator) * scale).as_strided(shape, (1, 1))
        else:
            state[name] = torch.randn(shape, generator=generator) * scale
    return state


def small_vgg16_state() -> State:
    """One number a tensor, which takes no space."""
    return {name: torch.full((1,), 0.001).expand(shape) for name, shape in vgg16_shapes().items()}


def clip_state() -> State:
    """In the number formats of OpenAI's whole model, with a text's encoder of two tensors."""
    with torch.device("meta"):
        shapes = CLIPVisual(512, 224, vision_layers=12, vision_width=768, vision_patch_size=32).state_dict()
    shapes |= {"text_projection": torch.empty(512, 512), "transformer.resblocks.0.ln_1.bias": torch.empty(512)}
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(value.shape, generator=generator) * 0.03 for name, value in shapes.items()}
    for name in state:
        if "ln_" in name and name.endswith("weight"):
            state[name] += 1
    return {name: value if ".ln_" in name else value.half() for name, value in state.items()}


class Archive(nn.Module):
    """Holds tensors for TorchScript."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_clip_archive(path: Path) -> None:
    """Save the tensors of CLIP as a TorchScript archive, which OpenAI's file is."""
    root = Archive()
    for name, value in clip_state().items():
        *parents, last = name.split(".")
        parent: nn.Module = root
        for each in parents:
            if not hasattr(parent, each):
                parent.add_module(each, nn.Module())
            parent = getattr(parent, each)
        parent.register_parameter(last, nn.Parameter(value, requires_grad=False))
    torch.jit.script(root).save(path)


def dinov2_shapes(width: int = 384, depth: int = 12) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Meta's files, without registers."""
    layers = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    vectors = ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma")
    block: dict[str, tuple[int, ...]] = dict.fromkeys(vectors, (width,))
    for name, (outputs, inputs) in layers.items():
        block |= {f"{name}.weight": (outputs * width, inputs * width), f"{name}.bias": (outputs * width,)}
    ends: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 37 * 37, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    return ends | {f"blocks.{index}.{name}": shape for index in range(depth) for name, shape in block.items()}


def dinov2_state() -> State:
    """ViT-S/14 with position embeddings and layer scales large enough to matter."""
    generator = torch.Generator().manual_seed(0)
    state = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in dinov2_shapes().items()}
    for name in state:
        if name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma")):
            state[name] += 1
    state["pos_embed"] *= 10
    return state
