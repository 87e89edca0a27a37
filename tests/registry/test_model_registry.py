"""ModelRegistry: how it is made, and what it finds, updates, archives and deletes."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.exceptions import InvalidInput, MissingMetadata, NotFound, StoreError, Unreachable
from modelreg.types import (
    DocArtifact,
    Experiment,
    ExperimentRun,
    ModelArtifact,
    ModelVersion,
    RegisteredModel,
    ServeModel,
)


def register(registry: ModelRegistry, name: str = "fraud", version: str = "1", **changes: Any) -> RegisteredModel:
    return registry.register_model(name, f"s3://models/{name}/{version}", version, "onnx", "1", **changes)


class TestMaking:
    @pytest.mark.parametrize("timeout", [0, -1, "5", float("nan"), float("inf"), (1, 2, 3), (1, None), [1, 2]])
    def test_a_timeout_that_is_none_is_refused_at_once(self, timeout: Any) -> None:
        with pytest.raises(InvalidInput, match=r"timeout is .* seconds"):
            ModelRegistry("https://registry.test", timeout=timeout, connect=False)

    @pytest.mark.parametrize(
        "address", [8080, b"http://registry.test", Path("/srv/registry.db"), "http://[::1", "sqlite:///a\0b"]
    )
    def test_an_address_that_is_none_is_refused(self, address: Any) -> None:
        with pytest.raises(InvalidInput, match="address"):
            ModelRegistry(address, connect=False)

    def test_it_is_not_pickled_and_the_error_tells_what_to_do_instead(self, registry: ModelRegistry) -> None:
        with pytest.raises(TypeError, match="make one in each process"):
            pickle.dumps(registry)

    def test_without_an_address_it_is_a_database_in_the_data_folder(self, home: Path) -> None:
        with ModelRegistry() as registry:
            register(registry)

        assert (home / "data" / "modelreg" / "registry.db").exists()
        with ModelRegistry() as registry:
            assert registry.get_registered_model("fraud") is not None

    def test_the_environment_names_the_registry(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELREG_REGISTRY_URL", f"sqlite:///{tmp_path / 'named.db'}")

        with ModelRegistry():
            assert (tmp_path / "named.db").exists()

    def test_an_address_goes_before_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELREG_REGISTRY_URL", "http://127.0.0.1:9")

        with ModelRegistry(f"sqlite:///{tmp_path / 'given.db'}") as registry:
            assert list(registry.get_registered_models()) == []

    def test_a_server_that_does_not_answer_is_a_clear_error(self) -> None:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            ModelRegistry("http://127.0.0.1", 9, author="ann", is_secure=False)

    def test_without_connect_nothing_is_sent(self) -> None:
        registry = ModelRegistry("http://127.0.0.1:9", author="ann", connect=False)

        with pytest.raises(Unreachable):
            registry.get_registered_model("fraud")

    def test_an_unknown_kind_of_address_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="ftp"):
            ModelRegistry("ftp://host/registry", author="ann")

    def test_the_author_is_the_login_name_where_none_is_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOGNAME", "grace")

        with ModelRegistry(f"sqlite:///{tmp_path / 'r.db'}") as registry:
            assert register(registry).owner == "grace"

    def test_an_async_runner_is_accepted_with_a_warning(self, tmp_path: Path) -> None:
        with pytest.warns(DeprecationWarning, match="async_runner") as warned:
            registry = ModelRegistry(f"sqlite:///{tmp_path / 'r.db'}", author="ann", async_runner=asyncio.run)

        registry.close()
        assert (len(warned), warned[0].filename) == (1, __file__)

    def test_a_log_level_sets_the_level_of_our_logger_alone(self, tmp_path: Path) -> None:
        logger, root = logging.getLogger("modelreg"), logging.getLogger()
        before, root_level = logger.level, root.level
        try:
            ModelRegistry(f"sqlite:///{tmp_path / 'r.db'}", log_level=logging.DEBUG).close()

            assert (logger.level, root.level) == (logging.DEBUG, root_level)
        finally:
            logger.setLevel(before)

    def test_its_repr_names_the_address(self, tmp_path: Path) -> None:
        with ModelRegistry("https://registry.example.com", connect=False, user_token="secret") as remote:
            assert repr(remote) == "ModelRegistry('https://registry.example.com')"
        with ModelRegistry(f"sqlite:///{tmp_path / 'r.db'}") as embedded:
            assert repr(embedded) == f"ModelRegistry('sqlite:///{tmp_path / 'r.db'}')"

    def test_credentials_in_an_address_are_refused_and_not_shown(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            ModelRegistry("https://ann:secret@registry.example.com", connect=False)

        assert "secret" not in str(refused.value)

    def test_it_works_inside_a_running_event_loop(self, registry: ModelRegistry) -> None:
        async def main() -> list[str]:
            register(registry, version="1")
            register(registry, version="2")
            return [version.name async for version in registry.get_model_versions("fraud").page_size(1)]

        assert asyncio.run(main()) == ["1", "2"]

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
    def test_it_works_after_a_fork(self, tmp_path: Path) -> None:
        code = """
import os, sys
from modelreg import ModelRegistry

registry = ModelRegistry(sys.argv[1], author="ann")
registry.register_model("fraud", "s3://b/1", "1", "onnx", "1")
child = os.fork()
registry.register_model("fraud", f"s3://b/{child and 2 or 3}", str(child and 2 or 3), "onnx", "1")
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(sorted(version.name for version in registry.get_model_versions("fraud")))
"""
        command = [sys.executable, "-W", "error", "-c", code, f"sqlite:///{tmp_path / 'r.db'}"]

        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

        assert (done.stdout, done.stderr) == ("['1', '2', '3']\n", "")

    def test_one_that_nobody_closed_ends_without_a_warning(self, tmp_path: Path) -> None:
        code = """
import sys
from modelreg import ModelRegistry

registry = ModelRegistry(sys.argv[1], author="ann")
registry.register_model("fraud", "s3://b/1", "1", "onnx", "1")
ModelRegistry(sys.argv[1]).get_registered_model("fraud")
"""
        command = [sys.executable, "-W", "error", "-c", code, f"sqlite:///{tmp_path / 'r.db'}"]

        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

        assert (done.returncode, done.stderr) == (0, "")

    def test_the_package_has_the_name(self) -> None:
        assert modelreg.ModelRegistry is ModelRegistry


class TestFinding:
    def test_what_is_absent_is_none(self, registry: ModelRegistry) -> None:
        register(registry)
        model = registry.get_registered_model("fraud")
        registry.api.create_model_version(ModelVersion("empty", registered_model_id=model.id if model else None))

        assert registry.get_registered_model("absent") is None
        assert registry.get_model_version("fraud", "absent") is None
        assert registry.get_model_artifact("fraud", "empty") is None

    def test_what_is_inside_of_something_absent_is_an_error(self, registry: ModelRegistry) -> None:
        register(registry)

        with pytest.raises(StoreError, match="no model 'absent'"):
            registry.get_model_version("absent", "1")
        with pytest.raises(NotFound, match="no model 'absent'"):
            registry.get_model_versions("absent")
        with pytest.raises(NotFound, match="'fraud' has no version 'absent'"):
            registry.get_model_artifact("fraud", "absent")

    def test_listings_are_pagers_over_everything(self, registry: ModelRegistry) -> None:
        for name in ("a", "b", "c"):
            register(registry, name)

        pager = registry.get_registered_models().page_size(1).order_by_id().descending()

        assert [model.name for model in pager] == ["c", "b", "a"]

    def test_artifacts_of_a_version_are_listed_by_type_and_filter(self, registry: ModelRegistry) -> None:
        register(registry)
        register(registry, "churn")
        version = registry.get_model_version("fraud", "1")
        assert version is not None
        registry.api.upsert_model_version_artifact(version.id, DocArtifact(uri="s3://docs/card.md", name="card"))

        def names(pager: Any) -> list[str]:
            return [artifact.name for artifact in pager]

        assert names(registry.get_artifacts("fraud", "1")) == ["fraud", "card"]
        assert names(registry.get_artifacts("fraud", "1", artifact_type="doc-artifact")) == ["card"]
        assert names(registry.get_artifacts(filter='uri LIKE "s3://docs/%"')) == ["card"]
        assert names(registry.get_artifacts()) == ["fraud", "churn", "card"]
        assert names(registry.get_model_artifacts()) == ["fraud", "churn"]
        assert names(registry.get_model_artifacts("fraud", "1")) == ["fraud"]

    def test_a_model_without_a_version_names_no_artifacts(self, registry: ModelRegistry) -> None:
        with pytest.raises(InvalidInput, match="together"):
            registry.get_artifacts("fraud")
        with pytest.raises(InvalidInput, match="together"):
            registry.get_model_artifacts(version="1")

    def test_an_unknown_artifact_type_is_refused(self, registry: ModelRegistry) -> None:
        with pytest.raises(InvalidInput, match="model-artifact"):
            registry.get_artifacts(artifact_type="novel")

    def test_resources_are_found_by_their_external_id(self, registry: ModelRegistry) -> None:
        model = registry.api.create_registered_model(RegisteredModel("fraud", external_id="ext-1"))
        version = registry.api.create_model_version(
            ModelVersion("1", registered_model_id=model.id, external_id="ext-2")
        )

        found = registry.find_by_external_id(RegisteredModel, "ext-1")
        assert found is not None
        assert (found.id, found.name) == (model.id, "fraud")
        assert registry.find_by_external_id(ModelVersion, "ext-2") == version
        assert registry.find_by_external_id(Experiment, "ext-1") is None
        with pytest.raises(InvalidInput, match="ServeModel"):
            registry.find_by_external_id(ServeModel, "ext-1")
        with pytest.raises(InvalidInput, match="no type of resources"):
            registry.find_by_external_id("RegisteredModel", "ext-1")  # type: ignore[type-var]  # what is refused


class TestUpdating:
    def test_a_change_is_written_and_returned(self, registry: ModelRegistry) -> None:
        model = register(registry)
        model.description = "flags fraud"
        model.custom_properties["stage"] = "beta"

        updated = registry.update(model)

        there = registry.get_registered_model("fraud")
        assert there is not None
        assert updated == there
        assert (there.description, there.custom_properties, there.owner) == ("flags fraud", {"stage": "beta"}, "ann")

    def test_every_type_that_can_change_is_updated(self, registry: ModelRegistry) -> None:
        model = register(registry)
        run = registry.api.create_experiment_run(ExperimentRun("run", experiment_id=_experiment(registry).id))
        environment = registry.create_serving_environment("prod")
        service = registry.create_inference_service("fraud", environment="prod", model="fraud")
        artifact = registry.get_model_artifact("fraud", "1")
        version = registry.get_model_version("fraud", "1")
        assert version is not None
        doc = registry.api.upsert_model_version_artifact(version.id, DocArtifact(uri="s3://docs/card.md", name="card"))

        for resource in (model, version, artifact, doc, _experiment(registry), run, environment, service):
            assert resource is not None
            resource.description = "changed"
            updated = registry.update(resource)
            assert (type(updated), updated.description, updated.id) == (type(resource), "changed", resource.id)

    def test_what_has_no_id_cannot_be_updated(self, registry: ModelRegistry) -> None:
        with pytest.raises(MissingMetadata, match="RegisteredModel has no id"):
            registry.update(RegisteredModel("fraud"))

    def test_what_is_no_resource_cannot_be_updated(self, registry: ModelRegistry) -> None:
        with pytest.raises(InvalidInput, match="str"):
            registry.update("fraud")  # type: ignore[type-var] # what the test is about

    def test_a_serving_action_cannot_be_updated(self, registry: ModelRegistry) -> None:
        with pytest.raises(InvalidInput, match="ServeModel"):
            registry.update(ServeModel("serve", id="1"))


class TestArchiving:
    def test_what_is_archived_keeps_all_else_and_can_be_restored(self, registry: ModelRegistry) -> None:
        model = register(registry)
        model.description = "flags fraud"
        model.custom_properties["stage"] = "beta"
        model = registry.update(model)

        archived = registry.archive(model)
        restored = registry.restore(archived)

        assert (archived.state, archived.description, archived.custom_properties) == (
            "ARCHIVED",
            "flags fraud",
            {"stage": "beta"},
        )
        assert (model.state, restored.state) == ("LIVE", "LIVE")

    def test_archiving_an_old_copy_does_not_undo_what_changed_since(self, registry: ModelRegistry) -> None:
        old = register(registry)
        newer = registry.get_registered_model("fraud")
        assert newer is not None
        newer.description = "changed since"
        registry.update(newer)

        assert registry.archive(old).description == "changed since"

    def test_archiving_a_run_keeps_its_status(self, registry: ModelRegistry) -> None:
        run = registry.api.create_experiment_run(
            ExperimentRun("run", experiment_id=_experiment(registry).id, status="FINISHED")
        )

        archived = registry.archive(run)

        assert (archived.state, archived.status) == ("ARCHIVED", "FINISHED")

    def test_versions_and_experiments_are_archived(self, registry: ModelRegistry) -> None:
        register(registry)
        version = registry.get_model_version("fraud", "1")
        assert version is not None

        assert registry.archive(version).state == "ARCHIVED"
        assert registry.archive(_experiment(registry)).state == "ARCHIVED"

    def test_an_artifact_is_not_archived(self, registry: ModelRegistry) -> None:
        register(registry)
        artifact = registry.get_model_artifact("fraud", "1")
        assert artifact is not None

        with pytest.raises(InvalidInput, match="ModelArtifact"):
            registry.archive(artifact)  # type: ignore[type-var] # what the test is about


class TestDeleting:
    def test_a_deleted_model_is_gone_with_what_it_held(self, registry: ModelRegistry) -> None:
        model = register(registry)
        register(registry, "churn")

        registry.delete(model)

        assert [model.name for model in registry.get_registered_models()] == ["churn"]
        assert [artifact.name for artifact in registry.get_model_artifacts()] == ["churn"]
        register(registry)
        assert registry.get_model_artifact("fraud", "1") is not None

    def test_what_is_not_there_cannot_be_deleted(self, registry: ModelRegistry) -> None:
        with pytest.raises(NotFound):
            registry.delete(RegisteredModel("fraud", id="999"))
        with pytest.raises(MissingMetadata):
            registry.delete(ModelArtifact(uri="s3://b/m"))


def _experiment(registry: ModelRegistry) -> Experiment:
    return registry.get_experiment("study") or registry.api.create_experiment(Experiment("study"))
