"""``fetch(uri, unpack=True)``: archives stand for what is in them, unpacked once."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg.exceptions import ArchiveError, DigestMismatch, UnsafeName

MakeFolder = Callable[[dict[str, bytes]], Path]
ReadFolder = Callable[[Path], dict[str, bytes]]
FILES = {"config.json": b"{}", "weights/part-1.bin": b"one"}


def tar(files: dict[str, bytes], mode: str = "w:gz", permissions: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # modes come as text
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), permissions
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [("m.zip", zipped(FILES)), ("m.tar", tar(FILES, "w")), ("m.tar.gz", tar(FILES)), ("m.tgz", tar(FILES))],
)
def test_an_archive_stands_for_what_is_in_it(folder: MakeFolder, read_folder: ReadFolder, name: str, content: bytes):
    assert read_folder(modelreg.fetch(folder({name: content}) / name, unpack=True)) == FILES


def test_it_is_unpacked_once(folder: MakeFolder, counted: Any):
    source = folder({"m.tgz": tar(FILES)}) / "m.tgz"

    first = modelreg.fetch(source, unpack=True, fetcher=counted.fetcher)
    before = (first / "config.json").stat().st_ino
    second = modelreg.fetch(source, unpack=True, fetcher=counted.fetcher)

    assert (second, (second / "config.json").stat().st_ino) == (first, before)
    assert len(counted.moves) == 1


def test_offline_it_is_there_unpacked(folder: MakeFolder, read_folder: ReadFolder):
    source = folder({"m.zip": zipped(FILES)}) / "m.zip"
    modelreg.fetch(source, unpack=True)

    assert read_folder(modelreg.fetch(source, unpack=True, offline=True)) == FILES


def test_packed_and_unpacked_are_two_answers_of_one_download(folder: MakeFolder, counted: Any):
    source = folder({"m.zip": zipped(FILES)}) / "m.zip"

    packed = modelreg.fetch(source, fetcher=counted.fetcher)
    unpacked = modelreg.fetch(source, unpack=True, fetcher=counted.fetcher)

    assert (packed.is_file(), unpacked.is_dir()) == (True, True)
    assert len(counted.moves) == 1


def test_an_archive_that_changed_is_unpacked_anew(folder: MakeFolder, read_folder: ReadFolder):
    source = folder({"m.zip": zipped(FILES)}) / "m.zip"
    modelreg.fetch(source, unpack=True)
    source.write_bytes(zipped({"only": b"this one"}))

    assert read_folder(modelreg.fetch(source, unpack=True)) == {"only": b"this one"}


def test_what_is_no_archive_stays_what_it_is(folder: MakeFolder, read_folder: ReadFolder):
    source = folder(FILES)

    assert modelreg.fetch(source / "config.json", unpack=True).read_bytes() == b"{}"
    assert read_folder(modelreg.fetch(source, unpack=True)) == FILES


def test_a_digest_may_be_that_of_the_archive(folder: MakeFolder, read_folder: ReadFolder):
    content = zipped(FILES)
    source = folder({"m.zip": content}) / "m.zip"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"

    assert read_folder(modelreg.fetch(source, unpack=True, digest=digest)) == FILES
    assert read_folder(modelreg.fetch(source, unpack=True, digest=digest)) == FILES


def test_an_archive_of_another_digest_is_not_unpacked(folder: MakeFolder, home: Path):
    source = folder({"m.zip": zipped(FILES)}) / "m.zip"

    with pytest.raises(DigestMismatch):
        modelreg.fetch(source, unpack=True, digest="sha256:" + "0" * 64)

    assert not any((home / "cache" / "modelreg" / "trees" / "sha256").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_that_may_be_executed_still_may(folder: MakeFolder):
    source = folder({"m.tar": tar({"run": b"#!/bin/sh"}, "w", 0o755)}) / "m.tar"

    assert (modelreg.fetch(source, unpack=True) / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["../out", "/abs", "C:\\windows", "a/../../out", "\\\\server\\share"])
def test_an_archive_that_reaches_outside_is_refused(folder: MakeFolder, tmp_path: Path, home: Path, name: str):
    source = folder({"m.tar": tar({"fine": b"1", name: b"2"}, "w")}) / "m.tar"

    with pytest.raises((UnsafeName, ArchiveError)):
        modelreg.fetch(source, unpack=True)

    assert not any((home / "cache" / "modelreg" / "trees" / "sha256").iterdir())
    assert [*(home / "cache" / "modelreg" / "tmp").iterdir()] == []
    assert not (tmp_path / "out").exists()


def test_a_broken_archive_is_said(folder: MakeFolder):
    source = folder({"m.tar.gz": tar(FILES)[:40]}) / "m.tar.gz"

    with pytest.raises(ArchiveError, match=r"m\.tar\.gz"):
        modelreg.fetch(source, unpack=True)


_LIMITED = """
import resource, sys
import modelreg
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
try:
    modelreg.fetch(sys.argv[1], unpack=True)
except modelreg.exceptions.CacheFull as error:
    print(error)
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
"""


@pytest.mark.skipif(os.name == "nt", reason="no file is limited in size here")
def test_a_disk_that_is_full_while_it_is_unpacked_is_a_clean_error(folder: MakeFolder, read_folder: ReadFolder):
    files = {"zeros.bin": bytes(1 << 20)}
    source = folder({"m.tgz": tar(files)}) / "m.tgz"

    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(source)], capture_output=True, text=True, check=True, timeout=60
    )

    assert "no space is left" in done.stdout
    assert list(Path(os.environ["MODELREG_CACHE_DIR"], "tmp").iterdir()) == []
    assert read_folder(modelreg.fetch(source, unpack=True)) == files
