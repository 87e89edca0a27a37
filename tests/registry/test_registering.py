"""register_model: model, version and artifact, or a clean error that the same call again completes."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelreg import ModelRegistry
from modelreg.exceptions import DuplicateError, InvalidInput, StoreError, UnsupportedType
from modelreg.types import ModelArtifact, ModelVersion, RegisteredModel


def register(registry: ModelRegistry, version: str = "1.0.0", **changes: Any) -> RegisteredModel:
    arguments = {
        "name": "fraud",
        "uri": "s3://models/fraud.onnx",
        "version": version,
        "model_format_name": "onnx",
        "model_format_version": "1",
    }
    return registry.register_model(**{**arguments, **changes})


def test_a_model_is_registered_with_its_version_and_artifact(registry: ModelRegistry) -> None:
    model = register(
        registry,
        storage_key="key",
        storage_path="path",
        service_account_name="robot",
        version_description="first",
        metadata={"accuracy": 0.95, "layers": 12, "quantised": False, "dataset": "v2"},
        model_source_kind="pipelines",
        model_source_class="pipelinerun",
        model_source_group="team-a",
        model_source_id="7",
        model_source_name="nightly",
    )

    version = registry.get_model_version("fraud", "1.0.0")
    artifact = registry.get_model_artifact("fraud", "1.0.0")
    assert (model.name, model.owner, model.state) == ("fraud", "ann", "LIVE")
    assert model.id is not None
    assert version is not None
    assert (version.author, version.description, version.registered_model_id) == ("ann", "first", model.id)
    assert version.custom_properties == {"accuracy": 0.95, "layers": 12, "quantised": False, "dataset": "v2"}
    assert artifact is not None
    assert (artifact.uri, artifact.model_format_name, artifact.model_format_version) == (
        "s3://models/fraud.onnx",
        "onnx",
        "1",
    )
    assert (artifact.storage_key, artifact.storage_path, artifact.service_account_name) == ("key", "path", "robot")
    assert (artifact.model_source_kind, artifact.model_source_class) == ("pipelines", "pipelinerun")
    assert (artifact.model_source_group, artifact.model_source_id) == ("team-a", "7")
    assert artifact.model_source_name == "nightly"


def test_the_arguments_may_be_given_in_the_documented_order(registry: ModelRegistry) -> None:
    registry.register_model("fraud", "s3://b/m", "1", "onnx", "2", "key", "path", "bob", "eve", "text", {"k": "v"})

    model = registry.get_registered_model("fraud")
    version = registry.get_model_version("fraud", "1")
    artifact = registry.get_model_artifact("fraud", "1")
    assert model is not None
    assert version is not None
    assert artifact is not None
    assert (model.owner, version.author, version.description) == ("eve", "bob", "text")
    assert (version.custom_properties, artifact.storage_key, artifact.storage_path) == ({"k": "v"}, "key", "path")


def test_a_second_version_goes_to_the_same_model(registry: ModelRegistry) -> None:
    first = register(registry, "1.0.0")
    second = register(registry, "1.1.0", owner="somebody else")

    assert (second.id, second.owner) == (first.id, "ann")
    assert [version.name for version in registry.get_model_versions("fraud")] == ["1.0.0", "1.1.0"]


def test_a_version_that_is_complete_is_refused_and_left_alone(registry: ModelRegistry) -> None:
    register(registry, metadata={"accuracy": 0.9})

    with pytest.raises(DuplicateError, match=r"'fraud' has a version '1\.0\.0' already"):
        register(registry, uri="s3://models/other", metadata={"accuracy": 0.1}, author="eve")

    version = registry.get_model_version("fraud", "1.0.0")
    artifact = registry.get_model_artifact("fraud", "1.0.0")
    assert version is not None
    assert artifact is not None
    assert (version.author, version.custom_properties) == ("ann", {"accuracy": 0.9})
    assert artifact.uri == "s3://models/fraud.onnx"


def test_a_version_that_is_complete_is_returned_as_it_is_where_reuse_is_allowed(registry: ModelRegistry) -> None:
    model = register(registry)

    again = register(registry, uri="s3://models/other", if_exists="reuse")

    artifact = registry.get_model_artifact("fraud", "1.0.0")
    assert artifact is not None
    assert (again.id, artifact.uri) == (model.id, "s3://models/fraud.onnx")


def test_a_version_that_was_left_without_its_artifact_is_completed(registry: ModelRegistry) -> None:
    model = registry.api.create_registered_model(RegisteredModel("fraud"))
    registry.api.create_model_version(ModelVersion("1.0.0", registered_model_id=model.id, author="gone"))

    register(registry, metadata={"accuracy": 0.9}, version_description="done")

    version = registry.get_model_version("fraud", "1.0.0")
    artifact = registry.get_model_artifact("fraud", "1.0.0")
    assert artifact is not None
    assert artifact.uri == "s3://models/fraud.onnx"
    assert version is not None
    assert (version.author, version.description, version.custom_properties) == ("ann", "done", {"accuracy": 0.9})


def test_other_artifacts_of_a_version_do_not_make_it_complete(registry: ModelRegistry) -> None:
    model = registry.api.create_registered_model(RegisteredModel("fraud"))
    version = registry.api.create_model_version(ModelVersion("1.0.0", registered_model_id=model.id))
    registry.api.upsert_model_version_artifact(version.id, ModelArtifact(uri="s3://elsewhere", name="tokenizer"))

    register(registry)

    assert sorted(str(item.name) for item in registry.get_artifacts("fraud", "1.0.0")) == ["fraud", "tokenizer"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": ""}, InvalidInput),
        ({"name": None}, InvalidInput),
        ({"version": ""}, InvalidInput),
        ({"uri": ""}, InvalidInput),
        ({"uri": 7}, InvalidInput),
        ({"if_exists": "overwrite"}, InvalidInput),
        ({"metadata": {"tags": ["a"]}}, UnsupportedType),
        ({"metadata": {7: "a"}}, UnsupportedType),
        ({"metadata": {"rows": 10**5000}}, UnsupportedType),
        ({"metadata": "auc=1"}, UnsupportedType),
        ({"artifact_metadata": [1]}, UnsupportedType),
        ({"model_format_version": 1}, InvalidInput),
        ({"storage_key": b"key"}, InvalidInput),
        ({"author": ["ann"]}, InvalidInput),
        ({"artifact_metadata": {"none": None}}, UnsupportedType),
        ({"version": "nul\x00"}, StoreError),
    ],
)
def test_what_cannot_be_registered_leaves_nothing_behind(
    registry: ModelRegistry, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        register(registry, **changes)

    assert list(registry.get_model_artifacts()) == []
    assert list(registry.get_model_versions("fraud") if registry.get_registered_model("fraud") else []) == []


def test_the_old_name_of_the_description_is_understood_with_a_warning(registry: ModelRegistry) -> None:
    with pytest.warns(DeprecationWarning, match="version_description"):
        register(registry, description="old")

    version = registry.get_model_version("fraud", "1.0.0")
    assert version is not None
    assert version.description == "old"


def test_of_threads_that_register_one_version_one_wins(registry: ModelRegistry) -> None:
    start = threading.Barrier(8)

    def attempt(number: int) -> int | None:
        start.wait()
        try:
            register(registry, uri=f"s3://models/{number}", author=f"author-{number}", metadata={"number": number})
        except DuplicateError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(attempt, range(8)) if number is not None]

    _assert_one_whole_version(registry, winners)


_ATTEMPT = """
import sys
from modelreg import ModelRegistry
from modelreg.exceptions import DuplicateError

path, number = sys.argv[1], int(sys.argv[2])
with ModelRegistry(f"sqlite:///{path}", author=f"author-{number}") as registry:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        registry.register_model("fraud", f"s3://models/{number}", "1.0.0", "onnx", "1", metadata={"number": number})
    except DuplicateError:
        print("lost")
    else:
        print("won")
"""


def test_of_processes_that_register_one_version_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", _ATTEMPT, path, str(number)], **pipes) for number in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    answers = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert sorted(answers) == ["lost", "lost", "lost", "won"]
    with ModelRegistry(f"sqlite:///{path}") as registry:
        _assert_one_whole_version(registry, [answers.index("won")])


def _assert_one_whole_version(registry: ModelRegistry, winners: list[int]) -> None:
    """Everything that is registered is the one winner's: no mixture, no orphan."""
    (winner,) = winners
    (model,) = registry.get_registered_models()
    (version,) = registry.get_model_versions("fraud")
    (artifact,) = registry.get_model_artifacts()
    assert version.registered_model_id == model.id
    assert (version.author, version.custom_properties) == (f"author-{winner}", {"number": winner})
    assert artifact.uri == f"s3://models/{winner}"
