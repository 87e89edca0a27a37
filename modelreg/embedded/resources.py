"""Rules for every kind of resource, within one transaction."""

from __future__ import annotations

import uuid
from typing import Any

from modelreg.embedded.entities import BY_SCHEMA, EXPERIMENT_RUN, METRIC, Collection, Kind
from modelreg.embedded.store import Resource, Store
from modelreg.exceptions import BadRequest, NotFound


def existing(store: Store, collection: Collection, id: int, *, to_change: bool = False) -> Resource:
    """Return the resource with an id.

    Raises:
        NotFound: The collection has none.
    """
    resource = store.get(id, to_change=to_change)
    if resource is None or resource.kind not in collection.kinds:
        raise missing(collection, id)
    return resource


def missing(collection: Collection, id: int) -> NotFound:
    """Return the error for an id that a collection does not have."""
    return NotFound(f"there is no {collection.label} with id {id}")


def taken(kind: Kind, values: dict[str, Any]) -> str:
    """Return what to say when a unique value of a resource is taken."""
    name = f" named {values['name']!r}" if "name" in values else ""
    external_id = f" with externalId {values['externalId']!r}" if values.get("externalId") else ""
    return f"there is already a {kind.label}{name}{' or one' if name and external_id else ''}{external_id}"


def add(store: Store, kind: Kind, values: dict[str, Any], *, parent_id: int | None, now: int) -> Resource:
    """Return a new resource.

    Args:
        store: The transaction.
        kind: What to make.
        values: Its fields, defaults filled in.
        parent_id: What it belongs to, where its fields do not say so.
        now: Microseconds since the epoch.

    Raises:
        NotFound: What it refers to is not there.
        BadRequest: Its fields contradict each other.
    """
    check(kind, values)
    _refer(store, kind, values)
    if kind.generated_name and not values.get("name"):
        values = {**values, "name": str(uuid.uuid4())}
    if kind.artifact_type is not None:
        values = {"artifactType": kind.artifact_type, **values}
    if kind.parent_field is not None:
        parent_id = int(values[kind.parent_field])
    return store.insert(kind, values, parent_id=parent_id, now=now)


def change(store: Store, resource: Resource, changes: dict[str, Any], *, now: int) -> Resource:
    """Return a resource after changing some of its fields.

    Raises:
        NotFound: It is to refer to what is not there.
        BadRequest: Its fields would contradict each other.
    """
    body = {**resource.fields(), **changes}
    check(resource.kind, body)
    _refer(store, resource.kind, changes)
    return store.replace(resource, body, now=now)


def _refer(store: Store, kind: Kind, values: dict[str, Any]) -> None:
    for name, wanted in kind.references.items():
        if name not in values:
            continue
        target = store.get(int(values[name]))
        if target is None or target.kind is not BY_SCHEMA[wanted]:
            raise NotFound(f"{name!r} names {BY_SCHEMA[wanted].label} {values[name]}, which is not there", field=name)


def check(kind: Kind, body: dict[str, Any]) -> None:
    """Return if fields do not contradict each other.

    Raises:
        BadRequest: They do, or a metric has no value.
    """
    if kind is EXPERIMENT_RUN and _ends_before_it_starts(body):
        raise BadRequest("'endTimeSinceEpoch' is before 'startTimeSinceEpoch'", field="endTimeSinceEpoch")
    if kind is METRIC and "value" not in body:
        raise BadRequest("a metric must have a 'value'", field="value")


def _ends_before_it_starts(body: dict[str, Any]) -> bool:
    start, end = body.get("startTimeSinceEpoch"), body.get("endTimeSinceEpoch")
    return start is not None and end is not None and int(end) < int(start)
