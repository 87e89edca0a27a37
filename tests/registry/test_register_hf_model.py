"""Registering models of the Hugging Face hub: what is recorded, pinned and verified, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.exceptions import AccessDenied, DuplicateError, InvalidInput, ObjectNotFound
from modelreg.testing import LocalHub, serve_hub

WEIGHTS = b"weights" * 1000
FORMAT = {"model_format_name": "onnx", "model_format_version": "1"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.commit("acme/iris", {"README.md": b"# Iris", "onnx/model.onnx": WEIGHTS, "onnx/config.json": b"{}"})
        yield hub


def test_a_model_is_registered_at_the_commit_that_the_branch_is_at(registry: ModelRegistry, hub: LocalHub) -> None:
    commit = hub.repos["models/acme/iris"].refs["main"]

    model = registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", **FORMAT)

    version = registry.get_model_version("acme/iris", "1")
    artifact = registry.get_model_artifact("acme/iris", "1")
    uri = f"{hub.endpoint}/acme/iris/resolve/{commit}/onnx/model.onnx"
    assert (model.name, model.owner, version.author) == ("acme/iris", "ann", "acme")
    assert version.custom_properties == {
        "repo": "acme/iris",
        "source_uri": uri,
        "model_origin": "huggingface_hub",
        "model_author": "acme",
        "git_ref": "main",
        "commit": commit,
    }
    assert (artifact.uri, artifact.storage_path) == (uri, "onnx/model.onnx")
    assert (artifact.model_format_name, artifact.model_format_version) == ("onnx", "1")
    assert (artifact.model_source_kind, artifact.model_source_class) == ("huggingface_hub", "models")
    assert (artifact.model_source_group, artifact.model_source_name) == ("acme", "acme/iris:main")
    assert artifact.model_source_id == f"acme/iris@{commit}"


def test_the_digest_that_the_hub_lists_is_recorded(registry: ModelRegistry, hub: LocalHub) -> None:
    registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", **FORMAT)

    recorded = registry.get_model_artifact("acme/iris", "1").custom_properties
    assert recorded == {
        "modelreg.digest": f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}",
        "modelreg.size": len(WEIGHTS),
    }


def test_a_folder_and_all_of_a_repository_are_registered_too(registry: ModelRegistry, hub: LocalHub) -> None:
    commit = hub.repos["models/acme/iris"].refs["main"]

    for version, path in (("folder", "onnx"), ("all", "")):
        registry.register_hf_model("acme/iris", path, version=version, **FORMAT)

    uris = [registry.get_model_artifact("acme/iris", version).uri for version in ("folder", "all")]
    assert uris == [f"hf://acme/iris@{commit}/onnx", f"hf://acme/iris@{commit}"]


def test_what_is_given_is_recorded_instead(registry: ModelRegistry, hub: LocalHub) -> None:
    commit = hub.commit("acme/iris", {"onnx/model.onnx": b"tiny"}, ref="v2")

    model = registry.register_hf_model(
        "acme/iris",
        "onnx/model.onnx",
        "1",
        "onnx",
        "1",
        "flowers",
        "bob",
        owner="eve",
        version_description="from the hub",
        git_ref="v2",
    )

    version = registry.get_model_version("flowers", "1")
    assert (model.name, model.owner) == ("flowers", "eve")
    assert (version.author, version.description) == ("bob", "from the hub")
    assert (version.custom_properties["model_author"], version.custom_properties["git_ref"]) == ("bob", "v2")
    assert version.custom_properties["commit"] == commit
    # The hub lists no sha256 of a small file.
    assert registry.get_model_artifact("flowers", "1").custom_properties in ({}, None)


def test_plain_values_of_the_card_become_properties_and_take_no_names(registry: ModelRegistry, hub: LocalHub) -> None:
    hub.repos["models/acme/iris"].card = {
        "license": "mit",
        "inference": True,
        "score": 0.5,
        "parameters": 8_000_000_000,
        "layers": 12,
        "tags": ["a"],
        "repo": "elsewhere",
    }

    registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", **FORMAT)

    properties = registry.get_model_version("acme/iris", "1").custom_properties
    assert {name: properties.get(name) for name in hub.repos["models/acme/iris"].card} == {
        "license": "mit",
        "inference": True,
        "score": 0.5,
        "parameters": 8e9,
        "layers": 12,
        "tags": None,
        "repo": "acme/iris",
    }


def test_a_model_without_an_owner_has_an_unknown_author(registry: ModelRegistry, hub: LocalHub) -> None:
    hub.commit("gpt2", {"model.onnx": WEIGHTS})

    with pytest.warns(UserWarning, match="no author of gpt2"):
        registry.register_hf_model("gpt2", "model.onnx", version="1", **FORMAT)

    assert registry.get_model_version("gpt2", "1").author == "unknown"


def test_the_old_name_of_the_description_warns(registry: ModelRegistry, hub: LocalHub) -> None:
    with pytest.warns(DeprecationWarning, match="version_description"):
        registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", description="old", **FORMAT)

    assert registry.get_model_version("acme/iris", "1").description == "old"


@pytest.mark.parametrize(
    ("repo", "path", "git_ref"),
    [
        ("acme/absent", "model.onnx", "main"),
        ("acme/iris", "absent.onnx", "main"),
        ("acme/iris", "onnx/model.onnx", "v9"),
    ],
)
def test_what_is_not_there_is_not_registered(
    registry: ModelRegistry, hub: LocalHub, repo: str, path: str, git_ref: str
) -> None:
    with pytest.raises(ObjectNotFound):
        registry.register_hf_model(repo, path, version="1", git_ref=git_ref, **FORMAT)

    assert list(registry.get_registered_models()) == []


@pytest.mark.parametrize(
    ("repo", "git_ref"), [("acme/iris/onnx", "main"), ("acme/iris@v1", "main"), ("acme/iris", ""), ("", "main")]
)
def test_what_names_no_repository_is_refused(registry: ModelRegistry, hub: LocalHub, repo: str, git_ref: str) -> None:
    with pytest.raises(InvalidInput):
        registry.register_hf_model(repo, "model.onnx", version="1", git_ref=git_ref, **FORMAT)

    assert hub.requests == []


def test_a_gated_model_is_not_registered_without_a_token(registry: ModelRegistry, hub: LocalHub) -> None:
    hub.repos["models/acme/iris"].gated = True

    with pytest.raises(AccessDenied, match="ask for access"):
        registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", **FORMAT)


def test_a_version_is_registered_once(registry: ModelRegistry, hub: LocalHub) -> None:
    registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", **FORMAT)
    uri = registry.get_model_artifact("acme/iris", "1").uri
    hub.commit("acme/iris", {"onnx/model.onnx": WEIGHTS * 2})

    with pytest.raises(DuplicateError):
        registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", **FORMAT)
    registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", if_exists="reuse", **FORMAT)

    assert registry.get_model_artifact("acme/iris", "1").uri == uri


def test_a_registered_model_is_fetched_with_the_token_and_verified(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["models/acme/iris"].gated = True
    monkeypatch.setenv("HF_TOKEN", hub.token)

    with ModelRegistry(author="ann") as registry:
        registry.register_hf_model("acme/iris", "onnx/model.onnx", version="1", model_name="iris", **FORMAT)
        hub.commit("acme/iris", {"onnx/model.onnx": b"another"})

    assert modelreg.fetch("model-registry://iris/1").read_bytes() == WEIGHTS
