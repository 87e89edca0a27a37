"""``modelreg.storage.Storage.download``, as ``kserve_storage.Storage`` has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import InvalidInput, ObjectNotFound
from modelreg.storage import Storage

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights/part-1.bin": b"one", "empty": b""}


@pytest.fixture(autouse=True)
def own_temporary_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (home / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home / "temporary"))
    yield
    shutil.rmtree(home / "temporary")


def test_a_folder_comes_into_the_folder(memory: Any, read_folder: ReadFolder, tmp_path: Path):
    memory.pipe({f"/models/fraud/{name}": content for name, content in FILES.items()})

    returned = Storage.download("memory://models/fraud", str(tmp_path / "served"))

    assert returned == str(tmp_path / "served")
    assert read_folder(tmp_path / "served") == FILES


def test_a_file_comes_into_the_folder_under_its_name(site: Any, read_folder: ReadFolder, tmp_path: Path):
    site.pages["/model.joblib"] = b"weights"

    Storage.download(f"{site.url}/model.joblib", str(tmp_path / "served"))

    assert read_folder(tmp_path / "served") == {"model.joblib": b"weights"}


def test_without_a_folder_there_is_a_new_one(site: Any, read_folder: ReadFolder):
    site.pages["/model.joblib"] = b"weights"

    returned = Storage.download(f"{site.url}/model.joblib")

    assert isinstance(returned, str)
    assert read_folder(Path(returned)) == {"model.joblib": b"weights"}


def test_a_local_path_is_returned_as_it_is(folder: MakeFolder):
    source = folder(FILES)

    assert Storage.download(str(source)) == str(source)
    assert Storage.download(source.as_uri()) == str(source)


def test_a_local_path_is_copied_where_a_folder_is_named(folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path):
    Storage.download(str(folder(FILES)), str(tmp_path / "served"))

    assert read_folder(tmp_path / "served") == FILES


def test_archives_are_unpacked(folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path):
    archive = shutil.make_archive(str(tmp_path / "model"), "zip", folder(FILES))

    Storage.download(archive, str(tmp_path / "served"))

    assert read_folder(tmp_path / "served") == FILES


def test_patterns_select(memory: Any, read_folder: ReadFolder, tmp_path: Path):
    memory.pipe({f"/models/fraud/{name}": content for name, content in FILES.items()})

    Storage.download("memory://models/fraud", str(tmp_path / "served"), ["*.json", "*.bin"], ["weights/*"])

    assert read_folder(tmp_path / "served") == {"config.json": b"{}"}


def test_other_files_in_the_folder_are_left_and_none_is_overwritten(
    memory: Any, read_folder: ReadFolder, tmp_path: Path
):
    memory.pipe("/models/fraud/config.json", b"{}")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "mine").write_bytes(b"mine")

    Storage.download("memory://models/fraud", str(tmp_path / "served"))
    memory.pipe("/models/fraud/config.json", b"[]")
    with pytest.raises(InvalidInput, match="is there already"):
        Storage.download("memory://models/fraud", str(tmp_path / "served"))

    assert read_folder(tmp_path / "served") == {"config.json": b"{}", "mine": b"mine"}


def test_nothing_there_is_said_and_no_folder_is_left(home: Path):
    with pytest.raises(ObjectNotFound):
        Storage.download("memory://models/nothing")

    assert [*(home / "temporary").iterdir()] == []
