"""Sources: folders and archives give the same items; what is no source is refused with a remedy."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gan.errors import UserError
from pipeline.data.items import Item, Rejected
from pipeline.data.sources import open_source
from tests.unit.data.pictures import good_files, pixels, png, write_folder, write_tar, write_zip

ARCHIVES = ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz"]


def items(path: object) -> dict[str, Item]:
    source = open_source(str(path))
    found = list(source.items())
    assert source.count() == len(found)
    return {item.name: item for item in found}


def reason(item: Item) -> str:
    with pytest.raises(Rejected) as rejected:
        item.load(64)
    return str(rejected.value)


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    (write_zip if path.suffix == ".zip" else write_tar)(path, files)
    return path


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive_has_the_items_of_the_folder(name: str, tmp_path: Path) -> None:
    folder = items(write_folder(tmp_path / "folder", good_files()))
    archive = items(write_archive(tmp_path / name, good_files()))
    assert archive.keys() == folder.keys() == good_files().keys()
    assert all(np.array_equal(archive[key].load(64), folder[key].load(64)) for key in folder)


def test_kind_is_decided_by_content_not_by_suffix(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", good_files(1))
    (tmp_path / "x.zip").rename(tmp_path / "download")
    assert len(items(tmp_path / "download")) == 1


def test_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = Path(write_zip(tmp_path / "inner.zip", good_files(2))).read_bytes()
    found = items(write_tar(tmp_path / "x.tar", {"a.png": png(0), "inner.zip": inner}))
    assert list(found) == ["a.png", "inner.zip"]


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_names_that_climb_out_are_read_and_never_unpacked(name: str, tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    place.mkdir(parents=True)
    found = items(write_archive(place / name, {"../../climbs.png": png(1), "/absolute.png": png(2)}))
    assert len(found) == 2
    assert np.array_equal(found["../../climbs.png"].load(64), pixels(1))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


def test_links_and_devices_in_a_tar_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(9))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in {"soft": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.png")
            archive.addfile(member)
        archive.addfile(directory := tarfile.TarInfo("folder"), io.BytesIO())
        directory.type = tarfile.DIRTYPE
    assert {"soft", "hard", "device"} <= items(tmp_path / "x.tar").keys()
    for name in ("soft", "hard", "device"):
        assert "not a regular file" in reason(items(tmp_path / "x.tar")[name])


def test_link_in_a_zip_is_rejected(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "secret.png")
    assert "not a regular file" in reason(items(tmp_path / "x.zip")["link.png"])


@pytest.mark.parametrize("name", ["folder", "x.zip", "x.tar"])
def test_files_of_the_system_are_skipped_silently(name: str, tmp_path: Path) -> None:
    clutter = {".DS_Store": b"x", "__MACOSX/a.png": b"x", "a/.hidden/b.png": b"x", "a/._c.png": b"x", "Thumbs.db": b"x"}
    files = {**clutter, "a/good.png": png(1)}
    path = write_folder(tmp_path / name, files) if name == "folder" else write_archive(tmp_path / name, files)
    assert list(items(path)) == ["a/good.png"]


def test_leading_dot_of_tar_names_does_not_hide_them(tmp_path: Path) -> None:
    assert list(items(write_tar(tmp_path / "x.tar", {"./a/good.png": png(1)}))) == ["./a/good.png"]


def test_folder_links(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(tmp_path / "elsewhere", {"a.png": png(1)})
    write_folder(folder, {"b.png": png(2), "shard.tar": b"x"})
    (folder / "file").symlink_to(tmp_path / "elsewhere/a.png")
    (folder / "loop").symlink_to(folder)
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    found = items(folder)
    assert sorted(found) == ["b.png", "broken", "file", "loop", "pipe", "shard.tar"]
    assert np.array_equal(found["file"].load(64), pixels(1))
    assert "link to a folder" in reason(found["loop"])
    assert "cannot be read" in reason(found["broken"])
    assert "not a regular file" in reason(found["pipe"])
    assert "archive" in reason(found["shard.tar"])


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.xz"])
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
    assert "damaged" in reason(found["a.png"])
    assert np.array_equal(found["b.png"].load(64), pixels(2))


@pytest.mark.parametrize("spec", ["missing", "notes.txt", "", "face.png"])
def test_what_is_no_source_is_refused_with_a_remedy(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("hello")
    Path("face.png").write_bytes(png(1))
    with pytest.raises(UserError, match=r"^--source: .*Give ") as error:
        open_source(spec)
    assert spec in str(error.value)
    assert "\n" not in str(error.value)


def test_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, good_files())
    before = open_source(str(folder)).fingerprint
    folder.rename(tmp_path / "moved")
    assert open_source(str(tmp_path / "moved")).fingerprint == before
    (tmp_path / "moved/a/0000.png").write_bytes(png(99))
    assert open_source(str(tmp_path / "moved")).fingerprint != before
