"""The history of metrics: SQL, and how a point travels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import attrs

from modelreg.embedded.database import Row, Transaction
from modelreg.embedded.entities import METRIC
from modelreg.embedded.fields import double, double_json, index_property
from modelreg.embedded.filter_sql import Column, Scope, compile_filter
from modelreg.embedded.listing import Listing, Position

#: What stands for a step or timestamp that is absent; see the migration that makes the table.
ABSENT = -(2**63)
#: What a point keeps of its metric beside its numbers.
_EXTRA_FIELDS = ("description", "state")
_COLUMNS = "r.id, m.name, r.run_id, e.parent_id, r.value, r.step, r.timestamp, r.recorded, r.extra"
_INSERT = (
    "INSERT INTO metric_point (metric_id, run_id, value, step, timestamp, recorded, extra, repeated) VALUES"
    " (?, ?, ?, ?, ?, ?, ?, "
)


class Point(NamedTuple):
    """One measurement; a tuple, as a batch has very many.

    Attributes:
        value: The number; ``None`` is NaN, which databases do not agree about.
        step: The step, or :data:`ABSENT`.
        timestamp: Milliseconds since the epoch, or :data:`ABSENT`.
    """

    value: float | None
    step: int
    timestamp: int

    @classmethod
    def of(cls, body: dict[str, Any]) -> Point:
        """Return the point that a metric's body holds."""
        number = double(body["value"])
        return cls(
            None if number is None or math.isnan(number) else number,
            body.get("step", ABSENT),
            int(body["timestamp"]) if "timestamp" in body else ABSENT,
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields of a metric whose last point this is."""
        step = {} if self.step == ABSENT else {"step": self.step}
        timestamp = {} if self.timestamp == ABSENT else {"timestamp": str(self.timestamp)}
        return {"value": double_json(math.nan if self.value is None else self.value), **step, **timestamp}


@attrs.frozen(kw_only=True)
class Series:
    """Which points to list.

    Attributes:
        run_id: Only those of this run.
        name: Only those of metrics with this name.
        steps: Only those at these steps.
    """

    run_id: int | None = None
    name: str | None = None
    steps: tuple[int, ...] = ()


class PointStore:
    """What the registry's rules read and write of metric histories, in one transaction.

    Args:
        tx: The transaction.
        ilike: Makes the SQL that matches an expression whatever the case of its letters.
    """

    def __init__(self, tx: Transaction, *, ilike: Callable[[str], str]) -> None:
        self._tx = tx
        self._ilike = ilike

    def append(self, metric_id: int, run_id: int, body: dict[str, Any], *, now: int) -> None:
        """Add the point that a metric's body holds, though there be one with the same step and timestamp."""
        point, extra = Point.of(body), _extra(body)
        point_id = self._tx.insert(
            _INSERT + "(SELECT coalesce(max(repeated) + 1, 0) FROM metric_point"
            " WHERE metric_id = ? AND step = ? AND timestamp = ?))",
            (
                *(metric_id, run_id, point.value, point.step, point.timestamp, now),
                *(json.dumps(extra, ensure_ascii=False) if extra else None, metric_id, point.step, point.timestamp),
            ),
        )
        if extra:
            self._index(point_id, extra)

    def merge(self, metric_id: int, run_id: int, points: Iterable[Point], *, now: int) -> int:
        """Add the points whose step and timestamp are not there yet, and return how many those were."""
        return self._tx.many(
            _INSERT + "0) ON CONFLICT DO NOTHING",
            [(metric_id, run_id, point.value, point.step, point.timestamp, now, None) for point in points],
        )

    def page(self, series: Series, listing: Listing) -> list[Row]:
        """Return the rows of a page, and one more where another page follows."""
        conditions, params = ["m.id = r.metric_id", "e.id = r.run_id"], []
        if series.run_id is not None:
            conditions.append("r.run_id = ?")
            params.append(series.run_id)
        if series.name is not None:
            metrics = self._metrics(series.run_id, series.name)
            conditions.append(f"r.metric_id IN ({_placeholders(metrics)})" if metrics else "1 = 0")
            params += metrics
        if series.steps:
            conditions.append(f"r.step IN ({_placeholders(series.steps)})")
            params += series.steps
        self._add_filter(listing, conditions, params)
        _add_position(listing, conditions, params)
        way = "DESC" if listing.order.descending else "ASC"
        ordering = f"r.id {way}" if listing.order.column == "id" else f"r.recorded {way}, r.id {way}"
        source = "metric_point r CROSS JOIN resource m CROSS JOIN resource e"
        sql = f"SELECT {_COLUMNS} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {ordering} LIMIT ?"
        return self._tx.rows(sql, [*params, listing.limit + 1])

    def _metrics(self, run_id: int | None, name: str) -> list[int]:
        if run_id is None:
            rows = self._tx.rows("SELECT id FROM resource WHERE kind = ? AND name = ?", (METRIC.code, name))
        else:
            rows = self._tx.rows(
                "SELECT id FROM resource WHERE kind = ? AND name = ? AND scope = ? UNION"
                " SELECT a.artifact_id FROM attribution a JOIN resource m ON m.id = a.artifact_id"
                " WHERE a.parent_id = ? AND m.name = ?",
                (METRIC.code, name, run_id, run_id, name),
            )
        return [row[0] for row in rows]

    def _add_filter(self, listing: Listing, conditions: list[str], params: list[Any]) -> None:
        if not listing.filter_query.strip():
            return
        from modelreg.embedded.filter_query import parse_filter

        node = parse_filter(listing.filter_query)
        if node is not None:
            for term in compile_filter(node, _scope(self._ilike)):
                conditions.append(term.condition.sql)
                params += term.condition.params

    def _index(self, point_id: int, extra: dict[str, Any]) -> None:
        rows: list[tuple[Any, ...]] = [(0, name, "s", extra[name], None) for name in _EXTRA_FIELDS if name in extra]
        for name, value in extra["customProperties"].items():
            found = index_property(value)
            if found is not None:
                rows.append((1, name, *found))
        self._tx.many(
            "INSERT INTO metric_point_property (resource_id, kind, custom, name, type, text_value, number_value)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(point_id, METRIC.code, *row) for row in rows],
        )


def position(row: Row, listing: Listing) -> Position:
    """Return where a row of a history stands in its order."""
    return Position(row[0] if listing.order.column == "id" else row[7], row[0])


def renderer() -> Callable[[Row], str]:
    """Return a function that makes the JSON of a row of a history; it writes each metric's name once."""
    names: dict[str, str] = {}

    def render(row: Row) -> str:
        point_id, name, run_id, experiment_id, value, step, timestamp, recorded, extra = row
        if name not in names:
            names[name] = json.dumps(name, ensure_ascii=False)
        step_json = "" if step == ABSENT else f'"step":{step},'
        timestamp_json = "" if timestamp == ABSENT else f'"timestamp":"{timestamp}",'
        return (
            f'{{"id":"{point_id}","artifactType":"metric","name":{names[name]},"value":{_number(value)},{step_json}'
            f'{timestamp_json}"experimentId":"{experiment_id}","experimentRunId":"{run_id}",'
            f'"createTimeSinceEpoch":"{recorded // 1000}","lastUpdateTimeSinceEpoch":"{recorded // 1000}",'
            f"{_NO_EXTRA if extra is None else extra[1:-1]}}}"
        )

    return render


_NO_EXTRA = '"customProperties":{}'


def _number(value: float | None) -> str:
    if value is None:
        return '"NaN"'
    return repr(value) if math.isfinite(value) else f'"{double_json(value)}"'


def _extra(body: dict[str, Any]) -> dict[str, Any]:
    extra = {name: body[name] for name in _EXTRA_FIELDS if name in body}
    if not extra and not body["customProperties"]:
        return {}
    return {**extra, "customProperties": body["customProperties"]}


def _placeholders(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _add_position(listing: Listing, conditions: list[str], params: list[Any]) -> None:
    if listing.after is None:
        return
    beyond = "<" if listing.order.descending else ">"
    if listing.order.column == "id":
        conditions.append(f"r.id {beyond} ?")
        params.append(listing.after.id)
    else:
        conditions.append(f"(r.recorded, r.id) {beyond} (?, ?)")
        params += [listing.after.value, listing.after.id]


def _scope(ilike: Callable[[str], str]) -> Scope:
    recorded = Column("(r.recorded / 1000)", numeric=True)
    return Scope(
        columns={
            "id": Column("r.id", numeric=True),
            "name": Column("m.name"),
            "value": Column("r.value", numeric=True),
            "step": Column(f"nullif(r.step, {ABSENT + 1} - 1)", numeric=True),
            "timestamp": Column(f"nullif(r.timestamp, {ABSENT + 1} - 1)", numeric=True),
            "experimentRunId": Column("r.run_id", numeric=True),
            "experimentId": Column("e.parent_id", numeric=True),
            "createTimeSinceEpoch": recorded,
            "lastUpdateTimeSinceEpoch": recorded,
        },
        fields=dict.fromkeys(_EXTRA_FIELDS, False),
        properties="metric_point_property",
        kinds=(METRIC.code,),
        ilike=ilike,
    )
