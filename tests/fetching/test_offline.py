"""Offline: what the cache answers alone, and what it must not pass off as an answer."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import modelreg
from modelreg.exceptions import DigestMismatch, NotCached, StorageError, StorageUnreachable

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights/part-1.bin": b"one"}


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o666)
    path.write_bytes(content)


def drop_blob(home: Path, content: bytes) -> None:
    [blob] = (home / "cache" / "modelreg" / "blobs").rglob(hashlib.sha256(content).hexdigest())
    blob.chmod(0o666)
    blob.unlink()


def test_what_is_held_whole_is_returned_without_a_question(site: Any):
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.answers.clear()
    site.pages.clear()

    path = modelreg.fetch(f"{site.url}/model.bin", offline=True)

    assert (path.read_bytes(), site.answers) == (b"weights", [])


def test_the_environment_can_say_so(site: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELREG_OFFLINE", "1")

    with pytest.raises(NotCached, match="MODELREG_OFFLINE"):
        modelreg.fetch(f"{site.url}/model.bin")

    assert site.answers == []


def test_the_argument_beats_the_environment(site: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELREG_OFFLINE", "1")
    site.pages["/model.bin"] = b"weights"

    assert modelreg.fetch(f"{site.url}/model.bin", offline=False).read_bytes() == b"weights"


def test_an_old_answer_is_an_answer(site: Any):
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.pages["/model.bin"] = b"new weights"

    assert modelreg.fetch(f"{site.url}/model.bin", offline=True).read_bytes() == b"weights"


def test_a_part_is_not_the_whole(folder: MakeFolder):
    source = folder(FILES)
    modelreg.fetch(source, allow_patterns="*.json")

    with pytest.raises(NotCached, match="only what some patterns"):
        modelreg.fetch(source, offline=True)


def test_the_same_part_is_an_answer(folder: MakeFolder, read_folder: ReadFolder):
    source = folder(FILES)
    modelreg.fetch(source, allow_patterns="*.json")

    assert read_folder(modelreg.fetch(source, allow_patterns=["*.json"], offline=True)) == {"config.json": b"{}"}


def test_a_download_that_was_cut_off_is_no_answer(folder: MakeFolder):
    source = folder(FILES)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        modelreg.fetch(source, progress=stop)
    with pytest.raises(NotCached):
        modelreg.fetch(source, offline=True)

    assert (modelreg.fetch(source) / "config.json").read_bytes() == b"{}"


def test_a_file_that_was_changed_is_put_right_from_the_cache(folder: MakeFolder):
    source = folder(FILES)
    path = modelreg.fetch(source)
    path.chmod(0o755)
    (path / "config.json").unlink()
    (path / "config.json").write_bytes(b"mine")

    assert (modelreg.fetch(source, offline=True) / "config.json").read_bytes() == b"{}"


def test_files_whose_bytes_are_nowhere_any_more_are_named(folder: MakeFolder, home: Path):
    source = folder(FILES)
    path = modelreg.fetch(source)
    for name, content in FILES.items():
        overwrite(path / name, b"something else")
        drop_blob(home, content)

    with pytest.raises(NotCached, match=r"changed in the cache.*config\.json and 1 more"):
        modelreg.fetch(source, offline=True)


def test_a_tree_that_cannot_be_proved_is_no_answer(folder: MakeFolder, home: Path):
    source = folder(FILES)
    modelreg.fetch(source)
    for kind in ("manifests/sha256/*.json", "trees/sha256/*.stat"):
        for path in (home / "cache" / "modelreg").glob(kind):
            path.unlink()

    with pytest.raises(NotCached):
        modelreg.fetch(source, offline=True)


def test_a_digest_is_held_against_what_is_there(folder: MakeFolder):
    source = folder(FILES) / "config.json"
    modelreg.fetch(source)

    with pytest.raises(DigestMismatch):
        modelreg.fetch(source, digest="sha256:" + "0" * 64, offline=True)


def test_a_registry_is_not_asked_either(tmp_path: Path, folder: MakeFolder, read_folder: ReadFolder):
    with modelreg.ModelRegistry(author="ann") as registry:
        registry.register_model("fraud", folder(FILES).as_uri(), "1", "onnx", "1")
    modelreg.fetch("model-registry://fraud/1")

    assert read_folder(modelreg.fetch("model-registry://fraud/1", offline=True)) == FILES
    with pytest.raises(NotCached):
        modelreg.fetch("model-registry://fraud/2", offline=True)


def test_a_source_that_fails_is_not_hidden_by_an_old_answer(site: Any):
    site.pages["/model.bin"] = b"weights"
    modelreg.fetch(f"{site.url}/model.bin")
    site.pages.clear()

    with pytest.raises(StorageError):
        modelreg.fetch(f"{site.url}/model.bin")


def test_without_names_what_is_held_is_an_answer_and_the_rest_is_said(site: Any, monkeypatch: pytest.MonkeyPatch):
    site.pages["/model.bin"] = b"weights"
    path = modelreg.fetch(f"{site.url}/model.bin")
    looked_up = []

    def getaddrinfo(host: str, *_: Any, **__: Any) -> NoReturn:
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("MODELREG_TRANSFER_ATTEMPTS", "1")

    assert modelreg.fetch(f"{site.url}/model.bin", offline=True) == path
    with pytest.raises(NotCached):
        modelreg.fetch("http://models.example/model.bin", offline=True)
    assert looked_up == []
    with pytest.raises(StorageUnreachable, match=r"models\.example"):
        modelreg.fetch("http://models.example/model.bin")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://models/fraud?endpoint=http://absent.invalid&anonymous=true",
        "gs://models/fraud?endpoint=http://absent.invalid&anonymous=true",
        "az://models/fraud?account=acme&endpoint=http://absent.invalid&anonymous=true",
        "http://absent.invalid/fraud",
    ],
)
def test_a_name_that_nobody_knows_is_said(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELREG_TRANSFER_ATTEMPTS", "1")

    with pytest.raises(StorageUnreachable):
        modelreg.fetch(uri)
