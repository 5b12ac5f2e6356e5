"""Are our numbers those of the field's own programs? Real faces, real weights, each package by its own entry point."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from pytorch_fid import fid_score
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torchmetrics.image.fid import FrechetInceptionDistance

from pipeline.metrics.distances import frechet_distance, kernel_distance
from pipeline.metrics.extractors import Extractor, Features, extract_features, load_extractor
from pipeline.metrics.inception import WEIGHTS_VARIABLE
from pipeline.metrics.manifold import manifold

NUM_IMAGES = 128  # of a set: Inception takes a sixth of a second for one
NUM_PEER_IMAGES = 48  # where a program is compared on some of them
NUM_SUBSETS, SUBSET_SIZE, SEED = 20, 64, 3
CPU = torch.device("cpu")

needs_faces = pytest.mark.skipif("GAN_SHARED_DATA" not in os.environ, reason="GAN_SHARED_DATA names no folder of faces")
needs_weights = pytest.mark.skipif(
    not os.environ.get(WEIGHTS_VARIABLE), reason=f"{WEIGHTS_VARIABLE} does not name a file"
)

Sets = tuple[Tensor, Tensor]


class Images(Dataset[Tensor]):
    """What torch-fidelity takes."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def read_faces(num: int) -> NDArray[np.uint8]:
    """The first faces of the first archive, uint8 [num, H, W, 3]."""
    shard = min(Path(os.environ["GAN_SHARED_DATA"], "data", "anime-faces").glob("*.tar"))
    faces: list[NDArray[np.uint8]] = []
    with tarfile.open(shard) as archive:
        for member in archive:
            if len(faces) == num:
                break
            if (file := archive.extractfile(member)) and member.name.endswith(".jpg"):
                faces.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
    return np.stack(faces)


@pytest.fixture(scope="module")
def sets() -> Sets:
    """Real faces, and others that are a little blurred and less bright: both uint8 [N, 3, 64, 64]."""
    faces = torch.from_numpy(read_faces(2 * NUM_IMAGES)).permute(0, 3, 1, 2).contiguous()
    real, others = faces.split(NUM_IMAGES)
    blurred = F.avg_pool2d(others.float(), kernel_size=3, stride=1, padding=1, count_include_pad=False)
    return real, (0.5 * others + 0.5 * blurred - 10).clamp(0, 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return load_extractor("inception768", device=CPU)


def features_of(extractor: Extractor, images: Tensor, batch_size: int = 64) -> Features:
    return extract_features(
        extractor, images.split(batch_size), num_images=len(images), description="test", progress=False
    )


@pytest.fixture(scope="module")
def features(extractor: Extractor, sets: Sets) -> tuple[Features, Features]:
    real, fake = sets
    return features_of(extractor, real), features_of(extractor, fake)


@pytest.mark.slow
@needs_faces
@needs_weights
def test_torch_fidelity_measures_the_same(sets: Sets, features: tuple[Features, Features]) -> None:
    real, fake = sets
    peer = calculate_metrics(
        input1=Images(fake),
        input2=Images(real),
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="inception-v3-compat",  # its default for precision and recall is VGG16
        feature_layer_fid="768",
        feature_layer_kid="768",
        feature_layer_prc="768",
        feature_extractor_weights_path=os.environ[WEIGHTS_VARIABLE],
        kid_subsets=NUM_SUBSETS,
        kid_subset_size=SUBSET_SIZE,
        rng_seed=SEED,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )
    real_features, fake_features = features
    assert frechet_distance(*features) == pytest.approx(peer["frechet_inception_distance"], rel=1e-4)

    # input1 is the first of each pair of subsets that torch-fidelity draws
    ours = kernel_distance(fake_features, real_features, num_subsets=NUM_SUBSETS, subset_size=SUBSET_SIZE, seed=SEED)
    # ... and its kernel, which is about 1, is float32
    assert ours.mean == pytest.approx(peer["kernel_inception_distance_mean"], rel=1e-4, abs=5e-8)
    assert ours.std == pytest.approx(peer["kernel_inception_distance_std"], rel=1e-4, abs=5e-8)

    found = manifold(real_features, fake_features)
    assert found.precision.value == pytest.approx(peer["precision"], rel=1e-4)
    assert found.recall.value == pytest.approx(peer["recall"], rel=1e-4)
    assert 0 < found.precision.value < 1
    assert 0 < found.recall.value < 1


@pytest.mark.slow
@needs_faces
@needs_weights
def test_torchmetrics_measures_the_same(sets: Sets, features: tuple[Features, Features]) -> None:
    metric = FrechetInceptionDistance(
        feature=768, feature_extractor_weights_path=os.environ[WEIGHTS_VARIABLE], antialias=False
    )
    for images, real in zip(sets, (True, False), strict=True):
        for batch in images[:NUM_PEER_IMAGES].split(20):
            metric.update(batch, real=real)
    ours = frechet_distance(*(each[:NUM_PEER_IMAGES] for each in features))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-3)


@pytest.mark.slow
@needs_faces
@needs_weights
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
def test_pytorch_fid_measures_the_same_with_our_network(
    sets: Sets,
    features: tuple[Features, Features],
    extractor: Extractor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its files, its loader and its statistics; its own network resizes in another way."""

    class Network(nn.Module):
        BLOCK_INDEX_BY_DIM = fid_score.InceptionV3.BLOCK_INDEX_BY_DIM

        def __init__(self, blocks: list[int]) -> None:
            super().__init__()

        def forward(self, images: Tensor) -> list[Tensor]:
            return [extractor((images * 255).round().to(torch.uint8))[:, :, None, None]]

    monkeypatch.setattr(fid_score, "InceptionV3", Network)
    folders = (tmp_path / "real", tmp_path / "fake")
    for folder, images in zip(folders, sets, strict=True):
        folder.mkdir()
        for number, image in enumerate(images[:NUM_PEER_IMAGES]):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:06d}.png")
    try:
        peer = fid_score.calculate_fid_given_paths([str(each) for each in folders], 20, CPU, 768, num_workers=0)
    except TypeError:
        pytest.skip("pytorch-fid 0.3.0 calls scipy.linalg.sqrtm(disp=), which SciPy 1.18 removes")
    ours = frechet_distance(*(each[:NUM_PEER_IMAGES] for each in features))
    assert ours == pytest.approx(float(peer), rel=1e-3)


@pytest.fixture
def threads() -> Iterator[Any]:
    """What sets the number of threads, until the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@needs_faces
@pytest.mark.parametrize(("batch_size", "num_threads"), [(1, 1), (7, 2)])
def test_batch_size_and_threads_do_not_change_the_distance(
    batch_size: int, num_threads: int, sets: Sets, threads: Any
) -> None:
    network = load_extractor("efficientnet_lite0", device=CPU)
    real, fake = (images[:100] for images in sets)
    expected = frechet_distance(features_of(network, real), features_of(network, fake))
    threads(num_threads)
    found = frechet_distance(*(features_of(network, images, batch_size) for images in (real, fake)))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@needs_faces
@needs_weights
def test_batch_size_and_threads_do_not_change_inception(
    extractor: Extractor, sets: Sets, features: tuple[Features, Features], threads: Any
) -> None:
    threads(2)
    others = features_of(extractor, sets[1][:NUM_PEER_IMAGES], batch_size=7)
    expected = frechet_distance(features[0], features[1][:NUM_PEER_IMAGES])
    assert frechet_distance(features[0], others) == pytest.approx(expected, rel=1e-4)
