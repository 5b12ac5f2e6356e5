"""The built-in faces: the same index is the same picture, and whose drawings they are is never lost."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from pipeline.data.avatars import BACKGROUNDS, draw, licence
from pipeline.data.items import Pixels, Rule
from pipeline.data.sources import open_source


def drawn(index: int, size: int = 64) -> Pixels:
    return draw(index, Rule(size)).pixels


def test_same_index_gives_the_same_pixels_in_another_process() -> None:
    code = (
        "import sys; from pipeline.data.avatars import draw; from pipeline.data.items import Rule; "
        "sys.stdout.buffer.write(draw(7, Rule(64)).pixels.tobytes())"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert other == drawn(7).tobytes()
    assert drawn(8).tobytes() != drawn(7).tobytes()


@pytest.mark.parametrize("size", [16, 64, 96])
def test_drawn_at_the_size_asked_for(size: int) -> None:
    assert drawn(0, size).shape == (size, size, 3)
    assert drawn(0, size).dtype == np.uint8


def test_faces_fill_the_frame_on_plain_pastels() -> None:
    faces = np.stack([drawn(index) for index in range(48)])
    pastels = np.array([tuple(bytes.fromhex(colour)) for colour in BACKGROUNDS])
    is_background = (faces[:, :, :, None] == pastels).all(-1).any(-1)  # [N, H, W]
    assert 0.15 < is_background.mean() < 0.5
    used = {tuple(corner) for corner in faces[:, 0, 0]} & {tuple(colour) for colour in pastels}
    assert len(used) == len(BACKGROUNDS)


def test_source_is_endless_and_named_by_index() -> None:
    source = open_source("avatars")
    assert source.count() is None
    assert [item.name for item in islice(source.items(), 3)] == ["avatar-0", "avatar-1", "avatar-2"]
    assert source.default_num_images == 51_223


def test_attribution_comes_with_the_style() -> None:
    rights = licence()
    assert rights["licence"] == "CC BY 4.0"
    assert rights["licence_url"] == "https://creativecommons.org/licenses/by/4.0/"
    assert rights["creator"] == "Lisa Wischofsky"
    assert "Lisa Wischofsky" in rights["attribution"]
    assert rights["work_url"].startswith("https://www.figma.com/community/file/")
    assert rights["changes"]
