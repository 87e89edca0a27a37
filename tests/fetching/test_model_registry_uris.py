"""``model-registry://``: what it names, what of a registry's answer is followed, and the digest it is held to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.exceptions import AccessDenied, DigestMismatch, InvalidInput, InvalidURI, NotFound, StoreError
from modelreg.fetching.misses import Fetcher
from modelreg.fetching.resolving import (
    Found,
    ModelAddress,
    Registry,
    connect,
    describe,
    format_address,
    parse_address,
    resolve,
)
from modelreg.storage import Backend, parse_uri
from modelreg.storage.uri import StorageURI
from modelreg.testing.registry import serve_registry
from modelreg.types import ArtifactState, ModelArtifact

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights.bin": b"one"}


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    """The registry that the environment names: this machine's own."""
    with ModelRegistry(author="ann") as registry:
        yield registry


def register(registry: ModelRegistry, version: str, uri: str, name: str = "fraud") -> None:
    registry.register_model(name, uri, version, "onnx", "1")


def remote(registry: ModelRegistry) -> Callable[[str | None], AbstractContextManager[Registry]]:
    """The same registry as one that others run."""

    @contextmanager
    def connect_to(_: str | None) -> Iterator[Registry]:
        yield Registry(registry.api, is_local=False)

    return connect_to


# The grammar


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("model-registry://fraud", ModelAddress("fraud")),
        ("model-registry://fraud/1.0.0", ModelAddress("fraud", "1.0.0")),
        ("model-registry://llama-3.1/v2", ModelAddress("llama-3.1", "v2")),
        ("model-registry://host/fraud/1", ModelAddress("fraud", "1", host="host")),
        ("model-registry://host:8080/fraud", ModelAddress("fraud", host="host:8080")),
        ("model-registry://[::1]:8080/fraud/1", ModelAddress("fraud", "1", host="[::1]:8080")),
        ("model-registry://fraud/1?artifact=onnx", ModelAddress("fraud", "1", "onnx")),
        ("model-registry://team%2Ffraud/a%20b", ModelAddress("team/fraud", "a b")),
        ("model-registry://fraud@champion", ModelAddress("fraud", alias="champion")),
        ("model-registry://fraud@champion?artifact=onnx", ModelAddress("fraud", artifact="onnx", alias="champion")),
        ("model-registry://host:8080/fraud@champion", ModelAddress("fraud", host="host:8080", alias="champion")),
        ("model-registry://host/fraud@champion", ModelAddress("fraud", host="host", alias="champion")),
        ("model-registry://a%40b/1%402", ModelAddress("a@b", "1@2")),
    ],
)
def test_a_uri_names_a_model(uri: str, address: ModelAddress):
    assert parse_address(parse_uri(uri)) == address
    assert parse_address(parse_uri(format_address(address))) == address


@pytest.mark.parametrize(
    "uri",
    [
        *("model-registry://", "model-registry://host/fraud/1/more", "model-registry://fraud?version=1"),
        *("model-registry://fraud@", "model-registry://@champion", "model-registry://host:80/fraud@"),
        *("model-registry://host/fraud/1@champion", "model-registry://fraud@champion/1"),
    ],
)
def test_what_names_no_model_is_refused(uri: str):
    with pytest.raises(InvalidURI, match="MODEL"):
        resolve(parse_uri(uri))


@pytest.mark.parametrize("uri", ["model-registry://ann:s3cret@host", "model-registry://s3cret@host:80/fraud/1"])
def test_credentials_in_a_uri_are_refused_and_not_shown(uri: str):
    with pytest.raises(InvalidURI, match="credentials") as refused:
        parse_uri(uri)

    assert "s3cret" not in str(refused.value)


# What it stands for


def test_a_version_stands_for_the_files_of_its_artifact(
    registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder
):
    register(registry, "1", folder(FILES).as_uri())

    assert read_folder(modelreg.fetch("model-registry://fraud/1")) == FILES


def test_without_a_version_it_stands_for_the_newest_live_one(
    registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder
):
    for version in ("1", "2", "3"):
        register(registry, version, folder({"version": version.encode()}).as_uri())
    newest = registry.get_model_version("fraud", "3")
    assert newest is not None
    registry.archive(newest)

    assert read_folder(modelreg.fetch("model-registry://fraud")) == {"version": b"2"}


def test_a_cache_that_cannot_be_written_answers_with_what_it_holds(
    registry: ModelRegistry, folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
):
    register(registry, "1", folder(FILES).as_uri())
    path = modelreg.fetch("model-registry://fraud/1")

    def refuse(source: str, target: str):
        raise OSError(errno.EROFS, "Read-only file system", target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        assert modelreg.fetch("model-registry://fraud/1") == path


def test_a_version_that_is_registered_later_is_the_next_answer(
    registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder
):
    register(registry, "1", folder({"version": b"1"}).as_uri())
    modelreg.fetch("model-registry://fraud")

    register(registry, "2", folder({"version": b"2"}).as_uri())

    assert read_folder(modelreg.fetch("model-registry://fraud")) == {"version": b"2"}


def test_an_alias_stands_for_its_version_of_the_moment(
    registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder
):
    for version in ("1", "2"):
        register(registry, version, folder({"version": version.encode()}).as_uri())
    registry.set_alias("fraud", "champion", "2")

    assert read_folder(modelreg.fetch("model-registry://fraud@champion")) == {"version": b"2"}
    registry.set_alias("fraud", "champion", "1")
    assert read_folder(modelreg.fetch("model-registry://fraud@champion")) == {"version": b"1"}


def test_an_alias_is_described_by_the_version_that_it_stands_for(registry: ModelRegistry):
    register(registry, "1", "s3://models/fraud")
    registry.set_alias("fraud", "champion", "1")

    found = describe(parse_uri("model-registry://fraud@champion"))

    assert (found.version, found.uri) == ("1", "model-registry://fraud/1")


def test_an_alias_whose_version_is_gone_is_said(registry: ModelRegistry):
    register(registry, "1", "s3://models/fraud")
    registry.set_alias("fraud", "champion", "1")
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    registry.delete(version)

    with pytest.raises(NotFound, match="stands for version '1', which is gone"):
        modelreg.fetch("model-registry://fraud@champion")


def test_an_artifact_can_be_named(registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder):
    register(registry, "1", folder(FILES).as_uri())
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    other = ModelArtifact(name="quantized", uri=folder({"small": b"1"}).as_uri())
    registry.api.upsert_model_version_artifact(str(version.id), other)

    assert read_folder(modelreg.fetch("model-registry://fraud/1?artifact=quantized")) == {"small": b"1"}
    assert read_folder(modelreg.fetch("model-registry://fraud/1?artifact=fraud")) == FILES


def test_an_artifact_that_was_deleted_is_passed_over(
    registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder
):
    register(registry, "1", folder(FILES).as_uri())
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    gone = ModelArtifact(name="gone", uri="s3://gone", state=ArtifactState.DELETED)
    registry.api.upsert_model_version_artifact(str(version.id), gone)

    assert read_folder(modelreg.fetch("model-registry://fraud/1")) == FILES


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("model-registry://other", "other"),
        ("model-registry://fraud/2", "2"),
        ("model-registry://fraud/1?artifact=other", "no artifact 'other'"),
        ("model-registry://empty", "no live version"),
        ("model-registry://empty@champion", "modelreg alias set empty champion"),
        ("model-registry://fraud@challenger", "it has champion"),
    ],
)
def test_what_the_registry_does_not_hold_is_said(registry: ModelRegistry, uri: str, message: str):
    register(registry, "1", "s3://models/fraud")
    register(registry, "1", "s3://models/empty", name="empty")
    version = registry.get_model_version("empty", "1")
    assert version is not None
    registry.archive(version)
    registry.set_alias("fraud", "champion", "1")

    with pytest.raises(NotFound, match=message):
        modelreg.fetch(uri)


def test_an_artifact_without_files_is_said(registry: ModelRegistry):
    register(registry, "1", "s3://models/fraud")
    version = registry.get_model_version("fraud", "1")
    assert version is not None
    registry.api.upsert_model_version_artifact(str(version.id), ModelArtifact(name="bare"))

    with pytest.raises(NotFound, match="names no files"):
        modelreg.fetch("model-registry://fraud/1?artifact=bare")


def test_a_registry_that_names_a_registry_is_not_followed(registry: ModelRegistry):
    register(registry, "1", "model-registry://fraud/1")

    with pytest.raises(InvalidInput, match="another model-registry"):
        modelreg.fetch("model-registry://fraud/1")


# What is followed


def test_a_local_file_is_followed_only_where_the_registry_is_local(registry: ModelRegistry, folder: MakeFolder):
    register(registry, "1", folder(FILES).as_uri())
    uri = parse_uri("model-registry://fraud/1")

    assert resolve(uri).uri.startswith("file:")
    with pytest.raises(AccessDenied, match="local file"):
        resolve(uri, connect=remote(registry))


@pytest.mark.parametrize("uri", ["http://169.254.169.254/latest/meta-data", "http://metadata.google.internal/x"])
def test_the_addresses_of_a_machines_own_credentials_are_not_followed(registry: ModelRegistry, uri: str):
    register(registry, "1", uri)

    with pytest.raises(AccessDenied, match="the registry names the address"):
        modelreg.fetch("model-registry://fraud/1")


def test_what_is_not_followed_by_default_can_be_allowed(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch):
    register(registry, "1", "file:///models/fraud")
    register(registry, "2", "http://169.254.169.254/model")
    local, link_local = parse_uri("model-registry://fraud/1"), parse_uri("model-registry://fraud/2")

    assert resolve(local, connect=remote(registry), allow=frozenset({"local"})).uri == "file:///models/fraud"
    with pytest.raises(AccessDenied, match="MODELREG_REGISTRY_ALLOW=link-local"):
        resolve(link_local, connect=remote(registry), allow=frozenset({"local"}))
    monkeypatch.setenv("MODELREG_REGISTRY_ALLOW", "local, link-local")
    assert resolve(link_local, connect=remote(registry)).uri == "http://169.254.169.254/model"


def test_what_cannot_be_allowed_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELREG_REGISTRY_ALLOW", "everything")

    with pytest.raises(InvalidInput, match="MODELREG_REGISTRY_ALLOW"):
        modelreg.fetch("model-registry://fraud/1")


@pytest.mark.parametrize(("allow", "guarded"), [("", True), ("link-local", False)])
def test_the_storage_of_what_a_registry_names_connects_to_no_link_local_address(
    registry: ModelRegistry, site: Any, monkeypatch: pytest.MonkeyPatch, *, allow: str, guarded: bool
):
    monkeypatch.setenv("MODELREG_REGISTRY_ALLOW", allow)
    site.pages["/model.bin"] = b"weights"
    register(registry, "1", f"{site.url}/model.bin")
    opened: list[bool] = []

    def noted(open_source: Callable[[StorageURI], Backend]) -> Callable[[StorageURI], Backend]:
        def open_noted(uri: StorageURI) -> Backend:
            backend = open_source(uri)
            opened.append(not backend.settings.link_local)
            return backend

        return open_noted

    plain = Fetcher()
    fetcher = Fetcher(open_source=noted(plain.open_source), open_registered=noted(plain.open_registered))

    assert modelreg.fetch("model-registry://fraud/1", fetcher=fetcher).read_bytes() == b"weights"
    assert opened == [guarded]


def test_what_only_an_own_registry_may_name_is_refused_of_others(registry: ModelRegistry):
    for version, uri in enumerate(("memory://models/fraud", "gs://b/k?endpoint=http://storage.example"), start=1):
        register(registry, str(version), uri)
        address = parse_uri(f"model-registry://fraud/{version}")

        assert resolve(address).uri == uri
        with pytest.raises(AccessDenied):
            resolve(address, connect=remote(registry))


def test_a_registry_of_others_is_asked_over_http(folder: MakeFolder, site: Any, monkeypatch: pytest.MonkeyPatch):
    site.pages["/model.bin"] = b"weights"
    with serve_registry() as url:
        with ModelRegistry(url, author="ann") as registry:
            register(registry, "1", f"{site.url}/model.bin")
            register(registry, "2", folder(FILES).as_uri())
        host = url.removeprefix("http://")

        assert modelreg.fetch(f"model-registry://{host}/fraud/1").read_bytes() == b"weights"
        monkeypatch.setenv("MODELREG_REGISTRY_URL", url)
        assert modelreg.fetch("model-registry://fraud/1").read_bytes() == b"weights"
        with pytest.raises(AccessDenied):
            modelreg.fetch("model-registry://fraud/2")


@pytest.mark.parametrize(("named", "sent"), [(True, True), (False, False)])
def test_a_token_goes_only_to_the_registry_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, site: Any, home: Path, *, named: bool, sent: bool
):
    (home / "token").write_text("s3cr3t")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(home / "token"))
    monkeypatch.setenv("MODELREG_REGISTRY_URL", site.url if named else "https://registry.example")

    with pytest.raises(StoreError):
        modelreg.fetch(f"model-registry://{site.url.removeprefix('http://')}/fraud/1")

    assert ("Bearer s3cr3t" in site.tokens) is sent


def test_a_registry_named_by_the_port_of_https_is_asked_over_tls():
    with connect("registry.example:443") as registry:
        assert not registry.is_local


# The recorded digest


def uploaded(registry: ModelRegistry, source: Path, target: Path) -> None:
    registry.upload_artifact_and_register_model(
        "fraud",
        str(source),
        upload_params=target.as_uri(),
        version="1",
        model_format_name="x",
        model_format_version="1",
    )


def test_what_was_uploaded_and_registered_comes_back(
    registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path
):
    uploaded(registry, folder(FILES), tmp_path / "store")

    assert read_folder(modelreg.fetch("model-registry://fraud/1")) == FILES


def test_a_file_that_was_uploaded_under_another_name_comes_back(
    registry: ModelRegistry, folder: MakeFolder, tmp_path: Path
):
    uploaded(registry, folder(FILES) / "weights.bin", tmp_path / "store.bin")

    assert modelreg.fetch("model-registry://fraud/1").read_bytes() == b"one"


def test_content_that_is_not_what_was_recorded_is_refused(registry: ModelRegistry, folder: MakeFolder, tmp_path: Path):
    uploaded(registry, folder(FILES), tmp_path / "store")
    (tmp_path / "store" / "weights.bin").write_bytes(b"other")

    with pytest.raises(DigestMismatch):
        modelreg.fetch("model-registry://fraud/1")


def test_a_part_of_what_was_recorded_is_not_held_to_its_digest(
    registry: ModelRegistry, folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path
):
    uploaded(registry, folder(FILES), tmp_path / "store")

    assert read_folder(modelreg.fetch("model-registry://fraud/1", allow_patterns="*.json")) == {"config.json": b"{}"}


def test_what_was_fetched_by_its_own_uri_is_not_moved_again(counted: Any, folder: MakeFolder):
    source = folder(FILES)
    path = modelreg.fetch(source, fetcher=counted.fetcher)
    fetcher = counted.fetcher._replace(resolve=lambda _: Found(source.as_uri(), None, "artifact:1:1"))

    assert modelreg.fetch("model-registry://fraud/1", fetcher=fetcher) == path
    assert len(counted.moves) == 1


def test_force_asks_the_files_source_as_well(counted: Any, folder: MakeFolder):
    source = folder(FILES)
    fetcher = counted.fetcher._replace(resolve=lambda _: Found(source.as_uri(), None, "artifact:1:1"))
    modelreg.fetch("model-registry://fraud/1", fetcher=fetcher)

    modelreg.fetch("model-registry://fraud/1", fetcher=fetcher, force=True)

    assert len(counted.moves) == 2


def test_a_digest_that_is_asked_for_beats_the_recorded_one(folder: MakeFolder):
    source = folder(FILES)
    found = Found(source.as_uri(), "sha256:" + "0" * 64, "artifact:1:1")

    with pytest.raises(DigestMismatch, match="1" * 64):
        modelreg.fetch(
            "model-registry://fraud/1", digest="sha256:" + "1" * 64, fetcher=Fetcher(resolve=lambda _: found)
        )
