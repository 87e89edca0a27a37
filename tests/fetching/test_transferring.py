"""Transfers: what one storage has is in another afterwards, or nothing is said to be."""

from __future__ import annotations

import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import modelreg
from file_trees import write_tree
from modelreg.exceptions import DigestMismatch, InvalidInput, ObjectNotFound
from modelreg.fetching.transferring import Transfer
from modelreg.storageconfig import StorageSettings

FILES = {"config.json": b"{}", "weights/part-1.bin": b"one" * 1000, "weights/empty": b""}


@pytest.fixture
def memory() -> Iterator[str]:
    """URI of a folder in memory, of this test's own."""
    place = f"memory://transfers/{uuid.uuid4().hex}"
    yield place
    files = fsspec.filesystem("memory")
    if files.exists(place):
        files.rm(place, recursive=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "source", FILES)


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_goes_from_one_storage_to_another_and_on(source: Path, memory: str, tmp_path: Path) -> None:
    first = Transfer(source=str(source)).put(memory)
    second = Transfer(source=memory).put((tmp_path / "target").as_uri())

    assert files_below(tmp_path / "target") == FILES
    assert first.digest == second.digest
    assert first.size == sum(map(len, FILES.values()))


def test_a_file_keeps_its_name_in_a_folder(source: Path, memory: str) -> None:
    Transfer(source=str(source / "config.json")).put(f"{memory}/")

    assert modelreg.fetch(f"{memory}/config.json").read_bytes() == b"{}"


def test_a_file_may_get_another_name(source: Path, memory: str) -> None:
    result = Transfer(source=str(source / "config.json")).put(f"{memory}/other.json")

    assert modelreg.fetch(f"{memory}/other.json", digest=result.digest).read_bytes() == b"{}"


def test_what_is_in_an_archive_is_transferred_where_that_is_asked_for(tmp_path: Path, memory: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("weights.bin", b"12345")

    Transfer(source=str(tmp_path / "model.zip"), unpack=True).put(memory)

    assert files_below(modelreg.fetch(memory)) == {"weights.bin": b"12345"}


def test_what_the_target_has_instead_is_found_by_reading_it_back(source: Path, memory: str) -> None:
    files = fsspec.filesystem("memory")
    way = Transfer(source=str(source))
    pushed = modelreg.push(source, memory)
    files.pipe_file(f"{memory}/weights/part-1.bin", b"two" * 1000)

    with pytest.raises(DigestMismatch, match="transfers"):
        way.verify(pushed)


def test_it_is_not_read_back_where_nobody_wants_that(source: Path, memory: str) -> None:
    told: list[Any] = []

    Transfer(source=str(source), progress=told.append).put(memory, verify=False)
    without = len(told)
    told.clear()
    Transfer(source=str(source), progress=told.append).put(memory)

    assert 0 < without < len(told)


def test_a_target_with_other_files_is_refused_before_a_byte_is_sent(source: Path, memory: str) -> None:
    fsspec.filesystem("memory").pipe_file(f"{memory}/older.bin", b"old")

    with pytest.raises(InvalidInput, match=r"other files are there, 'older.bin'"):
        Transfer(source=str(source)).put(memory)

    assert files_below(modelreg.fetch(memory)) == {"older.bin": b"old"}


def test_nothing_is_transferred_to_itself(memory: str) -> None:
    with pytest.raises(InvalidInput, match="to itself"):
        Transfer(source=memory).put(memory)


def test_a_source_that_is_not_there_is_an_error(memory: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match="absent"):
        Transfer(source=str(tmp_path / "absent")).put(memory)
    with pytest.raises(ObjectNotFound):
        Transfer(source=memory).put((tmp_path / "target").as_uri())


def test_each_side_is_reached_with_its_own_settings(source: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "claim").mkdir(parents=True)
    (tmp_path / "b" / "claim").mkdir(parents=True)
    modelreg.push(source, (tmp_path / "a" / "claim" / "model").as_uri())

    Transfer(
        source="pvc://claim/model",
        source_settings=StorageSettings(pvc_root=str(tmp_path / "a")),
        target_settings=StorageSettings(pvc_root=str(tmp_path / "b")),
    ).put("pvc://claim/copy")

    assert files_below(tmp_path / "b" / "claim" / "copy") == FILES
