"""Pages of a metric's history."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidInput
from modelreg.types import Metric, MetricPoint, Page
from modelreg.wire.points_json import structure_points
from modelreg.wire.registry_json import unstructure


@given(
    st.text(),
    st.floats(allow_nan=False),
    st.none() | st.integers(),
    st.none() | st.integers(),
    st.none() | st.text(),
)
def test_a_point_has_what_the_metric_has(name: str, value: float, step: int | None, time: int | None, id: str | None):
    item = unstructure(Metric(id=id, name=name, value=value, step=step, timestamp=time))

    assert structure_points({"items": [item]}).items == [MetricPoint(name, value, step, time, id)]


def test_a_page_says_where_it_goes_on():
    assert structure_points({"items": [], "nextPageToken": "t"}) == Page([], "t")


@pytest.mark.parametrize("obj", [{}, {"items": None, "nextPageToken": None}])
def test_a_page_of_an_older_server_may_leave_out_what_is_empty(obj: dict[str, Any]):
    assert structure_points(obj) == Page([], "")


def test_a_value_may_be_an_integer_or_the_text_of_what_json_lacks():
    points = structure_points({"items": [{"name": "a", "value": value} for value in (3, "NaN", "-Infinity")]}).items

    assert [type(point.value) for point in points] == [float] * 3
    assert [point.value for point in points] == pytest.approx([3.0, math.nan, -math.inf], nan_ok=True)


@pytest.mark.parametrize(
    "obj",
    [
        None,
        [],
        {"items": 7},
        {"items": {"name": "a"}},
        {"items": [None]},
        {"items": [{"name": "a"}]},
        {"items": [{"value": 1.0}]},
        {"items": [{"name": "a", "value": None}]},
        {"items": [{"name": "a", "value": True}]},
        {"items": [{"name": "a", "value": "high"}]},
        {"items": [{"name": "a", "value": 10**400}]},
        {"items": [{"name": "a", "value": 1.0, "timestamp": "noon"}]},
        {"items": [{"name": "a", "value": 1.0, "timestamp": math.inf}]},
        {"items": [], "nextPageToken": {"a": 1}},
    ],
)
def test_what_is_no_page_of_points_is_refused(obj: Any):
    with pytest.raises(InvalidInput, match=r"^not a page"):
        structure_points(obj)
