"""Put the published results of a suite on the README's first screen: its tables and two pictures.

python docs/results.py SUITE           # rewrites what stands between the two marks
python docs/results.py SUITE --check   # fails where that would change something
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results: begin", "<!-- results: end -->"
LEFT_OUT = ("diversity ↑", "seconds", "device", "parameters G / D")  # of the columns: they are in the report
NOT_FID = (
    "None of these distances is FID, which takes the last layer of Inception: compare them within a table, and with "
    "nothing published."
)
SAID_ONCE = ("health", "updates G / D", "images seen")  # of the trainings: in the first table alone


@click.command(help=__doc__)
@click.argument("suite")
@click.option("--check", is_flag=True, help="Write nothing.")
def main(suite: str, check: bool) -> None:
    """Rewrite the block, or compare it."""
    suite = Path(suite).stem  # a file's name is the folder's
    readme = ROOT / "README.md"
    found = readme.read_text(encoding="utf-8")
    wanted = with_results(found, suite, ROOT)
    if check and found != wanted:
        sys.exit(f"README.md does not show what experiments/results/{suite} holds: python docs/results.py {suite}")
    if not check:
        readme.write_text(wanted, encoding="utf-8")


def with_results(readme: str, suite: str, root: Path) -> str:
    """Return the README with the results of a suite between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"README.md: the marks '{BEGIN} ... -->' and '{END}' are missing.")
    return before + block(suite, root) + after


def block(suite: str, root: Path) -> str:
    """Return the marks with a table and pictures between them."""
    folder = Path("experiments", "results", suite)
    if not (root / folder / "report.md").is_file():
        sys.exit(f"{folder}/report.md does not exist. Publish it: pipeline report --suite {suite} --publish")
    report = (root / folder / "report.md").read_text(encoding="utf-8")
    summary, *sections = report.split("\n## ")
    suite_of, *about = summary.split("\n\n")[1:]
    missing = [paragraph.strip() for paragraph in about if paragraph.startswith("Not finished")]
    lines = [f"{BEGIN} (made by `python docs/results.py {suite}`) -->", suite_of, *missing]
    measured = [section.split("\n\n")[:3] for section in sections if "(protocol `" in section.splitlines()[0]]
    tables = [
        f"**{title}**\n\n{table(grid, LEFT_OUT + SAID_ONCE * (number > 0))}\n\n{most_important(words)}"
        for number, (title, grid, words) in enumerate(measured)
    ]
    link = f"[{folder.as_posix()}]({folder.as_posix()}/report.md)"
    warning = [NOT_FID] if tables and not any("| FID last" in each for each in tables) else []
    lines += [*tables[:1], pictures(root, folder), *tables[1:], *warning, f"All of it: {link}.", END]
    return "\n\n".join(lines)


def table(grid: str, left_out: Sequence[str]) -> str:
    """Return a table of the report without padding and without some columns."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in grid.splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if name not in left_out]
    rows[1] = ["---"] * len(rows[0])
    return "\n".join(f"| {' | '.join(row[i] for i in kept)} |" for row in rows)


def most_important(words: str) -> str:
    """Return the sentence about the column that rows are sorted by, and those about no one column, of all."""
    first, *others = words.splitlines()
    return "\n".join([first, *(each for each in others if not each.startswith("- `"))])


def pictures(root: Path, folder: Path) -> str:
    """Return a table of two pictures: the same latents through all runs, and the first distance's curves if any."""
    images = folder / "images"
    shown = {"what each run makes of the same latents": images / "same-latents.png"}
    if curves := sorted((root / images).glob("curves-*-f*.png")):
        shown["Frechet distance against updates, images and seconds"] = images / curves[0].name
    cells = [f'<img src="{path.as_posix()}" width="420" alt="{name}">' for name, path in shown.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (shown, ["---"] * len(shown), cells))


if __name__ == "__main__":
    main()
