"""What the training loop tells, into a run of the tracking store and onto the terminal."""

from collections.abc import Mapping

from torch import Tensor

from gan.config import Config
from pipeline.data.dataset import Dataset
from pipeline.images import grid
from pipeline.progress import progress_bar
from pipeline.tracking import BackgroundOutbox
from pipeline.tracking.runs import rounded

SHOWN = {"train/loss_discriminator": "loss D", "train/loss_generator": "loss G"}


class TrackingObserver:
    """Stores what the loop tells; what a killed process had stored already is not stored twice.

    taken: steps of which the store has points, by curve.
    """

    def __init__(
        self,
        outbox: BackgroundOutbox,
        config: Config,
        dataset: Dataset,
        *,
        taken: Mapping[str, set[int]],
        show_progress: bool,
    ) -> None:
        self.outbox = outbox
        self.taken = dict(taken)
        for curve, steps in self.outbox.steps().items():
            self.taken.setdefault(curve, set()).update(steps)
        self.config = config
        self.shown: dict[str, str] = {}
        self.num_images = len(dataset.images)
        self.bar = progress_bar(
            total=config.num_steps(self.num_images) * config.batch_size,
            unit="img",
            description=config.variant,
            show=show_progress,
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Store points of curves, by the names of their metrics; a curve has one point of each step."""
        epoch = step / self.config.steps_per_epoch(self.num_images)
        points = {key: rounded(value) for key, value in {**values, "train/epoch": epoch}.items()}
        new = {key: value for key, value in points.items() if step not in self.taken.setdefault(key, set())}
        if new:
            self.outbox.add_points(step, new)
        for key in new:
            self.taken[key].add(step)
        self.shown |= {SHOWN[key]: f"{value:.3f}" for key, value in values.items() if key in SHOWN}
        self.bar.set_postfix(self.shown, refresh=False)

    def samples(self, step: int, images: Tensor) -> None:
        """Store a grid of the fixed latents' images, uint8 [N, 3, H, W]; it replaces one that is there."""
        self.outbox.add_image("samples/fixed_z", step, grid(images))
        self.outbox.flush()  # grids are rare, and one wants to see them

    def progress(self, step: int, num_images: int) -> None:
        """Move the bar by one step."""
        if self.bar.n == 0 and step > 1:  # resumed: neither rate nor remaining time count what was done before
            self.bar.initial = self.bar.n = (step - 1) * num_images
        self.bar.update(num_images)
        self.outbox.tick()

    def flush(self) -> None:
        """Keep what waits on disk and have it sent."""
        self.outbox.flush()

    def drain(self, patience_seconds: float = 60.0) -> None:
        """Send what waits, trying again for so long.

        Raises UserError where something still waits then.
        """
        self.outbox.drain(patience_seconds)
