"""Everything moves from one registry to another, once, however often it is moved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from modelreg import ModelRegistry
from modelreg.client.api import RegistryAPI
from modelreg.embedded import open_app
from modelreg.exceptions import InvalidInput
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.registry.exporting import export_records
from modelreg.registry.importing import ImportReport, import_records
from modelreg.testing import in_process_registry
from modelreg.types import (
    DataSet,
    DocArtifact,
    Experiment,
    ExperimentRun,
    Metric,
    ModelArtifact,
    Parameter,
    RegisteredModel,
    ServeModel,
)


@pytest.fixture
def source() -> Iterator[ModelRegistry]:
    """A registry that holds something of every kind, after some that was deleted: its ids are not 1, 2, 3."""
    with in_process_registry(author="ann") as registry:
        registry.delete(registry.register_model("gone", "s3://gone", "1", "onnx", "1"))
        _fill_experiments(registry)
        _fill_models(registry)
        _fill_serving(registry)
        registry.api.create_artifact(DocArtifact(uri="s3://docs/loose.md", name="loose"))
        yield registry


def _fill_models(registry: ModelRegistry) -> None:
    fraud = registry.register_model("fraud", "s3://m/fraud/1", "1", "onnx", "1", metadata={"auc": 0.5, "n": 3})
    run = registry.get_experiment_run(run_name="parent", experiment_name="study")
    assert run is not None
    made_by = {"experiment_run_id": str(run.id)}
    registry.register_model("fraud", "s3://m/fraud/2", "2", "onnx", "1", "k", "p", None, None, "better", made_by)
    registry.register_model("churn", "s3://m/churn/1", "1", "onnx", "1")
    fraud.language = ["en", "de"]
    fraud.external_id = "ext-1"
    fraud.custom_properties = {"ok": True, "inf": math.inf, "text": "é \U0001f600"}
    registry.update(fraud)
    registry.api.create_registered_model(RegisteredModel("empty", readme="# nothing yet"))
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    registry.archive(version)
    registry.api.upsert_model_version_artifact(version.id, DataSet("train", "s3://d/train.csv", digest="sha256:0"))
    registry.api.upsert_model_version_artifact(version.id, Metric("auc", 0.5, step=1, timestamp=7))


def _fill_experiments(registry: ModelRegistry) -> None:
    study = registry.api.create_experiment(Experiment("study", owner="ann"))
    parent = registry.api.create_experiment_run(
        ExperimentRun("parent", experiment_id=study.id, start_time_since_epoch=1000, status="FINISHED")
    )
    registry.api.create_experiment_run(
        ExperimentRun("child", experiment_id=study.id, custom_properties={"kubeflow.parent_run_id": str(parent.id)})
    )
    for step in range(5):
        value = math.nan if step == 3 else 1.0 / (step + 1)
        registry.api.upsert_experiment_run_artifact(parent.id, Metric("loss", value, step=step, timestamp=step))
    # A second value at a step and time that has one, and a point without either.
    registry.api.upsert_experiment_run_artifact(parent.id, Metric("loss", 42.0, step=4, timestamp=4))
    registry.api.upsert_experiment_run_artifact(parent.id, Metric("bare", 7.0))
    registry.api.upsert_experiment_run_artifact(parent.id, Parameter("lr", "0.1", parameter_type="number"))
    registry.api.upsert_experiment_run_artifact(parent.id, ModelArtifact(uri="s3://m/run", name="model"))


def _fill_serving(registry: ModelRegistry) -> None:
    registry.create_serving_environment("prod")
    service = registry.create_inference_service("fraud", environment="prod", model="fraud", version="2")
    version = registry.get_model_version("fraud", "2")
    assert version is not None
    registry.api.create_inference_service_serve(
        service.id, ServeModel("serve-1", model_version_id=version.id, last_known_state="RUNNING")
    )


def export(registry: ModelRegistry) -> list[dict[str, Any]]:
    """The records, as they come back from a file."""
    records = export_records(registry.api, source=registry.url)
    return [json.loads(json.dumps(record, allow_nan=False)) for record in records]


def content(registry: ModelRegistry) -> Any:
    """Everything that a registry says, with names in the place of ids and without its own times."""
    names: dict[tuple[str, str], str] = {}
    return [_without_ids(record, names) for record in export(registry)[1:]]


_REFERENCES = {
    "registeredModelId": "registered_model",
    "modelVersionId": "model_version",
    "experimentId": "experiment",
    "experimentRunId": "experiment_run",
    "servingEnvironmentId": "serving_environment",
}


def _without_ids(record: dict[str, Any], names: dict[tuple[str, str], str]) -> dict[str, Any]:
    record = dict(record)
    if "parent" in record:
        record["parent"] = {kind: names[kind, key] for kind, key in record["parent"].items()}
    if "run" in record:
        record["run"] = names["experiment_run", record["run"]]
    if "object" in record:
        obj = dict(record["object"])
        names[record["kind"], obj.pop("id")] = obj["name"]
        for field, kind in _REFERENCES.items():
            if field in obj:
                obj[field] = names[kind, obj[field]]
        for run in ("kubeflow.parent_run_id", "experiment_run_id"):
            if run in obj.get("customProperties", {}):
                value = obj["customProperties"][run]
                value["string_value"] = names["experiment_run", value["string_value"]]
        for time in ("createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"):
            obj.pop(time, None)
        record["object"] = obj
    return record


def test_an_import_into_an_empty_registry_holds_all_that_was_exported(
    source: ModelRegistry, registry: ModelRegistry
) -> None:
    report = import_records(registry.api, export(source))

    assert content(registry) == content(source)
    # Unchanged are the artifacts of the two metrics, which their points brought about.
    assert (report.updated, report.unchanged, report.points) == (0, 2, 7)


def test_ids_are_those_of_the_registry_that_is_imported_into(source: ModelRegistry, registry: ModelRegistry) -> None:
    registry.register_model("here already", "s3://m", "1", "onnx", "1")

    import_records(registry.api, export(source))

    parent = registry.get_experiment_run(run_name="parent", experiment_name="study")
    child = registry.get_experiment_run(run_name="child", experiment_name="study")
    assert parent is not None
    assert child is not None
    assert child.custom_properties["kubeflow.parent_run_id"] == parent.id
    assert registry.get_registered_model("here already") is not None


def test_importing_twice_changes_nothing(source: ModelRegistry, registry: ModelRegistry) -> None:
    records = export(source)
    import_records(registry.api, records)
    once = content(registry)

    report = import_records(registry.api, records)

    assert content(registry) == once
    assert (report.created, report.updated, report.points) == (0, 0, 0)


def test_an_import_that_was_interrupted_anywhere_is_completed_by_the_same_import(source: ModelRegistry) -> None:
    records = export(source)
    expected = content(source)
    for count in range(1, len(records), 5):
        with in_process_registry() as target:
            with pytest.raises(InvalidInput, match="ends early"):
                import_records(target.api, islice(records, count))

            import_records(target.api, records)

            assert content(target) == expected


def test_what_changed_in_the_source_is_written_over_what_was_imported(
    source: ModelRegistry, registry: ModelRegistry
) -> None:
    import_records(registry.api, export(source))
    model = source.get_registered_model("churn")
    assert model is not None
    model.description = "now described"
    source.update(model)
    source.register_model("churn", "s3://m/churn/2", "2", "onnx", "1")

    report = import_records(registry.api, export(source))

    assert content(registry) == content(source)
    assert (report.updated, report.created) == (1, 2)


def test_a_registry_without_batches_is_given_the_points_one_by_one(source: ModelRegistry, tmp_path: Path) -> None:
    app = open_app(str(tmp_path / "target.db"))

    def contract_alone(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/api/modelreg/"):
            start_response("404 Not Found", [])
            return [b"{}"]
        return app(environ, start_response)

    api = RegistryAPI(RegistrySession("http://target.test", adapter=WSGIAdapter(contract_alone)))
    records = export(source)

    first, second = import_records(api, records), import_records(api, records)

    app.close()
    assert (first.points, second.points, second.created) == (7, 0, 0)
    with in_process_registry(tmp_path / "target.db") as target:
        assert content(target) == content(source)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "ends early"),
        ([{"kind": "registered_model", "object": {"name": "a"}}], "not an export"),
        ([{"kind": "export", "format": 99}], "format 99"),
        ([{"kind": "export", "format": 1}, {"kind": "novelty"}], "'novelty' is not known"),
        ([{"kind": "export", "format": 1}, {"object": {}}], "record 2 of the export is damaged"),
        ([{"kind": "export", "format": 1}, {"kind": "registered_model"}], "record 2 of the export is damaged"),
        (
            [{"kind": "export", "format": 1}, {"kind": "registered_model", "object": {"id": "1"}}],
            "not a RegisteredModel",
        ),
        (
            [
                {"kind": "export", "format": 1},
                {"kind": "model_version", "object": {"id": "1", "name": "1", "registeredModelId": "7"}},
            ],
            "record 2 of the export is damaged",
        ),
    ],
)
def test_what_is_no_whole_export_is_refused(
    registry: ModelRegistry, records: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        import_records(registry.api, records)


def test_a_report_says_what_was_done(registry: ModelRegistry) -> None:
    records = [
        {"kind": "export", "format": 1, "source": "elsewhere"},
        {"kind": "registered_model", "object": {"id": "5", "name": "fraud"}},
        {"kind": "end", "counts": {"registered_model": 1}},
    ]

    assert import_records(registry.api, records) == ImportReport(created=1)
