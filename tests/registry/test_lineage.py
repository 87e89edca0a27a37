"""Lineage: from the run that made a version to its files and the inference services that answer with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from modelreg import ModelRegistry
from modelreg.exceptions import NotFound
from modelreg.types import (
    DataSet,
    DocArtifact,
    InferenceService,
    Metric,
    ModelArtifact,
    ModelVersion,
    RunOrigin,
    ServeModel,
)


@pytest.fixture
def trained(registry: ModelRegistry, tmp_path: Path) -> ModelRegistry:
    """A registry with a model that a run made in two versions, of which the first is deployed."""
    weights = tmp_path / "weights.bin"
    for version, content in (("1", b"one"), ("2", b"other")):
        weights.write_bytes(content)
        with registry.start_experiment_run(experiment_name="fraud-study", run_name=f"run-{version}") as run:
            run.log_dataset("transactions", source_type="s3", uri="s3://data/transactions.parquet", source="s3")
            run.log_metric("auc", 0.9)
            run.log_model(
                weights, register_as="fraud", version=version, model_format_name="onnx", model_format_version="1"
            )
    registry.create_serving_environment("prod")
    return registry


def services(found: Any) -> list[tuple[str, bool]]:
    return [(one.service.name, one.is_current) for one in found.deployments]


def test_a_version_leads_back_to_its_run(trained: ModelRegistry):
    [found] = trained.lineage("fraud", "1").versions

    assert found.run is not None
    assert found.run.run is not None
    assert found.run.experiment is not None
    assert (found.run.run.name, found.run.experiment.name) == ("run-1", "fraud-study")
    assert [one.uri for one in found.run.datasets] == ["s3://data/transactions.parquet"]


def test_a_version_leads_to_its_files_with_what_was_recorded_of_them(trained: ModelRegistry):
    [found] = trained.lineage("fraud", "1").versions

    [files] = found.files
    artifact = trained.get_model_artifact("fraud", "1")
    assert artifact is not None
    assert files.artifact == artifact
    assert files.digest == artifact.custom_properties["modelreg.digest"]
    assert files.size == 3


def test_without_a_version_all_are_told_of_in_the_order_they_were_made(trained: ModelRegistry):
    found = trained.lineage("fraud")

    assert found.model.name == "fraud"
    assert [one.version.name for one in found.versions] == ["1", "2"]
    assert [one.run.run.name for one in found.versions if one.run and one.run.run] == ["run-1", "run-2"]


def test_a_version_leads_to_the_services_that_answer_with_it(trained: ModelRegistry):
    trained.create_inference_service("pinned", environment="prod", model="fraud", version="1")
    trained.create_inference_service("newest", environment="prod", model="fraud")

    first, second = trained.lineage("fraud").versions

    assert (services(first), services(second)) == ([("pinned", True)], [("newest", True)])
    assert first.deployments[0].environment == trained.get_serving_environment("prod")


def test_a_service_that_answered_with_a_version_before_is_told_of(trained: ModelRegistry):
    service = trained.create_inference_service("scorer", environment="prod", model="fraud", version="1")
    version = trained.get_model_version("fraud", "1")
    assert version is not None
    action = ServeModel("rollout", model_version_id=version.id, last_known_state="COMPLETE")
    trained.api.create_inference_service_serve(str(service.id), action)
    other = trained.get_model_version("fraud", "2")
    assert other is not None
    trained.update(attrs.evolve(service, model_version_id=other.id))

    first, second = trained.lineage("fraud").versions

    assert (services(first), services(second)) == ([("scorer", False)], [("scorer", True)])
    assert [one.name for one in first.deployments[0].actions] == ["rollout"]


def test_services_of_other_models_are_not_told_of(trained: ModelRegistry):
    trained.register_model("churn", "s3://models/churn", "1", "onnx", "1")
    trained.create_inference_service("churn", environment="prod", model="churn")

    assert all(services(one) == [] for one in trained.lineage("fraud").versions)


def test_a_service_of_a_model_without_versions_is_no_deployment(registry: ModelRegistry):
    registry.register_model("fraud", "s3://models/fraud", "1", "onnx", "1")
    registry.create_serving_environment("prod")
    registry.create_inference_service("scorer", environment="prod", model="fraud")
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    registry.delete(version)

    assert registry.lineage("fraud").versions == ()


def test_the_aliases_of_a_version_are_told(trained: ModelRegistry):
    trained.set_alias("fraud", "champion", "2")
    trained.set_alias("fraud", "shadow", "2")

    assert [one.aliases for one in trained.lineage("fraud").versions] == [(), ("champion", "shadow")]


def test_a_version_that_no_run_made_has_none(registry: ModelRegistry):
    registry.register_model("fraud", "s3://models/fraud", "1", "onnx", "1")

    [found] = registry.lineage("fraud").versions

    assert found.run is None
    assert [(one.digest, one.size) for one in found.files] == [(None, None)]


def test_a_run_that_is_gone_keeps_its_name(trained: ModelRegistry):
    run = trained.get_experiment_run(run_name="run-1", experiment_name="fraud-study")
    assert run is not None
    trained.delete(run)

    assert trained.lineage("fraud", "1").versions[0].run == RunOrigin(str(run.id))


def test_a_run_can_be_named_by_its_id_in_another_system(trained: ModelRegistry):
    run = trained.get_experiment_run(run_name="run-1", experiment_name="fraud-study")
    version = trained.get_model_version("fraud", "1")
    assert run is not None
    assert version is not None
    version.custom_properties["experiment_run_id"] = str(run.external_id)
    trained.update(version)

    found = trained.lineage("fraud", "1").versions[0].run
    assert found is not None
    assert found.run is not None
    assert found.run.id == run.id


def test_a_run_is_found_by_what_it_logged_for_a_version(trained: ModelRegistry):
    run = trained.get_experiment_run(run_name="run-1", experiment_name="fraud-study")
    model = trained.get_registered_model("fraud")
    assert run is not None
    assert model is not None
    version = trained.api.create_model_version(ModelVersion("3", registered_model_id=model.id))
    logged = trained.api.upsert_experiment_run_artifact(str(run.id), ModelArtifact(name="m", uri="s3://m"))
    for artifact in (
        logged,
        DocArtifact(name="card", uri="s3://card"),
        DataSet(name="held-out", uri="s3://data"),
        Metric(name="auc", value=0.5, step=1, timestamp=1),
    ):
        trained.api.upsert_model_version_artifact(str(version.id), artifact)

    [found] = trained.lineage("fraud", "3").versions

    assert found.run is not None
    assert found.run.id == run.id
    assert [one.artifact.name for one in found.files] == ["m", "card", "held-out"]


@pytest.mark.parametrize("name", ["other", "fraud"])
def test_what_is_not_there_is_not_found(registry: ModelRegistry, name: str):
    registry.register_model("fraud", "s3://models/fraud", "1", "onnx", "1")

    with pytest.raises(NotFound):
        registry.lineage(name, "2")


def test_a_service_whose_environment_is_not_told_is_told_of(registry: ModelRegistry):
    from modelreg.client.api import RegistryAPI
    from modelreg.registry.lineage import LineageMethods
    from modelreg.types import ListOptions, Page

    registry.register_model("fraud", "s3://models/fraud", "1", "onnx", "1")
    model, version = registry.get_registered_model("fraud"), registry.get_model_version("fraud", "1")
    assert model is not None
    assert version is not None

    class Sparse(RegistryAPI):
        """Answers with a service that names no environment."""

        def get_inference_services(self, options: ListOptions | None = None) -> Page[InferenceService]:
            del options
            return Page(
                [InferenceService("s", id="1", registered_model_id=model.id, model_version_id=version.id)], None
            )

        def get_inference_service_serves(self, *_: Any, **__: Any) -> Page[ServeModel]:
            return Page([], None)

    [found] = LineageMethods(Sparse(registry.api.session)).lineage("fraud").versions

    assert [(one.service.name, one.environment) for one in found.deployments] == [("s", None)]
