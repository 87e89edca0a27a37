"""The operations beside the contract: each takes every query parameter that the contract gives it, and no other."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from modelreg.client.api import RegistryAPI
from modelreg.embedded.openapi import document
from modelreg.exceptions import InvalidInput, NotFound, StoreError
from modelreg.types import (
    Experiment,
    ExperimentRun,
    InferenceService,
    ModelArtifact,
    ModelVersion,
    RegisteredModel,
    ServeModel,
    ServingEnvironment,
)

CONTRACT: dict[str, Any] = document()
# What ListOptions holds, and so any listing takes.
OPTIONS = {"pageSize", "orderBy", "sortOrder", "nextPageToken", "filterQuery"}


def resolved(parameter: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in parameter:
        return parameter
    found: dict[str, Any] = CONTRACT["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    return found


def operations() -> list[tuple[str, set[str], int]]:
    """Each operation's id, the names of its query parameters, and how many parts of its path vary."""
    return [
        (
            operation["operationId"],
            {
                parameter["name"]
                for parameter in map(resolved, [*item.get("parameters", []), *operation.get("parameters", [])])
                if parameter["in"] == "query"
            },
            path.count("{"),
        )
        for path, item in CONTRACT["paths"].items()
        if path.startswith("/api/model_registry/")
        for operation in item.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]


def snake_case(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


@pytest.mark.parametrize(("operation", "query", "_"), operations())
def test_a_method_takes_the_query_parameters_of_its_operation(operation: str, query: set[str], _: int) -> None:
    parameters = inspect.signature(getattr(RegistryAPI, snake_case(operation))).parameters
    keywords = {name for name, at in parameters.items() if at.kind is inspect.Parameter.KEYWORD_ONLY} - {"only"}

    assert keywords == {snake_case(name) for name in query - OPTIONS}
    assert ("options" in parameters) == bool(query & OPTIONS)


@pytest.mark.parametrize(("operation", "_", "variables"), operations())
def test_a_method_is_documented_and_typed(operation: str, _: set[str], variables: int) -> None:
    method = getattr(RegistryAPI, snake_case(operation))
    signature = inspect.signature(method)

    assert (method.__doc__ or "").startswith("Return ")
    assert "Raises:" in method.__doc__
    assert all(at.annotation is not at.empty for name, at in signature.parameters.items() if name != "self")
    assert signature.return_annotation is not signature.empty
    # An id in the path is an argument, or that of the resource to update.
    assert variables <= len(signature.parameters) - 1


@pytest.fixture
def everything(api: RegistryAPI) -> dict[str, str]:
    """The id of one resource of each kind, by the name of what deletes it; children before their parents."""
    model = api.create_registered_model(RegisteredModel("fraud"))
    version = api.create_model_version(ModelVersion("1", registered_model_id=model.id))
    artifact = api.upsert_model_version_artifact(str(version.id), ModelArtifact(name="files", uri="s3://m"))
    experiment = api.create_experiment(Experiment("study"))
    run = api.create_experiment_run(ExperimentRun("run", experiment_id=experiment.id))
    environment = api.create_serving_environment(ServingEnvironment("production"))
    service = api.create_inference_service(
        InferenceService("fraud", registered_model_id=model.id, serving_environment_id=environment.id)
    )
    serve = api.create_inference_service_serve(str(service.id), ServeModel("first", model_version_id=version.id))
    made = {
        "serve_model": serve,
        "inference_service": service,
        "serving_environment": environment,
        "artifact": artifact,
        "model_version": version,
        "registered_model": model,
        "experiment_run": run,
        "experiment": experiment,
    }
    return {name: str(resource.id) for name, resource in made.items()}


def test_every_kind_of_resource_can_be_deleted(api: RegistryAPI, everything: dict[str, str]) -> None:
    assert {f"delete_{name}" for name in everything} == {
        name for name in dir(RegistryAPI) if name.startswith("delete_")
    }

    for name, made in everything.items():
        getattr(api, f"delete_{name}")(made)
        with pytest.raises(NotFound):
            getattr(api, f"delete_{name}")(made)


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_an_id_that_leads_elsewhere_is_refused(id: str, api: RegistryAPI, carrier: Any) -> None:
    with pytest.raises(InvalidInput, match="is not an id"):
        api.get_registered_model(id)

    assert carrier.sent == []


class TestLostAnswers:
    def test_a_serving_action_is_looked_up_in_its_service(
        self, api: RegistryAPI, carrier: Any, everything: dict[str, str]
    ) -> None:
        service, version = everything["inference_service"], everything["model_version"]
        carrier.lose["POST"] = ["answer"]

        second = api.create_inference_service_serve(service, ServeModel("second", model_version_id=version))

        serves = api.get_inference_service_serves(service).items
        assert [(serve.name, serve.id) for serve in serves] == [
            ("first", everything["serve_model"]),
            ("second", second.id),
        ]

    def test_what_has_no_name_is_looked_up_by_its_external_id(self, api: RegistryAPI, carrier: Any) -> None:
        experiment = api.create_experiment(Experiment("study"))
        carrier.lose["POST"] = ["answer", "answer"]

        run = api.create_experiment_run(ExperimentRun(experiment_id=experiment.id, external_id="job-7"))
        artifact = api.create_model_artifact(ModelArtifact(name="files", uri="s3://m", external_id="job-7"))

        assert [item.id for item in api.get_experiment_runs().items] == [run.id]
        assert [item.id for item in api.get_artifacts().items] == [artifact.id]

    def test_a_create_that_is_lost_more_than_once_is_still_one_object(self, api: RegistryAPI, carrier: Any) -> None:
        carrier.lose["POST"] = ["request", "answer"]

        model = api.create_registered_model(RegisteredModel("fraud"))

        assert [item.id for item in api.get_registered_models().items] == [model.id]

    def test_a_create_that_never_arrives_is_an_error_that_says_so(self, api: RegistryAPI, carrier: Any) -> None:
        carrier.lose["POST"] = ["request"] * 10

        with pytest.raises(StoreError, match="the connection broke") as raised:
            api.create_registered_model(RegisteredModel("fraud"))

        assert raised.value.maybe_done
        assert [line.split()[0] for line in carrier.sent] == ["POST", "GET"] * 3
