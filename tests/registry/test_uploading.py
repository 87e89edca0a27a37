"""upload_artifact_and_register_model: files are stored, then registered with their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.exceptions import DigestMismatch, DuplicateError, InvalidInput, StorageError
from modelreg.types import ModelArtifact, ModelVersion, RegisteredModel
from modelreg.utils import OCIParams


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "nested").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"\x00\x01" * 50)
    (folder / "nested" / "empty").touch()
    return folder


def upload(registry: ModelRegistry, source: Path, target: Path, **changes: Any) -> RegisteredModel:
    arguments: dict[str, Any] = {"version": "1", "model_format_name": "onnx", "model_format_version": "1"}
    return registry.upload_artifact_and_register_model(
        "fraud", str(source), upload_params=target.as_uri(), **{**arguments, **changes}
    )


def artifact_of(registry: ModelRegistry) -> ModelArtifact:
    artifact = registry.get_model_artifact("fraud", "1")
    assert artifact is not None
    return artifact


def test_a_folder_is_stored_registered_and_fetched_verified(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    model = upload(registry, model_folder, tmp_path / "stored", metadata={"auc": 0.5}, storage_key="key")

    artifact, version = artifact_of(registry), registry.get_model_version("fraud", "1")
    digest = str(artifact.custom_properties["modelreg.digest"])
    assert model.name == "fraud"
    assert version is not None
    assert (version.custom_properties, artifact.storage_key) == ({"auc": 0.5}, "key")
    assert artifact.custom_properties["modelreg.size"] == 100
    fetched = modelreg.fetch(str(artifact.uri), digest=digest)
    assert (fetched / "weights.bin").read_bytes() == (model_folder / "weights.bin").read_bytes()
    assert (fetched / "nested" / "empty").exists()


def test_one_file_is_stored_and_registered(registry: ModelRegistry, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")

    upload(registry, file, tmp_path / "stored" / "model.onnx")

    fetched = modelreg.fetch(str(artifact_of(registry).uri))
    assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(b"model").digest()


def test_what_was_changed_in_the_storage_is_refused_by_its_digest(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    upload(registry, model_folder, tmp_path / "stored")
    artifact = artifact_of(registry)
    (tmp_path / "stored" / "weights.bin").write_bytes(b"something else")

    with pytest.raises(DigestMismatch):
        modelreg.fetch(str(artifact.uri), digest=str(artifact.custom_properties["modelreg.digest"]))


def test_a_version_that_is_there_is_found_before_its_files_are_overwritten(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    upload(registry, model_folder, tmp_path / "stored")
    (model_folder / "weights.bin").write_bytes(b"newer")

    with pytest.raises(DuplicateError):
        upload(registry, model_folder, tmp_path / "stored")
    upload(registry, model_folder, tmp_path / "stored", if_exists="reuse")

    assert (tmp_path / "stored" / "weights.bin").read_bytes() == b"\x00\x01" * 50


def test_a_version_that_was_left_without_its_artifact_is_completed(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    model = registry.api.create_registered_model(RegisteredModel("fraud"))
    registry.api.create_model_version(ModelVersion("1", registered_model_id=model.id))

    upload(registry, model_folder, tmp_path / "stored")

    assert artifact_of(registry).custom_properties["modelreg.size"] == 100


def test_files_that_are_not_there_are_an_error_and_nothing_is_registered(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    with pytest.raises((StorageError, InvalidInput), match="absent"):
        upload(registry, tmp_path / "absent", tmp_path / "stored")

    assert list(registry.get_registered_models()) == []


@pytest.mark.parametrize("params", [OCIParams("base", "registry/repo:1"), None, 7])
def test_a_target_that_cannot_be_uploaded_to_is_refused(
    registry: ModelRegistry, model_folder: Path, params: Any
) -> None:
    with pytest.raises(InvalidInput, match="upload"):
        registry.upload_artifact_and_register_model("fraud", model_folder, params, "1", "onnx", "1")

    assert list(registry.get_registered_models()) == []


@pytest.mark.parametrize("changes", [{"version": ""}, {"metadata": {"tags": []}}, {"if_exists": "overwrite"}])
def test_what_cannot_be_registered_is_found_before_anything_is_stored(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        upload(registry, model_folder, tmp_path / "stored", **changes)

    assert not (tmp_path / "stored").exists()
