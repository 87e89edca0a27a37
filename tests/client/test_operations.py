"""Each operation as the contract has it: its method, its path, its query, and a body where it takes one."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

import attrs
import pytest
import yaml

from modelreg.client.api import RegistryAPI, ServerCapabilities
from modelreg.exceptions import ServerError, StoreError
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.types import (
    Artifact,
    Experiment,
    ExperimentRun,
    InferenceService,
    ListOptions,
    ModelArtifact,
    ModelVersion,
    Page,
    RegisteredModel,
    ServeModel,
    ServingEnvironment,
    SortOrder,
)

CONTRACT = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "model-registry-v1alpha3.openapi.yaml").read_text(encoding="utf-8")
)
RESOURCES = {
    "Artifact": ModelArtifact(id="7", name="fraud", uri="s3://m"),
    "Experiment": Experiment("study", id="7"),
    "ExperimentRun": ExperimentRun("run", id="7", experiment_id="2"),
    "InferenceService": InferenceService("svc", id="7", registered_model_id="1", serving_environment_id="2"),
    "ModelArtifact": ModelArtifact(id="7", name="fraud", uri="s3://m"),
    "ModelVersion": ModelVersion("v1", id="7", registered_model_id="1"),
    "RegisteredModel": RegisteredModel("fraud", id="7"),
    "ServeModel": ServeModel(id="7", model_version_id="1"),
    "ServingEnvironment": ServingEnvironment("prod", id="7"),
}
OPTIONS = ListOptions(
    page_size=5, order_by="ID", sort_order=SortOrder.DESC, next_page_token="more", filter_query='name = "x"'
)


@attrs.frozen
class Operation:
    """What the contract says of an operation."""

    name: str
    method: str
    path: str
    query: frozenset[str]
    body: str | None

    @property
    def function(self) -> str:
        return re.sub("([A-Z])", r"_\1", self.name).lower()


def operations() -> list[Operation]:
    return [
        read_operation(path, method, item)
        for path, item in CONTRACT["paths"].items()
        for method in item.keys() & {"get", "post", "patch", "put", "delete"}
    ]


def read_operation(path: str, method: str, item: dict[str, Any]) -> Operation:
    described = item[method]
    named = [resolved(parameter) for parameter in [*item.get("parameters", ()), *described.get("parameters", ())]]
    body = described.get("requestBody")
    reference = body["content"]["application/json"]["schema"]["$ref"] if body else None
    return Operation(
        described["operationId"],
        method.upper(),
        path,
        frozenset(parameter["name"] for parameter in named if parameter["in"] == "query"),
        reference and re.sub("(Create|Update)$", "", reference.rpartition("/")[2]),
    )


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    return CONTRACT["components"]["parameters"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value


OPERATIONS = sorted(operations(), key=lambda operation: operation.name)
PARTIAL_UPDATES = [
    operation
    for operation in OPERATIONS
    if "only" in inspect.signature(getattr(RegistryAPI, operation.function)).parameters
]
LISTINGS = [operation for operation in OPERATIONS if "pageSize" in operation.query]


class Recorder:
    """A server that keeps what it is asked, and fails."""

    def __init__(self) -> None:
        self.method = self.path = ""
        self.query: dict[str, str] = {}
        self.body = b""
        self.answer = ("500 Internal Server Error", b'{"message": "recorded"}')

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.method, self.path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.query = dict(parse_qsl(environ["QUERY_STRING"]))
        self.body = environ["wsgi.input"].read()
        start_response(self.answer[0], [("Content-Type", "application/json")])
        return [self.answer[1]]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def api(recorder: Recorder) -> RegistryAPI:
    return RegistryAPI(
        RegistrySession("http://registry.test", adapter=WSGIAdapter(recorder), retry=RetryPolicy(attempts=1))
    )


def arguments(operation: Operation, function: Callable[..., Any]) -> tuple[list[Any], dict[str, Any]]:
    """Everything that a method of an operation takes: ids, a resource, options and every filter."""
    positional: list[Any] = ["7"] * operation.path.count("{")
    if operation.body is not None:
        # The resource that an update writes brings its id.
        positional = [*positional[operation.method == "PATCH" :], RESOURCES[operation.body]]
    if "pageSize" in operation.query:
        positional.append(OPTIONS)
    keywords = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name != "only"
    ]
    return positional, {name: "model-artifact" if name == "artifact_type" else f"the {name}" for name in keywords}


def test_the_contract_has_its_operations() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS) == 56


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_is_asked_for_as_the_contract_says(
    api: RegistryAPI, recorder: Recorder, operation: Operation
) -> None:
    function = getattr(api, operation.function)
    positional, keywords = arguments(operation, function)

    with pytest.raises(ServerError, match="recorded"):
        function(*positional, **keywords)

    assert (recorder.method, recorder.path) == (operation.method, re.sub(r"\{\w+\}", "7", operation.path))
    assert recorder.query.keys() == operation.query
    assert bool(recorder.body) is (operation.body is not None)


@pytest.mark.parametrize("operation", LISTINGS, ids=lambda operation: operation.name)
def test_a_listing_takes_the_options_and_gives_a_page(
    api: RegistryAPI, recorder: Recorder, operation: Operation
) -> None:
    function = getattr(api, operation.function)
    recorder.answer = ("200 OK", b'{"items": [], "nextPageToken": "more", "pageSize": 5, "size": 0}')

    page = function(*arguments(operation, function)[0])

    assert page == Page([], "more")
    assert recorder.query == {
        "pageSize": "5",
        "orderBy": "ID",
        "sortOrder": "DESC",
        "nextPageToken": "more",
        "filterQuery": 'name = "x"',
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("body", ['"text"', "[]", "7"])
def test_an_answer_of_another_shape_is_an_error_of_the_server(
    api: RegistryAPI, recorder: Recorder, operation: Operation, body: str
) -> None:
    function = getattr(api, operation.function)
    recorder.answer = ("200 OK", body.encode())

    with pytest.raises(ServerError, match="cannot be understood"):
        function(*arguments(operation, function)[0])


@pytest.mark.parametrize("operation", LISTINGS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("items", ["7", "[7]"])
def test_a_page_of_what_are_no_objects_is_an_error_of_the_server(
    api: RegistryAPI, recorder: Recorder, operation: Operation, items: str
) -> None:
    function = getattr(api, operation.function)
    recorder.answer = ("200 OK", f'{{"items": {items}}}'.encode())

    with pytest.raises(ServerError, match="cannot be understood"):
        function(*arguments(operation, function)[0])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_empty_answer_is_an_error_of_the_server(api: RegistryAPI, recorder: Recorder, operation: Operation) -> None:
    function = getattr(api, operation.function)
    recorder.answer = ("200 OK", b"")

    with pytest.raises(ServerError):
        function(*arguments(operation, function)[0])


@pytest.mark.parametrize("operation", PARTIAL_UPDATES, ids=lambda operation: operation.name)
def test_an_update_writes_only_what_it_is_told_to(api: RegistryAPI, recorder: Recorder, operation: Operation) -> None:
    resource = attrs.evolve(RESOURCES[str(operation.body)], description="new", external_id="e")

    with pytest.raises(StoreError, match="recorded"):
        getattr(api, operation.function)(resource, only={"description"})

    assert json.loads(recorder.body) == {"description": "new"}


@pytest.mark.parametrize("body", ['"modelreg"', '["batch"]', '{"features": ["batch"]}', "null"])
def test_a_server_that_does_not_tell_its_name_is_taken_for_kubeflows(
    api: RegistryAPI, recorder: Recorder, body: str
) -> None:
    recorder.answer = ("200 OK", body.encode())

    assert api.server_capabilities() == ServerCapabilities("kubeflow")


def test_a_name_and_nothing_else_is_a_server_without_features(api: RegistryAPI, recorder: Recorder) -> None:
    recorder.answer = ("200 OK", b'{"name": "another", "features": null}')

    assert api.server_capabilities() == ServerCapabilities("another")


def test_what_has_no_operation_can_be_asked_over_the_session(api: RegistryAPI, recorder: Recorder) -> None:
    recorder.answer = ("200 OK", b'{"status": "ready"}')

    assert api.session.get("/readyz") == {"status": "ready"}


def test_each_operation_returns_what_its_name_says() -> None:
    returned = {
        operation.name: get_type_hints(getattr(RegistryAPI, operation.function))["return"] for operation in OPERATIONS
    }

    assert returned["getRegisteredModels"] == Page[RegisteredModel]
    assert returned["getModelVersionArtifacts"] == Page[Artifact]
    assert {operation.name for operation in LISTINGS} == {
        name for name, kind in returned.items() if getattr(kind, "__origin__", None) is Page
    }
