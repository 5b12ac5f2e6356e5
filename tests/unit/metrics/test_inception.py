import os
import pickle
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from gan.errors import UserError
from pipeline.metrics.distances import frechet_distance, kernel_distance
from pipeline.metrics.extractors import Extractor, load_extractor
from pipeline.metrics.inception import WEIGHTS_VARIABLE
from pipeline.metrics.names import metric_name

CPU = torch.device("cpu")
needs_weights = pytest.mark.skipif(
    not os.environ.get(WEIGHTS_VARIABLE), reason=f"{WEIGHTS_VARIABLE} does not name a file"
)


def random_images(num: int, seed: int) -> Tensor:
    """Smooth coloured noise: uint8 [num, 3, 32, 32]."""
    coarse = torch.rand(num, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear").to(torch.uint8)


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the right format, with random weights and random batch norm statistics."""
    path: Path = tmp_path_factory.mktemp("weights") / "random.pth"
    empty = path.with_name("empty.pth")
    torch.save({}, empty)
    with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        state = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path=empty).state_dict()
        for name, value in state.items():
            if name.endswith(("running_var", "bn.weight")):
                value.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "bn.bias")):
                value.normal_(0, 0.1)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def peer(random_weights: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """torch-fidelity's own network."""
    layers = ["768", "2048", "logits_unbiased"]
    network = FeatureExtractorInceptionV3("peer", layers, feature_extractor_weights_path=random_weights)
    return lambda images: dict(zip(layers, network(images), strict=True))


@pytest.fixture(scope="module")
def extractors(random_weights: Path) -> dict[str, Extractor]:
    return {name: load_extractor(name, weights=random_weights, device=CPU) for name in ("inception768", "inception")}


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("size", [(32, 32), (299, 299), (32, 48), (400, 351)])
def test_features_and_logits_equal_torch_fidelity_on_random_weights(
    size: tuple[int, int], extractors: dict[str, Extractor], peer: Callable[[Tensor], dict[str, Tensor]]
) -> None:
    images = torch.nn.functional.interpolate(random_images(3, seed=0).float(), size=size).to(torch.uint8)
    expected = peer(images)
    partial, full = (extractors[name](images) for name in ("inception768", "inception"))
    assert (partial.shape, full.shape) == ((3, 768), (3, 2048))
    assert_equal(partial, expected["768"])
    assert_equal(full, expected["2048"])
    logits = extractors["inception"].logits(full.numpy())
    assert logits is not None
    assert_equal(torch.from_numpy(logits), expected["logits_unbiased"])
    assert extractors["inception768"].logits(partial.numpy()) is None


def test_only_the_2048_layer_is_called_fid(extractors: dict[str, Extractor], random_weights: Path) -> None:
    partial, full = extractors["inception768"], extractors["inception"]
    assert metric_name("fd", full.name) == "fid"
    assert metric_name("fd", partial.name) == "fd_inception768"
    assert full.protocol["layer"] != partial.protocol["layer"]
    assert "given file" in full.protocol["weights"]
    assert str(random_weights) not in " ".join(full.protocol.values())


def test_weights_complete_up_to_768_only_are_refused_for_2048(random_weights: Path, tmp_path: Path) -> None:
    state = torch.load(random_weights, weights_only=True)
    path = tmp_path / "upto768.pth"
    torch.save(
        {k: v * float("nan") if k.startswith("Mixed_7") and v.is_floating_point() else v for k, v in state.items()},
        path,
    )
    assert load_extractor("inception768", weights=path, device=CPU).num_features == 768
    with pytest.raises(UserError, match=rf"--weights {path}: .* not finite \(NaN\).*--extractor inception768$"):
        load_extractor("inception", weights=path, device=CPU)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_pickle_payload_is_refused_and_not_run(save, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, marker = tmp_path / "evil.pth", tmp_path / "executed"
    save({"fc.weight": Payload(marker)}, path)
    with pytest.raises(UserError, match="must be a PyTorch state dict that holds only tensors"):
        load_extractor("inception768", weights=path, device=CPU)
    assert not marker.exists()


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    text, other, entries = tmp_path / "text.pth", tmp_path / "other.pth", tmp_path / "entries.pth"
    text.write_text("hello")
    torch.save({"conv.weight": torch.zeros(3)}, other)
    torch.save([torch.zeros(3)], entries)
    for path, message in (
        (tmp_path / "missing.pth", "cannot be read"),
        (tmp_path, "cannot be read"),
        (text, "damaged file"),
        (other, "must be the weights of torch-fidelity's Inception-v3"),
        (entries, "got list"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            load_extractor("inception768", weights=path, device=CPU)
        assert f"--weights {path}: " in str(refused.value)
        assert "--weights FILE" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_the_environment_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "missing.pth"))
    with pytest.raises(UserError, match=f"^{WEIGHTS_VARIABLE}={tmp_path}/missing.pth: cannot be read"):
        load_extractor("inception", device=CPU)


@pytest.mark.parametrize(
    "failure", [urllib.error.URLError("no network"), TimeoutError("timed out"), RuntimeError("invalid hash value")]
)
def test_without_weights_and_network_the_message_says_what_to_do(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError) as refused:
        load_extractor("inception", device=CPU)
    for part in (
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/",
        "--weights FILE",
        f"{WEIGHTS_VARIABLE}=FILE",
        "--extractor efficientnet_lite0",
    ):
        assert part in str(refused.value)


class Images(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


@pytest.mark.slow
@needs_weights
def test_distances_equal_torch_fidelity_end_to_end() -> None:
    real, fake = random_images(32, seed=0), 255 - random_images(32, seed=1) // 2
    extractor: Extractor = load_extractor("inception768", device=CPU)
    real_features, fake_features = extractor(real).numpy(), extractor(fake).numpy()
    peer = calculate_metrics(
        input1=Images(real),
        input2=Images(fake),
        fid=True,
        kid=True,
        kid_subsets=10,
        kid_subset_size=20,
        rng_seed=3,
        feature_layer_fid="768",
        feature_layer_kid="768",
        feature_extractor_weights_path=os.environ[WEIGHTS_VARIABLE],
        cuda=False,
        cache=False,
        verbose=False,
        batch_size=32,
        save_cpu_ram=True,  # no worker processes
    )
    ours = kernel_distance(real_features, fake_features, num_subsets=10, subset_size=20, seed=3)
    assert frechet_distance(real_features, fake_features) == pytest.approx(peer["frechet_inception_distance"], rel=1e-4)
    # torch-fidelity computes the kernel, which is about 1, in float32
    assert ours.mean == pytest.approx(peer["kernel_inception_distance_mean"], rel=1e-4, abs=5e-7)
    assert ours.std == pytest.approx(peer["kernel_inception_distance_std"], rel=1e-4, abs=5e-7)
