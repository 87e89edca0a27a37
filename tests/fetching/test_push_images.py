"""Folders pushed to registries, as images and as artifacts, and fetched again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg.exceptions import AccessDenied, InvalidInput, InvalidURI
from modelreg.storage.transfer import TransferProgress
from modelreg.testing.oci_registry import OCITestRegistry, oci_registry

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights/part 1.bin": b"one", "weights/\u00fc.bin": b"two", "empty": b""}
FORMS = pytest.mark.parametrize("form", ["", "?artifact", "?artifact=false"])


@pytest.fixture
def registry() -> Iterator[OCITestRegistry]:
    """An empty registry."""
    with oci_registry() as running:
        yield running


@FORMS
def test_a_folder_comes_back_under_the_digest_of_its_push(
    folder: MakeFolder, read_folder: ReadFolder, registry: OCITestRegistry, form: str
):
    pushed = modelreg.push(folder(FILES), f"oci://{registry.host}/models/fraud:1{form}")

    assert read_folder(modelreg.fetch(pushed.uri, digest=pushed.digest)) == FILES
    assert pushed.uri == f"oci://{registry.host}/models/fraud:1"
    assert (pushed.size, [file.path for file in pushed.files]) == (8, sorted(FILES))


@FORMS
def test_a_single_file_is_in_the_folder_that_comes_back(
    folder: MakeFolder, read_folder: ReadFolder, registry: OCITestRegistry, form: str
):
    pushed = modelreg.push(folder(FILES) / "config.json", f"oci://{registry.host}/models/fraud:1{form}")

    assert read_folder(modelreg.fetch(pushed.uri, digest=pushed.digest)) == {"config.json": b"{}"}


def test_a_push_takes_the_place_of_what_the_tag_named(
    folder: MakeFolder, read_folder: ReadFolder, registry: OCITestRegistry
):
    uri = f"oci://{registry.host}/models/fraud:1"
    modelreg.push(folder({"old": b"1", "both": b"2"}), uri)

    modelreg.push(folder({"new": b"3", "both": b"4"}), uri)

    assert read_folder(modelreg.fetch(uri)) == {"new": b"3", "both": b"4"}


def test_a_version_sends_the_layers_alone_that_have_changed(folder: MakeFolder, registry: OCITestRegistry):
    weights = os.urandom(17 << 20)
    modelreg.push(folder({"weights.bin": weights, "config.json": b"1"}), f"oci://{registry.host}/models/fraud:1")
    before = set(registry.blobs["models/fraud"])

    modelreg.push(folder({"weights.bin": weights, "config.json": b"2"}), f"oci://{registry.host}/models/fraud:2")

    fresh = [content for digest, content in registry.blobs["models/fraud"].items() if digest not in before]
    assert sum(map(len, fresh)) < 20_000


def test_files_of_an_artifact_are_blobs_under_their_own_digests(folder: MakeFolder, registry: OCITestRegistry):
    modelreg.push(folder(FILES), f"oci://{registry.host}/models/fraud:1?artifact")

    assert set(registry.blobs["models/fraud"].values()) == {*FILES.values(), b"{}"}
    assert f"sha256:{hashlib.sha256(b'one').hexdigest()}" in registry.blobs["models/fraud"]


@pytest.mark.parametrize(
    ("rest", "problem"), [(f"@sha256:{'0' * 64}", "a digest is no name"), (":1?platform=linux/arm64", "every platform")]
)
def test_nothing_is_pushed_to_what_chooses_what_to_fetch(
    folder: MakeFolder, registry: OCITestRegistry, rest: str, problem: str
):
    with pytest.raises(InvalidURI, match=problem):
        modelreg.push(folder(FILES), f"oci://{registry.host}/models/fraud{rest}")


def test_progress_is_told(folder: MakeFolder, registry: OCITestRegistry):
    told: list[TransferProgress] = []

    modelreg.push(folder(FILES), f"oci://{registry.host}/models/fraud:1", progress=told.append)

    assert told[-1] == TransferProgress(8, 8, 4, 4)


def test_a_push_that_fails_leaves_the_tag_where_it_was(folder: MakeFolder, registry: OCITestRegistry):
    uri = f"oci://{registry.host}/models/fraud:1"
    modelreg.push(folder({"old": b"1"}), uri)
    before = registry.manifests["models/fraud"]["1"]
    registry.credentials = ("ann", "s3cret")

    with pytest.raises(AccessDenied):
        modelreg.push(folder({"new": b"2"}), uri)

    assert registry.manifests["models/fraud"]["1"] == before


def test_an_upload_that_is_cut_off_goes_on(folder: MakeFolder, read_folder: ReadFolder, registry: OCITestRegistry):
    failures = [503, 502]

    def intercept(request: Any) -> bool:
        if request.command != "PUT" or not failures:
            return False
        request.rfile.read(int(request.headers["Content-Length"]))
        request.answer(failures.pop())
        return True

    registry.intercept = intercept

    pushed = modelreg.push(folder(FILES), f"oci://{registry.host}/models/fraud:1")

    assert read_folder(modelreg.fetch(pushed.uri, digest=pushed.digest)) == FILES
    assert failures == []


def test_a_folder_without_files_is_refused(tmp_path: Path, registry: OCITestRegistry):
    with pytest.raises(InvalidInput, match="holds no files"):
        modelreg.push(tmp_path, f"oci://{registry.host}/models/fraud:1")
