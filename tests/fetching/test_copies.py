"""``fetch(uri, to=...)``: copies that are whole or not there, and never in place of something else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import modelreg
from modelreg.cacheconfig import CacheSettings
from modelreg.exceptions import CacheError, InvalidInput
from modelreg.fetching.copies import copy_out
from modelreg.fetching.hits import open_cache

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights/part-1.bin": b"one", "empty": b""}


def names(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir()]


def test_a_folder_is_put_where_it_is_wanted(folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path):
    target = tmp_path / "new" / "model"

    assert modelreg.fetch(folder(FILES), to=target) == target
    assert read_folder(target) == FILES
    assert names(target.parent) == ["model"]


def test_a_file_is_put_under_the_name_that_is_wanted(folder: MakeFolder, tmp_path: Path):
    target = tmp_path / "new" / "mine.json"

    assert modelreg.fetch(folder(FILES) / "config.json", to=target) == target
    assert (target.read_bytes(), names(target.parent)) == (b"{}", ["mine.json"])


def test_a_copy_is_the_callers_own(folder: MakeFolder, tmp_path: Path):
    source = folder(FILES)
    copy = modelreg.fetch(source, to=tmp_path / "copy")

    (copy / "config.json").write_bytes(b"mine")

    assert (modelreg.fetch(source) / "config.json").read_bytes() == b"{}"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_copy_can_be_written(folder: MakeFolder, tmp_path: Path):
    copy = modelreg.fetch(folder(FILES), to=tmp_path / "copy")

    assert (copy / "config.json").stat().st_mode & stat.S_IWUSR


def test_the_same_copy_again_is_no_conflict(folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path):
    source = folder(FILES)
    modelreg.fetch(source, to=tmp_path / "copy")

    assert read_folder(modelreg.fetch(source, to=tmp_path / "copy")) == FILES


def test_what_is_missing_of_a_copy_is_added_and_other_files_are_left(
    folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path
):
    target = tmp_path / "copy"
    (target / "weights").mkdir(parents=True)
    (target / "weights" / "mine.bin").write_bytes(b"mine")
    (target / "empty").write_bytes(b"")

    modelreg.fetch(folder(FILES), to=target)

    assert read_folder(target) == {**FILES, "weights/mine.bin": b"mine"}


def test_something_else_is_never_overwritten_and_nothing_is_added_to_it(
    folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path
):
    target = tmp_path / "copy"
    target.mkdir()
    (target / "config.json").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match="is there already"):
        modelreg.fetch(folder(FILES), to=target)

    assert read_folder(target) == {"config.json": b"mine"}


def test_a_file_of_another_content_is_never_overwritten(folder: MakeFolder, tmp_path: Path):
    target = tmp_path / "mine.json"
    target.write_bytes(b"[]")

    with pytest.raises(InvalidInput, match="is there already"):
        modelreg.fetch(folder(FILES) / "config.json", to=target)

    assert target.read_bytes() == b"[]"


def test_a_folder_in_place_of_a_file_is_never_overwritten(folder: MakeFolder, tmp_path: Path):
    (tmp_path / "copy").mkdir()

    with pytest.raises(InvalidInput, match="is there already"):
        modelreg.fetch(folder(FILES) / "config.json", to=tmp_path / "copy")


def test_a_file_in_place_of_a_folder_is_never_overwritten(folder: MakeFolder, tmp_path: Path):
    (tmp_path / "copy").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match="is there already"):
        modelreg.fetch(folder(FILES), to=tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == b"mine"


def test_what_another_process_empties_meanwhile_leaves_no_half_copy(folder: MakeFolder, tmp_path: Path):
    source = folder(FILES)
    path = modelreg.fetch(source)
    cache = open_cache()
    [(_, ref)] = cache.refs
    (path / "weights" / "part-1.bin").unlink()

    with pytest.raises(CacheError, match="disappeared"):
        copy_out(cache, ref, str(tmp_path / "copies" / "copy"))

    assert names(tmp_path / "copies") == []


def test_files_that_are_added_to_a_folder_leave_no_half_file(folder: MakeFolder, tmp_path: Path):
    path = modelreg.fetch(folder(FILES))
    cache = open_cache()
    [(_, ref)] = cache.refs
    (path / "weights" / "part-1.bin").unlink()
    (tmp_path / "copy").mkdir()

    with pytest.raises(CacheError, match="disappeared"):
        copy_out(cache, ref, str(tmp_path / "copy"))

    assert not (tmp_path / "copy" / "weights" / "part-1.bin").exists()
    assert [name for name in names(tmp_path / "copy") if name.startswith(".")] == []


def test_a_tree_that_cannot_be_proved_is_not_copied(folder: MakeFolder, tmp_path: Path, home: Path):
    modelreg.fetch(folder(FILES))
    cache = open_cache()
    [(_, ref)] = cache.refs
    for manifest in (home / "cache" / "modelreg" / "manifests" / "sha256").iterdir():
        manifest.unlink()

    with pytest.raises(CacheError, match="fetch it again"):
        copy_out(cache, ref, str(tmp_path / "copy"))


def test_a_copy_comes_from_the_cache_that_is_named(folder: MakeFolder, tmp_path: Path, read_folder: ReadFolder):
    settings = CacheSettings(root=str(tmp_path / "cache"))

    modelreg.fetch(folder(FILES), to=tmp_path / "copy", settings=settings)

    assert read_folder(tmp_path / "copy") == FILES
    assert (tmp_path / "cache" / "VERSION").is_file()


@pytest.mark.parametrize("target", ["", "a\0b"])
def test_a_copy_that_has_no_path_is_refused_before_anything_is_fetched(folder: MakeFolder, target: str):
    with pytest.raises(InvalidInput, match="copy cannot be put at"):
        modelreg.fetch(folder(FILES), to=target)

    assert list(open_cache().refs) == []


def test_a_file_where_a_folder_must_be_is_told_before_anything_is_copied(folder: MakeFolder, tmp_path: Path):
    target = tmp_path / "copy"
    target.mkdir()
    (target / "weights").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match=r"copy.weights is there already"):
        modelreg.fetch(folder(FILES), to=target)

    assert names(target) == ["weights"]


def test_a_copy_below_a_file_is_refused(folder: MakeFolder, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match="file is there already"):
        modelreg.fetch(folder(FILES) / "config.json", to=tmp_path / "file" / "copy.json")


def test_a_copy_that_cannot_be_written_is_told_with_its_own_path(folder: MakeFolder, tmp_path: Path):
    target = tmp_path / ("x" * 300)

    with pytest.raises(CacheError, match=r"the copy .*x+.model cannot be written: .* \(choose another path\)"):
        modelreg.fetch(folder(FILES), to=target / "model")


def test_nobody_evicts_what_is_being_copied(folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = folder(FILES)
    modelreg.fetch(source)
    pruner = open_cache().pruner
    rename = os.rename

    def prune_and_rename(old: str, new: str):
        pruner.prune(max_size=0)
        rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", prune_and_rename)
        modelreg.fetch(source, to=tmp_path / "copy")

    assert (modelreg.fetch(source, offline=True) / "config.json").read_bytes() == b"{}"


def test_a_manifest_that_is_gone_is_made_anew_for_a_copy(folder: MakeFolder, read_folder: ReadFolder, tmp_path: Path):
    source = folder(FILES)
    modelreg.fetch(source)
    manifests = Path(open_cache().layout.manifests)
    for manifest in manifests.iterdir():
        manifest.unlink()

    assert read_folder(modelreg.fetch(source, to=tmp_path / "copy")) == FILES


def test_what_cannot_be_read_in_the_cache_is_told_of_the_cache(folder: MakeFolder, tmp_path: Path):
    path = modelreg.fetch(folder(FILES))
    cache = open_cache()
    [(_, ref)] = cache.refs
    (path / "empty").unlink()
    (path / "empty").mkdir()

    with pytest.raises(CacheError, match=r"cannot be read in the cache: .*see who may read .*empty"):
        copy_out(cache, ref, str(tmp_path / "copy"))
