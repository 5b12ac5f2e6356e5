import pytest

from pipeline.metrics.extractors import EXTRACTORS
from pipeline.metrics.names import KINDS, kind_of, metric_name


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_says_its_kind(kind: str, extractor: str) -> None:
    assert kind_of(metric_name(kind, extractor)) == kind


def test_names_are_distinct_and_only_those_of_fids_own_features_are_published_ones() -> None:
    names = [metric_name(kind, extractor) for kind in KINDS for extractor in EXTRACTORS]
    assert len(set(names)) == len(names)
    published = {"fid", "kid", "fid_infinity", "inception_score"}
    assert {name for name in names if name in published} == {
        metric_name(kind, "inception") for kind in ("fd", "kd", "fd_infinity", "is")
    }
    assert metric_name("fd", "inception768") == "fd_inception768"
    assert metric_name("precision", "inception") == "precision_inception"


def test_names_of_others_have_no_kind() -> None:
    assert kind_of("fidelity") is None
    assert kind_of("isometry") is None
