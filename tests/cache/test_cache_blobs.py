from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache import files
from modelreg.cache.blobs import Blobs, parallel
from modelreg.cache.layout import Layout
from modelreg.exceptions import CacheError, CacheFull

posix = pytest.mark.skipif(os.name == "nt", reason="files have no modes here")
STAGES = ["blob written", "blob published", "manifest written", "tree built", "tree published", "stamp written"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "cache"))
    layout.create()
    return layout


@pytest.fixture
def blobs(layout: Layout) -> Blobs:
    return Blobs(layout)


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_content_is_found_under_its_digest(blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str]):
    blobs.add_bytes(b"content", sha256(b"content"))

    assert Path(layout.blob(sha256(b"content"))).read_bytes() == b"content"
    assert blobs.verify(sha256(b"content"))


def test_a_content_that_is_not_there_is_not_found(blobs: Blobs):
    assert blobs.find("0" * 64) is None
    assert not blobs.verify("0" * 64)


@posix
def test_a_content_is_read_only(blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str]):
    blobs.add_bytes(b"content", sha256(b"content"))

    mode = Path(layout.blob(sha256(b"content"))).stat().st_mode
    assert stat.S_IMODE(mode) & 0o222 == 0
    assert mode & stat.S_IRUSR


def test_a_file_becomes_a_content_by_moving(blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str]):
    path = Path(blobs.scratch())
    path.write_bytes(b"content")
    inode = path.stat().st_ino

    blobs.add_file(str(path), sha256(b"content"))

    assert Path(layout.blob(sha256(b"content"))).stat().st_ino == inode
    assert names(layout.tmp) == []


def test_the_same_content_is_stored_once(blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str]):
    digest = sha256(b"content")
    blobs.add_bytes(b"content", digest)
    inode = Path(layout.blob(digest)).stat().st_ino

    blobs.add_bytes(b"content", digest)

    assert Path(layout.blob(digest)).stat().st_ino == inode
    assert [entry.name for entry in blobs] == [digest]
    assert names(layout.tmp) == []


def test_a_wrong_content_is_replaced_by_the_right_one(
    blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str], damage: Callable[[Path, bytes], None]
):
    digest = sha256(b"content")
    blobs.add_bytes(b"content", digest)
    damage(Path(layout.blob(digest)), b"CONTENT")

    blobs.add_bytes(b"content", digest)

    assert Path(layout.blob(digest)).read_bytes() == b"content"


def test_a_wrong_content_is_removed_by_whoever_finds_it(
    blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str], damage: Callable[[Path, bytes], None]
):
    digest = sha256(b"content")
    blobs.add_bytes(b"content", digest)
    damage(Path(layout.blob(digest)), b"CONTENT")

    assert not blobs.verify(digest)
    assert blobs.find(digest) is None


def test_what_is_known_to_be_right_is_not_hashed_again(
    blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str], damage: Callable[[Path, bytes], None]
):
    vouched, doubtful = sha256(b"vouched"), sha256(b"doubted")
    for content in (b"vouched", b"doubted"):
        blobs.add_bytes(content, sha256(content))
        damage(Path(layout.blob(sha256(content))), content.upper())
    inode = Path(layout.blob(vouched)).stat().st_ino

    right = blobs.right_ones({vouched: 7, doubtful: 7, "0" * 64: 1}, vouched={vouched: inode})

    assert right == {vouched}
    assert blobs.find(doubtful) is None


@posix
def test_a_plain_file_is_a_link_or_a_clone_and_an_executable_one_of_its_own(
    blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str]
):
    digest = sha256(b"content")
    blobs.add_bytes(b"content", digest)
    plain, executable = Path(blobs.scratch()), Path(blobs.scratch())

    blobs.place(digest, str(plain))
    blobs.place(digest, str(executable), executable=True)

    assert plain.read_bytes() == executable.read_bytes() == b"content"
    assert not plain.stat().st_mode & 0o333
    assert executable.stat().st_mode & stat.S_IXUSR
    assert not executable.stat().st_mode & 0o222
    assert executable.stat().st_ino != Path(layout.blob(digest)).stat().st_ino


def test_placing_what_is_not_there_fails_and_leaves_nothing(blobs: Blobs, layout: Layout):
    with pytest.raises(FileNotFoundError):
        blobs.place("0" * 64, f"{layout.tmp}/target")
    with pytest.raises(FileNotFoundError):
        # Where clones were found not to work, links are tried.
        blobs.place("0" * 64, f"{layout.tmp}/target")

    assert names(layout.tmp) == []


def test_where_links_are_not_allowed_the_bytes_are_copied(
    open_folder: Path,
    as_user: Callable[..., AbstractContextManager[None]],
    sha256: Callable[[bytes], str],
):
    protected = Path("/proc/sys/fs/protected_hardlinks")
    if not protected.exists() or protected.read_text().strip() != "1":
        pytest.skip("links to other users' files are allowed here")
    layout = Layout(str(open_folder))
    layout.create()
    for folder in open_folder.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o777)
    digest = sha256(b"content")
    Blobs(layout).add_bytes(b"content", digest)

    with as_user(65534, 65534):
        Blobs(layout).place(digest, f"{layout.tmp}/copy")

    assert Path(layout.tmp, "copy").read_bytes() == b"content"
    assert Path(layout.tmp, "copy").stat().st_ino != Path(layout.blob(digest)).stat().st_ino


def test_a_stray_file_among_the_contents_is_none(blobs: Blobs, layout: Layout, sha256: Callable[[bytes], str]):
    digest = sha256(b"content")
    blobs.add_bytes(b"content", digest)
    Path(layout.blobs, ".DS_Store").write_bytes(b"")
    Path(layout.blob(digest)).with_name(".nfs0001").write_bytes(b"")

    assert [entry.name for entry in blobs] == [digest]


def test_a_cache_that_was_never_filled_has_no_contents(tmp_path: Path):
    assert list(Blobs(Layout(str(tmp_path / "nowhere")))) == []


def test_much_to_hash_is_hashed_on_several_threads_in_the_same_order():
    assert parallel(lambda number: number % 3 == 0, range(50), size=1 << 30) == [n % 3 == 0 for n in range(50)]


def test_a_file_that_another_user_began_becomes_a_content_too(
    open_folder: Path, as_user: Callable[..., AbstractContextManager[None]], sha256: Callable[[bytes], str]
):
    layout = Layout(str(open_folder))
    with as_user(0, 0, umask=0):
        layout.create()
        path = Path(layout.partial, "partial")
        path.write_bytes(b"content")

    with as_user(65534, 65534):
        Blobs(layout).add_file(str(path), sha256(b"content"))

    blob = Path(layout.blob(sha256(b"content")))
    assert blob.read_bytes() == b"content"
    assert blob.stat().st_uid == 65534
    assert not blob.stat().st_mode & 0o222
    assert names(layout.partial) == names(layout.tmp) == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_disk_that_fills_up_at_any_step_is_a_full_cache_and_poisons_nothing(
    make_shelf: Callable[..., Any], tmp_path: Path, stage: str, number: int
):
    def fail(reached: str) -> None:
        if reached == stage:
            raise OSError(number, os.strerror(number))

    failing = make_shelf(tmp_path / "cache", on_stage=fail)
    shelf = make_shelf(tmp_path / "cache")
    shelf.put("kept", {"a.bin": b"kept"})

    with pytest.raises(CacheFull, match="no space is left for the cache"):
        failing.put("model", {"a.bin": b"content", "b.bin": b"other"})

    assert shelf.get("model") is None
    assert shelf.get("kept") == {"a.bin": b"kept"}
    assert shelf.wrong_blobs() == []
    shelf.put("model", {"a.bin": b"content", "b.bin": b"other"})
    assert shelf.get("model") == {"a.bin": b"content", "b.bin": b"other"}
    assert shelf.cache.pruner.verify().damaged == ()


_LIMITED = """
import hashlib, resource, sys
from modelreg.cache.manifests import Entry
from modelreg.cache.store import Cache
from modelreg.exceptions import CacheFull
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
data = bytes(1 << 20)
digest = hashlib.sha256(data).hexdigest()
try:
    with Cache(sys.argv[1]).filling("0" * 64) as filling:
        filling.add(Entry("a.bin", digest, len(data)), identity="", data=data)
except CacheFull as error:
    print(error)
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
"""


@posix
def test_a_write_that_stops_halfway_leaves_no_file(tmp_path: Path):
    root = tmp_path / "cache"

    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(root)], capture_output=True, text=True, check=True, timeout=60
    )

    assert "no space is left" in done.stdout
    assert [path for path in root.rglob("*") if path.is_file() and path.name not in {"VERSION", "CACHEDIR.TAG"}] == []


@posix
def test_a_write_that_is_refused_names_the_cache(
    open_folder: Path,
    make_shelf: Callable[..., Any],
    unwritable: Callable[[Path], AbstractContextManager[None]],
):
    shelf = make_shelf(open_folder)
    shelf.put("model", {"a.bin": b"content"})

    with unwritable(open_folder), pytest.raises(CacheError, match=r"cannot be written: Permission denied"):
        shelf.put("other", {"a.bin": b"other"})

    assert shelf.get("model") == {"a.bin": b"content"}
    assert shelf.get("other") is None


_LIMITED_COPY = """
import resource, sys
from modelreg.cache import files
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
try:
    files.copy(sys.argv[1], sys.argv[2])
except OSError as error:
    print(files.is_refusal(error))
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
"""


@posix
def test_a_copy_that_stops_halfway_leaves_no_file(tmp_path: Path):
    (tmp_path / "source").write_bytes(bytes(1 << 20))

    done = subprocess.run(
        [sys.executable, "-c", _LIMITED_COPY, str(tmp_path / "source"), str(tmp_path / "target")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout == "True\n"
    assert names(tmp_path) == ["source"]


def test_a_copy_has_the_bytes_and_the_mode_that_was_asked_for(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 9000)

    files.clone_or_copy(str(source), str(target), mode=0o600)

    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_ino != source.stat().st_ino
    assert os.access(target, os.W_OK)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no file here claims to be empty and is not")
def test_a_file_that_claims_to_be_empty_is_copied_to_its_end(tmp_path: Path):
    files.copy("/proc/version", str(tmp_path / "target"))

    assert (tmp_path / "target").read_bytes() == Path("/proc/version").read_bytes() != b""


def test_what_may_not_be_removed_is_an_error(open_folder: Path, as_user: Callable[..., AbstractContextManager[None]]):
    (open_folder / "file").write_bytes(b"kept")

    with as_user(65534, 65534), pytest.raises(PermissionError):
        files.remove(str(open_folder / "file"))

    assert names(open_folder) == ["file"]


def test_contents_that_may_not_be_written_are_an_error(
    open_folder: Path, as_user: Callable[..., AbstractContextManager[None]], sha256: Callable[[bytes], str]
):
    layout = Layout(str(open_folder))
    layout.create()
    digest = sha256(b"content")
    Path(layout.blob(digest)).parent.mkdir()
    Path(layout.tmp).chmod(0o777)

    with as_user(65534, 65534), pytest.raises(PermissionError):
        Blobs(layout).add_bytes(b"content", digest)

    assert names(Path(layout.blob(digest)).parent) == []


def test_an_existing_file_is_not_written_over(tmp_path: Path):
    (tmp_path / "target").write_bytes(b"kept")

    with pytest.raises(FileExistsError):
        files.write_new(str(tmp_path / "target"), b"other")

    assert (tmp_path / "target").read_bytes() == b"kept"


def test_what_cannot_replace_its_target_is_not_left_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def failing(source: str, target: str):
        raise OSError(errno.EIO, "the disk failed", source, None, target)

    monkeypatch.setattr(os, "replace", failing)

    with pytest.raises(OSError, match="the disk failed"):
        files.write_atomic(str(tmp_path / "target"), b"data")

    assert names(tmp_path) == []


def test_a_folder_in_place_of_a_file_gives_way_to_it(tmp_path: Path):
    (tmp_path / "target" / "inner").mkdir(parents=True)

    files.write_atomic(str(tmp_path / "target"), b"data")

    assert files.read(str(tmp_path / "target")) == b"data"
    assert names(tmp_path) == ["target"]


def test_removing_what_is_not_there_is_no_error(tmp_path: Path):
    files.remove(str(tmp_path / "nothing"))
    files.remove_tree(str(tmp_path / "nothing"))
    (tmp_path / "file").write_bytes(b"")
    files.remove_tree(str(tmp_path / "file"))

    assert names(tmp_path) == ["file"]


@posix
def test_a_removed_tree_takes_no_link_for_a_folder(tmp_path: Path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"kept")
    doomed = tmp_path / "doomed"
    (doomed / "deep").mkdir(parents=True)
    (doomed / "deep" / "file").write_bytes(b"")
    (doomed / "link").symlink_to(kept, target_is_directory=True)

    files.remove_tree(str(doomed))

    assert names(tmp_path) == ["kept"]
    assert names(kept) == ["file"]


@posix
def test_a_walk_finds_every_file_and_follows_no_link(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.bin").write_bytes(b"")
    (tmp_path / "a.bin").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "a.bin")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)

    assert list(files.walk(str(tmp_path))) == ["a.bin", "b/c.bin"]


@posix
def test_whoever_may_read_an_executable_may_execute_it(tmp_path: Path):
    path = tmp_path / "run"
    path.write_bytes(b"")
    path.chmod(0o640)

    files.protect(str(path), executable=True)

    assert stat.S_IMODE(path.stat().st_mode) == 0o550
