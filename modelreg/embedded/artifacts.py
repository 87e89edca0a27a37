"""Rules for artifacts of versions and runs: which one a request means, the history of metrics, and batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs

from modelreg.embedded import resources
from modelreg.embedded.entities import ALL_ARTIFACTS, EXPERIMENT_RUN, METRIC, Kind
from modelreg.embedded.fields import INT64, MAX_NAME, Reference, Text, double, wrong
from modelreg.embedded.json_body import artifact_kind, read_create, read_update
from modelreg.embedded.points import ABSENT, Point
from modelreg.embedded.store import Resource, Store
from modelreg.exceptions import BadRequest, NotFound


@attrs.frozen
class Batch:
    """What a run writes in one transaction.

    Attributes:
        metrics: The points of each metric, by name; the last is the metric's own value from then on.
        artifacts: Bodies of artifacts, each with a name.
    """

    metrics: dict[str, list[Point]]
    artifacts: list[tuple[Kind, dict[str, Any]]]


def read_batch(body: dict[str, Any]) -> Batch:
    """Return the batch that a body holds.

    Raises:
        BadRequest: It is not one; the message says where.
    """
    metrics: dict[str, list[Point]] = {}
    for metric in _objects(body, "metrics"):
        name = _name(metric, "metrics")
        points = metric.get("points")
        if not isinstance(points, list):
            raise wrong(f"metrics.{name}.points", "a list")
        metrics.setdefault(name, []).extend(_point(point, name) for point in points)
    artifacts = [(artifact_kind(artifact), artifact) for artifact in _objects(body, "artifacts")]
    for _, artifact in artifacts:
        _name(artifact, "artifacts")
    return Batch(metrics, artifacts)


def put_artifact(
    store: Store, owner: Resource, kind: Kind, body: dict[str, Any], *, now: int, once: bool = False
) -> tuple[Resource, bool]:
    """Return an artifact of a version or run, and whether it is new.

    The body's id tells which artifact is meant, as does the name of a metric or parameter; otherwise one is made. A
    metric of a run adds a point to its history each time.

    Args:
        store: The transaction.
        owner: The version or run.
        kind: What the body says it is.
        body: What the client sent.
        now: Microseconds since the epoch.
        once: Whether the same request may come again: any name is looked up, and a point that is there is not added.

    Raises:
        BadRequest: The body is wrong, or its id is that of an artifact of another kind.
    """
    values = read_create(kind, body, strict=False, owned=True)
    if owner.kind is EXPERIMENT_RUN:
        values |= {"experimentId": str(owner.parent_id), "experimentRunId": str(owner.id)}
    known = _known(store, owner, kind, body, by_name=once or kind.upserted_by_name)
    if known is None:
        artifact = resources.add(store, kind, values, parent_id=owner.id, now=now)
    else:
        changes = read_update(kind, body, strict=False)
        changes |= {name: values[name] for name in ("experimentId", "experimentRunId") if name in values}
        resources.check(kind, changes)
        artifact = resources.change(store, known, changes, now=now)
        if known.parent_id != owner.id:
            store.attribute(owner.id, known.id)
    if kind is METRIC and owner.kind is EXPERIMENT_RUN:
        if once:
            store.points.merge(artifact.id, owner.id, [Point.of(artifact.fields())], now=now)
        else:
            store.points.append(artifact.id, owner.id, artifact.fields(), now=now)
    return artifact, known is None


def write_batch(store: Store, run: Resource, batch: Batch, *, now: int) -> tuple[int, int]:
    """Return how many points of a batch were new, and how many artifacts it had, all of them stored.

    Raises:
        BadRequest: An artifact is wrong.
    """
    stored = 0
    for name, points in sorted(batch.metrics.items()):  # in one order everywhere, so that two batches never deadlock
        if points:
            stored += _merge_points(store, run, name, points, now=now)
    for kind, body in batch.artifacts:
        put_artifact(store, run, kind, body, now=now, once=True)
    return stored, len(batch.artifacts)


def _merge_points(store: Store, run: Resource, name: str, points: Sequence[Point], *, now: int) -> int:
    last = points[-1].fields()
    metric = store.named(METRIC, name, run.id)
    if metric is None:
        belongs = {"experimentId": str(run.parent_id), "experimentRunId": str(run.id)}
        metric = resources.add(
            store, METRIC, {"name": name, "customProperties": {}, **belongs, **last}, parent_id=run.id, now=now
        )
        return store.points.merge(metric.id, run.id, points, now=now)
    stored = store.points.merge(metric.id, run.id, points, now=now)
    if stored:  # a batch that comes again must not take the metric back to an older value
        resources.change(store, metric, last, now=now)
    return stored


def _known(store: Store, owner: Resource, kind: Kind, body: dict[str, Any], *, by_name: bool) -> Resource | None:
    """Return the artifact that a body means, or ``None`` if it is a new one."""
    if body.get("id") is not None:
        artifact_id = int(Reference().read(body["id"], "id"))
        try:
            artifact = resources.existing(store, ALL_ARTIFACTS, artifact_id, to_change=True)
        except NotFound as error:
            raise BadRequest(f"'id' names artifact {artifact_id}, which is not there", field="id") from error
        if artifact.kind is not kind:
            raise BadRequest(
                f"artifact {artifact_id} is a {artifact.kind.label}, not a {kind.label}", field="artifactType"
            )
        return artifact
    name = body.get("name")
    return store.named(kind, name, owner.id) if by_name and name else None


def _objects(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong(name, "a list of objects")
    return value


def _name(item: dict[str, Any], where: str) -> str:
    name = Text(MAX_NAME).read(item.get("name"), f"{where}.name")
    if not name:
        raise wrong(f"{where}.name", "not empty")
    return name


def _point(point: Any, name: str) -> Point:
    if not isinstance(point, list) or len(point) != 3:
        raise wrong(f"metrics.{name}.points", "a list of [value, step, timestamp]")
    number = double(point[0])
    if number is None:
        raise wrong(f"metrics.{name}.points", "a list of points whose value is a number, NaN, Infinity or -Infinity")
    return Point(None if math.isnan(number) else number, _whole(point[1], name), _whole(point[2], name))


def _whole(value: Any, name: str) -> int:
    if value is None:
        return ABSENT
    if type(value) is not int or value not in INT64:  # a bool is an int that nobody means as a step
        raise wrong(f"metrics.{name}.points", "a list of points whose step and timestamp are 64-bit integers or null")
    return value
