"""The server's own description: an OpenAPI document, and a page of it that needs nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from modelreg._version import __version__
from modelreg.types.datatypes import DATATYPES

_Json = dict[str, Any]

_MODEL = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_REQUEST_ID = {
    "name": "x-request-id",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Comes back with the answer, and is its id where the body gives none.",
}
_HEADER_LENGTH = {
    "name": "inference-header-content-length",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "Length in bytes of the JSON at the beginning of a body that has tensors in binary form after it.",
}


def openapi_document(*, enable_repository_api: bool) -> _Json:
    """Return the OpenAPI document of the server.

    Args:
        enable_repository_api: Whether clients may load and unload models.
    """
    paths: _Json = {**_server_paths(), **_model_paths(), **_v1_paths(), **_repository_paths()}
    if not enable_repository_api:
        paths = {path: operations for path, operations in paths.items() if not path.endswith("load")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "modelreg",
            "version": __version__,
            "description": "Models over the Open Inference Protocol, and over its predecessor V1.",
        },
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _server_paths() -> _Json:
    return {
        "/": _get("alive", "Whether the server answers", _inline(status={"const": "alive"})),
        "/v2": _get("server_metadata", "Name, version and extensions of the server", _ref("ServerMetadata")),
        "/v2/health/live": _get("server_live", "Whether the server answers", _inline(live={"type": "boolean"})),
        "/v2/health/ready": _get(
            "server_ready", "Whether every model can answer", _inline(ready={"type": "boolean"}), errors=(503,)
        ),
        "/metrics": _get_text("metrics", "Prometheus metrics", "text/plain"),
        "/openapi.json": _get("openapi", "This document", {"type": "object"}),
        "/docs": _get_text("docs", "This document for reading", "text/html"),
    }


def _model_paths() -> _Json:
    ready = _inline(name={"type": "string"}, ready={"type": "boolean"})
    paths: _Json = {"/v2/models": _get("models", "Names of the models", _ref("Models"))}
    for suffix, more, of_version in (("", [_MODEL], ""), ("/versions/{version}", [_MODEL, _VERSION], "_version")):
        model = f"/v2/models/{{name}}{suffix}"
        paths[model] = _get(
            f"model{of_version}_metadata",
            "What a model takes and gives",
            _ref("ModelMetadata"),
            more,
            errors=(404, 500),
        )
        paths[f"{model}/ready"] = _get(
            f"model{of_version}_ready", "Whether a model can answer", ready, more, errors=(404, 503)
        )
        paths[f"{model}/infer"] = _infer(f"model{of_version}_infer", more)
    return paths


def _v1_paths() -> _Json:
    ready = _inline(name={"type": "string"}, ready={"type": "boolean"})
    paths: _Json = {
        "/v1/models": _get("v1_models", "Names of the models", _ref("Models")),
        "/v1/models/{name}": _get("v1_ready", "Whether a model can answer", ready, [_MODEL], errors=(404, 503)),
    }
    for verb in ("predict", "explain"):
        body = {"application/json": {"schema": _ref("V1Request")}}
        answer = _json_response("The answer", {"type": "object"})
        paths[f"/v1/models/{{name}}:{verb}"] = _post(
            f"v1_{verb}",
            f"The model's {verb}()",
            [_MODEL, _REQUEST_ID],
            body=body,
            answer=answer,
            errors=_INFERENCE_ERRORS,
        )
    return paths


def _repository_paths() -> _Json:
    index_body = {"application/json": {"schema": _inline_optional(ready={"type": "boolean"})}}
    index_answer = _json_response("The models", _array(_ref("RepositoryRow")))
    paths: _Json = {
        "/v2/repository/index": _post(
            "repository_index",
            "Every model and its state",
            [],
            body=index_body,
            answer=index_answer,
            errors=(400, 413, 415),
            optional=True,
        )
    }
    for verb in ("load", "unload"):
        done = _json_response("It was done", _inline(name={"type": "string"}, **{verb: {"const": True}}))
        paths[f"/v2/repository/models/{{name}}/{verb}"] = _post(
            f"repository_{verb}",
            f"{verb.capitalize()} a model",
            [_MODEL],
            body={"application/json": {"schema": {"type": "object"}}},
            answer=done,
            errors=(400, 404, 413, 415, 503),
            optional=True,
        )
    return paths


# Every status that inference may be answered with, beside those that handlers choose.
_INFERENCE_ERRORS = (400, 404, 413, 415, 429, 500, 501, 503, 504)


def _infer(operation: str, path: list[_Json]) -> _Json:
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    body = {"application/json": {"schema": _ref("InferenceRequest")}}
    answer = {
        "description": "The answer",
        "content": {"application/json": {"schema": _ref("InferenceResponse")}, **binary},
    }
    parameters = [*path, _REQUEST_ID, _HEADER_LENGTH]
    return _post(operation, "Inference", parameters, body={**body, **binary}, answer=answer, errors=_INFERENCE_ERRORS)


def _get(
    operation: str, summary: str, schema: _Json, parameters: list[_Json] | None = None, errors: tuple[int, ...] = ()
) -> _Json:
    responses = {"200": _json_response("The answer", schema), **_errors(errors)}
    return {"get": _operation(operation, summary, parameters or [], responses)}


def _get_text(operation: str, summary: str, media_type: str) -> _Json:
    content = {media_type: {"schema": {"type": "string"}}}
    return {"get": _operation(operation, summary, [], {"200": {"description": "The answer", "content": content}})}


def _post(
    operation: str,
    summary: str,
    parameters: list[_Json],
    *,
    body: _Json,
    answer: _Json,
    errors: tuple[int, ...],
    optional: bool = False,
) -> _Json:
    described = _operation(operation, summary, parameters, {"200": answer, **_errors(errors)})
    return {"post": {**described, "requestBody": {"required": not optional, "content": body}}}


def _operation(operation: str, summary: str, parameters: list[_Json], responses: _Json) -> _Json:
    return {"operationId": operation, "summary": summary, "parameters": parameters, "responses": responses}


def _errors(statuses: tuple[int, ...]) -> _Json:
    return {str(status): _json_response(_MEANINGS[status], _ref("Error")) for status in statuses}


_MEANINGS = {
    400: "The request is not one that the model or the server can use",
    404: "There is no such model, or no such version of it",
    413: "The body is larger than the server reads",
    415: "The body is encoded in a way that the server does not read",
    429: "As many requests wait as may; Retry-After says when to try again",
    500: "The model failed; the log has the error under the id in the message",
    501: "The model does not do that",
    503: "The model or the server is not ready, or is busy for too long",
    504: "The model took longer than the deadline",
}


def _json_response(description: str, schema: _Json) -> _Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _inline(**properties: _Json) -> _Json:
    return {"type": "object", "required": [*properties], "properties": properties}


def _inline_optional(**properties: _Json) -> _Json:
    return {"type": "object", "properties": properties}


def _array(items: _Json) -> _Json:
    return {"type": "array", "items": items}


def _schemas() -> _Json:
    text, parameters = {"type": "string"}, {"type": "object"}
    shape = _array({"type": "integer"})
    datatype = {"type": "string", "enum": sorted(DATATYPES)}
    data = {"description": "The elements, flat or nested as the shape is.", "type": "array"}
    tensor = {"name": text, "shape": _array({"type": "integer", "minimum": 0}), "datatype": datatype}
    described = _inline(name=text, datatype=text, shape=shape)
    output = {**_inline(**tensor), "properties": {**tensor, "parameters": parameters, "data": data}}
    return {
        "Error": {**_inline(error=text)},
        "Models": _inline(models=_array(text)),
        "ServerMetadata": _inline(name=text, version=text, extensions=_array(text)),
        "ModelMetadata": {
            **_inline(name=text, platform=text),
            "properties": {
                "name": text,
                "versions": _array(text),
                "platform": text,
                "inputs": _array(described),
                "outputs": _array(described),
            },
        },
        "RequestInput": {**_inline(**tensor), "properties": {**tensor, "parameters": parameters, "data": data}},
        "RequestOutput": {**_inline(name=text), "properties": {"name": text, "parameters": parameters}},
        "ResponseOutput": output,
        "InferenceRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": text,
                "parameters": parameters,
                "inputs": _array(_ref("RequestInput")),
                "outputs": _array(_ref("RequestOutput")),
            },
        },
        "InferenceResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": text,
                "model_version": text,
                "id": text,
                "parameters": parameters,
                "outputs": _array(_ref("ResponseOutput")),
            },
        },
        "RepositoryRow": _inline(name=text, version=text, state=text, reason=text),
        "V1Request": {"type": "object", "properties": {"instances": {"type": "array"}, "inputs": {}}},
    }


def docs_page(document: _Json) -> bytes:
    """Return an OpenAPI document as a page of HTML, without scripts, fonts or anything else from elsewhere.

    Args:
        document: The document.
    """
    info = document["info"]
    operations = "".join(
        _operation_html(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<h1>{title}</h1><p>{escape(info["description"])} <a href="openapi.json">openapi.json</a></p>'
        f"{operations}</body></html>"
    )
    return text.encode()


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "details{border-top:1px solid #8888;padding:.4rem 0}summary{cursor:pointer}"
    "code{font-size:.95em}b{display:inline-block;width:3.5rem}table{border-spacing:.8rem .1rem}td{vertical-align:top}"
)


def _operation_html(method: str, path: str, operation: _Json) -> str:
    rows = [(parameter["name"], parameter.get("description", parameter["in"])) for parameter in operation["parameters"]]
    rows += [("body", media_type) for media_type in operation.get("requestBody", {}).get("content", ())]
    rows += [(status, response["description"]) for status, response in operation["responses"].items()]
    cells = "".join(f"<tr><td><code>{escape(name)}</code><td>{escape(text)}" for name, text in rows)
    summary = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    return f"<details><summary>{summary}</summary><table>{cells}</table></details>"
