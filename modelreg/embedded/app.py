"""The registry over HTTP: a WSGI app that translates between requests and :mod:`modelreg.embedded.rules`."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

import falcon

from modelreg._version import __version__
from modelreg.embedded import entities
from modelreg.embedded.artifacts import read_batch
from modelreg.embedded.entities import ALL_ARTIFACTS, COLLECTIONS, Collection, Kind
from modelreg.embedded.fields import INT32, INT64, integer, wrong
from modelreg.embedded.json_body import (
    ARTIFACT_TYPE,
    SERVER_FIELDS,
    artifact_kind,
    parse_object,
    read_create,
    read_update,
)
from modelreg.embedded.listing import read_listing
from modelreg.embedded.points import Series
from modelreg.embedded.rules import Registry
from modelreg.exceptions import BadRequest, DatabaseError, DatabaseFull, RegistryError

logger = logging.getLogger(__name__)

#: Where the contract's operations are, and modelreg's own.
CONTRACT = "/api/model_registry/v1alpha3"
ADDITIONS = "/api/modelreg/v1"
#: What the additions can do, for clients that ask.
FEATURES = ("delete", "batch")
#: Longest request body, in bytes, and most steps that a history may be asked for at once.
MAX_BODY = 128 * 1024 * 1024
MAX_STEPS = 10_000

# The code of an error is the reason of its status but for a missing field, where Kubeflow says what 400 does.
_CODES = {HTTPStatus.UNPROCESSABLE_ENTITY: HTTPStatus.BAD_REQUEST.phrase}


class RegistryApp(falcon.App):  # type: ignore[type-arg] # falcon's type parameters are for custom requests
    """The registry as a WSGI application.

    Args:
        registry: What answers.
    """

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry
        self.set_error_serializer(_serialize_error)
        self.add_error_handler(Exception, _answer_unexpected)
        self.add_error_handler(falcon.HTTPError, _answer_http_error)
        self.add_error_handler(RegistryError, _answer_registry_error)
        self.add_error_handler(DatabaseError, _answer_database_error)
        _add_contract(self, registry)
        _add_additions(self, registry)

    def close(self) -> None:
        """Close the database's connections."""
        self._registry.close()


class Items:
    """The resources of a collection: list them, make one."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with a page of them."""
        kinds = _kinds(self._collection, req)
        _send(resp, self._registry.list(kinds, read_listing(_query(req))))

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
        _send(resp, self._registry.create(kind, values), HTTPStatus.CREATED)


class Item:
    """One resource: get it, change it."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with it."""
        _send(resp, self._registry.get(self._collection, _id(id)))

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
        _send(resp, self._registry.update(self._collection, _id(id), kind, changes))


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
        _send(resp, found)


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
        self._list = registry.list_children if owner_required else self._list_any

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with a page of them."""
        kinds = _kinds(self._collection, req)
        _send(resp, self._list(self._owner, _id(id), kinds, read_listing(_query(req))))

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Make one."""
        kind, body = self._collection.kinds[0], _body(req)
        values = read_create(kind, body, strict=True)
        if kind.parent_field is None:
            text = self._registry.create_under(self._owner, _id(id), kind, values)
        else:
            text = self._registry.create(kind, {**values, kind.parent_field: str(_id(id))})
        _send(resp, text, HTTPStatus.CREATED)

    def _list_any(self, _: Collection, id: int, kinds: tuple[Kind, ...], listing: Any) -> str:
        return self._registry.list(kinds, listing, parent_id=id)


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
        _send(resp, text, HTTPStatus.CREATED)


class Artifacts(Children):
    """Artifacts of a version or run."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Make one, or change the one that the body means."""
        body = _body(req)
        kind = artifact_kind(body)
        text, is_new = self._registry.put_artifact(self._owner, _id(id), kind, body)
        # only these two answer 201, in Kubeflow's server and in its contract's tests
        created = is_new and kind in {entities.MODEL_ARTIFACT, entities.DOC_ARTIFACT}
        _send(resp, text, HTTPStatus.CREATED if created else HTTPStatus.OK)


class Served:
    """The model and the version that an inference service serves."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_get_model(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with the model."""
        _send(resp, self._registry.served_model(_id(id)))

    def on_get_version(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        """Answer with the version."""
        _send(resp, self._registry.served_version(_id(id)))


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
        _send(resp, self._registry.history(series, read_listing(query)))


class Deletion:
    """One resource, to be deleted for good."""

    def __init__(self, registry: Registry, collection: Collection) -> None:
        self._registry = registry
        self._collection = collection

    def on_delete(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
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
        _send(resp, json.dumps({"metrics": metrics, "artifacts": artifacts}))


class Info:
    """What the registry is, and whether it works."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._document: str | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with its name, version and features."""
        _send(resp, json.dumps({"name": "modelreg", "version": __version__, "features": FEATURES}))

    def on_get_openapi(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with its OpenAPI document."""
        if self._document is None:
            from modelreg.embedded.openapi import document

            self._document = json.dumps(document())
        _send(resp, self._document)

    def on_get_live(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer that the process runs."""
        _send(resp, '{"status":"live"}')

    def on_get_ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer that the database answers."""
        self._registry.check()
        _send(resp, '{"status":"ready"}')


def _add_contract(app: RegistryApp, registry: Registry) -> None:
    for collection in COLLECTIONS:
        app.add_route(f"{CONTRACT}/{collection.path}", Items(registry, collection))
        app.add_route(f"{CONTRACT}/{collection.path}/{{id}}", Item(registry, collection))
        app.add_route(f"{CONTRACT}/{collection.singular}", Finder(registry, collection))
    models, versions = entities.REGISTERED_MODELS, entities.MODEL_VERSIONS
    experiments, runs = entities.EXPERIMENTS, entities.EXPERIMENT_RUNS
    environments, services = entities.SERVING_ENVIRONMENTS, entities.INFERENCE_SERVICES
    history, served = History(registry), Served(registry)
    for path, resource in {
        "registered_models/{id}/versions": Versions(registry, models, versions),
        "model_versions/{id}/artifacts": Artifacts(registry, versions, ALL_ARTIFACTS),
        "experiments/{id}/experiment_runs": Versions(registry, experiments, runs, owner_required=True),
        "experiment_runs/{id}/artifacts": Artifacts(registry, runs, ALL_ARTIFACTS),
        "experiment_runs/{id}/metric_history": history,
        "experiment_runs/metric_history": history,
        "serving_environments/{id}/inference_services": Children(registry, environments, services),
        "inference_services/{id}/serves": Children(registry, services, entities.SERVE_MODELS),
    }.items():
        app.add_route(f"{CONTRACT}/{path}", resource)
    app.add_route(f"{CONTRACT}/inference_services/{{id}}/model", served, suffix="model")
    app.add_route(f"{CONTRACT}/inference_services/{{id}}/version", served, suffix="version")


def _add_additions(app: RegistryApp, registry: Registry) -> None:
    for collection in (*COLLECTIONS, entities.SERVE_MODELS):
        app.add_route(f"{ADDITIONS}/{collection.path}/{{id}}", Deletion(registry, collection))
    app.add_route(f"{ADDITIONS}/experiment_runs/{{id}}/batch", RunBatch(registry))
    info = Info(registry)
    app.add_route(f"{ADDITIONS}/info", info)
    app.add_route("/openapi.json", info, suffix="openapi")
    app.add_route("/livez", info, suffix="live")
    app.add_route("/readyz", info, suffix="ready")


def _send(resp: falcon.Response, text: str, status: HTTPStatus = HTTPStatus.OK) -> None:
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


def _error(resp: falcon.Response, status: int, message: str) -> None:
    code = _CODES.get(HTTPStatus(status), HTTPStatus(status).phrase)
    _send(resp, json.dumps({"code": code, "message": message}), HTTPStatus(status))


def _answer_registry_error(req: falcon.Request, resp: falcon.Response, error: Exception, _: dict[str, Any]) -> None:
    assert_is = error if isinstance(error, RegistryError) else RegistryError(str(error))
    message = f"{assert_is.message} ({assert_is.next_step})" if assert_is.next_step else assert_is.message
    _error(resp, assert_is.status, message)


def _answer_database_error(req: falcon.Request, resp: falcon.Response, error: Exception, _: dict[str, Any]) -> None:
    logger.error("%s %s: %s", req.method, req.path, error)
    full = isinstance(error, DatabaseFull)
    _error(resp, HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.SERVICE_UNAVAILABLE, str(error))


def _answer_http_error(req: falcon.Request, resp: falcon.Response, error: Exception, _: dict[str, Any]) -> None:
    raise error


def _answer_unexpected(req: falcon.Request, resp: falcon.Response, error: Exception, _: dict[str, Any]) -> None:
    """Answer 500 without saying what went wrong inside, which the log has."""
    logger.exception("%s %s failed", req.method, req.path, exc_info=error)
    _error(resp, HTTPStatus.INTERNAL_SERVER_ERROR, "the registry failed; its log says why")


def _serialize_error(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    _error(resp, error.status_code, error.description or error.title or "")
