"""A cache on a disk that fills up, and one that cannot be written: real file systems, mounted for the test."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import modelreg
from modelreg.exceptions import CacheFull
from modelreg.fetching.hits import open_cache
from modelreg.testing.storage_place import Place, pattern_bytes
from places import web_place
from real_servers.web import WebServer

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path, skip_or_fail: Callable[[str], NoReturn]) -> Iterator[Path]:
    """A file system of 300 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "size=300m", "tmpfs"):
        yield folder


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def place(nginx: WebServer, bucket_name: str) -> Place:
    return web_place(nginx, bucket_name)


def test_a_file_larger_than_the_disk_is_refused_and_leaves_it_empty(
    place: Place, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELREG_CACHE_DIR", str(small_disk / "cache"))
    place.put("small.bin", b"content")
    place.put("large.bin", bytes(400 * MIB))
    kept = modelreg.fetch(place.at("small.bin"))

    with pytest.raises(CacheFull, match="do not fit"):
        modelreg.fetch(place.at("large.bin"))

    assert kept.read_bytes() == b"content"
    assert modelreg.fetch(place.at("small.bin"), offline=True) == kept
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > 250 * MIB


def test_a_disk_that_fills_up_midway_is_a_clean_error(
    place: Place, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELREG_CACHE_DIR", str(small_disk / "cache"))
    content = pattern_bytes(6 * MIB)
    place.put("model.bin", content)
    (small_disk / "ballast").write_bytes(bytes(297 * MIB))

    with pytest.raises(CacheFull):
        modelreg.fetch(place.at("model.bin"))
    (small_disk / "ballast").unlink()

    assert modelreg.fetch(place.at("model.bin")).read_bytes() == content


def test_a_read_only_file_system_answers_from_what_it_holds(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("MODELREG_CACHE_DIR", str(cache))
    place.put("model.bin", b"content")
    path = modelreg.fetch(place.at("model.bin"))

    with mounted(cache, "--bind", "-o", "ro", str(cache)):
        if os.access(cache, os.W_OK):
            subprocess.run(["mount", "-o", "remount,bind,ro", str(cache)], check=True)

        assert modelreg.fetch(place.at("model.bin")) == path
        assert modelreg.fetch(place.at("model.bin"), offline=True) == path


def test_a_full_disk_does_not_evict_what_is_in_use(
    place: Place, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELREG_CACHE_DIR", str(small_disk / "cache"))
    monkeypatch.setenv("MODELREG_CACHE_MAX_SIZE", "8MiB")
    old, new = pattern_bytes(6 * MIB), pattern_bytes(6 * MIB)[::-1]
    place.put_all({"old.bin": old, "new.bin": new})
    path = modelreg.fetch(place.at("old.bin"))
    cache = open_cache()
    [(_, ref)] = cache.refs
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(300 * MIB))

    with cache.lease(ref), pytest.raises(CacheFull):
        modelreg.fetch(place.at("new.bin"))
    assert modelreg.fetch(place.at("old.bin"), offline=True) == path
    assert path.read_bytes() == old
    with pytest.raises(CacheFull):
        modelreg.fetch(place.at("new.bin"))

    ballast.unlink()
    assert modelreg.fetch(place.at("new.bin")).read_bytes() == new
    assert cache.pruner.verify().damaged == ()
