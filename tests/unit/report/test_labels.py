from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.labels import label
from pipeline.reporting.results import Configuration
from tests.unit.report.made import labelled


def test_a_variant_alone_is_called_by_its_name() -> None:
    assert _labels(labelled("dcgan", "1"), labelled("wgan", "2")) == ["dcgan", "wgan"]


def test_changes_that_all_have_stand_apart() -> None:
    labels = label([labelled("dcgan", "1", "epochs=2 lr=1"), labelled("wgan", "2", "epochs=2 lr=2")])
    assert list(labels.by_key.values()) == ["dcgan (lr=1)", "wgan (lr=2)"]
    assert labels.common == ["epochs=2"]


def test_changes_show_even_where_the_variant_has_one_row() -> None:
    assert _labels(labelled("dcgan", "1", "lr=1"), labelled("wgan", "2")) == ["dcgan (lr=1)", "wgan"]


def test_equal_changes_leave_it_to_the_fields() -> None:
    found = _labels(labelled("dcgan", "1", lr="0.1", epochs="1"), labelled("dcgan", "2", lr="0.1", epochs="20"))
    assert found == ["dcgan (epochs=1)", "dcgan (epochs=20)"]


def test_equal_fields_leave_it_to_the_hash() -> None:
    labels = label([labelled("dcgan", "0123456789a"), labelled("dcgan", "0123456780b"), labelled("wgan", "2")])
    assert list(labels.by_key.values()) == ["dcgan (config 0123456789)", "dcgan (config 0123456780)", "wgan"]
    assert labels.hashed


def test_values_are_those_of_the_configuration_whatever_a_tag_says() -> None:
    one = labelled("dcgan", "1", "lr=1", optimizer={"betas": [0.5, 0.9]})
    one.trainings[0].run.tags["changed"] = "lr optimizer.betas gone"  # type: ignore[index]
    one.trainings[0].run.tags["overrides"] = "lr=777"  # type: ignore[index]
    assert _labels(one, labelled("wgan", "2")) == ["dcgan (lr=1, optimizer.betas=[0.5, 0.9])", "wgan"]


def test_rows_of_different_code_say_so() -> None:
    ours, theirs = labelled("dcgan", "1"), labelled("dcgan", "2")
    theirs.trainings[0].run.tags["code_hash"] = "d" * 64  # type: ignore[index]
    assert _labels(ours, theirs) == ["dcgan (code=cccccccc)", "dcgan (code=dddddddd)"]


TEXT = st.sampled_from(["", "a=1", "a=2", "a=1 b=2"])


@given(st.lists(st.tuples(st.sampled_from("xy"), TEXT, st.sampled_from("12")), min_size=1, max_size=6))
def test_no_two_configurations_share_a_label(rows: list[tuple[str, str, str]]) -> None:
    configurations = [labelled(name, f"hash-{n}", text, lr=lr) for n, (name, text, lr) in enumerate(rows)]
    assert len(set(_labels(*configurations))) == len(rows)


def _labels(*configurations: Configuration) -> list[str]:
    return list(label(configurations).by_key.values())
