"""The data doctor and `pipeline data`, as a user meets them: on files with every fault, by the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan.errors import UserError
from pipeline.data.dataset import load_dataset
from pipeline.data.findings import FINDINGS
from pipeline.prepare import check, prepare
from tests.conftest import environment, run_pipeline
from tests.unit.data.pictures import (
    Bytes,
    animation,
    encoded,
    pixels,
    png,
    png_header_of,
    write_folder,
    write_tar,
    write_zip,
)
from tests.unit.data.test_near_duplicates import smooth


def refused(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command that fails with an error of one line, after what it reports."""
    done = run_pipeline(*arguments, cwd=cwd, check=False)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    return done


def jpeg(image: Image.Image, quality: int) -> bytes:
    return encoded(image, "JPEG", quality=quality)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return encoded(Image.fromarray(pixels(20)), "JPEG", exif=exif)


def of_every_kind() -> dict[str, tuple[bytes, set[str]]]:
    """Name -> (content, findings): every finding that a file can have, but for those of folders and rights."""
    grey = Image.fromarray(pixels(9)).convert("L")
    return {
        "good.png": (png(1), set()),
        "again.png": (png(1), {"duplicate"}),
        "smooth.png": (encoded(smooth(1)), set()),
        "smooth.jpg": (jpeg(smooth(1), 60), {"near duplicate"}),
        "zero.png": (b"", {"empty"}),
        "text.png": (b"no picture", {"not an image"}),
        "half.jpg": (jpeg(smooth(2), 90)[:900], {"damaged"}),
        "moving.gif": (animation("GIF"), {"animated"}),
        "bomb.png": (png_header_of(20_000, 20_000), {"too large"}),
        "depth.tiff": (encoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF"), {"unknown range"}),
        "inner.zip": (b"PK\5\6" + bytes(18), {"archive inside"}),
        "turned.jpg": (turned(), {"rotated"}),
        "glass.png": (encoded(Image.fromarray(pixels(3)).convert("RGBA").resize((64, 64))), set()),
        "clear.png": (encoded(Image.new("RGBA", (64, 64), (9, 9, 9, 90))), {"transparent"}),
        "print.jpg": (jpeg(Image.fromarray(pixels(4)).convert("CMYK"), 95), {"CMYK"}),
        "scan.png": (encoded(Image.fromarray(pixels(5)[..., 0].astype(np.uint16) * 257)), {"16-bit", "grey"}),
        "icon.png": (encoded(Image.fromarray(pixels(6)).quantize(16)), {"palette"}),
        "grey.png": (encoded(grey), {"grey"}),
        "tiny.png": (encoded(Image.fromarray(pixels(7, 20, 20))), {"enlarged"}),
        "banner.png": (encoded(Image.fromarray(pixels(8, 64, 400))), {"elongated"}),
    }


def contents() -> Bytes:
    return {name: content for name, (content, _) in of_every_kind().items()}


def found(findings: Path) -> dict[str, set[str]]:
    """Return the findings of each file by the doctor's JSON."""
    by_name: dict[str, set[str]] = {name: set() for name in of_every_kind()}
    for entry in json.loads(findings.read_text())["files"]:
        by_name[entry["name"]].add(entry["finding"])
    return by_name


def test_every_fault_is_found_by_check_and_by_prepare(tmp_path: Path) -> None:
    write_folder(tmp_path / "mixed", contents())
    looked = run_pipeline("prepare", "--source", "mixed", "--check", "--findings", "check.json", cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check.json", "mixed"]
    done = run_pipeline("prepare", "--source", "mixed", "--findings", "made.json", cwd=tmp_path)
    expected = {name: findings for name, (_, findings) in of_every_kind().items()}
    # of two equal files, or nearly equal ones, either may be the one that is kept
    for file in ("check.json", "made.json", "data/mixed/findings.json"):
        got = found(tmp_path / file)
        assert got["good.png"] | got["again.png"] == {"duplicate"}
        assert got["smooth.png"] | got["smooth.jpg"] == {"near duplicate"}
        alike = ("good.png", "again.png", "smooth.png", "smooth.jpg")
        assert {k: v for k, v in got.items() if k not in alike} == {k: v for k, v in expected.items() if k not in alike}
    made = json.loads((tmp_path / "made.json").read_text())
    assert made == json.loads((tmp_path / "check.json").read_text())
    assert all(entry["reason"] for entry in made["files"] if entry["effect"] == "rejected")
    assert {row["finding"]: row["num_files"] for row in made["findings"]} == {
        finding: sum(finding in names for names in expected.values())
        for finding in FINDINGS
        if any(finding in names for names in expected.values())
    }
    for row in made["findings"]:
        for text in (looked.stdout, done.stderr):
            assert row["remedy"] in text, "the table says what one can do"
            assert row["example"] in text
    counts = made["counts"]
    assert counts["read"] == len(expected)
    assert counts["read"] == sum(number for name, number in counts.items() if name != "read")


def test_strict_fails_after_reading_everything_and_leaves_the_list(tmp_path: Path) -> None:
    write_folder(tmp_path / "mixed", contents())
    for options in (["--check"], []):
        failed = refused("prepare", "--source", "mixed", "--strict", "--findings", "f.json", *options, cwd=tmp_path)
        last = failed.stderr.strip().splitlines()[-1]
        assert last.startswith("Error: --strict: 7 rejected (")
        assert last.endswith("Mend or remove them, or leave --strict out to go on without them.")
        assert sum(e["effect"] == "rejected" for e in json.loads((tmp_path / "f.json").read_text())["files"]) == 7
        (tmp_path / "f.json").unlink()
    assert not (tmp_path / "data/mixed").exists()
    run_pipeline("prepare", "--source", "mixed", cwd=tmp_path)
    again = refused("prepare", "--source", "mixed", "--strict", cwd=tmp_path)
    assert "--strict: 7 files were rejected" in again.stderr
    good = {name: png(seed) for seed, name in enumerate(["a.png", "b.png", "c.png"])}
    write_folder(tmp_path / "good", good)
    assert "nothing to remark" in run_pipeline("prepare", "--source", "good", "--strict", cwd=tmp_path).stderr


def test_near_duplicates_are_removed_when_asked(tmp_path: Path) -> None:
    pairs = {f"{seed}-{quality}.jpg": jpeg(smooth(seed), quality) for seed in range(30) for quality in (60, 95)}
    folder = write_folder(tmp_path / "pairs", pairs)
    root = tmp_path / "data"
    kept = prepare([folder], name="kept", root=root)
    assert kept.manifest["findings"] == {"near duplicate": 30}
    assert len(kept.images) == 60
    removed = prepare([folder], name="removed", near_duplicates="remove", root=root)
    assert len(removed.images) == 30
    assert removed.manifest["counts"]["near_duplicates"] == 30
    assert prepare([folder], name="removed", near_duplicates="remove", root=root).digest == removed.digest
    with pytest.raises(UserError, match="near_duplicates remove, asked for kept"):
        prepare([folder], name="removed", root=root)
    ignored = prepare([folder], name="ignored", near_duplicates="ignore", root=root)
    assert ignored.manifest["findings"] == {}
    assert ignored.digest == kept.digest


def test_order_names_form_workers_and_locale_do_not_matter(tmp_path: Path) -> None:
    """The digest is of the pixels alone."""
    many = {f"{seed}-{quality}.jpg": jpeg(smooth(seed), quality) for seed in range(60) for quality in (60, 95)}
    many |= contents()
    shuffled = np.random.default_rng(0).permutation(sorted(many)).tolist()
    renamed = {f"ä ü\n-{place}": many[name] for place, name in enumerate(shuffled)}
    write_folder(tmp_path / "one", many)
    write_folder(tmp_path / "two", renamed)
    write_zip(tmp_path / "three.zip", {name: many[name] for name in shuffled})
    digests = set()
    for source, workers, locale in (("one", 1, "C"), ("two", 2, "tr_TR.UTF-8"), ("three.zip", 2, "POSIX")):
        options = ["--source", source, "--num-workers", str(workers), "--near-duplicates", "remove", "--name", "x"]
        variables = {**environment(), "LC_ALL": locale, "PYTHONHASHSEED": str(workers)}
        command = [sys.executable, "-m", "pipeline", "prepare", *options]
        folder = tmp_path / source.partition(".")[0] / "here"
        folder.mkdir(parents=True)
        (folder / source).symlink_to(tmp_path / source)
        subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
        digests.add(load_dataset("x", folder / "data").digest)
    assert len(digests) == 1


def test_whole_pictures_with_white_sides(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "wide", {f"{k}.png": encoded(Image.fromarray(pixels(k, 32, 64))) for k in range(4)}
    )
    padded = prepare([folder], fit="pad", root=tmp_path / "data")
    assert (padded.images[:, :16] == 255).all()
    assert {image[16:48].tobytes() for image in padded.images} == {pixels(k, 32, 64).tobytes() for k in range(4)}
    with pytest.raises(UserError, match="fit pad, asked for crop"):
        prepare([folder], root=tmp_path / "data")


def test_datasets_are_listed_shown_verified_and_removed(tmp_path: Path) -> None:
    assert "Run `pipeline prepare` first" in run_pipeline("data", "list", cwd=tmp_path).stdout
    write_folder(tmp_path / "faces", contents())
    run_pipeline("prepare", "--source", "faces", "--held-out", "2", "--fit", "pad", cwd=tmp_path)
    run_pipeline("prepare", "--num-images", "20", "--name", "drawn", cwd=tmp_path)
    listing = run_pipeline("data", "list", cwd=tmp_path).stdout
    dataset = load_dataset("faces", tmp_path / "data")
    assert dataset.digest[:12] in listing
    assert "drawn" in listing
    machine = json.loads(run_pipeline("data", "list", "--json", cwd=tmp_path).stdout)
    assert [(each["name"], each["num_images"]) for each in machine] == [("drawn", 20), ("faces", 12)]

    card = run_pipeline("data", "show", "faces", cwd=tmp_path).stdout
    for part in (dataset.digest, "12", "licence: unknown", "near duplicate 1", "contact_sheet.png"):
        assert part in card
    command = card.partition("made again by: `pipeline ")[2].partition("`")[0].split()
    assert command == ["prepare", "--source", "faces", "--fit", "pad", "--held-out", "2", "--name", "faces"]
    assert "CC BY 4.0" in run_pipeline("data", "show", "drawn", cwd=tmp_path).stdout
    assert json.loads(run_pipeline("data", "show", "faces", "--json", cwd=tmp_path).stdout)["files"]

    assert run_pipeline("data", "verify", cwd=tmp_path).stdout.count("as they were prepared") == 2
    images = tmp_path / "data/faces/images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1  # one bit of the held-out part
    images.write_bytes(content)
    rotten = refused("data", "verify", cwd=tmp_path)
    assert "drawn: 20 images, as they were prepared" in rotten.stdout
    assert "its pixels are not those that were prepared" in rotten.stderr
    assert "prepare it again: pipeline prepare --source faces --fit pad" in rotten.stderr

    assert (tmp_path / "data/faces").exists()
    run_pipeline("data", "remove", "faces", "--yes", cwd=tmp_path)
    run_pipeline(*command, cwd=tmp_path)
    run_pipeline("data", "verify", "faces", cwd=tmp_path)
    assert load_dataset("faces", tmp_path / "data").digest == dataset.digest
    (tmp_path / "data/drawn/images.npy").unlink()
    assert "is damaged" in run_pipeline("data", "list", cwd=tmp_path).stdout
    run_pipeline("data", "remove", "drawn", "--yes", cwd=tmp_path)
    assert [path.name for path in (tmp_path / "data").iterdir() if not path.name.startswith(".")] == ["faces"]


@pytest.mark.parametrize("name", ["../faces", "a/b", "", ".hidden", "gone", "x" * 200])
@pytest.mark.parametrize("command", ["show", "verify", "remove"])
def test_names_that_are_none_lead_nowhere(command: str, name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "faces", {"manifest.json": b"{}"})
    (tmp_path / "data").mkdir()
    yes = ["--yes"] if command == "remove" else []
    assert refused("data", command, *yes, name, cwd=tmp_path).stderr.count("\n") == 1
    assert (tmp_path / "faces/manifest.json").exists()


def test_removal_asks(tmp_path: Path) -> None:
    run_pipeline("prepare", "--num-images", "4", "--name", "drawn", cwd=tmp_path)
    command = [sys.executable, "-m", "pipeline", "data", "remove", "drawn"]
    answer = subprocess.run(command, cwd=tmp_path, env=environment(), input="n\n", capture_output=True, text=True)
    assert answer.returncode == 130
    assert (tmp_path / "data/drawn/manifest.json").exists()


def tiles(rng: np.random.Generator) -> bytes:
    """Return the pixels of 64 tiles of random colours."""
    return rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1).tobytes()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of the memory from /proc")
def test_memory_is_flat(tmp_path: Path) -> None:
    """The peak of the memory does not follow the number of images."""
    code = (
        "import sys; from pathlib import Path; from pipeline.prepare import prepare\n"
        "prepare([sys.argv[1]], name='x', root=Path(sys.argv[2]), num_workers=1, progress=False)\n"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
    )
    rng = np.random.default_rng(0)
    peaks = []
    for number in (2_000, 12_000):
        pictures = {f"{k}.ppm": b"P6 64 64 255\n" + tiles(rng) for k in range(number)}
        archive = write_tar(tmp_path / f"{number}.tar", pictures)
        arguments = [sys.executable, "-c", code, archive, str(tmp_path / str(number))]
        done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * 1024)
    growth = (peaks[1] - peaks[0]) / 10_000
    assert growth < 1_000, f"{growth:.0f} bytes for each image of 12,288"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_rejected(tmp_path: Path) -> None:
    write_folder(tmp_path / "x", {"a.png": png(1), "b.png": png(2), "c.png": png(3)})
    (tmp_path / "x/b.png").chmod(0)
    lines: list[str] = []
    check([str(tmp_path / "x")], say=lines.append)
    assert "unreadable" in lines[0]
