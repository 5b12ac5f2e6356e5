"""A real suite that several modules look at."""

from pathlib import Path

import pytest

from tests.conftest import run_pipeline

SUITE = """
title: A tiny suite
dataset: {name: tiny, sources: [avatars], num_images: 48, held_out: 8}
seeds: [0]
evaluation: {extractors: [efficientnet_lite0], num_samples: 20, num_seeds: 2, every_epochs: 1, curve_samples: 8}
set: {batch_size: 8, max_steps: 10}
cells:
  - variant: dcgan
  - variant: wgan
  - variant: wgan_sgd
"""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder in which the suite ran, and what it printed. Its modules are of one group: see conftest.py."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "tiny.yaml").write_text(SUITE)
    return folder, run_pipeline("run", "tiny.yaml", cwd=folder).stdout
