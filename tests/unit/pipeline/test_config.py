"""The strict loader: what is read, and what is refused with which words."""

import dataclasses
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.config import Config, parse_config
from gan.errors import UserError
from gan.models.dcgan_k5 import DiscriminatorK5Config
from gan.optimizers import SGD, Adam
from gan.penalties import R1, WassersteinGP
from gan.schedules import Constant, Cosine, Linear
from pipeline.config import dump_yaml, load_experiment, load_suite, overrides_of
from pipeline.workspace import experiments_directory

VARIANTS = ("dcgan", "dcgan_51", "wgan", "wgan_sgd")
EXTRA = ("sngan", "wgan_gp")
BEYOND_THE_REPORTS = {
    "precision": "auto",
    "gradient_penalty": None,
    "schedule": Constant("constant"),
    "ema_decay": None,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_files_state_every_field_and_where_it_comes_from(variant: str) -> None:
    path = experiments_directory() / f"{variant}.yaml"
    stated = yaml.safe_load(path.read_text())
    fields = {field.name for field in dataclasses.fields(Config)}
    assert fields - stated.keys() == {"variant", "max_steps", *BEYOND_THE_REPORTS}
    values = [line for line in path.read_text().splitlines() if re.match(r"\s*\w+: *[^ ]", line)]
    unmarked = [line for line in values if "report" not in line and not line.startswith("title")]
    assert unmarked == []


@pytest.mark.parametrize("variant", EXTRA)
def test_the_extra_files_state_every_field_and_where_it_comes_from(variant: str) -> None:
    path = experiments_directory() / "extra" / f"{variant}.yaml"
    stated = yaml.safe_load(path.read_text())
    assert {field.name for field in dataclasses.fields(Config)} - stated.keys() == {"variant", "max_steps", "precision"}
    assert {field.name for field in dataclasses.fields(DiscriminatorK5Config)} == stated["discriminator"].keys()
    values = [line for line in path.read_text().splitlines() if re.match(r"\s*\w+: *[^ ]", line)]
    unmarked = [line for line in values if "paper" not in line and not line.startswith("title")]
    assert unmarked == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_that_the_reports_do_not_have_is_on(variant: str) -> None:
    config = load_experiment(variant)
    assert {name: getattr(config, name) for name in BEYOND_THE_REPORTS} == BEYOND_THE_REPORTS
    assert (config.discriminator.normalization, config.discriminator.spectral_norm) == ("batch", False)


@pytest.mark.parametrize("variant", [*VARIANTS, *EXTRA])
def test_the_resolved_configuration_reads_back(variant: str, tmp_path: Path) -> None:
    config = load_experiment(variant, ["epochs=3"])
    (tmp_path / "resolved.yaml").write_text(dump_yaml(config))
    assert load_experiment(str(tmp_path / "resolved.yaml")) == config
    assert config.variant == variant


def test_the_reports_hyperparameters() -> None:
    dcgan, wgan, dcgan_51, wgan_sgd = map(load_experiment, ("dcgan", "wgan", "dcgan_51", "wgan_sgd"))
    assert (dcgan.loss, dcgan.optimizer.name, dcgan.optimizer.lr) == ("bce", "adam", 1e-4)
    assert dataclasses.replace(dcgan, variant="dcgan_51", epochs=51, title=dcgan_51.title) == dcgan_51
    assert (wgan.loss, wgan.optimizer.name, wgan.optimizer.lr, wgan.epochs) == ("wasserstein", "rmsprop", 1e-4, 50)
    assert (wgan.discriminator_steps, wgan.batch_size, wgan.weight_clip) == (5, 64, 0.01)
    assert (wgan_sgd.batch_size, wgan_sgd.optimizer.name, wgan_sgd.optimizer.lr) == (32, "sgd", 1e-4)


def test_the_extra_experiments_are_those_of_their_papers() -> None:
    wgan_gp, sngan = map(load_experiment, ("wgan_gp", "sngan"))
    assert wgan_gp.gradient_penalty == WassersteinGP("wgan_gp", 10.0)
    assert (wgan_gp.loss, wgan_gp.weight_clip, wgan_gp.discriminator.normalization) == ("wasserstein", None, "layer")
    assert wgan_gp.optimizer == Adam("adam", 1e-4, (0.0, 0.9), 1e-8)
    assert (sngan.loss, sngan.discriminator.normalization, sngan.discriminator.spectral_norm) == ("hinge", "none", True)
    assert sngan.optimizer == Adam("adam", 2e-4, (0.0, 0.9), 1e-8)
    assert sngan.schedule == Linear("linear", 0.0, 0.0)
    assert {(each.batch_size, each.discriminator_steps) for each in (wgan_gp, sngan)} == {(64, 5)}


def test_what_is_off_can_be_turned_on_for_any_variant() -> None:
    config = load_experiment(
        "dcgan",
        [
            "precision=bf16",
            "gradient_penalty={name: r1, weight: 5}",
            "schedule={name: cosine, final: 0.1, warmup_steps: 100}",
            "ema_decay=0.999",
            "discriminator.spectral_norm=true",
        ],
    )
    assert (config.precision, config.gradient_penalty, config.ema_decay) == ("bf16", R1("r1", 5.0), 0.999)
    assert config.schedule == Cosine("cosine", 0.1, 100)
    assert config.discriminator.spectral_norm
    assert parse_config(config.to_dict()) == config


def test_overrides_are_yaml() -> None:
    config = load_experiment(
        "dcgan", ["optimizer={name: sgd, lr: 2e-4, momentum: 0}", "weight_clip=1e-2", "fresh_latents=true"]
    )
    assert config.optimizer == SGD(name="sgd", lr=2e-4, momentum=0.0)
    assert (config.weight_clip, config.fresh_latents) == (0.01, True)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lr=-1", "--set optimizer.lr=-1: optimizer.lr must be greater than 0, got -1"),
        ("optimizer.lr=.inf", "optimizer.lr must be"),
        ("optimizer.lr=fast", 'optimizer.lr must be a valid number, got "fast"'),
        ("optimizer.lrr=1", "optimizer.lrr is not a field. Did you mean 'lr'?"),
        ("optimizr.lr=1", "optimizr is not a group of fields. Did you mean 'optimizer'?"),
        (
            "optimizer.name=sdg",
            "optimizer.name must be one of 'adam', 'rmsprop', 'sgd', got 'sdg'. Did you mean 'sgd'?",
        ),
        ("optimizer={lr: 1}", "optimizer.name is missing"),
        ("optimizer.betas=[0.5]", "optimizer.betas"),
        (
            "loss=wasserstien",
            "loss must be one of bce, wasserstein, hinge, got 'wasserstien'. Did you mean 'wasserstein'?",
        ),
        (
            "precision=bf61",
            "precision must be one of auto, fp32, tf32, bf16, got 'bf61'. Did you mean 'bf16'?",
        ),
        (
            "gradient_penalty={name: wgan, weight: 1}",
            "gradient_penalty.name must be one of 'wgan_gp', 'r1', got 'wgan'. Did you mean 'wgan_gp'?",
        ),
        ("gradient_penalty={name: r1}", "gradient_penalty.weight is missing"),
        ("gradient_penalty={name: r1, weight: 0}", "gradient_penalty.weight must be greater than 0, got 0"),
        ("gradient_penalty.weight=1", "gradient_penalty is not a group of fields"),
        ("schedule={name: cosine, final: 1}", "schedule.final must be less than 1, got 1"),
        ("schedule={name: constant, warmup_step: 1}", "schedule.warmup_step is not a field. Did you mean"),
        ("ema_decay=1", "ema_decay must be less than 1, got 1"),
        ("discriminator.normalization=group", "must be one of 'batch', 'layer' or 'none', got \"group\""),
        ("generator.name=dcgan", "generator.name must be one of 'dcgan_k5', 'deconv_k3', got 'dcgan'"),
        ("discriminator.head=lin", "discriminator.head must be one of 'conv' or 'linear'"),
        ("discriminator.dropout=1", "discriminator.dropout must be less than 1, got 1"),
        ("epochs=0", "--set epochs=0: epochs must be greater than or equal to 1, got 0"),
        ("epochs=1.5", "epochs must be a valid integer, got 1.5"),
        ("epochs=true", "epochs must be a valid integer, got true"),
        ("batch_size=1", "batch_size must be greater than or equal to 2, got 1"),
        ("nonsense=1", "nonsense is not a field. Known fields: variant, title"),
        ("epochs", "--set must be FIELD=VALUE, for example optimizer.lr=2e-4, got 'epochs'"),
        ("epochs=[1", "is not valid YAML"),
        ("variant=../x", "variant"),
    ],
)
def test_wrong_overrides_are_refused_with_field_rule_and_value(override: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_experiment("dcgan", [override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("losss: bce\n", "losss is not a field. Did you mean 'loss'?"),
        ("epochs: 1\nepochs: 2\n", "(line 2): the key 'epochs' stands twice"),
        ("epochs: [1\n", "is not valid YAML (line"),
        ("- a\n", "must hold fields as 'name: value', got list"),
        ("", "must hold fields as 'name: value', got NoneType"),
        ("epochs: !!python/object/apply:os.system [date]\n", "is not valid YAML"),
        ("epochs: 3\n", "is missing. Add it."),
    ],
)
def test_wrong_files_are_refused_with_their_name(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text if "losss" not in text else (experiments_directory() / "dcgan.yaml").read_text() + text)
    with pytest.raises(UserError) as caught:
        load_experiment(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match=r"must be one of the variants dcgan, .*got 'wgna'. Did you mean 'wgan'\?"):
        load_experiment("wgna")
    with pytest.raises(UserError, match=r"dcgan, dcgan_51, wgan, wgan_sgd, sngan, wgan_gp .*Did you mean 'sngan'\?"):
        load_experiment("sn_gan")
    with pytest.raises(UserError, match=r"SUITE must be one of the suites .*demo.*got 'dmeo'. Did you mean 'demo'\?"):
        load_suite("dmeo")
    with pytest.raises(UserError, match=r"the file 'no.yaml' does not exist"):
        load_experiment("no.yaml")
    with pytest.raises(UserError, match="must be one of the variants"):
        load_experiment("../suites/demo")


@pytest.mark.parametrize("suite", ["precision", "feature_spaces", "beginnings", "reports_tenth", "clipping"])
def test_the_other_suites_are_valid(suite: str) -> None:
    assert load_suite(suite).cells


@pytest.mark.parametrize("field", ["extractors", "curve_extractors"])
def test_a_wrong_feature_space_of_a_suite_is_found_before_anything_runs(field: str, tmp_path: Path) -> None:
    data = yaml.safe_load((experiments_directory() / "suites" / "demo.yaml").read_text())
    data["evaluation"][field] = ["incepton"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=rf"mine.yaml: evaluation.{field} must be of .*, got 'incepton'"):
        load_suite(str(path))


@pytest.mark.parametrize("suite", ["demo", "reports", "ablations"])
def test_the_suites_are_valid_and_have_all_experiments(suite: str) -> None:
    config = load_suite(suite)
    cells = [(cell.variant, tuple(overrides_of(config, cell))) for cell in config.cells]
    assert len(set(cells)) == len(cells)
    if suite != "ablations":
        assert [variant for variant, _ in cells] == ["dcgan", "wgan", "dcgan_51", "wgan_sgd"]
    if suite == "reports":
        assert config.seeds == (0, 1, 2)
        assert all(overrides == () for _, overrides in cells)


def test_a_wrong_cell_of_a_suite_is_found_before_anything_runs(tmp_path: Path) -> None:
    text = (experiments_directory() / "suites" / "demo.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("optimizer.lr", "optimizer.rate"))
    with pytest.raises(UserError, match=r"mine.yaml: --set optimizer.rate=.*is not a field"):
        load_suite(str(path))


def test_a_suites_claims_lie_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = (experiments_directory() / "suites" / "demo.yaml").read_text()
    path.write_text(f"{text}claims: own.yaml\n")
    with pytest.raises(
        UserError, match=r"mine.yaml: claims must be a file beside it, got 'own.yaml'. Correct the path"
    ):
        load_suite(str(path))
    (tmp_path / "own.yaml").touch()
    assert load_suite(str(path)).claims == str(tmp_path / "own.yaml")
    assert load_suite("demo").claims is None


def test_overrides_of_a_suite_keep_their_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: t\ndataset: {name: d, sources: [avatars]}\nseeds: [0]\n"
        "evaluation: {extractors: [efficientnet_lite0], num_samples: 2}\nset: {epochs: 2}\n"
        "cells: [{variant: dcgan, set: {weight_clip: null, optimizer: {name: sgd, lr: 1e-3, momentum: 0.0}}}]\n"
    )
    suite = load_suite(str(path))
    config = load_experiment("dcgan", overrides_of(suite, suite.cells[0]))
    assert (config.epochs, config.weight_clip, config.optimizer) == (2, None, SGD(name="sgd", lr=1e-3, momentum=0.0))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Config)]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5,
), max_size=4))  # fmt: skip
def test_whatever_stands_in_a_file_only_the_projects_own_error_comes_out(changes: dict[str, object]) -> None:
    data = yaml.safe_load((experiments_directory() / "dcgan.yaml").read_text()) | changes
    path = Path(__file__).parent / ".hypothesis-config.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    try:
        load_experiment(str(path))
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "name", ["-rf", "two\nlines", "\N{GRINNING FACE}", os.fsdecode(b"\xff"), "\x1b[31m", "x" * 200]
)
def test_a_file_with_a_strange_name_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """It would be the name of rows, runs and files."""
    path = tmp_path / f"{name}.yaml"
    path.write_text((experiments_directory() / "dcgan.yaml").read_text())
    with pytest.raises(UserError, match="variant String must") as refused:
        load_experiment(str(path))
    assert str(refused.value).isprintable()
    path.write_text(f"variant: mine\n{path.read_text()}")
    assert load_experiment(str(path)).variant == "mine"


@pytest.mark.parametrize("name", ["x" * 5000 + ".yaml", "a\0b.yaml", "../../etc/passwd", "/dev/zero", "", "."])
def test_names_that_are_no_files_are_refused(name: str) -> None:
    for load in (load_experiment, load_suite):
        with pytest.raises(UserError) as refused:
            load(name)
        assert str(refused.value).isprintable()
