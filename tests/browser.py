"""A real browser for tests, and a store to look at."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
from mlflow.entities import Metric
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

from pipeline.tracking import SAMPLES_FILE, Stage, Store, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZE: ViewportSize = {"width": 1600, "height": 1200}

DISTANCES = {"dcgan": 80.0, "wgan": 60.0, "wgan_sgd": 95.0}  # the variants of the store, wgan is best
SEEDS = (0, 1)
STEPS = range(0, 101, 10)
SPACES = ("efficientnet_lite0", "inception768")
PARAMETERS = {"dcgan": ("bce", "adam"), "wgan": ("wasserstein", "rmsprop"), "wgan_sgd": ("wasserstein", "sgd")}


@dataclass
class Visit:
    """A page and what it did: its console's errors and the address of every request."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        """Return what was asked over the network, as host:port."""
        return {url.split("/")[2] for url in self.requests if url.startswith("http")}

    def num_images(self, selector: str = "img") -> int:
        """Return how many pictures there are that the browser could draw."""
        return int(
            self.page.locator(selector).evaluate_all("all => all.filter(e => e.complete && e.naturalWidth > 0).length")
        )

    def wait_for_images(self, number: int, selector: str = "img", seconds: float = 30.0) -> None:
        """Wait for so many pictures that the browser can draw."""
        deadline = time.monotonic() + seconds
        while (found := self.num_images(selector)) < number:
            assert time.monotonic() < deadline, f"{found} pictures instead of {number}"
            self.page.wait_for_timeout(200)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The distribution's Chromium, without a window."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@contextmanager
def visiting(
    browser: Browser,
    url: str,
    remembered: Mapping[str, str] | None = None,
    *,
    width: int = SIZE["width"],
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Visit]:
    """Open an address in a fresh profile.

    remembered: what pages of the address find in their local storage. width: of the window, in pixels.
    """
    context = browser.new_context(viewport={**SIZE, "width": width}, color_scheme=scheme)
    if remembered:
        context.add_init_script(f"Object.assign(localStorage, {json.dumps(dict(remembered or {}))})")
    visit = Visit(context.new_page())

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            visit.errors.append(f"{message.text} ({message.location.get('url', '')})")

    visit.page.on("console", on_console)
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.goto(url)
    yield visit
    context.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the trainings of three variants, two seeds each, and a report."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        made = connect()
        for variant in DISTANCES:
            for seed in SEEDS:
                log_training(made, variant, seed)
        with made.open_run(name="report", tags={"stage": Stage.REPORT}) as run:
            run.log_text("# Report\n", "report/report.md")
    return made


def log_training(store: Store, variant: str, seed: int) -> None:
    """Store what a training and its evaluation leave: curves, numbers, parameters, pictures."""
    distance = DISTANCES[variant] + seed
    loss, optimizer = PARAMETERS[variant]
    tags = {"stage": Stage.TRAIN, "variant": variant, "seed": str(seed), "health": "low diversity" if seed else ""}
    description = f"**{variant}**, seed {seed}.\n\n| number | last |\n|---|---|\n| distance | {distance} |\n"
    with store.open_run(name=f"{variant}-s{seed}", tags=tags, description=description) as run:
        run.log_params({"gan.loss": loss, "gan.optimizer": optimizer, "gan.batch_size": 64})
        run.log_points([point for step in STEPS for point in _points(step, distance)])
        run.log_values(_numbers(distance))
        for step in STEPS[::5]:
            run.log_image_of_series(_picture(step + seed), f"samples~fixed_z+step+{step}+timestamp+{step}+{seed}")
        run.log_image_of_series(_picture(seed), f"final~samples+step+0+timestamp+0+{seed}")
        run.log_image(_picture(seed), SAMPLES_FILE)
        run.log_text(json.dumps({"distance": distance}), "evaluation/last.json")


def _points(step: int, distance: float) -> list[Metric]:
    values = {
        "train/loss_discriminator": 1.0 / (step + 1),
        "train/loss_generator": 1.0 + step / 100,
        "train/epoch": step / 50,
        "health/diversity": 0.5,
        "gradient_norm/generator/1_linear": 3.0,
    }
    values |= {f"curve/fd_{space}": distance + 300 / (step + 10) for space in SPACES}
    values |= {f"curve/kd_{space}": distance / 100 + 3 / (step + 10) for space in SPACES}
    return [Metric(key, value, 1_700_000_000_000 + step, step) for key, value in values.items()]


def _numbers(distance: float) -> dict[str, float]:
    values = {
        "cost/generator_updates": 20,
        "cost/discriminator_updates": 100,
        "cost/total_images": 6400,
        "time/train_seconds": 12.345678,
    }
    for space in SPACES:
        for section, worse in (("final", 2.5), ("best", 0.0)):
            values[f"{section}/fd_{space}"] = distance + worse
            values[f"{section}/kd_{space}"] = distance / 100
            values[f"{section}/precision_{space}"] = 0.5
            values[f"{section}/recall_{space}"] = 0.25
            values[f"{section}_estimator_error/fd_{space}"] = 0.5
    return values


def _picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
