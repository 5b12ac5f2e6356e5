"""Files of weights: the one that a user gives, else the one that its publisher serves, fetched once and checked."""

import logging
import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch

from gan.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedWeights:
    """A file that a publisher serves.

    title: of the network, for messages. sha256: of the file, or its first digits. variable: the environment variable
    that can name the file, if any. cached_as: the name in torch's cache, if not the one that the URL ends with.
    """

    title: str
    url: str
    sha256: str
    megabytes: int
    variable: str | None = None
    cached_as: str | None = None

    @property
    def file(self) -> str:
        """The name that the publisher gives to the file."""
        return self.url.rpartition("/")[2]

    @property
    def remedy(self) -> str:
        """What a user can do who has not this file."""
        given = f" or {self.variable}=FILE" if self.variable else ""
        return (
            f"get {self.file} from {self.url} and give it as --weights FILE{given}, "
            "or use --extractor efficientnet_lite0 meanwhile"
        )

    def label(self, sha256: str, publisher: str) -> str:
        """Say in a protocol whether a file of this hash is the publisher's."""
        return publisher if sha256.startswith(self.sha256) else f"given file, not {publisher}"


def locate(weights: Path | None, published: PublishedWeights) -> tuple[Path, str]:
    """Choose the file to read, and say how to call it in a message: given, in the environment, else downloaded.

    Downloads go where torch.hub (and so torch-fidelity) keeps them. UserError: no file, and none can be downloaded.
    """
    if weights is not None:
        return weights, f"--weights {weights}"
    named = os.environ.get(published.variable) if published.variable else None
    if named:
        return Path(named), f"{published.variable}={named}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / (published.cached_as or published.file)
    if not path.exists():
        _download(published, path)
    return path, f"{path} (downloaded; delete it to download it again)"


def _download(published: PublishedWeights, path: Path) -> None:
    log.info("downloading the %s weights (%d MB) from %s", published.title, published.megabytes, published.url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(published.url, str(path), hash_prefix=published.sha256)
    except (OSError, HTTPException, RuntimeError) as error:  # no network, no space, cut short, another file
        raise UserError(
            f"the {published.title} weights {published.file} are missing and could not be downloaded ({error}); "
            f"{published.remedy}"
        ) from error
