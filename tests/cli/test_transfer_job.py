"""``modelreg transfer --from-env``: Kubeflow's upload job, with each of its intents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import modelreg
from modelreg import ModelRegistry
from modelreg.cli.transfer_job import perform
from modelreg.exceptions import DuplicateError, InvalidInput, ObjectNotFound
from modelreg.testing.oci_registry import OCITestRegistry, oci_registry
from modelreg.types import ArtifactState, ModelArtifact

Perform = Callable[..., dict[str, Any]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"12345")
    return folder


@pytest.fixture
def job(registry: ModelRegistry, source: Path, tmp_path: Path) -> dict[str, str]:
    """The variables of a job between two folders."""
    return {
        "MODEL_SYNC_SOURCE_TYPE": "uri",
        "MODEL_SYNC_SOURCE_URI": source.as_uri(),
        "MODEL_SYNC_DESTINATION_TYPE": "uri",
        "MODEL_SYNC_DESTINATION_URI": (tmp_path / "target").as_uri(),
        "MODEL_SYNC_REGISTRY_SERVER_ADDRESS": registry.url,
        "MODEL_SYNC_REGISTRY_AUTHOR": "job",
        "MODEL_SYNC_STORAGE_PATH": str(tmp_path / "scratch"),
        "TERMINATION_MESSAGE_PATH": str(tmp_path / "termination-log"),
    }


@pytest.fixture
def artifact(registry: ModelRegistry) -> ModelArtifact:
    """An artifact whose files are still to come."""
    registry.register_model("fraud", "PLACEHOLDER", "1", "onnx", "1", artifact_metadata={"team": "a"})
    found = registry.get_model_artifact("fraud", "1")
    assert found is not None
    return found


@pytest.fixture
def images() -> Iterator[OCITestRegistry]:
    with oci_registry() as running:
        yield running


def metadata(folder: Path, **changes: str | None) -> dict[str, str]:
    """Return the variable that names a ConfigMap with these fields."""
    fields = {
        "RegisteredModel.name": "fraud",
        "RegisteredModel.description": "finds fraud",
        "RegisteredModel.owner": "team-a",
        "RegisteredModel.custom_properties": '{"project": "risk"}',
        "ModelVersion.name": "1",
        "ModelVersion.author": "jane",
        "ModelVersion.customProperties": '{"auc": {"metadataType": "MetadataDoubleValue", "double_value": 0.9}}',
        "ModelArtifact.model_format_name": "onnx",
        "ModelArtifact.model_format_version": "1",
        "ModelArtifact.model_source_kind": "transfer_job",
        "ModelArtifact.customProperties": '{"validated": true}',
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    folder.mkdir(exist_ok=True)
    for name, value in fields.items():
        if value is not None:
            (folder / name).write_text(value)
    return {"MODEL_SYNC_METADATA_CONFIGMAP_PATH": str(folder)}


def test_an_artifact_gets_its_files(
    registry: ModelRegistry, job: dict[str, str], artifact: ModelArtifact, tmp_path: Path
) -> None:
    ids = {"MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id), "MODEL_SYNC_MODEL_ID": "1"}

    result = perform({**job, **ids})

    updated = registry.get_model_artifact("fraud", "1")
    assert updated is not None
    assert (updated.uri, updated.state) == ((tmp_path / "target").as_uri(), ArtifactState.LIVE)
    assert updated.custom_properties["team"] == "a"
    digest = str(updated.custom_properties["modelreg.digest"])
    assert modelreg.fetch(tmp_path / "target", digest=digest).joinpath("weights.bin").read_bytes() == b"12345"
    told = {"intent": "update_artifact", "RegisteredModel": {"id": "1"}, "ModelArtifact": {"id": artifact.id}}
    assert json.loads((tmp_path / "termination-log").read_text()) == told == result.document()
    assert not (tmp_path / "scratch" / ".modelreg-transfer").exists()


def test_an_artifact_is_as_it_was_where_the_transfer_fails(
    registry: ModelRegistry, job: dict[str, str], artifact: ModelArtifact, tmp_path: Path
) -> None:
    missing = {"MODEL_SYNC_SOURCE_URI": (tmp_path / "absent").as_uri()}

    with pytest.raises(ObjectNotFound, match="absent"):
        perform({**job, **missing, "MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id)})

    now = registry.get_model_artifact("fraud", "1")
    assert now is not None
    assert (now.uri, now.state, now.custom_properties) == ("PLACEHOLDER", ArtifactState.UNKNOWN, {"team": "a"})
    assert (tmp_path / "termination-log").read_text().startswith("Unexpected error: ")


def test_what_ended_a_transfer_is_told_even_where_its_artifact_cannot_be_put_back(
    registry: ModelRegistry, job: dict[str, str], artifact: ModelArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_the_artifact(_: object) -> None:
        registry.api.delete_artifact(str(artifact.id))
        raise InvalidInput("stopped")

    with pytest.raises(InvalidInput, match="stopped"):
        perform({**job, "MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id)}, progress=lose_the_artifact)

    assert f"artifact {artifact.id} stays PENDING" in caplog.text


def test_an_artifact_may_get_its_files_again(
    registry: ModelRegistry, job: dict[str, str], artifact: ModelArtifact, source: Path, tmp_path: Path
) -> None:
    ids = {"MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id)}
    perform({**job, **ids})
    (source / "weights.bin").write_bytes(b"54321")

    perform({**job, **ids})

    assert (tmp_path / "target" / "weights.bin").read_bytes() == b"54321"
    assert modelreg.fetch("model-registry://fraud/1").joinpath("weights.bin").read_bytes() == b"54321"


def test_a_model_is_created_with_its_version_and_artifact(
    registry: ModelRegistry, job: dict[str, str], tmp_path: Path
) -> None:
    intent = {"MODEL_SYNC_MODEL_UPLOAD_INTENT": "create_model", **metadata(tmp_path / "metadata")}

    document = perform({**job, **intent}).document()

    model, version = registry.get_registered_model("fraud"), registry.get_model_version("fraud", "1")
    artifact = registry.get_model_artifact("fraud", "1")
    assert model is not None
    assert version is not None
    assert artifact is not None
    assert (model.description, model.owner, model.custom_properties) == ("finds fraud", "team-a", {"project": "risk"})
    assert (version.author, version.custom_properties) == ("jane", {"auc": 0.9})
    assert (artifact.model_format_name, artifact.model_source_kind, artifact.state) == ("onnx", "transfer_job", "LIVE")
    assert artifact.custom_properties.items() >= {"validated": True, "modelreg.size": 5}.items()
    assert document == {
        "intent": "create_model",
        "RegisteredModel": {"id": model.id},
        "ModelVersion": {"id": version.id},
        "ModelArtifact": {"id": artifact.id},
    }


def test_a_model_that_is_there_is_refused_before_a_byte_moves(
    registry: ModelRegistry, job: dict[str, str], tmp_path: Path
) -> None:
    registry.register_model("fraud", "s3://b/m", "0", "onnx", "1")
    intent = {"MODEL_SYNC_MODEL_UPLOAD_INTENT": "create_model", **metadata(tmp_path / "metadata")}

    with pytest.raises(DuplicateError, match="create_version"):
        perform({**job, **intent})

    assert not (tmp_path / "target").exists()


def test_a_job_that_comes_again_after_it_was_done_is_told_so(job: dict[str, str], tmp_path: Path) -> None:
    intent = {"MODEL_SYNC_MODEL_UPLOAD_INTENT": "create_model", **metadata(tmp_path / "metadata")}
    perform({**job, **intent})

    with pytest.raises(DuplicateError, match="has a version '1' already"):
        perform({**job, **intent})


def test_a_version_is_added_to_a_model(registry: ModelRegistry, job: dict[str, str], tmp_path: Path) -> None:
    model = registry.register_model("fraud", "s3://b/m", "0", "onnx", "1")
    named = metadata(tmp_path / "metadata", ModelArtifact__name="weights", ModelVersion__author=None)
    intent = {"MODEL_SYNC_MODEL_UPLOAD_INTENT": "create_version", "MODEL_SYNC_MODEL_ID": str(model.id), **named}

    perform({**job, **intent})

    version = registry.get_model_version("fraud", "1")
    assert version is not None
    assert version.author == "job"
    assert [artifact.name for artifact in registry.get_model_artifacts("fraud", "1")] == ["weights"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"RegisteredModel__name": None}, r"no RegisteredModel\.name"),
        ({"ModelVersion__name": None}, r"no ModelVersion\.name"),
        ({"RegisteredModel__custom_properties": "{"}, r"RegisteredModel\.custom_properties .* is no JSON:"),
        ({"ModelVersion__custom_properties": "[]"}, r"ModelVersion\.custom_properties .* is no JSON object"),
    ],
)
def test_metadata_that_cannot_be_used_are_named(
    job: dict[str, str], tmp_path: Path, changes: dict[str, str | None], complaint: str
) -> None:
    intent = {"MODEL_SYNC_MODEL_UPLOAD_INTENT": "create_model", **metadata(tmp_path / "metadata", **changes)}

    with pytest.raises(InvalidInput, match=complaint):
        perform({**job, **intent})

    assert not (tmp_path / "target").exists()


def test_a_model_goes_into_an_image_and_on_to_a_folder(
    registry: ModelRegistry, job: dict[str, str], artifact: ModelArtifact, images: OCITestRegistry, tmp_path: Path
) -> None:
    images.credentials = ("ann", "s3cret")
    image = {
        "MODEL_SYNC_DESTINATION_TYPE": "oci",
        "MODEL_SYNC_DESTINATION_OCI_URI": f"{images.host}/models/fraud:1",
        "MODEL_SYNC_DESTINATION_OCI_USERNAME": "ann",
        "MODEL_SYNC_DESTINATION_OCI_PASSWORD": "s3cret",
        "MODEL_SYNC_DESTINATION_OCI_BASE_IMAGE": "scratch",
        "MODEL_SYNC_DESTINATION_OCI_ENABLE_TLS_VERIFY": "false",
        "MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id),
    }
    auth = tmp_path / "auth" / ".dockerconfigjson"
    auth.parent.mkdir()
    auth.write_text(json.dumps({"auths": {images.host: {"username": "ann", "password": "s3cret"}}}))
    back = {
        "MODEL_SYNC_SOURCE_TYPE": "oci",
        "MODEL_SYNC_SOURCE_OCI_URI": f"oci://{images.host}/models/fraud:1",
        "MODEL_SYNC_SOURCE_OCI_CREDENTIALS_PATH": str(auth.parent),
        "MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id),
    }

    pushed = perform({**job, **image})
    pulled = perform({**job, **back})

    assert pushed.uri == f"oci://{images.host}/models/fraud:1"
    assert pulled.uri == (tmp_path / "target").as_uri()
    assert (tmp_path / "target" / "weights.bin").read_bytes() == b"12345"


def test_the_command_takes_the_jobs_variables_and_its_options(
    modelreg_cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    job: dict[str, str],
    artifact: ModelArtifact,
    tmp_path: Path,
) -> None:
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    other = (tmp_path / "other").as_uri()

    result = modelreg_cli(
        *("transfer", "--from-env", "--model-artifact-id", str(artifact.id), f"--destination-uri={other}")
    )

    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"update_artifact: artifact {artifact.id} has its files at {other}\n"


def test_last_words_that_cannot_be_written_do_not_fail_the_job(
    job: dict[str, str], artifact: ModelArtifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = {"TERMINATION_MESSAGE_PATH": str(tmp_path / "absent" / "log")}

    perform({**job, **nowhere, "MODEL_SYNC_MODEL_ARTIFACT_ID": str(artifact.id)})

    assert "the outcome cannot be written" in caplog.text
