"""Writes conda.yaml: the dependencies of pyproject.toml at the versions of constraints.txt."""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
TARGET = {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux"}


def main() -> None:
    """Write the file, or with --check fail where it does not follow."""
    path = ROOT / "conda.yaml"
    text = conda_yaml()
    if "--check" not in sys.argv:
        path.write_text(text)
    elif path.read_text() != text:
        sys.exit("conda.yaml does not follow from pyproject.toml and constraints.txt: run `make conda`.")


def conda_yaml() -> str:
    """Return the content of conda.yaml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [Requirement(dependency).name for dependency in project["dependencies"]]
    pinned = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = {pin.name: str(pin.specifier) for pin in pinned if pin.marker is None or pin.marker.evaluate(TARGET)}
    lines = [
        "# Made by `make conda` from pyproject.toml and constraints.txt: change those.",
        "name: gan-benchmark",
        "channels: [conda-forge]",
        "dependencies:",
        f"  - python={TARGET['python_version']}",
        "  - pip",
        "  - pip:",
        *(f"      - {name}{pins[name]}" for name in names),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
