"""The server's OpenAPI document: complete, kept by the server, and readable without a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error, unsupported_method
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from modelreg.serving.dataplane import DataPlane
from modelreg.serving.model import Model
from modelreg.serving.openapi import docs_page, openapi_document
from modelreg.serving.repository import ModelRepository
from modelreg.serving.rest import rest_app

# The paths of the Open Inference Protocol; each with a model may have a version or none.
PROTOCOL = {
    ("get", "/v2"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    *(
        (method, f"/v2/models/{{name}}{version}{path}")
        for method, path in (("get", ""), ("get", "/ready"), ("post", "/infer"))
        for version in ("", "/versions/{version}")
    ),
}


class Obliging(Model):
    """Answers whatever it is asked."""

    def predict(self, payload: Any) -> Any:
        return {"predictions": np.zeros(1)}

    def explain(self, payload: Any) -> Any:
        return {"explanations": np.zeros(1)}


def served() -> Any:
    models = ModelRepository(loader=lambda name: [Obliging(name)] if name in {"model", "other"} else [])
    models.update(Obliging("model", version="1"))
    dataplane = DataPlane(models)
    dataplane.start()
    return rest_app(dataplane, enable_repository_api=True)


schema = schemathesis.openapi.from_wsgi("/openapi.json", served())
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


@schema.parametrize()
@settings(max_examples=25, suppress_health_check=[*HealthCheck])
def test_the_server_does_what_its_document_says(case: schemathesis.Case) -> None:
    if "name" in case.path_parameters and len(case.path_parameters["name"]) % 2:
        # Half of the time there is such a model.
        case.path_parameters["name"] = "model"
    response = case.call()

    case.validate_response(response, checks=CHECKS)


def test_every_operation_of_the_protocol_is_described() -> None:
    document = openapi_document(enable_repository_api=False)

    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described >= PROTOCOL


def test_operations_have_names_of_their_own() -> None:
    document = openapi_document(enable_repository_api=True)

    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len({*names})


@pytest.mark.parametrize("enabled", [True, False])
def test_loading_is_described_where_it_is_enabled(enabled: bool) -> None:
    paths = openapi_document(enable_repository_api=enabled)["paths"]

    assert ("/v2/repository/models/{name}/load" in paths) is enabled
    assert ("/v2/repository/models/{name}/unload" in paths) is enabled
    assert "/v2/repository/index" in paths


class Links(HTMLParser):
    """What a page refers to, and what it has on it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value for name, value in attrs if name in {"href", "src", "action"} and value is not None]


def test_the_page_of_the_document_needs_nothing_from_elsewhere() -> None:
    page = docs_page(openapi_document(enable_repository_api=True)).decode()

    links = Links()
    links.feed(page)
    assert links.found == ["openapi.json"]
    assert "script" not in links.tags
    assert not re.search(r"https?://|@import|url\(", page)
    assert page.count("<details>") == len(openapi_document(enable_repository_api=True)["paths"])


def test_the_page_escapes_what_it_shows() -> None:
    document = openapi_document(enable_repository_api=False)
    document["info"]["title"] = "<script>"

    assert b"<script>" not in docs_page(document)
