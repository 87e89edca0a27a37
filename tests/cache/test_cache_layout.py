from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache.layout import Layout
from modelreg.cache.store import Cache
from modelreg.exceptions import CacheError, CacheTooNew

FOLDERS = ["blobs/sha256", "manifests/sha256", "trees/sha256", "refs", "partial", "leases", "tmp"]


def tree_of(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return when each file and folder was changed, and what the files hold."""
    found = [root, *root.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in found}


def test_a_cache_that_is_made_touches_nothing_until_it_is_filled(tmp_path: Path):
    cache = Cache(str(tmp_path / "cache"))

    assert cache.lookup("0" * 64) is None
    assert not (tmp_path / "cache").exists()


def test_a_cache_has_the_folders_of_its_format(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})

    assert [folder for folder in FOLDERS if not (shelf.root / folder).is_dir()] == []
    assert (shelf.root / "VERSION").read_bytes() == b"1\n"


def test_the_tag_is_one_that_backup_programs_know(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})

    assert (shelf.root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


def test_everything_lies_where_the_format_says(shelf: Any, sha256: Callable[[bytes], str]):
    ref = shelf.put("model", {"deep/a.bin": b"content", "b.bin": b"other"})

    blob = sha256(b"content")
    assert (shelf.root / f"blobs/sha256/{blob[:2]}/{blob}").read_bytes() == b"content"
    assert sha256((shelf.root / f"manifests/sha256/{ref.tree}.json").read_bytes()) == ref.tree
    assert (shelf.root / f"trees/sha256/{ref.tree}/deep/a.bin").read_bytes() == b"content"
    assert (shelf.root / f"trees/sha256/{ref.tree}.stat").exists()
    assert (shelf.root / f"refs/{shelf.key('model')}.json").exists()
    assert shelf.left_over() == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_that_someone_removed_is_made_again(shelf: Any, folder: str):
    Layout(str(shelf.root)).create()
    (shelf.root / folder).rmdir()

    shelf.put("model", {"a.bin": b"content"})

    assert shelf.get("model") == {"a.bin": b"content"}


@pytest.mark.parametrize("text", [b"2\n", b"17", b"  3  "])
def test_a_newer_cache_is_refused_and_left_untouched(shelf: Any, text: bytes):
    shelf.put("model", {"a.bin": b"content"})
    (shelf.root / "VERSION").write_bytes(text)
    before = tree_of(shelf.root)

    for use in (lambda: shelf.cache.lookup(shelf.key("model")), lambda: shelf.put("model", {"b.bin": b"other"})):
        with pytest.raises(CacheTooNew, match=rf"has format {int(text)}, .* left untouched"):
            use()

    assert tree_of(shelf.root) == before


def test_a_lock_is_not_taken_in_a_newer_cache(shelf: Any):
    Layout(str(shelf.root)).create()
    (shelf.root / "VERSION").write_bytes(b"2\n")

    with pytest.raises(CacheTooNew):
        shelf.cache.lock(shelf.key("model"), is_done=lambda: False)

    assert shelf.left_over() == []


@pytest.mark.parametrize("text", [b"0", b"-1", b"1.0", b"version 1", b"\xff"])
def test_a_folder_whose_version_makes_no_sense_is_refused(tmp_path: Path, text: bytes):
    (tmp_path / "VERSION").write_bytes(text)

    with pytest.raises(CacheError, match="not a cache's") as raised:
        Cache(str(tmp_path)).lookup("0" * 64)

    assert not isinstance(raised.value, CacheTooNew)
    assert [path.name for path in tmp_path.iterdir()] == ["VERSION"]


def test_a_version_that_never_reached_the_disk_is_written_again(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})
    (shelf.root / "VERSION").write_bytes(b"")

    assert shelf.cache.lookup(shelf.key("model")) is None
    shelf.put("other", {"b.bin": b"other"})

    assert shelf.get("model") == {"a.bin": b"content"}
    assert (shelf.root / "VERSION").read_bytes() == b"1\n"


@pytest.mark.parametrize("name", ["refs", "blobs", "tmp"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(CacheError, match=f"{name}.* cannot be a folder"):
        Layout(str(tmp_path)).create()


def test_a_file_in_the_place_of_the_cache_cannot_be_read(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(CacheError, match="cannot be read") as raised:
        Cache(str(tmp_path / "file")).lookup("0" * 64)

    assert isinstance(raised.value.__cause__, NotADirectoryError)


def test_a_cache_below_a_folder_that_cannot_be_written_names_the_way_out(
    open_folder: Path, unwritable: Callable[[Path], AbstractContextManager[None]]
):
    cache = Cache(str(open_folder / "deep" / "cache"))

    with unwritable(open_folder), pytest.raises(CacheError, match=r"cannot be written: .*MODELREG_CACHE_DIR"):
        cache.filling("0" * 64)


def test_an_error_that_is_not_about_the_cache_stays_what_it_is(make_shelf: Callable[..., Any], tmp_path: Path):
    def fail(stage: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/somewhere/else")

    shelf = make_shelf(tmp_path / "cache", on_stage=fail)

    with pytest.raises(PermissionError, match="somewhere/else"):
        shelf.put("model", {"a.bin": b"content"})
