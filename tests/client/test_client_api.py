"""The registry's operations: all there, under their names, with one object per create whatever is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from modelreg.client.api import RegistryAPI, ServerCapabilities
from modelreg.embedded.openapi import document
from modelreg.exceptions import (
    DuplicateError,
    InvalidInput,
    MissingMetadata,
    NotFound,
    ServerError,
    StoreError,
    UnsupportedType,
)
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.types import (
    Experiment,
    ExperimentRun,
    ListOptions,
    Metric,
    ModelArtifact,
    ModelVersion,
    Parameter,
    RegisteredModel,
    SortOrder,
)

OPERATIONS = sorted(
    operation["operationId"]
    for path, item in document()["paths"].items()
    if path.startswith("/api/model_registry/")
    for operation in item.values()
    if isinstance(operation, dict) and "operationId" in operation
)


def snake_case(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


def test_every_operation_of_the_contract_has_its_method() -> None:
    assert len(OPERATIONS) == 56
    assert [name for name in OPERATIONS if not callable(getattr(RegistryAPI, snake_case(name), None))] == []


def test_every_public_method_is_an_operation_or_an_addition() -> None:
    own = {name for name in dir(RegistryAPI) if not name.startswith(("_", "delete_"))}

    assert own - {snake_case(name) for name in OPERATIONS} == {
        "change_registered_model_properties",
        "get_metric_points",
        "register_version",
        "server_capabilities",
        "session",
        "write_run_batch",
    }


class TestLostAnswers:
    """A create is sent once or looked up: never a second object."""

    def test_a_create_whose_answer_was_lost_is_resolved_by_looking_it_up(self, api: RegistryAPI, carrier: Any) -> None:
        carrier.lose["POST"] = ["answer"]

        model = api.create_registered_model(RegisteredModel("fraud", owner="ann"))

        assert [item.id for item in api.get_registered_models().items] == [model.id]
        assert [line.split()[0] for line in carrier.sent[:2]] == ["POST", "GET"]

    def test_a_create_that_did_not_arrive_is_sent_again(self, api: RegistryAPI, carrier: Any) -> None:
        carrier.lose["POST"] = ["request"]

        model = api.create_registered_model(RegisteredModel("fraud"))

        assert [item.id for item in api.get_registered_models().items] == [model.id]

    def test_a_name_that_somebody_else_took_meanwhile_is_a_duplicate(self, api: RegistryAPI, carrier: Any) -> None:
        api.create_registered_model(RegisteredModel("fraud", owner="eve"))
        carrier.lose["POST"] = ["request"]

        with pytest.raises(DuplicateError):
            api.create_registered_model(RegisteredModel("fraud", owner="ann"))

    def test_versions_runs_and_artifacts_are_resolved_too(self, api: RegistryAPI, carrier: Any) -> None:
        model = api.create_registered_model(RegisteredModel("fraud"))
        experiment = api.create_experiment(Experiment("study"))
        carrier.lose["POST"] = ["answer"]
        version = api.create_model_version(ModelVersion("1", registered_model_id=model.id))
        carrier.lose["POST"] = ["answer"]
        artifact = api.upsert_model_version_artifact(str(version.id), ModelArtifact(name="fraud", uri="s3://m"))
        carrier.lose["POST"] = ["answer"]
        run = api.create_experiment_run(ExperimentRun("run", experiment_id=experiment.id))

        assert [item.id for item in api.get_model_versions().items] == [version.id]
        assert [item.id for item in api.get_artifacts().items] == [artifact.id]
        assert [item.id for item in api.get_experiment_runs().items] == [run.id]

    def test_what_has_no_name_cannot_be_looked_up_and_is_an_error(self, api: RegistryAPI, carrier: Any) -> None:
        experiment = api.create_experiment(Experiment("study"))
        carrier.lose["POST"] = ["answer"]

        with pytest.raises(StoreError, match="the connection broke"):
            api.create_experiment_run(ExperimentRun(experiment_id=experiment.id))

        assert len(api.get_experiment_runs().items) == 1

    def test_a_point_of_a_metric_is_not_posted_twice(self, api: RegistryAPI, carrier: Any) -> None:
        experiment = api.create_experiment(Experiment("study"))
        run = api.create_experiment_run(ExperimentRun("run", experiment_id=experiment.id))
        carrier.lose["POST"] = ["answer"]

        with pytest.raises(StoreError, match="the connection broke"):
            api.upsert_experiment_run_artifact(str(run.id), Metric(name="loss", value=0.5, step=1))

        assert len(api.get_experiment_run_metric_history(str(run.id)).items) == 1

    def test_a_parameter_and_a_batch_are_sent_again(self, api: RegistryAPI, carrier: Any) -> None:
        experiment = api.create_experiment(Experiment("study"))
        run = api.create_experiment_run(ExperimentRun("run", experiment_id=experiment.id))
        carrier.lose["POST"] = ["answer"]
        api.upsert_experiment_run_artifact(str(run.id), Parameter(name="lr", value="0.1"))
        carrier.lose["POST"] = ["answer"]

        result = api.write_run_batch(str(run.id), metrics={"loss": [(0.5, 1, 7), (float("nan"), 2, 8)]})

        points = api.get_metric_points(str(run.id)).items
        assert result.metrics == 0
        assert [(point.step, point.timestamp) for point in points] == [(1, 7), (2, 8)]


class TestAnswers:
    def test_listings_take_options_and_filters(self, api: RegistryAPI) -> None:
        for name in ("a", "b", "c"):
            api.create_registered_model(RegisteredModel(name))

        first = api.get_registered_models(ListOptions(page_size=2, sort_order=SortOrder.DESC))
        rest = api.get_registered_models(
            ListOptions(page_size=2, sort_order=SortOrder.DESC, next_page_token=first.next_page_token)
        )
        filtered = api.get_registered_models(ListOptions(filter_query='name != "b"'))

        assert [model.name for model in first.items] == ["c", "b"]
        assert ([model.name for model in rest.items], rest.next_page_token) == (["a"], "")
        assert [model.name for model in filtered.items] == ["a", "c"]

    def test_what_cannot_be_written_is_found_before_anything_is_sent(self, api: RegistryAPI, carrier: Any) -> None:
        with pytest.raises(UnsupportedType):
            api.create_registered_model(RegisteredModel("fraud", custom_properties={"tags": ["a"]}))  # type: ignore[dict-item] # what the test is about
        with pytest.raises(MissingMetadata):
            api.update_registered_model(RegisteredModel("fraud"))
        with pytest.raises(InvalidInput):
            api.get_registered_model("")

        assert carrier.sent == []

    def test_an_id_cannot_leave_its_place_in_the_path(self, api: RegistryAPI, carrier: Any) -> None:
        with pytest.raises(StoreError):
            api.get_registered_model("../experiments/1")

        assert carrier.sent == ["GET /api/model_registry/v1alpha3/registered_models/..%2Fexperiments%2F1"]

    @pytest.mark.parametrize("body", [b'"text"', b"[]", b'{"id": "1"}', b'{"name": ["a"]}'])
    def test_an_answer_that_is_not_the_contracts_is_an_error_of_the_server(self, body: bytes) -> None:
        api = answering({"": body})

        with pytest.raises(ServerError, match="cannot be understood"):
            api.get_registered_model("1")


class TestAdditions:
    def test_our_own_registry_can_more_than_the_contract(self, api: RegistryAPI, carrier: Any) -> None:
        capabilities = api.server_capabilities()

        assert (capabilities.name, {"batch", "delete"} <= capabilities.features) == ("modelreg", True)
        assert api.server_capabilities() is capabilities
        assert len(carrier.sent) == 1

    def test_another_registry_is_told_apart_and_what_it_cannot_do_is_said(self) -> None:
        api = answering({})

        assert api.server_capabilities() == ServerCapabilities("kubeflow")
        with pytest.raises(ServerError, match="cannot delete; archive instead"):
            api.delete_registered_model("1")
        with pytest.raises(ServerError, match="takes no batches"):
            api.write_run_batch("1")
        with pytest.raises(ServerError, match="cannot register at once"):
            api.register_version(RegisteredModel("fraud"), ModelVersion("1"), ModelArtifact(name="fraud"))

    def test_a_version_is_registered_with_its_model_and_its_artifact(self, api: RegistryAPI) -> None:
        made = api.register_version(RegisteredModel("fraud"), ModelVersion("1"), ModelArtifact(name="f", uri="s3://m"))

        assert api.get_registered_model(str(made.model.id)) == made.model
        assert api.get_model_version(str(made.version.id)) == made.version
        assert api.get_model_version_artifacts(str(made.version.id)).items == [made.artifact]

    def test_an_answer_that_is_no_registration_is_an_error_of_the_server(self) -> None:
        info = b'{"name": "modelreg", "features": ["registrations"]}'
        api = answering({"/info": info, "/registrations": b"[]"})

        with pytest.raises(ServerError, match="no registration"):
            api.register_version(RegisteredModel("fraud"), ModelVersion("1"), ModelArtifact(name="fraud"))

    def test_what_is_deleted_is_gone(self, api: RegistryAPI) -> None:
        model = api.create_registered_model(RegisteredModel("fraud"))

        api.delete_registered_model(str(model.id))

        with pytest.raises(NotFound):
            api.get_registered_model(str(model.id))


def answering(bodies: dict[str, bytes]) -> RegistryAPI:
    """The operations of a server that answers with the first body whose key its path ends with, else with 404."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        body = next((body for end, body in bodies.items() if environ["PATH_INFO"].endswith(end)), None)
        start_response("404 Not Found" if body is None else "200 OK", [("Content-Type", "application/json")])
        return [b'{"code": "Not Found", "message": "no such path"}' if body is None else body]

    return RegistryAPI(RegistrySession("http://registry.test", adapter=WSGIAdapter(app)))


@pytest.mark.parametrize(
    ("find", "said"),
    [
        (lambda api: api.find_registered_model(name="absent"), "there is no model 'absent'"),
        (lambda api: api.find_model_version(name="9", parent_resource_id="1"), "the model has no version '9'"),
        (lambda api: api.find_serving_environment(name="absent"), "there is no serving environment 'absent'"),
    ],
)
def test_what_is_looked_for_by_its_name_and_not_there_is_named(
    api: RegistryAPI, find: Callable[[RegistryAPI], Any], said: str
):
    with pytest.raises(NotFound) as missing:
        find(api)

    assert str(missing.value).startswith(said)


def test_what_is_looked_for_by_another_id_is_told_as_the_registry_tells_it(api: RegistryAPI):
    with pytest.raises(NotFound, match="404: no registered model matches"):
        api.find_registered_model(external_id="absent")
