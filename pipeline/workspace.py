"""Where things lie: all of it in the working directory, as MLflow does."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folders of one working directory. datasets: where prepared datasets lie, if not in data/ of it."""

    root: Path = field(default_factory=Path.cwd)
    datasets: Path | None = None

    @property
    def data(self) -> Path:
        """Prepared datasets, one folder each."""
        return self.datasets or self.root / "data"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, one folder a run."""
        return self.root / "checkpoints"

    @property
    def cache(self) -> Path:
        """What can be computed again."""
        return self.root / "cache"

    @property
    def samples(self) -> Path:
        """Pictures of the sample stage."""
        return self.root / "samples"

    @property
    def reports(self) -> Path:
        """Tables of the report stage."""
        return self.root / "reports"


CLAIMS = "claims.yaml"  # of the experiments' folder: no variant


def experiments_directory() -> Path:
    """Return the folder of the experiments: the working directory's own, else the one that is installed."""
    own = Path.cwd() / "experiments"
    has_any = next(own.rglob("*.yaml"), None) is not None  # published results alone are no experiments
    return own if has_any else installed_experiments()


def installed_experiments() -> Path:
    """Return the folder of the experiments that came with the package."""
    return Path(__file__).parent.parent / "experiments"
