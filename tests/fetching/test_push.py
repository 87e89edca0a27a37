"""``modelreg.push``, ``open`` and ``filesystem``."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import modelreg
from modelreg.exceptions import InvalidInput, ObjectNotFound, ReadOnlyStorage, UnknownScheme
from modelreg.storage.transfer import TransferProgress

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights/part 1.bin": b"one", "weights/\u00fc.bin": b"two", "empty": b""}


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, memory: Any) -> str:
    """The URI of an empty place that can be written."""
    del memory
    return (tmp_path / "store").as_uri() if request.param == "file" else "memory://store"


def test_a_folder_comes_back_under_the_digest_of_its_push(folder: MakeFolder, read_folder: ReadFolder, store: str):
    pushed = modelreg.push(folder(FILES), f"{store}/fraud")

    assert read_folder(modelreg.fetch(pushed.uri, digest=pushed.digest)) == FILES
    assert (pushed.size, [file.path for file in pushed.files]) == (8, sorted(FILES))


def test_a_file_comes_back_under_the_digest_of_its_push(folder: MakeFolder, store: str):
    pushed = modelreg.push(folder(FILES) / "config.json", f"{store}/other-name.json")

    path = modelreg.fetch(pushed.uri, digest=pushed.digest)

    assert (path.name, path.read_bytes()) == ("other-name.json", b"{}")
    assert pushed.digest == f"sha256:{hashlib.sha256(b'{}').hexdigest()}"


def test_a_file_keeps_its_name_in_a_folder(folder: MakeFolder, read_folder: ReadFolder, store: str):
    pushed = modelreg.push(folder(FILES) / "config.json", f"{store}/fraud/")

    assert read_folder(modelreg.fetch(f"{store}/fraud/", digest=pushed.digest)) == {"config.json": b"{}"}


def test_what_lies_there_besides_is_left_alone(folder: MakeFolder, read_folder: ReadFolder, store: str):
    modelreg.push(folder({"old": b"1", "both": b"2"}), f"{store}/fraud")

    modelreg.push(folder({"new": b"3", "both": b"4"}), f"{store}/fraud")

    assert read_folder(modelreg.fetch(f"{store}/fraud")) == {"old": b"1", "both": b"4", "new": b"3"}


def test_progress_is_told(folder: MakeFolder, store: str):
    told: list[TransferProgress] = []

    modelreg.push(folder(FILES), f"{store}/fraud", progress=told.append)

    assert told[-1].bytes_done == 8


def test_a_source_that_is_not_there_is_said(tmp_path: Path, store: str):
    with pytest.raises(ObjectNotFound, match="nowhere"):
        modelreg.push(tmp_path / "nowhere", store)


def test_a_folder_without_files_is_refused(tmp_path: Path, store: str):
    (tmp_path / "empty").mkdir()

    with pytest.raises(InvalidInput):
        modelreg.push(tmp_path / "empty", store)


def test_what_cannot_be_written_is_said(folder: MakeFolder, site: Any):
    with pytest.raises(ReadOnlyStorage):
        modelreg.push(folder(FILES), f"{site.url}/fraud")


def test_a_file_is_opened_where_it_lies(folder: MakeFolder, store: str):
    modelreg.push(folder(FILES), f"{store}/fraud")

    with modelreg.open(f"{store}/fraud/weights/part 1.bin") as file:
        file.seek(1)
        assert file.read() == b"ne"


class Details(io.BytesIO):
    """What filesystems over object storages give for the name of a folder."""

    details: ClassVar = {"type": "directory", "size": 0}


class Objects(MemoryFileSystem):
    """A filesystem that opens a folder as if it were an empty file."""

    protocol = "objects"

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        return Details()


def test_a_folder_that_opens_as_an_empty_file_is_told_from_one():
    fsspec.register_implementation("objects", Objects, clobber=True)

    with pytest.raises(InvalidInput, match="objects://store/fraud is a folder"):
        modelreg.open("objects://store/fraud")


def test_a_file_is_written_where_it_is_to_lie(memory: Any):
    with modelreg.open("memory://store/notes.txt", "w") as file:
        file.write("caf\u00e9")

    assert memory.cat("/store/notes.txt") == "caf\u00e9".encode()


def test_a_file_that_is_not_there_cannot_be_opened(store: str):
    with pytest.raises(FileNotFoundError):
        modelreg.open(f"{store}/nothing")


def test_the_filesystem_is_that_of_the_uri(folder: MakeFolder, store: str):
    modelreg.push(folder(FILES), f"{store}/fraud")

    filesystem = modelreg.filesystem(store)

    assert filesystem.protocol[0] in {"file", "memory"} or filesystem.protocol == "memory"


@pytest.mark.parametrize("call", [modelreg.open, modelreg.filesystem])
def test_an_unknown_scheme_is_refused(call: Callable[[str], object]):
    with pytest.raises(UnknownScheme):
        call("nothing://here")


@pytest.mark.parametrize("call", [modelreg.open, modelreg.filesystem, functools.partial(modelreg.push, __file__)])
def test_a_registered_version_is_no_place_in_a_storage(call: Callable[[str], object]):
    with pytest.raises(UnknownScheme, match=r"stands for a registered version.*fetch it"):
        call("model-registry://fraud/1.0.0")


@pytest.mark.parametrize("source", ["", "a\0b"])
def test_what_is_no_path_is_not_pushed(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tmp_path.joinpath("mine").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidInput, match="is no path"):
        modelreg.push(source, tmp_path / "store")

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
