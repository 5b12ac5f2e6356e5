"""VGG16, CLIP and DINOv2 of random weights give the features of torch-fidelity, or of the paper's equations.

The files are large, so that each is made once and removed at the end.
"""

import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from pipeline.metrics import clip, dinov2, vgg16
from pipeline.metrics.downloads import PublishedWeights
from pipeline.metrics.extractors import EXTRACTORS, load_extractor
from pipeline.metrics.names import metric_name
from pipeline.metrics.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tests.unit.metrics.networks import (
    State,
    dinov2_shapes,
    dinov2_state,
    random_images,
    save_clip_archive,
    vgg16_state,
)

CPU = torch.device("cpu")
PROTOCOL = ["extractor", "layer", "weights", "weights_sha256", "resize", "input", "dtype"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path: Path = tmp_path_factory.mktemp("weights")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def dinov2_file(folder: Path) -> Path:
    path = folder / "dinov2.pth"
    torch.save(dinov2_state(), path)
    return path


def standardised(images: Tensor) -> Tensor:
    """torch-fidelity's preprocessing: its resize, then ImageNet's mean and standard deviation."""
    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(224, 224), align_corners=False)
    mean, std = (255 * torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (resized - mean) / std


def assert_equal_features(features: Tensor, expected: Tensor) -> None:
    """To 1e-4 of the largest, where images differ by more than that."""
    largest = float(expected.abs().max())
    assert features.shape == expected.shape
    assert features.dtype == torch.float32
    assert float(expected.std(dim=0).mean()) > 1e-3 * largest
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48), (300, 299), (1, 3)])
def test_the_preprocessing_is_torch_fidelitys(height: int, width: int) -> None:
    images = torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(0)).byte()
    prepared = Preprocessing(IMAGENET_MEAN, IMAGENET_STD)(images)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(prepared, standardised(images), rtol=1e-5, atol=1e-5)


def test_vgg16_equals_torch_fidelity(folder: Path) -> None:
    path, images = folder / "vgg16.pth", random_images(2)
    state = vgg16_state()
    torch.save(state, path)
    extractor = load_extractor("vgg16", weights=path, device=CPU)
    peer = FeatureExtractorVGG16("peer", ["fc2_relu"], feature_extractor_weights_path=path)
    path.unlink()
    features = extractor(images)
    assert features.shape == (2, extractor.num_features)
    assert_equal_features(features, peer(images)[0])

    logits = extractor.logits(features.numpy())
    expected = features @ state["classifier.6.weight"].T + state["classifier.6.bias"]
    assert logits is not None
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    assert list(extractor.protocol) == PROTOCOL
    assert extractor.protocol["weights"] == "given file, not torchvision's IMAGENET1K_V1"


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_clip_equals_torch_fidelity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a state dict, made as the module says, and from the archive that it is made of."""
    archive, plain, images = folder / "clip.pt", folder / "clip.pth", random_images(3)
    save_clip_archive(archive)
    torch.save(torch.jit.load(archive, "cpu").state_dict(), plain)
    given = load_extractor("clip_vit_b32", weights=plain, device=CPU)
    peer = FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=archive)
    assert given.num_features == 512
    assert_equal_features(given(images), peer(images)[0])

    digest = sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(clip, "WEIGHTS", PublishedWeights("it", "https://it/it.pt", digest, megabytes=1))
    original = load_extractor("clip_vit_b32", weights=archive, device=CPU)
    assert torch.equal(original(images), given(images))
    assert list(original.protocol) == PROTOCOL
    assert original.protocol["weights_sha256"] == digest
    assert original.protocol["weights"] == "OpenAI's ViT-B-32.pt"
    assert given.protocol["weights"] == "given file, not OpenAI's ViT-B-32.pt"


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75: the weight of a sample at a distance below 2."""
    if distance <= 1:
        return 1.25 * distance**3 - 2.25 * distance**2 + 1
    return -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)


def metas_positions(embedding: Tensor) -> Tensor:
    """Meta's bicubic resize from 37 to 16 patches, written out: output i is read at (i + 0.5) * 37 / 16.1 - 0.5."""
    weights = torch.zeros(16, 37, dtype=torch.float64)
    for i in range(16):
        position = (i + 0.5) * 37 / 16.1 - 0.5
        for j in range(int(position) - 1, int(position) + 3):
            weights[i, min(max(j, 0), 36)] += cubic(abs(position - j))
    patches = embedding[0, 1:].double().view(37, 37, -1)
    resized = torch.einsum("yh,xw,hwd->yxd", weights, weights, patches)
    return torch.cat((embedding[0, :1].double(), resized.flatten(0, 1)))


def plain_dinov2(x: Tensor, state: State, num_heads: int, depth: int) -> Tensor:
    """DINOv2's class token in float64, written out: pre-norm blocks, layer scale, exact GELU, epsilon 1e-6."""
    state = {name: value.double() for name, value in state.items()}

    def linear(name: str, values: Tensor) -> Tensor:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, values: Tensor) -> Tensor:
        centred = values - values.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attend(name: str, values: Tensor) -> Tensor:
        parts = linear(f"{name}.qkv", values).reshape(*values.shape[:2], 3, num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
        return linear(f"{name}.proj", (weights @ value).transpose(1, 2).flatten(2))

    patches = F.conv2d(x.double(), state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    tokens = torch.cat((state["cls_token"].expand(len(x), -1, -1), patches.flatten(2).mT), dim=1)
    tokens = tokens + metas_positions(state["pos_embed"])
    for block in (f"blocks.{index}" for index in range(depth)):
        tokens = tokens + state[f"{block}.ls1.gamma"] * attend(f"{block}.attn", norm(f"{block}.norm1", tokens))
        hidden = linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", tokens))
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        tokens = tokens + state[f"{block}.ls2.gamma"] * linear(f"{block}.mlp.fc2", hidden)
    return norm("norm", tokens[:, 0])


def test_dinov2_equals_its_equations(dinov2_file: Path) -> None:
    images = random_images(2)
    extractor = load_extractor("dinov2_vits14", weights=dinov2_file, device=CPU)
    expected = plain_dinov2(standardised(images), dinov2_state(), num_heads=6, depth=12)
    assert extractor.num_features == 384
    assert_equal_features(extractor(images), expected.float())
    assert list(extractor.protocol) == PROTOCOL
    assert "position embedding from 37x37 to 16x16" in extractor.protocol["layer"]
    assert extractor.protocol["weights"] == "given file, not Meta's dinov2_vits14_pretrain.pth"


def test_position_embeddings_are_resized_as_meta_does() -> None:
    embedding = torch.randn(1, 1370, 8, generator=torch.Generator().manual_seed(0))
    expected = metas_positions(embedding)[None].float()
    torch.testing.assert_close(dinov2.resize_positions(embedding), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "width", "depth"),
    [
        ("dinov2_vits14", 384, 12),
        ("dinov2_vitb14", 768, 12),
        pytest.param("dinov2_vitl14", 1024, 24, marks=pytest.mark.slow),
    ],
)
def test_every_tensor_of_metas_files_has_its_place(name: str, width: int, depth: int) -> None:
    shapes = dinov2_shapes(width, depth)
    state = {key: torch.full((1,), float(index)).expand(shape) for index, (key, shape) in enumerate(shapes.items())}
    loaded = dinov2.build_network(name, state, "file").state_dict()
    assert loaded.keys() == state.keys() - {"mask_token"}
    for key, value in loaded.items():
        torch.testing.assert_close(value.flatten()[[0, -1]], state[key].flatten()[[0, -1]], rtol=1e-5, atol=0)
    assert dinov2.VARIANTS[name].num_features == width


def test_loading_and_using_dinov2_leaves_no_trace(dinov2_file: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    extractor = load_extractor("dinov2_vits14", weights=dinov2_file, device=CPU)
    features = extractor(random_images(2))
    assert torch.equal(torch.rand(1), expected)
    assert not features.requires_grad
    assert not extractor.network.training
    alone = torch.cat([extractor(image[None]) for image in random_images(2)])
    torch.testing.assert_close(features, alone, rtol=1e-4, atol=1e-4)


def test_metrics_are_named_after_the_feature_space() -> None:
    names = {"vgg16", "clip_vit_b32", *dinov2.VARIANTS}
    assert names < EXTRACTORS.keys()
    assert vgg16.WEIGHTS.title == "VGG16"
    for name in names:
        assert (metric_name("fd", name), metric_name("kd", name)) == (f"fd_{name}", f"kd_{name}")
