from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.labels import label, split_overrides
from pipeline.reporting.results import Configuration
from tests.unit.report.made import labelled


def test_a_variant_alone_is_called_by_its_name() -> None:
    assert _labels(labelled("dcgan", "1"), labelled("wgan", "2")) == ["dcgan", "wgan"]


def test_overrides_that_all_have_stand_apart() -> None:
    labels = label([labelled("dcgan", "1", "epochs=2 lr=1"), labelled("wgan", "2", "epochs=2 lr=2")])
    assert list(labels.by_key.values()) == ["dcgan (lr=1)", "wgan (lr=2)"]
    assert labels.common == ["epochs=2"]


def test_overrides_show_even_where_the_variant_has_one_row() -> None:
    assert _labels(labelled("dcgan", "1", "lr=1"), labelled("wgan", "2")) == ["dcgan (lr=1)", "wgan"]


def test_equal_overrides_leave_it_to_the_parameters() -> None:
    found = _labels(labelled("dcgan", "1", lr="0.1", epochs="1"), labelled("dcgan", "2", lr="0.1", epochs="20"))
    assert found == ["dcgan (epochs=1)", "dcgan (epochs=20)"]


def test_equal_parameters_leave_it_to_the_hash() -> None:
    labels = label([labelled("dcgan", "0123456789a"), labelled("dcgan", "0123456780b"), labelled("wgan", "2")])
    assert list(labels.by_key.values()) == ["dcgan (config 0123456789)", "dcgan (config 0123456780)", "wgan"]
    assert labels.hashed


def test_overrides_with_spaces_and_repeats() -> None:
    assert split_overrides("b.c=[2, 3] a=1 b.c=[4, 5]") == ["a=1", "b.c=[4, 5]"]
    assert split_overrides("") == []
    assert split_overrides("no override at all") == ["no override at all"]


TEXT = st.sampled_from(["", "a=1", "a=2", "a=1 b=2"])


@given(st.lists(st.tuples(st.sampled_from("xy"), TEXT, st.sampled_from("12")), min_size=1, max_size=6))
def test_no_two_configurations_share_a_label(rows: list[tuple[str, str, str]]) -> None:
    configurations = [labelled(name, f"hash-{n}", text, lr=lr) for n, (name, text, lr) in enumerate(rows)]
    assert len(set(_labels(*configurations))) == len(rows)


def _labels(*configurations: Configuration) -> list[str]:
    return list(label(configurations).by_key.values())
