"""The registry's rules: what may be made, changed, found and deleted, whatever database it is in and whoever asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from modelreg.embedded import points, resources
from modelreg.embedded.artifacts import Batch, put_artifact, write_batch
from modelreg.embedded.database import Database, Transaction
from modelreg.embedded.entities import (
    EXPERIMENT_RUNS,
    INFERENCE_SERVICES,
    MODEL_VERSION,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    Collection,
    Kind,
)
from modelreg.embedded.listing import Listing, render_page
from modelreg.embedded.points import Series
from modelreg.embedded.properties import PropertyChanges, change_properties
from modelreg.embedded.registrations import NewVersion, register, taken
from modelreg.embedded.store import Store, render_row
from modelreg.exceptions import BadRequest, Conflict, DuplicateError, NotFound

T = TypeVar("T")


def _microseconds() -> int:
    return time.time_ns() // 1000


class Registry:
    """The registry, whose resources come and go as the text of their JSON.

    Args:
        database: Where it keeps them.
        clock: Tells the time, in microseconds since the epoch.
    """

    def __init__(self, database: Database, *, clock: Callable[[], int] = _microseconds) -> None:
        self._database = database
        self._clock = clock

    def close(self) -> None:
        """Close the database's connections."""
        self._database.close()

    def check(self) -> None:
        """Return if the database answers.

        Raises:
            DatabaseError: It does not.
        """
        self._database.read(lambda tx: tx.row("SELECT 1"))

    def create(self, kind: Kind, values: dict[str, Any], *, parent_id: int | None = None) -> str:
        """Return a new resource.

        Args:
            kind: What to make.
            values: Its fields, as :func:`~modelreg.embedded.json_body.read_create` gives them.
            parent_id: What it belongs to, where its fields do not say so.

        Raises:
            NotFound: What it refers to is not there.
            DuplicateError: Its name or external id is taken.
            BadRequest: Its fields contradict each other.
        """
        return self._write(
            lambda store: resources.add(store, kind, values, parent_id=parent_id, now=self._clock()).json(),
            taken=resources.taken(kind, values),
        )

    def create_under(self, owner: Collection, owner_id: int, kind: Kind, values: dict[str, Any]) -> str:
        """Return a new resource that belongs to another, which its fields do not name.

        Raises:
            NotFound: The owner, or what the new one refers to, is not there.
            DuplicateError: Its name or external id is taken.
        """

        def work(store: Store) -> str:
            resources.existing(store, owner, owner_id)
            return resources.add(store, kind, values, parent_id=owner_id, now=self._clock()).json()

        return self._write(work, taken=resources.taken(kind, values))

    def get(self, collection: Collection, id: int) -> str:
        """Return the resource with an id.

        Raises:
            NotFound: The collection has none.
        """
        return self._read(lambda store: resources.existing(store, collection, id)).json()

    def find(self, collection: Collection, *, name: str | None, parent_id: int | None, external_id: str | None) -> str:
        """Return the one resource that matches all that is given.

        Raises:
            BadRequest: Too little is given to look for.
            NotFound: None matches, or several do.
        """
        top_level = collection.kinds[0].top_level
        scope = 0 if top_level else parent_id
        if external_id is None and (name is None or scope is None):
            wanted = "name or externalId" if top_level else "name and parentResourceId, or externalId"
            raise BadRequest(f"to find one {collection.label}, give {wanted}")
        found = self._read(lambda store: store.find(collection.kinds, name=name, scope=scope, external_id=external_id))
        if len(found) != 1:
            raise NotFound(f"{'more than one' if found else 'no'} {collection.label} matches what was asked for")
        return found[0].json()

    def page(self, kinds: Sequence[Kind], listing: Listing, *, parent_id: int | None = None) -> str:
        """Return one page of a listing.

        Args:
            kinds: What to list.
            listing: Which page, in which order.
            parent_id: Only what belongs to this resource.

        Raises:
            BadRequest: The filter cannot be used.
        """

        def work(store: Store) -> str:
            rows = store.page(kinds, listing, parent_id=parent_id)
            return render_page(rows, listing, render_row, lambda row: store.position(row, listing))

        return self._read(work)

    def children_page(self, owner: Collection, owner_id: int, kinds: Sequence[Kind], listing: Listing) -> str:
        """Return one page of what belongs to a resource, which must be there.

        Raises:
            NotFound: It is not.
            BadRequest: The filter cannot be used.
        """
        self.get(owner, owner_id)
        return self.page(kinds, listing, parent_id=owner_id)

    def update(self, collection: Collection, id: int, kind: Kind, changes: dict[str, Any]) -> str:
        """Return a resource after changing some of its fields.

        Args:
            collection: Where to look for it.
            id: Its id.
            kind: What the client says it is.
            changes: The fields to change, as :func:`~modelreg.embedded.json_body.read_update` gives them.

        Raises:
            NotFound: The collection has none with that id, or it is to refer to what is not there.
            BadRequest: It is of another kind, or its fields would contradict each other.
            DuplicateError: Its new external id is taken.
        """

        def work(store: Store) -> str:
            resource = resources.existing(store, collection, id, to_change=True)
            if resource.kind is not kind:
                raise BadRequest(f"{collection.label} {id} is a {resource.kind.label}, not a {kind.label}")
            return resources.change(store, resource, changes, now=self._clock()).json()

        return self._write(work, taken=resources.taken(kind, changes))

    def update_child(self, collection: Collection, parent_id: int, id: int, changes: dict[str, Any]) -> str:
        """Return a resource after changing some of its fields, if it belongs to a parent.

        Raises:
            NotFound: The parent has no such child.
            BadRequest: Its fields would contradict each other.
            DuplicateError: Its new external id is taken.
        """

        def work(store: Store) -> str:
            resource = resources.existing(store, collection, id, to_change=True)
            if resource.parent_id != parent_id:
                raise resources.missing(collection, id)
            return resources.change(store, resource, changes, now=self._clock()).json()

        return self._write(work, taken=resources.taken(collection.kinds[0], changes))

    def change_properties(self, collection: Collection, id: int, wanted: PropertyChanges) -> str:
        """Return a resource after changing some of its custom properties, if others are what the client expects.

        Raises:
            NotFound: The collection has none with that id.
            Conflict: A property is not what was expected; nothing was changed.
        """

        def work(store: Store) -> str:
            resource = resources.existing(store, collection, id, to_change=True)
            return change_properties(store, resource, wanted, now=self._clock()).json()

        return self._write(work, taken="")

    def delete(self, collection: Collection, id: int) -> None:
        """Delete a resource and all that belongs to it.

        Raises:
            NotFound: The collection has none with that id.
            Conflict: An inference service or a serving action elsewhere refers to it.
        """

        def work(store: Store) -> None:
            if not store.delete(id, collection.kinds):
                raise resources.missing(collection, id)

        try:
            self._write(work, taken="")
        except Conflict as error:
            raise Conflict(
                f"an inference service or one of its serving actions refers to {collection.label} {id} or what belongs"
                " to it",
                next_step="delete that first",
            ) from error

    def served_model(self, id: int) -> str:
        """Return the registered model that an inference service serves.

        Raises:
            NotFound: There is no such inference service.
        """
        return self._read(lambda store: resources.existing(store, REGISTERED_MODELS, _served(store, id)[0])).json()

    def served_version(self, id: int) -> str:
        """Return the model version that an inference service serves: the one it names, or else its model's newest.

        Raises:
            NotFound: There is no such inference service, or its model has no version.
        """

        def work(store: Store) -> str:
            model_id, version_id = _served(store, id)
            if version_id is not None:
                return resources.existing(store, MODEL_VERSIONS, version_id).json()
            newest = store.newest(MODEL_VERSION, model_id)
            if newest is None:
                raise NotFound(f"registered model {model_id}, which inference service {id} serves, has no version")
            return newest.json()

        return self._read(work)

    def put_artifact(self, owner: Collection, owner_id: int, kind: Kind, body: dict[str, Any]) -> tuple[str, bool]:
        """Return an artifact of a version or run, and whether it is new.

        Raises:
            NotFound: The version or run is not there.
            BadRequest: The body is wrong, or its id is that of an artifact of another kind.
            DuplicateError: Its name or external id is taken.
        """

        def work(store: Store) -> tuple[str, bool]:
            holder = resources.existing(store, owner, owner_id)
            artifact, is_new = put_artifact(store, holder, kind, body, now=self._clock())
            return artifact.json(), is_new

        return self._write(work, taken=resources.taken(kind, body), again=kind.upserted_by_name)

    def write_batch(self, run_id: int, batch: Batch) -> tuple[int, int]:
        """Return how many metric points of a batch were new, and how many artifacts it had, all of them stored.

        Raises:
            NotFound: The run is not there.
            BadRequest: An artifact is wrong.
            DuplicateError: An artifact's external id is taken.
        """

        def work(store: Store) -> tuple[int, int]:
            run = resources.existing(store, EXPERIMENT_RUNS, run_id)
            return write_batch(store, run, batch, now=self._clock())

        return self._write(work, taken="an external id in the batch is taken", again=True)

    def register(self, wanted: NewVersion) -> str:
        """Return the model, the version and the artifact of a registration, made in one transaction.

        Raises:
            DuplicateError: The version is registered already.
        """

        def work(store: Store) -> str:
            model, version, artifact = (one.json() for one in register(store, wanted, now=self._clock()))
            return f'{{"model":{model},"version":{version},"artifact":{artifact}}}'

        return self._write(work, taken=taken(wanted), again=True)

    def history(self, series: Series, listing: Listing) -> str:
        """Return one page of the history of metrics.

        Raises:
            NotFound: The run is not there.
            BadRequest: The filter cannot be used.
        """

        def work(store: Store) -> str:
            if series.run_id is not None:
                resources.existing(store, EXPERIMENT_RUNS, series.run_id)
            rows = store.points.page(series, listing)
            return render_page(rows, listing, points.renderer(), lambda row: points.position(row, listing))

        return self._read(work)

    def _store(self, tx: Transaction) -> Store:
        return Store(tx, lock_rows=self._database.lock_rows, ilike=self._database.ilike)

    def _read(self, work: Callable[[Store], T]) -> T:
        return self._database.read(lambda tx: work(self._store(tx)))

    def _write(self, work: Callable[[Store], T], *, taken: str, again: bool = False) -> T:
        """Run ``work`` in a transaction; where something is taken, say so with ``taken``.

        With ``again``, it is tried once more first: what another made meanwhile is found then, and changed.
        """
        try:
            return self._database.write(lambda tx: work(self._store(tx)))
        except DuplicateError as error:
            if again:
                return self._write(work, taken=taken)
            raise DuplicateError(taken) from error


def _served(store: Store, id: int) -> tuple[int, int | None]:
    body = resources.existing(store, INFERENCE_SERVICES, id).fields()
    version = body.get("modelVersionId")
    return int(body["registeredModelId"]), None if version is None else int(version)
