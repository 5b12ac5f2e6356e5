"""What a person sees: MLflow's UI at the address that `pipeline ui` prints, and the page of the report.

Both of a real suite: three variants, one seed each.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Browser, Page, expect

from tests.browser import browser, visiting
from tests.integration.test_ui import Interface, interface

__all__ = ["browser"]

pytestmark = pytest.mark.slow

VARIANTS = ("dcgan", "wgan", "wgan_sgd")
MAIN = "fd_efficientnet_lite0"
SECONDS = 30_000  # in milliseconds, for Playwright
RETURNING = {"mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}  # else a chat covers a quarter of the page


@pytest.fixture(scope="module")
def uri(finished: tuple[Path, str]) -> str:
    return f"sqlite:///{finished[0] / 'mlflow.db'}"


@pytest.fixture(scope="module")
def ui(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    with interface(uri, tmp_path_factory.mktemp("ui")) as running:
        yield running


@pytest.fixture(scope="module")
def runs(uri: str) -> dict[str, Run]:
    """The trainings by variant, best first."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("gan-benchmark")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.stage = 'train' and tags.seed = '0'")
    ordered = sorted(found, key=lambda run: float(run.data.metrics[f"final/{MAIN}"]))
    return {run.data.tags["variant"]: run for run in ordered}


def see(page: Page, *texts: str) -> None:
    """Wait until the page shows all these texts."""
    for text in texts:
        expect(page.get_by_text(text, exact=True).first).to_be_visible(timeout=SECONDS)


def pictures(key: str, step: int) -> str:
    """Return the selector of a series' pictures of a step; the names of their files stand in their addresses."""
    return f"img[src*='{quote(key.replace('/', '~') + f'+step+{step}+')}']"


def comparison(ui: Interface, compared: Sequence[Run]) -> str:
    ids = json.dumps([run.info.run_id for run in compared])
    experiments = json.dumps([compared[0].info.experiment_id])
    return f"{ui.base}/#/compare-runs?runs={quote(ids)}&experiments={quote(experiments)}"


def test_the_run_list_has_the_trainings_best_first_and_their_numbers(
    browser: Browser, ui: Interface, runs: dict[str, Run]
) -> None:
    with visiting(browser, ui.address, RETURNING) as visit:
        see(visit.page, "Trainings, best first", f"final/{MAIN}", f"best/{MAIN}", "final/precision_efficientnet_lite0")
        see(visit.page, "variant", "seed", "health", *(f"{variant}-s0" for variant in runs))
        text = visit.page.locator("body").inner_text()
        places = [text.index(f"{variant}-s0") for variant in runs]
        assert places == sorted(places)
        for run in runs.values():
            assert f"{run.data.metrics[f'final/{MAIN}']:.5g}"[:5] in text
        assert "real-tiny" not in text
        assert "\nreport\n" not in text
        assert visit.hosts() == {ui.base.removeprefix("http://")}, "nothing but the server is asked"
        assert [error for error in visit.errors if "/users/current" not in error] == []  # no accounts: 404


def test_the_charts_begin_with_pictures_of_all_trainings(browser: Browser, ui: Interface) -> None:
    with visiting(browser, f"{ui.address}&compareRunsMode=CHART", RETURNING) as visit:
        visit.wait_for_images(len(VARIANTS), pictures("final/samples", step=0))
        visit.wait_for_images(len(VARIANTS), pictures("samples/fixed_z", step=0))
        names = ("Samples", "final/samples", "samples/fixed_z", "Quality", "Parameters")
        see(visit.page, *names)
        text = visit.page.locator("body").inner_text()
        places = [text.index(name) for name in names]
        assert places == sorted(places)

        visit.page.get_by_role("slider").last.focus()  # the page scrolls to it
        visit.page.keyboard.press("ArrowRight")
        visit.wait_for_images(len(VARIANTS), pictures("samples/fixed_z", step=1))


def test_three_runs_are_compared_by_parameters_and_numbers(
    browser: Browser, ui: Interface, runs: dict[str, Run]
) -> None:
    with visiting(browser, comparison(ui, list(runs.values())), RETURNING) as visit:
        rows = {
            "Run Name:": [str(run.info.run_name) for run in runs.values()],
            "gan.optimizer": [run.data.params["gan.optimizer"] for run in runs.values()],
        }
        for name, texts in rows.items():
            row = visit.page.locator("tr", has=visit.page.get_by_role("rowheader", name=name, exact=True))
            expect(row.locator("td")).to_have_text(texts, timeout=SECONDS)
        see(visit.page, "Comparing 3 Runs from 1 Experiment", f"best/{MAIN}")
        see(visit.page, *(f"{run.data.metrics[f'best/{MAIN}']:.4g}" for run in runs.values()))
        text = visit.page.locator("body").inner_text()
        assert "protocol_hash" not in text, "results as JSON would be columns wider than the page"


def test_two_runs_are_compared_by_pictures(browser: Browser, ui: Interface, runs: dict[str, Run]) -> None:
    """With three, MLflow's page leaves no room for the list of files."""
    with visiting(browser, comparison(ui, [runs["dcgan"], runs["wgan"]]), RETURNING) as visit:
        visit.page.get_by_text("samples.png", exact=True).click(timeout=SECONDS)
        visit.wait_for_images(2, "img[src^=blob]")


def test_the_page_of_a_run_describes_it(browser: Browser, ui: Interface, runs: dict[str, Run]) -> None:
    run = runs["wgan"]
    address = f"{ui.base}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    with visiting(browser, address, RETURNING) as visit:
        expect(visit.page.locator("strong", has_text="WGAN, weight clipping")).to_be_visible(timeout=SECONDS)
        for link in ("configuration", "samples", "report"):
            expect(visit.page.get_by_role("link", name=link, exact=True).first).to_be_visible(timeout=SECONDS)
        value = f"{run.data.metrics[f'final/{MAIN}']:.1f}"
        expect(visit.page.locator("td", has_text=value).first).to_be_attached(timeout=SECONDS)
        see(visit.page, "gan.loss", f"final/{MAIN}")
        visit.wait_for_images(1, "img[src*='samples.png']")


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_the_report(
    browser: Browser, finished: tuple[Path, str], width: int, scheme: Literal["light", "dark"]
) -> None:
    page = finished[0] / "reports" / "report.html"
    with visiting(browser, page.as_uri(), width=width, scheme=scheme) as visit:
        assert visit.errors == []
        assert [url for url in visit.requests if not url.startswith("data:")] == [page.as_uri()]
        see(visit.page, "FD last ↓", "What the reports claim", "The same latents", "Runs")
        for variant in VARIANTS:
            expect(visit.page.locator("td", has_text=variant).first).to_be_visible()
        num_images = visit.page.locator("img").count()
        assert num_images >= 1 + len(VARIANTS) + 1 + len(VARIANTS)  # latents, evolution, interpolations, nearest
        assert visit.num_images() == num_images
        assert visit.page.locator(".panel svg").count() >= 4
        shown_width = visit.page.evaluate("document.documentElement.scrollWidth")
        assert shown_width <= width, "tables scroll in themselves, the page does not"
        too_wide = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
        assert visit.page.locator("p, li, h1, h2, h3, img, figure, summary, .scroll").evaluate_all(too_wide) == 0
        assert contrast(visit.page) >= 4.5
        assert contrast(visit.page, ".panel svg text", "fill") >= 4.5
        sizes = "all => Math.min(...all.map(e => parseFloat(getComputedStyle(e).fontSize)))"
        assert visit.page.locator("p, li, td, th").evaluate_all(sizes) >= 12


def test_the_report_is_printed_with_all_that_is_folded(browser: Browser, finished: tuple[Path, str]) -> None:
    with visiting(browser, (finished[0] / "reports" / "report.html").as_uri(), width=1600, scheme="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        expect(visit.page.locator("td", has_text="weights_sha256")).to_be_visible()
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def contrast(page: Page, selector: str = "body", attribute: str = "color") -> float:
    """Return the contrast of an element's ink with the page's ground. Source: WCAG 2.2, relative luminance."""
    ink = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{attribute}")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = sorted((_luminance(colour) for colour in (ink, ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """colour: as rgb(r, g, b)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
