"""The routes of the server that are no inference: health, metadata, the repository, metrics and documentation."""

from __future__ import annotations

from typing import Any

import falcon

from modelreg.exceptions import InferenceError, InvalidInput, ModelNotReady, ServerNotReady
from modelreg.serving.bodies import BodyLimits, read_body
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.http_answers import JSON, Answer, error_answer, status_line
from modelreg.serving.openapi import docs_page, openapi_document
from modelreg.wire.json_text import dumps, loads

Request = falcon.Request
Response = falcon.Response

# What a request to the repository can say is little.
_REPOSITORY_BODY = BodyLimits(max_bytes=1 << 20)


def routes(dataplane: DataPlane, *, enable_repository_api: bool) -> falcon.App[Request, Response]:
    """Return the application that answers everything but inference.

    Args:
        dataplane: Where the models are.
        enable_repository_api: Whether clients may load and unload models.
    """
    app: falcon.App[Request, Response] = falcon.App()
    app.req_options.strip_url_path_trailing_slash = True
    app.add_error_handler(Exception, _explain)
    app.add_error_handler(falcon.HTTPError, _explain_http)
    document = openapi_document(enable_repository_api=enable_repository_api)
    _add_server(app, dataplane)
    _add_models(app, dataplane)
    _add_repository(app, dataplane, enabled=enable_repository_api)
    app.add_route("/metrics", _Metrics(dataplane))
    app.add_route("/openapi.json", _Text(dumps(document), JSON))
    app.add_route("/docs", _Text(docs_page(document), "text/html; charset=utf-8"))
    return app


def _add_server(app: falcon.App[Request, Response], dataplane: DataPlane) -> None:
    app.add_route("/", _Alive())
    server = _Server(dataplane)
    app.add_route("/v2", server)
    app.add_route("/v2/health/live", server, suffix="live")
    app.add_route("/v2/health/ready", server, suffix="ready")


def _add_models(app: falcon.App[Request, Response], dataplane: DataPlane) -> None:
    models, inference = _Models(dataplane), _Inference()
    app.add_route("/v1/models", models)
    app.add_route("/v2/models", models)
    app.add_route("/v1/models/{name}", models, suffix="ready")
    for versions in ("", "/versions/{version}"):
        app.add_route(f"/v2/models/{{name}}{versions}", models, suffix="metadata")
        app.add_route(f"/v2/models/{{name}}{versions}/ready", models, suffix="ready")
        app.add_route(f"/v2/models/{{name}}{versions}/infer", inference)
    for verb in ("predict", "explain"):
        app.add_route(f"/v1/models/{{name}}:{verb}", inference)
        app.add_route(f"/v1/models/{{name}}/versions/{{version}}:{verb}", inference)


def _add_repository(app: falcon.App[Request, Response], dataplane: DataPlane, *, enabled: bool) -> None:
    repository = _Repository(dataplane, enabled=enabled)
    app.add_route("/v2/repository/index", repository, suffix="index")
    app.add_route("/v2/repository/models/{name}/load", repository, suffix="load")
    app.add_route("/v2/repository/models/{name}/unload", repository, suffix="unload")


class _Alive:
    def on_get(self, _req: Request, resp: Response) -> None:
        _give(resp, {"status": "alive"})


class _Server:
    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def on_get(self, _req: Request, resp: Response) -> None:
        _give(resp, self._dataplane.server_metadata())

    def on_get_live(self, _req: Request, resp: Response) -> None:
        _give(resp, {"live": self._dataplane.live()})

    def on_get_ready(self, _req: Request, resp: Response) -> None:
        if self._dataplane.ready():
            _give(resp, {"ready": True})
        else:
            _give(resp, {"ready": False, "error": str(ServerNotReady())}, 503)


class _Models:
    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def on_get(self, _req: Request, resp: Response) -> None:
        _give(resp, {"models": [model["name"] for model in self._dataplane.models()]})

    def on_get_metadata(self, _req: Request, resp: Response, name: str, version: str | None = None) -> None:
        _give(resp, self._dataplane.model_metadata(name, version))

    def on_get_ready(self, _req: Request, resp: Response, name: str, version: str | None = None) -> None:
        if self._dataplane.model_ready(name, version):
            _give(resp, {"name": name, "ready": True})
        else:
            _give(resp, {"name": name, "ready": False, "error": str(ModelNotReady(name))}, 503)


class _Inference:
    """Says how inference is asked for, wherever it is not asked for so."""

    def on_post(self, _req: Request, _resp: Response, **_path: str) -> None:
        raise falcon.HTTPNotFound


class _Repository:
    def __init__(self, dataplane: DataPlane, *, enabled: bool) -> None:
        self._dataplane = dataplane
        self._enabled = enabled

    def on_post_index(self, req: Request, resp: Response) -> None:
        body = read_body(req.env, _REPOSITORY_BODY)
        asked = loads(body) if body.strip() else {}
        ready = asked.get("ready") if isinstance(asked, dict) else asked
        if not isinstance(asked, dict) or not isinstance(ready, bool | None):
            raise InvalidInput("the body must be a JSON object, in which 'ready' is true or false")
        # A false one is every client's default, and means all models.
        _give(resp, self._dataplane.index(ready or None))

    def on_post_load(self, req: Request, resp: Response, name: str) -> None:
        self._check(req)
        self._dataplane.load(name)
        _give(resp, {"name": name, "load": True})

    def on_post_unload(self, req: Request, resp: Response, name: str) -> None:
        self._check(req)
        self._dataplane.unload(name)
        _give(resp, {"name": name, "unload": True})

    def _check(self, req: Request) -> None:
        # What clients send along, such as a configuration, says nothing to this server.
        read_body(req.env, _REPOSITORY_BODY)
        if not self._enabled:
            raise InferenceError("this server does not load or unload models on request", status=403)


class _Metrics:
    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def on_get(self, _req: Request, resp: Response) -> None:
        resp.data, resp.content_type = self._dataplane.metrics.render()


class _Text:
    def __init__(self, text: bytes, content_type: str) -> None:
        self._text = text
        self._content_type = content_type

    def on_get(self, _req: Request, resp: Response) -> None:
        resp.data, resp.content_type = self._text, self._content_type


def _give(resp: Response, value: Any, status: int = 200) -> None:
    resp.status = status_line(status)
    resp.content_type = JSON
    resp.data = dumps(value)


def _explain(_req: Request, resp: Response, error: Exception, _params: dict[str, Any]) -> None:
    answer: Answer = error_answer(error)
    resp.status = status_line(answer.status)
    resp.set_headers(answer.headers)
    resp.data = answer.parts[0]


def _explain_http(_req: Request, resp: Response, error: falcon.HTTPError, _params: dict[str, Any]) -> None:
    _give(resp, {"error": _words(error)}, falcon.http_status_to_code(error.status))
    if error.headers is not None:
        resp.set_headers(error.headers)


def _words(error: falcon.HTTPError) -> str:
    return error.description or {404: "there is nothing here", 405: "the method is not allowed here"}.get(
        falcon.http_status_to_code(error.status), error.title or "error"
    )
