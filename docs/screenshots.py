"""Take the README's screenshots of a finished suite: MLflow's UI and the report's page.

    pipeline run demo && python docs/screenshots.py --store . --out docs/images

Needs the distribution's Chromium.
"""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
RETURNING = "localStorage['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1'] = 'true'"  # no chat over the page


@click.command()
@click.option("--store", type=click.Path(path_type=Path, exists=True), default=Path(), help="Where the suite ran.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/images"), show_default=True)
def main(store: Path, out: Path) -> None:
    """Write ui-runs.png, ui-charts.png, ui-run.png, report.png and report-dark.png."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise click.ClickException("there is no chromium: install your distribution's package.")
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pipeline", "ui", "--port", "0"]
    with (
        subprocess.Popen(command, cwd=store, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)

        def shoot(name: str, address: str, height: int, dark: bool, prepare: Callable[[Page], None]) -> None:
            context = browser.new_context(
                viewport={"width": 1500, "height": height}, color_scheme="dark" if dark else "light"
            )
            context.add_init_script(RETURNING if address.startswith("http") else "")
            page = context.new_page()
            page.goto(address, wait_until="networkidle")
            prepare(page)
            Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(out / name, optimize=True)
            context.close()

        if server.stdout is None:
            raise click.ClickException("pipeline ui says nothing.")
        address = server.stdout.readline().split()[2]
        shoot("ui-runs.png", address, 700, False, settle)
        shoot("ui-charts.png", f"{address}&compareRunsMode=CHART", 1150, False, settle)
        shoot("ui-run.png", address, 1000, False, open_first_run)
        report = (store.resolve() / "reports" / "report.html").as_uri()
        shoot("report.png", report, 1000, False, settle)
        shoot("report-dark.png", f"{report}#training-0", 1100, True, settle)
        server.terminate()


def settle(page: Page) -> None:
    """Wait until nothing moves any more."""
    page.wait_for_timeout(4000)


def open_first_run(page: Page) -> None:
    """Go to the page of the best run, with all of its description."""
    page.get_by_role("link", name="-s0").first.click()
    page.wait_for_timeout(4000)
    more = page.get_by_text("Show more", exact=True)
    if more.count():
        more.first.click()
    settle(page)


if __name__ == "__main__":
    main()
