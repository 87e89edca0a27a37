"""Histories of metrics, read fast: the fields of a point alone, without those of a resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelreg.exceptions import InvalidInput
from modelreg.types.options import Page
from modelreg.types.points import MetricPoint
from modelreg.wire.custom_properties import structure_double
from modelreg.wire.registry_json import structure_page_token


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
        return Page(points, structure_page_token(obj))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"not a page of points: {error!r}") from error


def _point(item: Mapping[str, Any]) -> MetricPoint:
    # By position, and the common type first: this is called a hundred thousand times for one history.
    value, timestamp = item["value"], item.get("timestamp")
    number = value if type(value) is float else structure_double(value)
    return MetricPoint(
        item["name"], number, item.get("step"), int(timestamp) if timestamp is not None else None, item.get("id")
    )
