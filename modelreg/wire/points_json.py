"""Histories of metrics, read fast: the fields of a point alone, without those of a resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelreg.exceptions import InvalidInput
from modelreg.types.options import Page
from modelreg.types.points import MetricPoint
from modelreg.wire.custom_properties import structure_double


def structure_points(obj: Mapping[str, Any]) -> Page[MetricPoint]:
    """Return the page of points that the contract's list of metrics describes.

    Raises:
        InvalidInput: ``obj`` is not such a page.

    Example:
        >>> page = {"items": [{"name": "loss", "value": 0.5, "step": 1, "timestamp": "7", "id": "3"}]}
        >>> structure_points(page).items
        [MetricPoint(name='loss', value=0.5, step=1, timestamp=7, id='3')]
    """
    try:
        points = [_point(item) for item in obj.get("items") or ()]
        return Page(points, obj.get("nextPageToken") or "")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"not a page of points: {error!r}") from error


def _point(item: Mapping[str, Any]) -> MetricPoint:
    value, timestamp = item["value"], item.get("timestamp")
    return MetricPoint(
        item["name"],
        value if type(value) is float else structure_double(value),
        item.get("step"),
        None if timestamp is None else int(timestamp),
        item.get("id"),
    )
