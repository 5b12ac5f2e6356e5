import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.metrics.corruptions import CORRUPTIONS


def images(num: int = 6, size: int = 32) -> Tensor:
    """Smooth coloured images, uint8 [num, 3, size, size]."""
    coarse = torch.rand(num, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").to(torch.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_form_is_kept_batches_do_not_matter_and_the_input_stays(name: str) -> None:
    given = images()
    before = given.clone()
    apply = CORRUPTIONS[name].apply
    whole = apply(given, 10)
    parts = torch.cat([apply(given[:1], 10), apply(given[1:4], 11), apply(given[4:], 14)])
    assert (whole.dtype, whole.shape) == (torch.uint8, given.shape)
    assert torch.equal(whole, parts)
    assert torch.equal(given, before)
    assert not torch.equal(whole, given)


def test_jpeg_is_that_of_pillow_at_quality_75() -> None:
    given = images(1)
    file = io.BytesIO()
    Image.fromarray(given[0].permute(1, 2, 0).numpy()).save(file, format="jpeg", quality=75)
    assert np.array_equal(CORRUPTIONS["jpeg75"].apply(given, 0)[0].permute(1, 2, 0), np.asarray(Image.open(file)))


def test_flipping_twice_is_nothing() -> None:
    flip = CORRUPTIONS["flipped"].apply
    assert torch.equal(flip(flip(images(), 0), 0), images())


def test_a_blurred_point_is_a_gaussian_of_one_pixel() -> None:
    point = torch.zeros(1, 3, 15, 15, dtype=torch.uint8)
    point[..., 7, 7] = 255
    blurred = CORRUPTIONS["blurred"].apply(point, 0)[0, 0].double()
    offsets = torch.arange(15) - 7
    assert float((blurred.sum(0) * offsets**2).sum() / blurred.sum()) == pytest.approx(1.0, abs=0.1)
    assert float(blurred.sum()) == pytest.approx(255, rel=0.03)  # the tails round to 0


def test_noise_has_a_deviation_of_ten_levels_and_is_clipped() -> None:
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    noisy = CORRUPTIONS["noisy"].apply(grey, 0).double()
    assert float(noisy.mean()) == pytest.approx(128, abs=0.3)
    assert float(noisy.std()) == pytest.approx(10, rel=0.02)
    black = CORRUPTIONS["noisy"].apply(torch.zeros_like(grey), 0)
    assert float((black == 0).double().mean()) == pytest.approx(0.52, abs=0.02)  # half, and what rounds to 0
