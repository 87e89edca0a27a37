"""The registry over HTTP: a WSGI app that translates between requests and :mod:`modelreg.embedded.rules`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import falcon

from modelreg.embedded import entities
from modelreg.embedded.endpoints import (
    Artifacts,
    Children,
    CustomProperties,
    Deletion,
    Finder,
    History,
    Info,
    Item,
    Items,
    Registrations,
    RunBatch,
    Served,
    Versions,
    send,
)
from modelreg.embedded.entities import ALL_ARTIFACTS, COLLECTIONS
from modelreg.embedded.rules import Registry
from modelreg.exceptions import DatabaseError, DatabaseFull, RegistryError

logger = logging.getLogger(__name__)

#: Where the contract's operations are, and modelreg's own.
CONTRACT = "/api/model_registry/v1alpha3"
ADDITIONS = "/api/modelreg/v1"
# Where newer clients of Kubeflow's look for the same operations.
_CONTRACT_V1 = "/api/model_registry/v1/"

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
        self.add_error_handler(Exception, _answer_unexpected)
        self.add_error_handler(falcon.HTTPError, _answer_http_error)
        self.add_error_handler(RegistryError, _answer_registry_error)
        self.add_error_handler(DatabaseError, _answer_database_error)
        _add_contract(self, registry)
        _add_additions(self, registry)

    def __call__(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        if env["PATH_INFO"].startswith(_CONTRACT_V1):
            env["PATH_INFO"] = f"{CONTRACT}/{env['PATH_INFO'].removeprefix(_CONTRACT_V1)}"
        answer: Iterable[bytes] = super().__call__(env, start_response)
        return answer

    def close(self) -> None:
        """Close the database's connections."""
        self._registry.close()


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
    app.add_route(f"{ADDITIONS}/registrations", Registrations(registry))
    models = entities.REGISTERED_MODELS
    app.add_route(f"{ADDITIONS}/{models.path}/{{id}}/properties", CustomProperties(registry, models))
    info = Info(registry)
    app.add_route(f"{ADDITIONS}/info", info)
    app.add_route("/openapi.json", info, suffix="openapi")
    app.add_route("/livez", info, suffix="live")
    app.add_route("/readyz", info, suffix="ready")


def _error(resp: falcon.Response, status: int, message: str) -> None:
    code = _CODES.get(HTTPStatus(status), HTTPStatus(status).phrase)
    send(resp, json.dumps({"code": code, "message": message}), HTTPStatus(status))


def _answer_registry_error(
    _req: falcon.Request, resp: falcon.Response, error: RegistryError, _params: dict[str, Any]
) -> None:
    message = f"{error.message} ({error.next_step})" if error.next_step else error.message
    _error(resp, error.status, message)


def _answer_database_error(
    req: falcon.Request, resp: falcon.Response, error: DatabaseError, _params: dict[str, Any]
) -> None:
    logger.error("%s %s: %s", req.method, req.path, error)
    full = isinstance(error, DatabaseFull)
    _error(resp, HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.SERVICE_UNAVAILABLE, str(error))


def _answer_http_error(
    _req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: dict[str, Any]
) -> None:
    """Answer what falcon itself found, such as a path that is not there."""
    _error(resp, error.status_code, error.description or error.title or "")
    resp.set_headers(error.headers or {})


def _answer_unexpected(req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]) -> None:
    """Answer 500 without saying what went wrong inside, which the log has."""
    logger.error("%s %s failed", req.method, req.path, exc_info=error)
    _error(resp, HTTPStatus.INTERNAL_SERVER_ERROR, "the registry failed; its log says why")
