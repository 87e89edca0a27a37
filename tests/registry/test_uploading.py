"""upload_artifact_and_register_model: files are stored, then registered with their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.client.api import RegistryAPI
from modelreg.embedded import open_app
from modelreg.exceptions import DigestMismatch, DuplicateError, InvalidInput, ServerError, StorageError
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.registry.registering import RegisteringMethods
from modelreg.types import ArtifactState, ModelArtifact, ModelVersion, RegisteredModel
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


@pytest.mark.parametrize("params", [OCIParams("base", "registry/repo:1", backend="docker"), None, 7])
def test_a_target_that_cannot_be_uploaded_to_is_refused(
    registry: ModelRegistry, model_folder: Path, params: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"upload|backend"):
        registry.upload_artifact_and_register_model("fraud", model_folder, params, "1", "onnx", "1")

    assert list(registry.get_registered_models()) == []


def test_a_place_with_the_files_of_another_version_is_refused_before_they_are_overwritten(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    upload(registry, model_folder, tmp_path / "stored")
    (model_folder / "weights.bin").write_bytes(b"newer")

    with pytest.raises(DuplicateError, match=r"files of artifact 'fraud' \(id \d+\) are at"):
        upload(registry, model_folder, tmp_path / "stored", version="2")

    assert (tmp_path / "stored" / "weights.bin").read_bytes() == b"\x00\x01" * 50
    assert [version.name for version in registry.get_model_versions("fraud")] == ["1"]


def test_the_same_files_at_one_place_may_be_two_versions(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    upload(registry, model_folder, tmp_path / "stored")

    upload(registry, model_folder, tmp_path / "stored", version="2")

    assert [version.name for version in registry.get_model_versions("fraud")] == ["1", "2"]


def test_a_place_whose_artifact_is_gone_may_be_used_again(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    upload(registry, model_folder, tmp_path / "stored")
    artifact = artifact_of(registry)
    artifact.state = ArtifactState.DELETED
    registry.update(artifact)
    (model_folder / "weights.bin").write_bytes(b"newer")

    upload(registry, model_folder, tmp_path / "stored", version="2")

    assert (tmp_path / "stored" / "weights.bin").read_bytes() == b"newer"


def test_a_folder_that_holds_other_files_is_refused_for_a_fetch_would_bring_them(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "stored").mkdir()
    for name in ("older.bin", "oldest.bin", "weights.bin"):
        (tmp_path / "stored" / name).write_bytes(b"old")

    with pytest.raises(InvalidInput, match=r"other files are there, 'older.bin' and 1 more"):
        upload(registry, model_folder, tmp_path / "stored")

    assert (tmp_path / "stored" / "weights.bin").read_bytes() == b"old"
    assert list(registry.get_registered_models()) == []


def test_a_file_goes_into_a_folder_under_its_own_name(registry: ModelRegistry, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    stored = tmp_path / "stored"
    stored.mkdir()

    registry.upload_artifact_and_register_model("fraud", file, f"{stored.as_uri()}/", "1", "onnx", "1")

    artifact = artifact_of(registry)
    digest = str(artifact.custom_properties["modelreg.digest"])
    assert (modelreg.fetch(str(artifact.uri), digest=digest) / "model.onnx").read_bytes() == b"model"


class WithoutURIFilter:
    """A registry that cannot filter artifacts by their URI."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "filterQuery=uri" in environ["QUERY_STRING"]:
            start_response("400 Bad Request", [("Content-Type", "application/json")])
            return [b'{"code": "Bad Request", "message": "no such field"}']
        return self._app(environ, start_response)


def test_a_place_is_looked_for_on_servers_that_cannot_filter_by_it(model_folder: Path, tmp_path: Path) -> None:
    with closing(open_app(str(tmp_path / "registry.db"))) as app:
        api = RegistryAPI(RegistrySession("http://registry.test", adapter=WSGIAdapter(WithoutURIFilter(app))))
        registering, place = RegisteringMethods(api, author="ann"), (tmp_path / "it's \\ stored").as_uri()
        registering.upload_artifact_and_register_model("fraud", model_folder, place, "1", "onnx", "1")
        (model_folder / "weights.bin").write_bytes(b"newer")

        with pytest.raises(DuplicateError, match="the files of artifact"):
            registering.upload_artifact_and_register_model("fraud", model_folder, place, "2", "onnx", "1")


class FailingOnce:
    """A registry whose first request to register something fails."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._is_down = True

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._is_down and environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"].endswith("/registrations"):
            self._is_down = False
            start_response("500 Internal Server Error", [("Content-Type", "application/json")])
            return [b'{"code": "Internal Server Error", "message": "out of luck"}']
        return self._app(environ, start_response)


def test_an_error_after_the_upload_says_where_the_files_are_and_the_same_call_registers_them(
    model_folder: Path, tmp_path: Path
) -> None:
    with closing(open_app(str(tmp_path / "registry.db"))) as app:
        api = RegistryAPI(RegistrySession("http://registry.test", adapter=WSGIAdapter(FailingOnce(app))))
        registering, stored = RegisteringMethods(api, author="ann"), tmp_path / "stored"
        arguments = ("fraud", model_folder, stored.as_uri(), "1", "onnx", "1")

        with pytest.raises(ServerError, match=r"out of luck.*the files are stored at file:.*stored"):
            registering.upload_artifact_and_register_model(*arguments)
        assert (stored / "weights.bin").exists()
        assert api.get_registered_models().items == []
        registering.upload_artifact_and_register_model(*arguments)

        (artifact,) = api.get_model_artifacts().items
        assert artifact.custom_properties["modelreg.size"] == 100


def test_of_many_that_upload_one_version_at_once_one_registers_it(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path
) -> None:
    def wins(number: int) -> bool:
        try:
            upload(registry, model_folder, tmp_path / f"stored{number}")
        except DuplicateError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        winners = [number for number, won in enumerate(pool.map(wins, range(4))) if won]

    assert [f"stored{number}" in str(artifact_of(registry).uri) for number in winners] == [True]


@pytest.mark.parametrize("changes", [{"version": ""}, {"metadata": {"tags": []}}, {"if_exists": "overwrite"}])
def test_what_cannot_be_registered_is_found_before_anything_is_stored(
    registry: ModelRegistry, model_folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        upload(registry, model_folder, tmp_path / "stored", **changes)

    assert not (tmp_path / "stored").exists()
