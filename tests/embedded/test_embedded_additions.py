"""What modelreg's registry adds to the contract: hard deletes, batches, its own description."""

from __future__ import annotations

import math
from typing import Any

import pytest

from modelreg.embedded.openapi import document


@pytest.fixture
def run(ask: Any) -> str:
    experiment = ask.made("/experiments", name="experiment")
    return ask.made("/experiment_runs", name="run", experimentId=experiment)


def points(ask: Any, run: str, **query: str) -> list[tuple[Any, Any, Any]]:
    items = ask("GET", f"/experiment_runs/{run}/metric_history", **query)[1]["items"]
    return [(item["value"], item.get("step"), item.get("timestamp")) for item in items]


def test_a_batch_that_comes_again_is_stored_once(ask: Any, run: str) -> None:
    batch = {
        "metrics": [{"name": "loss", "points": [[0.5, 1, 10], ["NaN", 2, 20], ["-Infinity", None, None]]}],
        "artifacts": [
            {"artifactType": "parameter", "name": "lr", "value": "0.1"},
            {"artifactType": "model-artifact", "name": "model", "uri": "s3://b/m"},
        ],
    }

    assert ask.own("POST", f"/experiment_runs/{run}/batch", batch) == (200, {"metrics": 3, "artifacts": 2})
    assert ask.own("POST", f"/experiment_runs/{run}/batch", batch) == (200, {"metrics": 0, "artifacts": 2})
    assert points(ask, run) == [(0.5, 1, "10"), ("NaN", 2, "20"), ("-Infinity", None, None)]
    assert ask.names(f"/experiment_runs/{run}/artifacts") == ["loss", "lr", "model"]


def test_a_batch_that_comes_late_does_not_take_a_metric_back(ask: Any, run: str) -> None:
    early = {"metrics": [{"name": "loss", "points": [[1.0, 1, 1]]}]}
    late = {"metrics": [{"name": "loss", "points": [[2.0, 2, 2]]}]}
    for batch in (early, late, early):
        ask.own("POST", f"/experiment_runs/{run}/batch", batch)

    assert ask("GET", f"/experiment_runs/{run}/artifacts")[1]["items"][0]["value"] == 2.0


def test_nothing_of_a_batch_is_stored_when_part_of_it_is_wrong(ask: Any, run: str) -> None:
    ask.made("/model_artifacts", name="other", externalId="taken")
    batch = {
        "metrics": [{"name": "loss", "points": [[1.0, 1, 1]]}],
        "artifacts": [{"artifactType": "model-artifact", "name": "model", "externalId": "taken"}],
    }

    assert ask.own("POST", f"/experiment_runs/{run}/batch", batch)[0] == 409
    assert points(ask, run) == []
    assert ask.names(f"/experiment_runs/{run}/artifacts") == []


@pytest.mark.parametrize(
    "batch",
    [
        *({"metrics": 1}, {"metrics": [1]}, {"metrics": [{"points": []}]}, {"metrics": [{"name": "a", "points": 1}]}),
        *({"metrics": [{"name": "a", "points": [point]}]} for point in ([1], ["x", 1, 1], [1, 1.5, 1], [1, 1, True])),
        *({"artifacts": [{"artifactType": "metric", "value": 1}]}, {"artifacts": [{"name": "a"}]}),
    ],
)
def test_a_batch_that_cannot_be_used_is_refused(ask: Any, run: str, batch: Any) -> None:
    assert ask.own("POST", f"/experiment_runs/{run}/batch", batch)[0] == 400


def test_a_point_posted_twice_is_kept_twice(ask: Any, run: str) -> None:
    for value in (1.0, 2.0):
        ask.made(f"/experiment_runs/{run}/artifacts", artifactType="metric", name="a", value=value, step=1)

    assert points(ask, run, name="a") == [(1.0, 1, None), (2.0, 1, None)]


def test_a_point_keeps_the_properties_it_was_posted_with(ask: Any, run: str) -> None:
    tag = {"split": {"metadataType": "MetadataStringValue", "string_value": "test"}}
    ask.made(f"/experiment_runs/{run}/artifacts", artifactType="metric", name="a", value=1.0, customProperties=tag)
    ask.made(f"/experiment_runs/{run}/artifacts", artifactType="metric", name="b", value=math.pi)

    items = ask("GET", f"/experiment_runs/{run}/metric_history", filterQuery="split = 'test'")[1]["items"]

    assert [(item["name"], item["customProperties"]) for item in items] == [("a", tag)]


def test_deleting_a_resource_deletes_all_that_belongs_to_it(ask: Any, run: str) -> None:
    ask.own("POST", f"/experiment_runs/{run}/batch", {"metrics": [{"name": "loss", "points": [[1.0, 1, 1]]}]})
    experiment = ask("GET", f"/experiment_runs/{run}")[1]["experimentId"]

    assert ask.own("DELETE", f"/experiments/{experiment}") == (204, None)

    assert ask("GET", f"/experiment_runs/{run}")[0] == 404
    assert ask.names("/artifacts") == []
    assert ask("GET", "/experiment_runs/metric_history")[1]["items"] == []
    assert ask.own("DELETE", f"/experiments/{experiment}")[0] == 404


def test_a_model_that_is_served_is_not_deleted(ask: Any) -> None:
    model = ask.made("/registered_models", name="model")
    place = ask.made("/serving_environments", name="here")
    service = ask.made("/inference_services", registeredModelId=model, servingEnvironmentId=place)

    assert ask.own("DELETE", f"/registered_models/{model}")[0] == 409
    assert ask.own("DELETE", f"/inference_services/{service}")[0] == 204
    assert ask.own("DELETE", f"/registered_models/{model}")[0] == 204


def test_an_inference_service_leads_to_what_it_serves(ask: Any) -> None:
    model = ask.made("/registered_models", name="model")
    place = ask.made("/serving_environments", name="here")
    service = ask.made("/inference_services", registeredModelId=model, servingEnvironmentId=place)
    assert ask("GET", f"/inference_services/{service}/version")[0] == 404
    first = ask.made("/model_versions", name="1", registeredModelId=model)
    second = ask.made("/model_versions", name="2", registeredModelId=model)

    assert ask("GET", f"/inference_services/{service}")[1]["desiredState"] == "DEPLOYED"
    assert ask("GET", f"/inference_services/{service}/model")[1]["id"] == model
    assert ask("GET", f"/inference_services/{service}/version")[1]["id"] == second
    assert ask("PATCH", f"/inference_services/{service}", {"modelVersionId": first})[0] == 200
    assert ask("GET", f"/inference_services/{service}/version")[1]["id"] == first
    serve = ask("POST", f"/inference_services/{service}/serves", {"modelVersionId": first})
    assert (serve[0], serve[1]["lastKnownState"]) == (201, "UNKNOWN")


def test_an_artifact_of_a_run_can_belong_to_a_version_too(ask: Any, run: str) -> None:
    artifact = ask.made(
        f"/experiment_runs/{run}/artifacts", artifactType="model-artifact", name="model", uri="s3://b/m"
    )
    model = ask.made("/registered_models", name="model")
    version = ask.made("/model_versions", name="1", registeredModelId=model)

    ask.made(f"/model_versions/{version}/artifacts", artifactType="model-artifact", id=artifact)

    assert ask.names(f"/model_versions/{version}/artifacts") == ["model"]
    assert ask.names(f"/experiment_runs/{run}/artifacts") == ["model"]
    assert ask("GET", "/artifact", name="model", parentResourceId=version)[1]["id"] == artifact


def test_a_run_cannot_end_before_it_starts(ask: Any) -> None:
    experiment = ask.made("/experiments", name="experiment")
    run = ask.made("/experiment_runs", experimentId=experiment, startTimeSinceEpoch="100")

    assert ask("PATCH", f"/experiment_runs/{run}", {"endTimeSinceEpoch": "99"})[0] == 400
    assert ask("PATCH", f"/experiment_runs/{run}", {"endTimeSinceEpoch": "100"})[0] == 200


def test_the_registry_tells_what_it_is_and_that_it_works(ask: Any) -> None:
    assert ask.own("GET", "/info")[1]["name"] == "modelreg"
    assert ask.at("/livez")[0] == ask.at("/readyz")[0] == 200
    assert [ask.at(path, method="HEAD") for path in ("/livez", "/readyz")] == [(200, None), (200, None)]


def test_the_published_document_names_each_operation_once_and_every_reference_leads_somewhere(ask: Any) -> None:
    published = ask.at("/openapi.json")[1]

    operations = [
        operation["operationId"]
        for path in published["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert published == document()
    assert len(operations) == len(set(operations)) == 72
    assert [reference for reference in _references(published) if not _leads_somewhere(published, reference)] == []


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    return [found for value in node for found in _references(value)] if isinstance(node, list) else []


def _leads_somewhere(node: Any, reference: str) -> bool:
    for part in reference.removeprefix("#/").split("/"):
        if part not in node:
            return False
        node = node[part]
    return True


def text(value: str) -> dict[str, str]:
    return {"metadataType": "MetadataStringValue", "string_value": value}


class TestProperties:
    """Custom properties that are changed where they are what the client saw."""

    @pytest.fixture
    def model(self, ask: Any) -> str:
        return ask.made("/registered_models", name="model", customProperties={"a": text("1"), "b": text("2")})

    def test_those_that_are_named_change_and_the_others_stay(self, ask: Any, model: str) -> None:
        body = {"expected": {"a": text("1"), "c": None}, "changes": {"a": None, "c": text("3")}}

        status, answer = ask.own("POST", f"/registered_models/{model}/properties", body)

        assert (status, answer["name"], answer["customProperties"]) == (200, "model", {"b": text("2"), "c": text("3")})
        assert ask("GET", f"/registered_models/{model}")[1] == answer

    def test_nothing_is_changed_where_another_writer_was_first(self, ask: Any, model: str) -> None:
        for expected in ({"a": text("0")}, {"a": None}, {"c": text("1")}, {"a": text("1"), "b": text("0")}):
            body = {"expected": expected, "changes": {"a": text("9")}}
            assert ask.own("POST", f"/registered_models/{model}/properties", body)[0] == 409

        assert ask("GET", f"/registered_models/{model}")[1]["customProperties"] == {"a": text("1"), "b": text("2")}

    @pytest.mark.parametrize(
        "body", [{"expected": 1}, {"changes": []}, {"changes": {"a": 1}}, {"changes": {"": text("1")}}, {"other": {}}]
    )
    def test_changes_that_cannot_be_used_are_refused(self, ask: Any, model: str, body: Any) -> None:
        assert ask.own("POST", f"/registered_models/{model}/properties", body)[0] == 400

    def test_a_model_that_is_not_there_is_not_found(self, ask: Any) -> None:
        assert ask.own("POST", "/registered_models/77/properties", {})[0] == 404

    def test_a_filter_finds_what_was_changed(self, ask: Any, model: str) -> None:
        ask.own("POST", f"/registered_models/{model}/properties", {"changes": {"a": None, "c": text("3")}})

        assert ask.names("/registered_models", filterQuery="c = '3'") == ["model"]
        assert ask.names("/registered_models", filterQuery="a = '1'") == []
