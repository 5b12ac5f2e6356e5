"""Which files of weights are read, which are refused, and what is said of a download that fails."""

import pickle
import shutil
import urllib.error
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gan.errors import UserError
from pipeline.metrics import clip, dinov2, vgg16
from pipeline.metrics.extractors import load_extractor
from tests.unit.metrics.networks import State, clip_state, dinov2_state, save_clip_archive, small_vgg16_state

CPU = torch.device("cpu")
PUBLISHED = {
    "clip_vit_b32": clip.WEIGHTS,
    "vgg16": vgg16.WEIGHTS,
    **{name: dinov2.published_weights(name) for name in dinov2.VARIANTS},
}
BUILDERS: dict[str, tuple[Callable[[], State], Callable[[State, str], nn.Module], str]] = {
    "clip_vit_b32": (clip_state, clip.build_network, "visual.ln_post.bias"),
    "vgg16": (small_vgg16_state, vgg16.build_network, "classifier.3.bias"),
    "dinov2_vits14": (dinov2_state, partial(dinov2.build_network, "dinov2_vits14"), "norm.bias"),
}


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_pickle_payload_is_refused_and_not_run(save, name: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, marker = tmp_path / "evil.pth", tmp_path / "executed"
    save({"norm.weight": Payload(marker)}, path)
    with pytest.raises(UserError, match="must be a PyTorch state dict that holds only tensors"):
        load_extractor(name, weights=path, device=CPU)
    assert not marker.exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_that_are_no_weights_are_refused(name: str, tmp_path: Path) -> None:
    text, other, entries = tmp_path / "text.pth", tmp_path / "other.pth", tmp_path / "entries.pth"
    text.write_text("hello")
    torch.save({"pos_embed": torch.zeros(1, 257, 384)}, other)
    torch.save([torch.zeros(3)], entries)
    for path, message in (
        (tmp_path / "missing.pth", "cannot be read"),
        (tmp_path, "cannot be read"),
        (text, "damaged file"),
        (other, f"must be the weights of .*{PUBLISHED[name].title}.*, got another network's"),
        (entries, "got list"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            load_extractor(name, weights=path, device=CPU)
        assert f"--weights {path}: " in str(refused.value)
        assert "--weights FILE" in str(refused.value)
        assert "\n" not in str(refused.value)


def _without_a_tensor(state: State, name: str) -> None:
    del state[name]


def _with_an_unknown_tensor(state: State, _: str) -> None:
    state["register_tokens"] = torch.zeros(1, 4, 384)


def _with_another_shape(state: State, name: str) -> None:
    state[name] = torch.zeros(3)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("damage", [_without_a_tensor, _with_an_unknown_tensor, _with_another_shape])
def test_a_state_dict_has_to_fit_exactly(damage: Callable[[State, str], None], name: str) -> None:
    make_state, build_network, tensor = BUILDERS[name]
    state = make_state()
    damage(state, tensor)
    with pytest.raises(UserError, match=r"^file: must be the weights of .* \(names or shapes differ\); get "):
        build_network(state, "file")


@pytest.mark.parametrize("name", BUILDERS)
def test_weights_that_give_nan_are_refused(name: str, tmp_path: Path) -> None:
    make_state, _, tensor = BUILDERS[name]
    state = make_state()
    state[tensor] = torch.full(state[tensor].shape, float("nan"))
    path = tmp_path / "nan.pth"
    torch.save(state, path)
    with pytest.raises(UserError, match=rf"^--weights {path}: the {name} features are not finite \(NaN\); get "):
        load_extractor(name, weights=path, device=CPU)
    path.unlink()


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file", "ignore:.*torch.jit.* is deprecated")
def test_another_torchscript_archive_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.pt"
    save_clip_archive(path)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("the archive was opened"))
    with pytest.raises(UserError, match=r"must be OpenAI's own TorchScript archive, .* which is not run") as refused:
        load_extractor("clip_vit_b32", weights=path, device=CPU)
    assert str(refused.value).startswith(f"--weights {path}: ")
    assert sha256(path.read_bytes()).hexdigest() in str(refused.value)
    for name in ("vgg16", "dinov2_vits14"):
        with pytest.raises(UserError, match="must be a PyTorch state dict that holds only tensors"):
            load_extractor(name, weights=path, device=CPU)
    path.unlink()


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(
    "failure", [urllib.error.URLError("no network"), TimeoutError("timed out"), RuntimeError("invalid hash value")]
)
def test_without_weights_and_network_the_message_says_what_to_do(
    failure: Exception, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError) as refused:
        load_extractor(name, device=CPU)
    message, published = str(refused.value), PUBLISHED[name]
    assert "\n" not in message
    for part in (published.title, published.file, published.url, "--weights FILE", "--extractor efficientnet_lite0"):
        assert part in message


def test_a_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served, downloaded = tmp_path / "served.pth", []
    torch.save(dinov2_state(), served)

    def download(url: str, path: str, hash_prefix: str) -> None:
        downloaded.append((url, hash_prefix))
        shutil.copy(served, path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    first, second = (load_extractor("dinov2_vits14", device=CPU) for _ in range(2))
    published = PUBLISHED["dinov2_vits14"]
    assert downloaded == [(published.url, published.sha256)]
    assert first.protocol == second.protocol
    assert first.protocol["weights_sha256"] == sha256(served.read_bytes()).hexdigest()

    kept = tmp_path / "checkpoints" / "dinov2_vits14_pretrain.pth"
    kept.write_bytes(b"cut short")
    with pytest.raises(UserError, match=rf"^{kept} \(downloaded; delete it to download it again\): must be "):
        load_extractor("dinov2_vits14", device=CPU)
    served.unlink()


def test_hashes_are_whole_or_the_publishers_digits() -> None:
    for published in PUBLISHED.values():
        assert len(published.sha256) == 64 or published.sha256 in published.file
    assert clip.WEIGHTS.sha256 in clip.WEIGHTS.url
