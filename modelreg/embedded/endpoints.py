"""What each path of the registry does with a request; each class is the resource behind one or more paths."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import falcon

from modelreg._version import __version__
from modelreg.embedded import entities
from modelreg.embedded.artifacts import read_batch
from modelreg.embedded.entities import ALL_ARTIFACTS, Collection, Kind
from modelreg.embedded.fields import INT32, INT64, integer, wrong
from modelreg.embedded.json_body import (
    ARTIFACT_TYPE,
    SERVER_FIELDS,
    artifact_kind,
    parse_object,
    read_create,
    read_update,
)
from modelreg.embedded.listing import Listing, read_listing
from modelreg.embedded.points import Series
from modelreg.embedded.properties import read_property_changes
from modelreg.embedded.registrations import read_registration
from modelreg.embedded.rules import Registry
from modelreg.exceptions import BadRequest

#: What the additions to the contract can do, for clients that ask.
FEATURES = ("delete", "batch", "properties", "registrations")
#: Longest request body, in bytes, and most steps that a history may be asked for at once.
MAX_BODY = 128 * 1024 * 1024
MAX_STEPS = 10_000


class Items:
    """The resources of a collection: list them, make one."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with a page of them."""
        kinds = _kinds(self._collection, req)
        send(resp, self._registry.page(kinds, read_listing(_query(req))))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make one."""
        body = _body(req)
        if self._collection is ALL_ARTIFACTS:
            kind = artifact_kind(body)
            values = read_create(kind, body, strict=False)
        else:
            kind = self._collection.kinds[0]
            values = read_create(kind, body, strict=True, known=_tag(kind, body))
            if kind is entities.MODEL_ARTIFACT:
                values.setdefault("state", "UNKNOWN")
        send(resp, self._registry.create(kind, values), HTTPStatus.CREATED)


class Item:
    """One resource: get it, change it."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_get(self, _req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with it."""
        send(resp, self._registry.get(self._collection, _id(id)))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Change it."""
        body = _body(req)
        if self._collection is ALL_ARTIFACTS:
            kind = artifact_kind(body)
            changes = read_update(kind, body, strict=False)
        else:
            kind = self._collection.kinds[0]
            changes = read_update(kind, body, strict=True, known=_tag(kind, body))
            if kind is entities.MODEL_ARTIFACT:
                # Kubeflow's server takes a state that is left out for its default here, and nowhere else is that right:
                # its clients send the whole artifact.
                changes.setdefault("state", "UNKNOWN")
        send(resp, self._registry.update(self._collection, _id(id), kind, changes))


class Finder:
    """The one resource of a collection that matches."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with it."""
        query = _query(req)
        parent = query.get("parentResourceId")
        found = self._registry.find(
            self._collection,
            name=query.get("name"),
            parent_id=None if parent is None else _id(parent, "parentResourceId"),
            external_id=query.get("externalId"),
        )
        send(resp, found)


class Children:
    """The resources that belong to one: list them, make one.

    Args:
        registry: What answers.
        owner: The collection of what they belong to.
        collection: What they are.
        owner_required: Whether listing those of an owner that is not there is an error, as Kubeflow has it for runs.
    """

    def __init__(
        self, registry: Registry, owner: Collection, collection: Collection, *, owner_required: bool = False
    ) -> None:
        self._registry = registry
        self._owner = owner
        self._collection = collection
        self._list = registry.children_page if owner_required else self._list_any

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with a page of them."""
        kinds = _kinds(self._collection, req)
        send(resp, self._list(self._owner, _id(id), kinds, read_listing(_query(req))))

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Make one."""
        kind, body = self._collection.kinds[0], _body(req)
        values = read_create(kind, body, strict=True)
        if kind.parent_field is None:
            text = self._registry.create_under(self._owner, _id(id), kind, values)
        else:
            text = self._registry.create(kind, {**values, kind.parent_field: str(_id(id))})
        send(resp, text, HTTPStatus.CREATED)

    def _list_any(self, _: Collection, id: int, kinds: tuple[Kind, ...], listing: Listing) -> str:
        return self._registry.page(kinds, listing, parent_id=id)


class Versions(Children):
    """Versions of a model and runs of an experiment, whose bodies may be those of resources that are there."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Make one, or change the one that the body has the id of."""
        kind, body, parent_id = self._collection.kinds[0], _body(req), _id(id)
        values = read_create(kind, body, strict=True, known=SERVER_FIELDS)
        if body.get("id") is None:
            text = self._registry.create(kind, {**values, str(kind.parent_field): str(parent_id)})
        else:
            changes = read_update(kind, body, strict=False)
            child_id = _id(body["id"], "id")
            text = self._registry.update_child(self._collection, parent_id, child_id, changes)
        send(resp, text, HTTPStatus.CREATED)


class Artifacts(Children):
    """Artifacts of a version or run."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Make one, or change the one that the body means."""
        body = _body(req)
        kind = artifact_kind(body)
        text, is_new = self._registry.put_artifact(self._owner, _id(id), kind, body)
        # only these two answer 201, in Kubeflow's server and in its contract's tests
        created = is_new and kind in {entities.MODEL_ARTIFACT, entities.DOC_ARTIFACT}
        send(resp, text, HTTPStatus.CREATED if created else HTTPStatus.OK)


class Served:
    """The model and the version that an inference service serves."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_get_model(self, _req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with the model."""
        send(resp, self._registry.served_model(_id(id)))

    def on_get_version(self, _req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with the version."""
        send(resp, self._registry.served_version(_id(id)))


class History:
    """The history of metrics, of one run or of all."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str | None = None) -> None:
        """Answer with a page of it."""
        query = _query(req)
        series = Series(
            run_id=None if id is None else _id(id), name=query.get("name"), steps=_steps(query.get("stepIds"))
        )
        send(resp, self._registry.history(series, read_listing(query)))


class Deletion:
    """One resource, to be deleted for good."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Delete it and all that belongs to it."""
        self._registry.delete(self._collection, _id(id))
        resp.status = HTTPStatus.NO_CONTENT


class RunBatch:
    """What a run writes in one transaction."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Write it."""
        metrics, artifacts = self._registry.write_batch(_id(id), read_batch(_body(req)))
        send(resp, json.dumps({"metrics": metrics, "artifacts": artifacts}))


class Registrations:
    """A version with its model and its artifact, registered in one transaction."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Register it."""
        send(resp, self._registry.register(read_registration(_body(req))), HTTPStatus.CREATED)


class CustomProperties:
    """Some custom properties of a resource, to be changed if they are what the client saw."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Change them."""
        wanted = read_property_changes(_body(req))
        send(resp, self._registry.change_properties(self._collection, _id(id), wanted))


class Info:
    """What the registry is, and whether it works."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._document: str | None = None

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with its name, version and features."""
        send(resp, json.dumps({"name": "modelreg", "version": __version__, "features": FEATURES}))

    def on_get_openapi(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with its OpenAPI document."""
        if self._document is None:
            from modelreg.embedded.openapi import document

            self._document = json.dumps(document())
        send(resp, self._document)

    def on_get_live(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer that the process runs."""
        send(resp, '{"status":"live"}')

    def on_get_ready(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer that the database answers."""
        self._registry.check()
        send(resp, '{"status":"ready"}')

    # Load balancers and monitors ask so; falcon leaves the body out.
    on_head_live = on_get_live
    on_head_ready = on_get_ready


def send(resp: falcon.Response, text: str, status: HTTPStatus = HTTPStatus.OK) -> None:
    """Answer with JSON text."""
    resp.data = text.encode("utf-8")
    resp.status = status


def _body(req: falcon.Request) -> dict[str, Any]:
    if (req.content_length or 0) > MAX_BODY:
        raise BadRequest(f"the body has more than {MAX_BODY} bytes", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    stream = req.stream if req.content_length is None else req.bounded_stream
    raw = stream.read(MAX_BODY + 1)
    if len(raw) > MAX_BODY:
        raise BadRequest(f"the body has more than {MAX_BODY} bytes", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return parse_object(raw)


def _query(req: falcon.Request) -> dict[str, str]:
    """Return the parameters of a request's query; of one that is given more than once, the first."""
    query = {}
    for name, value in req.params.items():
        text = value[0] if isinstance(value, list) else value
        if "\0" in text:
            raise wrong(name, "free of NUL characters")
        query[name] = text
    return query


def _id(text: Any, name: str = "id") -> int:
    number = integer(text, INT32) if isinstance(text, str) else None
    if number is None:
        raise wrong(name, "an id: a 32-bit integer")
    return number


def _kinds(collection: Collection, req: falcon.Request) -> tuple[Kind, ...]:
    """Return the kinds to list: all of a collection, or the type of artifact that the query asks for."""
    tag = _query(req).get("artifactType")
    if tag is None or collection is not ALL_ARTIFACTS:
        return collection.kinds
    return (artifact_kind({"artifactType": tag}),)


def _tag(kind: Kind, body: dict[str, Any]) -> frozenset[str]:
    """Return the fields that a body may have beside its kind's own: an artifact's tag, which must be right."""
    if kind.artifact_type is None:
        return frozenset()
    if body.get("artifactType") not in {None, kind.artifact_type}:
        raise wrong("artifactType", kind.artifact_type)
    return ARTIFACT_TYPE


def _steps(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    steps = [integer(part.strip(), INT64) for part in text.split(",")]
    found = tuple(step for step in steps if step is not None)
    if len(found) != len(steps) or len(steps) > MAX_STEPS:
        raise wrong("stepIds", f"at most {MAX_STEPS} integers with commas between them")
    return found
