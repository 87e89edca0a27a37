"""The registry's SQL, written once for every database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from modelreg.embedded.database import Row, Transaction
from modelreg.embedded.entities import BY_CODE, Family, Kind
from modelreg.embedded.fields import index_property
from modelreg.embedded.filter_sql import (
    INDEXED_CHARACTERS,
    Column,
    Condition,
    Scope,
    Seek,
    Term,
    compile_filter,
    kind_condition,
)
from modelreg.embedded.listing import Listing, Position
from modelreg.embedded.points import PointStore

_COLUMNS = "r.id, r.kind, r.parent_id, r.created, r.updated, r.body"
#: Fields that refer to another resource than the parent, and the columns that hold them to one that is there.
_REFERENCES = {"registeredModelId": "registered_model_id", "modelVersionId": "model_version_id"}
#: Fields that are columns, so that the property table need not hold them.
_OWN_COLUMNS = frozenset({"name", "externalId", "customProperties"})
#: What the property table holds of one value: whether it is custom, its name, type, text and number.
IndexEntry: TypeAlias = "tuple[int, str, str, str | None, float | int | None]"
#: An index that gives fewer rows than this is the way into a listing whatever its order.
FEW = 500


@attrs.frozen
class Resource:
    """A row of the resource table.

    Attributes:
        id: The resource's id.
        kind: What it is.
        parent_id: The resource that it belongs to.
        created: When it was made, in microseconds since the epoch.
        updated: When it was changed last, in microseconds since the epoch.
        body: Its other fields as the text of a JSON object.
    """

    id: int
    kind: Kind
    parent_id: int | None
    created: int
    updated: int
    body: str

    def json(self) -> str:
        """Return the resource as it travels."""
        return _render(self.id, self.created, self.updated, self.body)

    def fields(self) -> dict[str, Any]:
        """Return its other fields."""
        fields: dict[str, Any] = json.loads(self.body)
        return fields


def render_row(row: Row) -> str:
    """Return a row of a listing as the resource travels."""
    return _render(row[0], row[3], row[4], row[5])


def dump(body: dict[str, Any]) -> str:
    """Return the JSON text of a body."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _render(id: int, created: int, updated: int, body: str) -> str:
    times = f'"createTimeSinceEpoch":"{created // 1000}","lastUpdateTimeSinceEpoch":"{updated // 1000}"'
    return f'{{"id":"{id}",{times},{body[1:]}'


def indexed(kind: Kind, body: dict[str, Any]) -> Iterator[IndexEntry]:
    """Yield what the property table holds of a body."""
    for name, value in body.items():
        if name not in _OWN_COLUMNS and name in kind.fields:
            found = kind.fields[name].type.index(value)
            if found is not None:
                yield (0, name, *found)
    for name, value in body["customProperties"].items():
        found = index_property(value)
        if found is not None:
            yield (1, name, *found)


class Store:
    """What the registry's rules read and write, in one transaction.

    Attributes:
        points: The history of metrics.

    Args:
        tx: The transaction.
        lock_rows: What ends a query whose rows are going to be changed.
        ilike: Makes the SQL that matches an expression whatever the case of its letters.
    """

    def __init__(self, tx: Transaction, *, lock_rows: str, ilike: Callable[[str], str]) -> None:
        self._tx = tx
        self._lock_rows = lock_rows
        self._ilike = ilike
        self.points = PointStore(tx, ilike=ilike)

    # One resource

    def get(self, id: int, *, to_change: bool = False) -> Resource | None:
        """Return a resource of any kind, or ``None``."""
        return self._one(f"SELECT {_COLUMNS} FROM resource r WHERE r.id = ?", (id,), to_change=to_change)

    def named(self, kind: Kind, name: str, scope: int) -> Resource | None:
        """Return what has a name in a scope, to change it, or ``None``."""
        sql = f"SELECT {_COLUMNS} FROM resource r WHERE r.kind = ? AND r.name = ? AND r.scope = ?"
        return self._one(sql, (kind.code, name, scope), to_change=True)

    def find(
        self, kinds: Sequence[Kind], *, name: str | None, scope: int | None, external_id: str | None
    ) -> list[Resource]:
        """Return at most two resources that match all that is given; a name counts within its scope."""
        conditions, params = [kind_condition("r", _codes(kinds))], []
        if external_id is not None:
            conditions.append("r.family = ? AND r.external_id = ?")
            params += [int(kinds[0].family), external_id]
        if name is None or scope is None:
            return self._several(f"SELECT {_COLUMNS} FROM resource r WHERE {_all(conditions)} LIMIT 2", params)
        conditions.append("r.name = ?")
        params.append(name)
        found = self._several(
            f"SELECT {_COLUMNS} FROM resource r WHERE {_all(conditions)} AND r.scope = ? LIMIT 2", [*params, scope]
        )
        if kinds[0].family is Family.ARTIFACT:
            found += self._several(
                f"SELECT {_COLUMNS} FROM attribution a JOIN resource r ON r.id = a.artifact_id"
                f" WHERE a.parent_id = ? AND {_all(conditions)} LIMIT 2",
                [scope, *params],
            )
        return found[:2]

    def insert(self, kind: Kind, body: dict[str, Any], *, parent_id: int | None, now: int) -> Resource:
        """Add a resource and return it."""
        text = dump(body)
        sql = (
            "INSERT INTO resource (kind, family, parent_id, registered_model_id, model_version_id, scope, name,"
            " external_id, created, updated, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        references = (_reference(kind, body, field) for field in _REFERENCES)
        scope = 0 if kind.top_level else parent_id
        values = (parent_id, *references, scope, body["name"], body.get("externalId") or None, now, now, text)
        resource = Resource(
            self._tx.insert(sql, (kind.code, int(kind.family), *values)), kind, parent_id, now, now, text
        )
        self._index(resource, indexed(kind, body))
        return resource

    def replace(self, resource: Resource, body: dict[str, Any], *, now: int) -> Resource:
        """Give a resource another body and return it as it is then."""
        kind, text = resource.kind, dump(body)
        sql = (
            "UPDATE resource SET external_id = ?, registered_model_id = ?, model_version_id = ?, updated = ?, body = ?"
            " WHERE id = ?"
        )
        references = (_reference(kind, body, field) for field in _REFERENCES)
        self._tx.execute(sql, (body.get("externalId") or None, *references, now, text, resource.id))
        before, after = set(indexed(kind, resource.fields())), set(indexed(kind, body))
        gone = {row[:2] for row in before} - {row[:2] for row in after}
        if gone:
            self._tx.many(
                "DELETE FROM property WHERE resource_id = ? AND custom = ? AND name = ?",
                [(resource.id, *key) for key in gone],
            )
        self._index(resource, after - before)
        return attrs.evolve(resource, updated=now, body=text)

    def delete(self, id: int, kinds: Sequence[Kind]) -> bool:
        """Delete a resource with all that belongs to it; return whether it was there."""
        return self._tx.execute(f"DELETE FROM resource WHERE id = ? AND {_kinds_of_delete(kinds)}", (id,)) > 0

    def attribute(self, parent_id: int, artifact_id: int) -> None:
        """Let an artifact belong to one more version or run."""
        self._tx.execute(
            "INSERT INTO attribution (parent_id, artifact_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (parent_id, artifact_id),
        )

    def newest(self, kind: Kind, parent_id: int) -> Resource | None:
        """Return the child of a resource that was made last, or ``None``."""
        sql = f"SELECT {_COLUMNS} FROM resource r WHERE r.parent_id = ? AND r.kind = ? ORDER BY r.id DESC LIMIT 1"
        return self._one(sql, (parent_id, kind.code))

    # Listings

    def page(self, kinds: Sequence[Kind], listing: Listing, *, parent_id: int | None = None) -> list[Row]:
        """Return the rows of a page, and one more where another page follows."""
        terms = self._filter(kinds, listing)
        way_in = self._way_in(terms, listing, parent_id)
        wanted = [
            Condition(kind_condition("r", _codes(kinds))),
            *self._belongs(kinds, parent_id),
            *_equal("r.name", listing.name),
            *_equal("r.external_id", listing.external_id),
            *(term.condition for term in terms if term.seek is not way_in or way_in is None or not way_in.exact),
        ]
        if way_in is None:
            return self._ordered("resource r", wanted, listing, "r.id")
        id_column = f"s.{way_in.id_column}"
        wanted = [way_in.condition, Condition(f"r.id = {id_column}"), *wanted]
        # an index that is not in the order of ids must not be passed over for one that is
        return self._ordered(
            f"{way_in.table} s CROSS JOIN resource r", wanted, listing, id_column if way_in.in_id_order else "+r.id"
        )

    def position(self, row: Row, listing: Listing) -> Position:
        """Return where a row of a listing stands in its order."""
        return Position({"id": row[0], "created": row[3], "updated": row[4]}[listing.order.column], row[0])

    def _ordered(self, source: str, wanted: list[Condition], listing: Listing, id_column: str) -> list[Row]:
        order = listing.order
        way, beyond = ("DESC", "<") if order.descending else ("ASC", ">")
        by_id = order.column == "id"
        if listing.after is not None and by_id:
            wanted = [*wanted, Condition(f"{id_column} {beyond} ?", (listing.after.id,))]
        elif listing.after is not None:
            after = (listing.after.value, listing.after.id)
            wanted = [*wanted, Condition(f"(r.{order.column}, r.id) {beyond} (?, ?)", after)]
        ordering = f"{id_column} {way}" if by_id else f"r.{order.column} {way}, r.id {way}"
        params = [param for condition in wanted for param in condition.params]
        sql = f"SELECT {_COLUMNS} FROM {source} WHERE {_all([c.sql for c in wanted])} ORDER BY {ordering} LIMIT ?"
        return self._tx.rows(sql, [*params, listing.limit + 1])

    def _filter(self, kinds: Sequence[Kind], listing: Listing) -> tuple[Term, ...]:
        if not listing.filter_query.strip():
            return ()
        from modelreg.embedded.filter_query import parse_filter

        node = parse_filter(listing.filter_query)
        return () if node is None else compile_filter(node, _resource_scope(kinds, self._ilike))

    def _way_in(self, terms: tuple[Term, ...], listing: Listing, parent_id: int | None) -> Seek | None:
        """Return the index to start a listing from, or ``None`` to go through its kinds or its parent's children.

        An index that gives few rows is always worth it. Of those that give many, one that gives them in the order of
        the page is: the page is full long before its end. Otherwise walking the listing itself fills the page soon.
        """
        seeks = [term.seek for term in terms if term.seek is not None]
        by_id = listing.order.column == "id" and parent_id is None
        in_order = next((seek for seek in seeks if seek.in_id_order and by_id), None)
        if not seeks or (len(seeks) == 1 and in_order is not None):
            return in_order
        few = "(SELECT count(*) FROM (SELECT 1 FROM {} s WHERE {} LIMIT {}) few)"
        counts = [few.format(seek.table, seek.condition.sql, FEW) for seek in seeks]
        params = [param for seek in seeks for param in seek.condition.params]
        row = self._tx.row(f"SELECT {', '.join(counts)}", params) or ()
        fewest, seek = min(zip(row, seeks, strict=True), key=lambda pair: int(pair[0]))
        return seek if fewest < FEW else in_order

    def _belongs(self, kinds: Sequence[Kind], parent_id: int | None) -> list[Condition]:
        if parent_id is None:
            # all artifacts in the order of their ids come from one index, without sorting
            return [Condition(f"r.family = {int(Family.ARTIFACT)}")] if len(kinds) > 1 else []
        if kinds[0].family is Family.ARTIFACT and self._tx.row(
            "SELECT 1 FROM attribution WHERE parent_id = ? LIMIT 1", (parent_id,)
        ):
            sql = (
                "r.id IN (SELECT id FROM resource WHERE parent_id = ?"
                " UNION ALL SELECT artifact_id FROM attribution WHERE parent_id = ?)"
            )
            return [Condition(sql, (parent_id, parent_id))]
        return [Condition("r.parent_id = ?", (parent_id,))]

    # Rows

    def _index(self, resource: Resource, entries: Iterable[IndexEntry]) -> None:
        rows = [
            (resource.id, resource.kind.code, *head, text, text and text[:INDEXED_CHARACTERS], number)
            for *head, text, number in entries
        ]
        if rows:
            self._tx.many(
                "INSERT INTO property (resource_id, kind, custom, name, type, text_value, text_key, number_value)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (resource_id, custom, name) DO UPDATE SET"
                " type = excluded.type, text_value = excluded.text_value, text_key = excluded.text_key,"
                " number_value = excluded.number_value",
                rows,
            )

    def _one(self, sql: str, params: Sequence[Any], *, to_change: bool = False) -> Resource | None:
        row = self._tx.row(sql + self._lock_rows if to_change else sql, params)
        return None if row is None else _resource(row)

    def _several(self, sql: str, params: Sequence[Any]) -> list[Resource]:
        return [_resource(row) for row in self._tx.rows(sql, params)]


def _resource(row: Row) -> Resource:
    return Resource(row[0], BY_CODE[row[1]], *row[2:])


def _codes(kinds: Sequence[Kind]) -> tuple[int, ...]:
    return tuple(kind.code for kind in kinds)


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions)


def _equal(column: str, value: str | None) -> list[Condition]:
    return [] if value is None else [Condition(f"{column} = ?", (value,))]


def _kinds_of_delete(kinds: Sequence[Kind]) -> str:
    return f"kind IN ({', '.join(str(code) for code in _codes(kinds))})"


def _reference(kind: Kind, body: dict[str, Any], field: str) -> int | None:
    return int(body[field]) if field in body and field != kind.parent_field else None


def _resource_scope(kinds: Sequence[Kind], ilike: Callable[[str], str]) -> Scope:
    codes, family = _codes(kinds), int(kinds[0].family)

    def by(column: str, first: str) -> Callable[[tuple[Any, ...]], Seek]:
        def seek(values: tuple[Any, ...]) -> Seek:
            sql = f"{first} AND s.{column} IN ({', '.join('?' * len(values))})"
            return Seek("resource", "id", Condition(sql, values))

        return seek

    return Scope(
        columns={
            "id": Column("r.id", numeric=True, seek=by("id", "1 = 1")),
            "name": Column("r.name", seek=by("name", kind_condition("s", codes))),
            "externalId": Column("r.external_id", seek=by("external_id", f"s.family = {family}")),
            "createTimeSinceEpoch": Column("(r.created / 1000)", numeric=True),
            "lastUpdateTimeSinceEpoch": Column("(r.updated / 1000)", numeric=True),
        },
        fields=whole_fields(kinds),
        properties="property",
        kinds=codes,
        ilike=ilike,
    )


def whole_fields(kinds: Sequence[Kind]) -> dict[str, bool]:
    """Return the fields of ``kinds`` that filters find in the property table, and which are always whole numbers."""
    fields: dict[str, bool] = {}
    for kind in kinds:
        for name, field in kind.fields.items():
            if name not in _OWN_COLUMNS:
                fields[name] = fields.get(name, True) and field.type.whole
    return fields
