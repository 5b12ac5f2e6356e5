"""Archives made to harm: what they claim is not believed, and memory stays bounded by one member."""

import bz2
import copy
import gzip
import io
import lzma
import random
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gan.errors import UserError
from pipeline.data.decoding import MAX_FILE_BYTES
from pipeline.data.items import Rejected
from pipeline.data.sources import open_source
from tests.unit.data.pictures import good_files, pixels, png, write_tar, write_zip
from tests.unit.data.sources import RULE, contents, found, items, loaded, peak_of, rejection

MIB = 2**20
MANY = 160  # MiB that a bomb unfolds to; MAX_FILE_BYTES is 64 MiB
STRANGE = {"a\nb.png": "a\\nb.png", "-rf.png": "-rf.png", "🦊.png": "🦊.png", "\x1b[2J.png": "\\x1b[2J.png"}


def zip_with(path: Path, name: str, data: bytes, **fields: int) -> Path:
    """Write a zip whose first member has other numbers in its headers than it should."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, data, fields.pop("method", zipfile.ZIP_STORED))
        archive.writestr("after.png", png(1))
        member = archive.infolist()[0]
        for field, value in fields.items():
            setattr(member, field, value)
    return path


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def tar_of(*parts: bytes) -> bytes:
    """Join headers and contents, each padded, and the member after.png; then the end marker."""
    after = png(1)
    blocks = [part + bytes(-len(part) % 512) for part in (*parts, tar_header("after.png", len(after)), after)]
    return b"".join((*blocks, bytes(1024)))


# Bombs.


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_member_that_claims_to_be_small(method: int, tmp_path: Path) -> None:
    path = zip_with(tmp_path / "x.zip", "bomb.png", bytes(MANY * MIB), method=method, file_size=1000)
    assert path.stat().st_size < 2 * MIB
    grown, verdicts = peak_of(path)
    assert verdicts == ["damaged", "ok", "2"]
    assert grown < 120  # 4 KiB of LZMA unfold at once


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_member_above_the_limit_is_passed_over(name: str, tmp_path: Path) -> None:
    if name == "x.zip":
        zip_with(tmp_path / name, "bomb.png", bytes(MANY * MIB), method=zipfile.ZIP_DEFLATED)
    else:
        compress = {"gz": lambda data: gzip.compress(data, 1), "bz2": bz2.compress, "xz": lzma.compress}
        plain = tar_of(tar_header("bomb.png", MANY * MIB), bytes(MANY * MIB))
        (tmp_path / name).write_bytes(compress[name.rpartition(".")[2]](plain))
    grown, verdicts = peak_of(tmp_path / name)
    assert verdicts == ["too large", "ok", "2"]
    assert grown < 40


def test_zip_that_refers_to_one_piece_many_times(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(60 * MIB))
        archive.filelist.extend(copy.copy(archive.filelist[0]) for _ in range(1000))
    grown, verdicts = peak_of(tmp_path / "x.zip")
    assert verdicts == ["damaged", "damaged", "damaged", "1001"]
    assert grown < 200
    assert [rejection(item).kind for item in found(tmp_path / "x.zip")] == ["not an image"] + ["damaged"] * 1000


def test_zip_whose_members_contain_each_other(tmp_path: Path) -> None:
    inner = Path(write_zip(tmp_path / "inner.zip", {"a.png": png(1)})).read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("outer.png", inner)
        inside = copy.copy(zipfile.ZipFile(io.BytesIO(inner)).infolist()[0])
        inside.header_offset += len("outer.png") + 30
        archive.filelist.append(inside)
    found = items(tmp_path / "x.zip")
    assert rejection(found["outer.png"]).reason == "damaged: it overlaps another member of the archive"
    assert np.array_equal(loaded(found["a.png"]), pixels(1))


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_archives_inside_are_not_opened(name: str, tmp_path: Path) -> None:
    bomb = Path(write_zip(tmp_path / "bomb.zip", {"a.png": png(1)})).read_bytes()
    files = {"0.zip": bomb, "1.tar.gz": b"x", "2.7z": b"x", "3.png": bomb}
    (write_zip if name == "x.zip" else write_tar)(tmp_path / name, files)
    assert [rejection(item).kind for item in found(tmp_path / name)] == ["archive inside"] * 3 + ["not an image"]


def test_xz_that_asks_for_an_enormous_dictionary(tmp_path: Path) -> None:
    content = bytearray(lzma.compress(tar_of(), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    block = content[12 : 12 + (content[12] + 1) * 4]
    block[block.index(bytes([lzma.FILTER_LZMA2, 1])) + 2] = 40  # 4 GiB
    block[-4:] = zlib.crc32(block[:-4]).to_bytes(4, "little")
    content[12 : 12 + len(block)] = block
    (tmp_path / "x.tar.xz").write_bytes(content)
    with pytest.raises(UserError, match=r"needs more than 268,435,456 bytes of memory.*Pack it again with `xz -9`"):
        open_source(str(tmp_path / "x.tar.xz"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_honest_zip_of_every_method(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        for name, data in {**good_files(3), "empty.png": b""}.items():
            archive.writestr(name, data)
    by_name = items(tmp_path / "x.zip")
    assert rejection(by_name.pop("empty.png")).kind == "empty"
    assert {loaded(item).tobytes() for item in by_name.values()} == {pixels(index).tobytes() for index in range(3)}


# Headers of tar files.


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_enormous_header_is_refused_unread(kind: bytes, tmp_path: Path) -> None:
    plain = tar_of(tar_header("header", MANY * MIB, kind), bytes(MANY * MIB))
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(plain, 1))
    grown, verdicts = peak_of(tmp_path / "x.tar.gz")
    assert "a header claims 167,772,160 bytes, more than 1,048,576. Download" in verdicts[0]
    assert grown < 20


@pytest.mark.parametrize("kind", [tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK])
def test_enormous_header_that_does_not_matter_is_passed_over(kind: bytes, tmp_path: Path) -> None:
    plain = tar_of(tar_header("header", MANY * MIB, kind), bytes(MANY * MIB))
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(plain, 1))
    grown, verdicts = peak_of(tmp_path / "x.tar.gz")
    assert verdicts == ["ok", "1"]
    assert grown < 20


def test_endless_chain_of_headers(tmp_path: Path) -> None:
    header = tar_header("header", 512, tarfile.XHDTYPE) + b"512 a=".ljust(511, b"x") + b"\n"
    (tmp_path / "x.tar").write_bytes(tar_of(header * 20_000))  # tarfile recurses once for each
    (item,) = found(tmp_path / "x.tar")
    assert np.array_equal(loaded(item), pixels(1))


@pytest.mark.parametrize(
    "record", [b"x", b"99 path=a\n", b"0 path=a\n", b"9 path=a\n1", b"12 size=-1\n", b"11 path=ab", b"7" * 100_000]
)
def test_damaged_pax_header_is_refused(record: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(tar_header("header", len(record), tarfile.XHDTYPE), record))
    with pytest.raises(UserError, match="a pax header"):
        found(tmp_path / "x.tar")


@pytest.mark.parametrize("claim", [10 * 2**30, 2**60])
def test_member_bigger_than_the_archive(claim: int, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(tar_header("bomb.png", claim)))
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar_of(tar_header("bomb.png", claim))))
    for name in ("x.tar", "x.tar.gz"):
        with pytest.raises(UserError, match="breaks off before its end marker"):
            found(tmp_path / name)


def test_negative_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(tar_header("a.png", 0), tar_header("bomb.png", -512)))
    with pytest.raises(UserError, match="negative size"):
        found(tmp_path / "x.tar")


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_file_with_holes_is_rejected(form: str, tmp_path: Path) -> None:
    version = subprocess.run(["tar", "--version"], capture_output=True, text=True).stdout if shutil.which("tar") else ""
    if "GNU tar" not in version:
        pytest.skip("needs GNU tar, which packs holes")
    with (tmp_path / "holes.png").open("wb") as file:
        for index in range(40):  # more pieces than fit into one header
            file.seek(index * 2**34)  # 16 GiB apart
            file.write(b"x")
    (tmp_path / "z.png").write_bytes(png(1))
    command = ["tar", "--create", "--sparse", f"--format={form}", "--file=x.tar", "holes.png", "z.png"]
    subprocess.run(command, cwd=tmp_path, check=True)
    by_name = {name.rpartition("/")[2]: item for name, item in items(tmp_path / "x.tar").items()}
    assert rejection(by_name["holes.png"]).kind == "not a file"
    assert np.array_equal(loaded(by_name["z.png"]), pixels(1))


# Names.


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, None])
def test_strange_names(form: int | None, tmp_path: Path) -> None:
    files = {name: png(index) for index, name in enumerate(STRANGE)}
    if form is None:
        write_zip(tmp_path / "x", files)
    else:
        write_names(tmp_path / "x", files, form)
    by_name = items(tmp_path / "x")
    assert list(by_name) == list(STRANGE.values())
    assert all(np.array_equal(loaded(by_name[shown]), pixels(index)) for index, shown in enumerate(STRANGE.values()))


def write_names(path: Path, files: dict[str, bytes], form: int) -> None:
    with tarfile.open(path, "w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_name_that_is_no_utf8(form: int, tmp_path: Path) -> None:
    write_names(tmp_path / "x.tar", {"\udcff.png": png(1)}, form)
    (item,) = found(tmp_path / "x.tar")
    assert item.name == "\\udcff.png"


def test_zip_name_that_is_no_utf8(tmp_path: Path) -> None:
    path = Path(write_zip(tmp_path / "x.zip", {"ä.png": png(1)}))
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xfe"))
    with pytest.raises(UserError, match=r"has names that are no UTF-8. Pack it again"):
        found(path)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, None])
def test_name_of_10000_characters(form: int | None, tmp_path: Path) -> None:
    files = {"d/" * 4998 + "a.png": png(1)}
    if form is None:
        write_zip(tmp_path / "x", files)
    else:
        write_names(tmp_path / "x", files, form)
    (item,) = found(tmp_path / "x")
    assert len(item.name) <= 300
    assert item.name.endswith("d/a.png")
    assert np.array_equal(loaded(item), pixels(1))


def test_nul_in_a_name(tmp_path: Path) -> None:
    record = b"%d path=a\0.png\n" % (len(b" path=a\0.png\n") + 2)
    (tmp_path / "x.tar").write_bytes(
        tar_of(tar_header("header", len(record), tarfile.XHDTYPE), record, tar_header("a", 3), b"abc")
    )
    assert list(items(tmp_path / "x.tar")) == ["a\\x00.png", "after.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_members_of_one_name_are_all_read(name: str, tmp_path: Path) -> None:
    if name == "x.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for index in range(3):
                archive.writestr("a.png", png(index))
    else:
        parts = [part for index in range(3) for part in (tar_header("a.png", len(png(index))), png(index))]
        (tmp_path / name).write_bytes(tar_of(*parts))
    expected = [pixels(index).tobytes() for index in range(3)]
    assert [loaded(item).tobytes() for item in found(tmp_path / name)][:3] == expected


# Encryption, unknown methods, damage anywhere.


def test_encrypted_member_is_rejected_alone(tmp_path: Path) -> None:
    by_name = items(zip_with(tmp_path / "x.zip", "secret.png", png(2), flag_bits=0x1))
    assert rejection(by_name["secret.png"]).reason == "cannot be read: it is encrypted"
    assert np.array_equal(loaded(by_name["after.png"]), pixels(1))


def test_unknown_compression_is_rejected_alone(tmp_path: Path) -> None:
    by_name = items(zip_with(tmp_path / "x.zip", "a.png", png(2), compress_type=77))
    assert rejection(by_name["a.png"]).kind == "unreadable"
    assert np.array_equal(loaded(by_name["after.png"]), pixels(1))


def test_zstd_is_read_or_refused_with_a_remedy(tmp_path: Path) -> None:
    try:
        from compression import zstd  # type: ignore[import-not-found]
    except ImportError:
        zstd = pytest.importorskip("backports.zstd")
    (tmp_path / "x.tar.zst").write_bytes(zstd.compress(tar_of()))
    assert contents(tmp_path / "x.tar.zst") == [pixels(1).tobytes()]


def test_zstd_without_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression", "backports"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    with pytest.raises(UserError, match=r"pip install backports.zstd`, or decompress it with `zstd -d`"):
        open_source(str(tmp_path / "x.tar.zst"))


def two_streams(path: Path) -> None:
    plain = tar_of(tar_header("a.png", len(png(0))), png(0))
    path.write_bytes(b"".join(lzma.compress(half) for half in (plain[:5000], plain[5000:])))


def test_compressed_streams_may_follow_each_other(tmp_path: Path) -> None:
    two_streams(tmp_path / "x.tar.xz")
    assert len(contents(tmp_path / "x.tar.xz")) == 2


WRITERS: dict[str, Callable[[Path], object]] = {
    "stored.zip": lambda path: write_zip(path, good_files(4)),
    "deflated.zip": lambda path: zip_with(path, "a.png", png(2)[:3000], method=zipfile.ZIP_DEFLATED),
    "bzip2.zip": lambda path: zip_with(path, "a.png", png(2)[:3000], method=zipfile.ZIP_BZIP2),
    "lzma.zip": lambda path: zip_with(path, "a.png", png(2)[:3000], method=zipfile.ZIP_LZMA),
    "x.tar": lambda path: write_names(path, {"ä" * 200: png(1), "a.png": png(2)}, tarfile.PAX_FORMAT),
    "gnu.tar": lambda path: write_names(path, {"a" * 200: png(1), "a.png": png(2)}, tarfile.GNU_FORMAT),
    "x.tar.gz": lambda path: write_tar(path, good_files(3)),
    "x.tar.bz2": lambda path: write_tar(path, good_files(3)),
    "x.tar.xz": two_streams,
}


@pytest.mark.parametrize("name", WRITERS)
def test_damage_anywhere_is_a_verdict_or_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    original = path.read_bytes()
    for seed in range(60):
        draw = random.Random(f"{name} {seed}")  # noqa: S311
        content = bytearray(original)
        for _ in range(draw.choice([1, 3, 30])):
            low, high = draw.choice([(0, len(content)), (0, 600), (len(content) - 600, len(content))])
            content[draw.randrange(max(0, low), high)] = draw.randrange(256)
        path.write_bytes(content[: draw.randrange(len(content))] if seed % 5 == 0 else content)
        with suppress(UserError):
            for item in open_source(str(path)).items():
                with suppress(Rejected):
                    item.load(RULE)


def test_limit_is_what_the_documentation_says() -> None:
    assert MAX_FILE_BYTES == 64 * MIB
