"""Sampling: one mapping to uint8, image i from (seed, i) alone, nothing unpickled."""

import math
from pathlib import Path

import pytest
import torch

from gan.config import Config
from gan.errors import UserError
from gan.sampling import TrainedGenerator, interpolate, load_generator, save_generator, to_uint8
from gan.state import build
from pipeline.config import load_experiment

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config() -> Config:
    return load_experiment("dcgan")


@pytest.fixture(scope="module")
def trained(config: Config) -> TrainedGenerator:
    return TrainedGenerator(config, 7, build(config, 0, CPU).generator)


def test_every_uint8_value_survives_the_way_to_the_networks_range_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(pixels.float().div(127.5).sub(1)), pixels)


def test_values_outside_the_range_are_clamped() -> None:
    assert to_uint8(torch.tensor([-5.0, -1.0, 0.999, 1.0, 5.0])).tolist() == [0, 0, 255, 255, 255]


def test_an_image_depends_on_seed_and_index_alone(trained: TrainedGenerator) -> None:
    together = torch.cat(list(trained.sample(seed=5, num=70, device=CPU)))
    assert together.shape == (70, 3, 64, 64)
    (alone,) = trained.sample(seed=5, num=1, device=CPU, start=66)
    assert torch.equal(alone[0], together[66])
    assert torch.equal(trained.sample_indices([69, 3, 3], seed=5, device=CPU), together[[69, 3, 3]])
    (other,) = trained.sample(seed=6, num=1, device=CPU)
    assert not torch.equal(other[0], together[0])


def test_sampling_neither_changes_the_generator_nor_its_mode(trained: TrainedGenerator) -> None:
    trained.network.train()
    before = {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}
    list(trained.sample(seed=0, num=2, device=CPU))
    assert trained.network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.network.state_dict().items())


def test_a_saved_generator_draws_the_same_images(trained: TrainedGenerator, tmp_path: Path) -> None:
    save_generator(tmp_path / "g.pt", trained.config, trained.step, trained.network)
    loaded = load_generator(tmp_path / "g.pt", CPU)
    assert (loaded.config, loaded.step) == (trained.config, 7)
    (expected,), (found,) = (g.sample(seed=1, num=3, device=CPU) for g in (trained, loaded))
    assert torch.equal(found, expected)


def test_interpolation_runs_on_the_great_circle() -> None:
    first, last = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    path = interpolate(first, last, 3)
    torch.testing.assert_close(path[[0, 2]], torch.stack([first, last]))
    torch.testing.assert_close(path[1], torch.full((2,), math.sqrt(2.0)))
    torch.testing.assert_close(interpolate(first, first, 4), first.repeat(4, 1))


class _Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


def test_a_pickle_payload_never_runs(tmp_path: Path) -> None:
    torch.save({"format": 1, "weights": _Payload(tmp_path / "owned")}, tmp_path / "g.pt")
    with pytest.raises(UserError, match="damaged or not a generator"):
        load_generator(tmp_path / "g.pt", CPU)
    assert not (tmp_path / "owned").exists()


def test_files_that_are_no_generator_are_refused(trained: TrainedGenerator, tmp_path: Path) -> None:
    path = tmp_path / "g.pt"
    with pytest.raises(UserError, match="does not exist"):
        load_generator(path, CPU)
    save_generator(path, trained.config, 1, trained.network)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_generator(path, CPU)
    torch.save({"format": 99}, path)
    with pytest.raises(UserError, match="format must be 1, got 99"):
        load_generator(path, CPU)
    torch.save({"format": 1, "config": {"variant": "x"}, "weights": {}, "step": 1}, path)
    with pytest.raises(UserError, match="not a generator of this version"):
        load_generator(path, CPU)


def test_a_generator_with_nan_weights_is_refused(config: Config, tmp_path: Path) -> None:
    generator = build(config, 0, CPU).generator
    with torch.no_grad():
        next(generator.parameters())[0, 0] = float("nan")
    save_generator(tmp_path / "g.pt", config, 1, generator)
    with pytest.raises(UserError, match="not finite"):
        load_generator(tmp_path / "g.pt", CPU)
