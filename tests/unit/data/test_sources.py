"""Sources: folders and archives give the same items; what is no source is refused with a remedy."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gan.errors import UserError
from pipeline.cli import cli
from pipeline.data.sources import SOURCES, open_source
from tests.unit.data.pictures import good_files, pixels, png, write_folder, write_tar, write_zip
from tests.unit.data.sources import items, loaded, rejection

ARCHIVES = ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz"]


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    (write_zip if path.suffix == ".zip" else write_tar)(path, files)
    return path


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive_has_the_items_of_the_folder(name: str, tmp_path: Path) -> None:
    folder = items(write_folder(tmp_path / "folder", good_files()))
    archive = items(write_archive(tmp_path / name, good_files()))
    assert archive.keys() == folder.keys() == good_files().keys()
    assert all(np.array_equal(loaded(archive[key]), loaded(folder[key])) for key in folder)


@pytest.mark.parametrize("name", ["folder", "x.zip", "x.tar.gz"])
def test_items_can_be_loaded_in_another_process(name: str, tmp_path: Path) -> None:
    write = write_folder if name == "folder" else write_archive
    for item in items(write(tmp_path / name, good_files(2))).values():
        assert np.array_equal(loaded(pickle.loads(pickle.dumps(item))), loaded(item))  # noqa: S301


def test_kind_is_decided_by_content_not_by_suffix(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", good_files(1))
    (tmp_path / "x.zip").rename(tmp_path / "download")
    assert len(items(tmp_path / "download")) == 1


def test_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = Path(write_zip(tmp_path / "inner.zip", good_files(2))).read_bytes()
    found = items(write_tar(tmp_path / "x.tar", {"a.png": png(0), "inner.zip": inner}))
    assert list(found) == ["a.png", "inner.zip"]
    assert rejection(found["inner.zip"]).kind == "archive inside"


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_names_that_climb_out_are_read_and_never_unpacked(name: str, tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    place.mkdir(parents=True)
    found = items(write_archive(place / name, {"../../climbs.png": png(1), "/absolute.png": png(2)}))
    assert len(found) == 2
    assert np.array_equal(loaded(found["../../climbs.png"]), pixels(1))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


def test_links_and_devices_in_a_tar_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(9))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in {"soft": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.png")
            archive.addfile(member)
        directory = tarfile.TarInfo("folder")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory, io.BytesIO())
    found = items(tmp_path / "x.tar")
    assert list(found) == ["soft", "hard", "device"]
    assert {rejection(item).kind for item in found.values()} == {"not a file"}


def test_link_in_a_zip_is_rejected(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "secret.png")
    assert rejection(items(tmp_path / "x.zip")["link.png"]).kind == "not a file"


@pytest.mark.parametrize("name", ["folder", "x.zip", "x.tar"])
def test_files_of_the_system_are_skipped_silently(name: str, tmp_path: Path) -> None:
    clutter = {".DS_Store": b"x", "__MACOSX/a.png": b"x", "a/.hidden/b.png": b"x", "a/._c.png": b"x", "Thumbs.db": b"x"}
    files = {**clutter, "a/good.png": png(1)}
    path = write_folder(tmp_path / name, files) if name == "folder" else write_archive(tmp_path / name, files)
    assert list(items(path)) == ["a/good.png"]


def test_leading_dot_of_tar_names_does_not_hide_them(tmp_path: Path) -> None:
    assert list(items(write_tar(tmp_path / "x.tar", {"./a/good.png": png(1)}))) == ["./a/good.png"]


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_archive_that_breaks_off_is_refused(name: str, share: float, tmp_path: Path) -> None:
    path = write_archive(tmp_path / name, good_files(20))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"--source: .*Download or copy it again"):
        items(path)


def test_tar_that_breaks_off_inside_a_header_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.tar", {"a.png": bytes(512), "b.png": bytes(512)})
    path.write_bytes(path.read_bytes()[: 1024 + 100])  # tarfile itself takes this for the end
    with pytest.raises(UserError, match="breaks off"):
        items(path)


def test_damaged_member_of_a_zip_is_rejected_alone(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.zip", {"a.png": png(1), "b.png": png(2)})
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    found = items(path)
    assert rejection(found["a.png"]).kind == "damaged"
    assert np.array_equal(loaded(found["b.png"]), pixels(2))


@pytest.mark.parametrize(
    "spec", ["missing", "notes.txt", "", "face.png", "no\0name", "hg:a/b", "npy:missing.npy", "n" * 5000]
)
def test_what_is_no_source_is_refused_with_a_remedy(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("hello")
    Path("face.png").write_bytes(png(1))
    with pytest.raises(UserError, match=r"^--source: .*Give ") as error:
        open_source(spec)
    assert spec.replace("\0", "\\x00")[:1000] in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_kind_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no kind 'torchvison:'.*avatars, hf:OWNER/NAME.*mean 'torchvision:'") as error:
        open_source("torchvison:CIFAR10")
    assert all(kind.form in str(error.value) for kind in SOURCES)


def test_help_lists_every_kind() -> None:
    shown = " ".join(CliRunner().invoke(cli, ["prepare", "--help"]).output.split())
    assert all(kind.form in shown and kind.meaning in shown for kind in SOURCES)


@pytest.mark.parametrize("spec", ["npy:", "npz:,key=a", "hf:"])
def test_kind_without_a_name_is_refused(spec: str) -> None:
    with pytest.raises(UserError, match="says nothing after"):
        open_source(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("npz:a.npz,kay=b", "npz: has no option 'kay'. Its options are: key."),
        ("npy:a.npy,key=b", "npy: has no option 'key'. Leave it out."),
        ("torchvision:CIFAR10,split=", "option 'split' is empty"),
        ("hf:a/b,spilt=test", "Its options are: split, column, config, revision."),
    ],
)
def test_options_are_checked(spec: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        open_source(spec)
    assert message in str(error.value)
