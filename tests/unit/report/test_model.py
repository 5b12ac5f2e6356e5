"""In what two protocols differ, in words, and when rows may not stand in one table."""

import pytest

from gan.errors import UserError
from pipeline.reporting.labels import label
from pipeline.reporting.model import differences, in_words, require_one_table
from pipeline.reporting.results import Configuration, Measured, Results, Training
from pipeline.reporting.tables import Table, build_tables
from tests.unit.report.made import PROTOCOL, run


def test_differences_are_by_dotted_name_in_the_order_of_the_fields() -> None:
    first = {"num_samples": 100, "crop": {"size": 64, "filter": {"name": "box", "width": 2}}, "same": [1, 2], "old": 0}
    second = {"new": True, "crop": {"filter": {"width": 3, "name": "box"}, "size": 32}, "same": [1, 2], "num_samples": 50}
    found = differences(first, second)
    assert found == [
        ("num_samples", "100", "50"),
        ("crop.size", "64", "32"),
        ("crop.filter.width", "2", "3"),
        ("old", "0", ""),
        ("new", "", "true"),
    ]
    assert [(field, theirs, ours) for field, ours, theirs in found] == sorted(
        differences(second, first), key=[each[0] for each in found].index.__call__ and _order([each[0] for each in found])
    )
