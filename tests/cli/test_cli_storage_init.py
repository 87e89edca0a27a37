from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"model")
    (folder / "sub" / "same.bin").write_bytes(b"model")
    return folder


def found(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_source_is_put_into_the_folder_beside_it(modelreg_cli: Run, source: Path, tmp_path: Path):
    result = modelreg_cli(
        "storage-init", source.as_uri(), str(tmp_path / "a"), str(source / "model.bin"), str(tmp_path / "b"), "--json"
    )

    assert result.exit_code == 0, result.output
    assert found(tmp_path / "a") == {"model.bin": b"model", "sub/same.bin": b"model"}
    assert found(tmp_path / "b") == {"model.bin": b"model"}
    assert [(row["files"], row["size"]) for row in json.loads(result.stdout)] == [(2, 10), (1, 5)]


@pytest.mark.parametrize("kept", [True, False])
def test_nothing_but_the_files_is_left(
    modelreg_cli: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
):
    if not kept:
        monkeypatch.delenv("MODELREG_CACHE_DIR")

    result = modelreg_cli("storage-init", source.as_uri(), str(tmp_path / "models"))

    assert result.exit_code == 0, result.output
    assert found(tmp_path / "models") == {"model.bin": b"model", "sub/same.bin": b"model"}
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["model.bin", "sub"]
    assert Path(os.environ["MODELREG_CACHE_DIR"]).exists() if kept else True


@pytest.mark.parametrize("kept", [True, False])
def test_files_of_an_earlier_attempt_are_replaced_and_others_left_alone(
    modelreg_cli: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
):
    if not kept:
        monkeypatch.delenv("MODELREG_CACHE_DIR")
    target = tmp_path / "models"
    target.mkdir()
    (target / "model.bin").write_bytes(b"half")
    (target / "mine").write_bytes(b"mine")

    result = modelreg_cli("storage-init", source.as_uri(), str(target))

    assert result.exit_code == 0, result.output
    assert found(target) == {"model.bin": b"model", "mine": b"mine", "sub/same.bin": b"model"}


def test_archives_are_unpacked(modelreg_cli: Run, source: Path, tmp_path: Path):
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(source, ".")

    result = modelreg_cli("storage-init", (tmp_path / "model.tar.gz").as_uri(), str(tmp_path / "models"))

    assert result.exit_code == 0, result.output
    assert found(tmp_path / "models") == {"model.bin": b"model", "sub/same.bin": b"model"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_files_can_be_read_by_any_user_and_written_by_their_own(modelreg_cli: Run, source: Path, tmp_path: Path):
    modelreg_cli("storage-init", source.as_uri(), str(tmp_path / "models"))

    assert (tmp_path / "models" / "model.bin").stat().st_mode & 0o777 == 0o644


def test_a_source_that_is_not_there_fails(modelreg_cli: Run, tmp_path: Path):
    result = modelreg_cli("storage-init", (tmp_path / "absent").as_uri(), str(tmp_path / "models"))

    assert result.exit_code == 1
    assert "absent" in result.stderr


def test_a_folder_that_cannot_be_made_is_named(modelreg_cli: Run, source: Path, tmp_path: Path):
    (tmp_path / "file").touch()

    result = modelreg_cli("storage-init", source.as_uri(), str(tmp_path / "file"))

    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_a_name_that_is_the_initializers_own_is_refused(modelreg_cli: Run, source: Path, tmp_path: Path):
    (source / ".modelreg-storage-init").mkdir()
    (source / ".modelreg-storage-init" / "x").touch()

    result = modelreg_cli("storage-init", source.as_uri(), str(tmp_path / "models"))

    assert result.exit_code == 2
    assert "in the way" in result.stderr


def test_a_source_without_a_folder_is_a_mistake(modelreg_cli: Run, source: Path):
    assert modelreg_cli("storage-init", source.as_uri()).exit_code == 2
    assert modelreg_cli("storage-init").exit_code == 2
