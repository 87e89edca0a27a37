"""Rules for changing some custom properties of a resource, where they still are what the client saw."""

from __future__ import annotations

from typing import Any

import attrs

from modelreg.embedded import resources
from modelreg.embedded.fields import Properties, wrong
from modelreg.embedded.store import Resource, Store
from modelreg.exceptions import BadRequest, Conflict

_FIELDS = frozenset({"expected", "changes"})


@attrs.frozen
class PropertyChanges:
    """What is to become of custom properties.

    Attributes:
        expected: What some of them must be for anything to be changed; ``None`` for one that must be absent.
        changes: What some of them become; ``None`` removes one.
    """

    expected: dict[str, Any]
    changes: dict[str, Any]


def read_property_changes(body: dict[str, Any]) -> PropertyChanges:
    """Return the changes that a body holds.

    Raises:
        BadRequest: It holds something else.
    """
    unknown = sorted(body.keys() - _FIELDS)
    if unknown:
        raise BadRequest(f"{unknown[0]!r} is not a field of changes to properties", field=unknown[0])
    return PropertyChanges(*(_read(body.get(name), name) for name in ("expected", "changes")))


def change_properties(store: Store, resource: Resource, wanted: PropertyChanges, *, now: int) -> Resource:
    """Return a resource after changing some of its custom properties.

    Raises:
        Conflict: One of them is not what was expected; nothing was changed.
    """
    held = resource.fields()["customProperties"]
    other = sorted(name for name, value in wanted.expected.items() if held.get(name) != value)
    if other:
        raise Conflict(f"the custom property {other[0]!r} is not what was expected", next_step="read it again")
    merged = {name: value for name, value in {**held, **wanted.changes}.items() if value is not None}
    return resources.change(store, resource, {"customProperties": merged}, now=now)


def _read(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(name, "an object")
    absent = {key: None for key, item in value.items() if item is None}
    given = Properties().read({key: item for key, item in value.items() if item is not None}, name)
    return {**absent, **given}
