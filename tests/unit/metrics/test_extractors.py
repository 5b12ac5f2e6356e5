from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan.errors import UserError
from gan.precision import exact_float32
from pipeline.defaults import DEFAULT_EXTRACTOR
from pipeline.metrics.backbones import fold_batchnorm
from pipeline.metrics.distances import frechet_distance
from pipeline.metrics.extractors import EXTRACTORS, Extractor, extract_features, load_extractor
from pipeline.metrics.names import metric_name

CPU = torch.device("cpu")


class Means(nn.Module):
    """Channel means: three features that a test can predict."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))


@pytest.fixture
def means() -> Extractor:
    return Extractor("means", 3, {"weights_sha256": "0"}, CPU, Means(), remedy="use another")


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    return (images[start : start + size] for start in range(0, len(images), size))


def images(num: int = 10, size: int = 8) -> Tensor:
    return torch.randint(0, 256, (num, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_metric_names_follow_the_rule_that_only_fid_is_called_fid() -> None:
    names = {(metric_name("fd", key), metric_name("kd", key)) for key in EXTRACTORS if key != "inception"}
    assert names == {(f"fd_{key}", f"kd_{key}") for key in EXTRACTORS if key != "inception"}
    assert (metric_name("fd", "inception"), metric_name("kd", "inception")) == ("fid", "kid")
    assert DEFAULT_EXTRACTOR in EXTRACTORS


def test_an_unknown_extractor_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"--extractor must be one of .*, got 'incepton'\. Did you mean 'inception'\?"):
        load_extractor("incepton", device=CPU)


def test_half_precision_is_refused_where_it_is_not_fast() -> None:
    with pytest.raises(UserError, match=r"fp16 needs a CUDA device, and the device is cpu\. Use fp32\."):
        load_extractor("efficientnet_lite0", device=CPU, precision="fp16")
    with pytest.raises(UserError, match="must be one of fp32, fp16, got 'bf16'"):
        load_extractor("efficientnet_lite0", device=CPU, precision="bf16")
    assert load_extractor("efficientnet_lite0", device=CPU).protocol["dtype"] == "float32"


def test_an_extractor_without_a_classifier_has_no_logits(means: Extractor) -> None:
    assert means.logits(np.ones((2, 3), dtype=np.float32)) is None


def test_features_keep_the_order_of_the_images(means: Extractor) -> None:
    features = extract_features(means, batches(images(), 4), num_images=10, description="test", progress=False)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, images().float().mean(dim=(2, 3)).numpy(), rtol=1e-6)


def test_progress_shows_images_per_second(means: Extractor, capsys: pytest.CaptureFixture[str]) -> None:
    extract_features(means, batches(images(), 4), num_images=10, description="real images")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "real images" in captured.err
    assert "10/10" in captured.err
    assert "images/s" in captured.err


@pytest.mark.parametrize("announced", [9, 11])
def test_a_wrong_number_of_images_is_an_error(means: Extractor, announced: int) -> None:
    with pytest.raises(ValueError, match="announced"):
        extract_features(means, batches(images(), 4), num_images=announced, description="test", progress=False)


def test_images_have_to_be_uint8_in_channels_first_order(means: Extractor) -> None:
    for wrong in (images().float(), images()[0], images().permute(0, 2, 3, 1)):
        with pytest.raises(ValueError, match=r"uint8 \[B, 3, H, W\]"):
            means(wrong)


def test_features_that_are_not_finite_are_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.float().mean(dim=(2, 3)).log() * 0  # log(0) * 0 is NaN

    broken = Extractor("broken", 3, {}, CPU, Broken(), remedy="use other weights")
    black_last = images()
    black_last[9] = 0
    with pytest.raises(
        UserError, match=r"fakes: the broken features of images 8 to 9 are not finite .*use other weights"
    ):
        extract_features(broken, batches(black_last, 4), num_images=10, description="fakes", progress=False)


def test_loading_and_using_an_extractor_leaves_no_trace() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    extractor = load_extractor("efficientnet_lite0", device=CPU)
    features = extractor(images(2))
    assert torch.equal(torch.rand(1), expected)
    assert not features.requires_grad
    assert torch.equal(features, extractor(images(2)))
    assert not extractor.network.training


def test_features_of_an_image_do_not_depend_on_its_batch() -> None:
    extractor = load_extractor("efficientnet_lite0", device=CPU)
    together = extractor(images(3))
    alone = torch.cat([extractor(image[None]) for image in images(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("tf32", [False, True])
def test_a_gpu_gives_the_features_of_the_cpu(tf32: bool) -> None:
    before = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = "tf32" if tf32 else "ieee"  # type: ignore[attr-defined]
    try:
        on_gpu = load_extractor("efficientnet_lite0", device=torch.device("cuda"))(images(4)).cpu()
    finally:
        torch.backends.cudnn.conv.fp32_precision = before  # type: ignore[attr-defined]
    on_cpu = load_extractor("efficientnet_lite0", device=CPU)(images(4))
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_half_precision_keeps_the_frechet_distance() -> None:
    sets = (images(256, size=64), images(256, size=64) // 2 + 64)
    distances = {}
    for precision in ("fp32", "fp16"):
        extractor = load_extractor("efficientnet_lite0", device=torch.device("cuda"), precision=precision)
        assert extractor.protocol["dtype"] == {"fp32": "float32", "fp16": "float16"}[precision]
        features = [extractor(each) for each in sets]
        assert {each.dtype for each in features} == {torch.float32}
        distances[precision] = frechet_distance(*(each.cpu().numpy() for each in features))
    assert distances["fp16"] == pytest.approx(distances["fp32"], rel=1e-3)


def test_exact_float32_restores_what_the_training_chose() -> None:
    backends = torch.backends
    before = (backends.cudnn.conv.fp32_precision, backends.cudnn.deterministic, backends.cudnn.benchmark)  # type: ignore[attr-defined]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with exact_float32():
            assert backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert (backends.cudnn.conv.fp32_precision, backends.cudnn.deterministic, backends.cudnn.benchmark) == before  # type: ignore[attr-defined]


def test_folding_batchnorm_keeps_the_function() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4))
    for norm in network[1], network[4]:
        norm.running_mean.normal_()  # type: ignore[operator]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[operator]
    network.eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        expected = network(x)
        fold_batchnorm(network)
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_batchnorm_without_a_convolution_before_it_is_an_error() -> None:
    with pytest.raises(TypeError, match="not a convolution"):
        fold_batchnorm(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)).eval())
