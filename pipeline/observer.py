"""What the training loop tells, into a run of the tracking store and onto the terminal."""

from collections.abc import Mapping

from torch import Tensor

from gan.config import Config
from pipeline.data.dataset import Dataset
from pipeline.images import grid
from pipeline.progress import progress_bar
from pipeline.tracking import RunWriter, Store


class TrackingObserver:
    """Stores what the loop tells; what a killed process had stored already is not stored twice."""

    def __init__(
        self, run: RunWriter, store: Store, config: Config, dataset: Dataset, *, resumed: bool, show_progress: bool
    ) -> None:
        self.run = run
        tags = store.get(run.run_id).tags
        self.last_point = store.last_step(run.run_id, "train/loss_discriminator") if resumed else -1
        self.last_grid = int(tags.get("last_grid_step", -1)) if resumed else -1
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
        """Store the means since the last point of the curves."""
        if step > self.last_point:
            epoch = step / self.config.steps_per_epoch(self.num_images)
            points = {f"train/{name}": value for name, value in values.items()}
            self.run.log_points(step, points | {"train/epoch": round(epoch, 4)})
        names = {"loss_discriminator": "loss D", "loss_generator": "loss G"}
        self.shown |= {names[key]: f"{value:.3f}" for key, value in values.items() if key in names}
        self.bar.set_postfix(self.shown, refresh=False)

    def samples(self, step: int, images: Tensor) -> None:
        """Store a grid of the fixed latents' images, uint8 [N, 3, H, W]."""
        if step > self.last_grid:
            self.run.log_image(grid(images), "samples/fixed_z", step)
            self.run.set_tags({"last_grid_step": step})

    def progress(self, step: int, num_images: int) -> None:
        """Move the bar by one step."""
        if self.bar.n == 0 and step > 1:  # resumed: neither rate nor remaining time count what was done before
            self.bar.initial = self.bar.n = (step - 1) * num_images
        self.bar.update(num_images)

    def flush(self) -> None:
        """Send what waits in the buffer."""
        self.run.flush()
