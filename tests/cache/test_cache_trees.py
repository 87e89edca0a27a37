from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache import stamps
from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.trees import Trees
from modelreg.exceptions import CacheError

posix = pytest.mark.skipif(os.name == "nt", reason="files have no modes here")
FILES = {"a.bin": b"content", "deep/b.bin": b"other", "deep/er/c.bin": b""}


class Killed(BaseException):
    """Stands for the end of a process in the middle of its work."""


def tree(shelf: Any, ref: Any) -> Path:
    return Path(shelf.cache.layout.tree(ref.tree))


def stamp(shelf: Any, ref: Any) -> Path:
    return Path(shelf.cache.layout.stamp(ref.tree))


def restamp(shelf: Any, ref: Any, boot: str | None) -> None:
    """Make a tree one that was written under ``boot``."""
    document = json.loads(stamp(shelf, ref).read_bytes())
    stamp(shelf, ref).write_text(json.dumps([boot, *document[1:]]))


def test_a_tree_holds_every_file_under_its_name(shelf: Any):
    ref = shelf.put("model", FILES)

    assert shelf.seen(ref) == FILES
    assert shelf.cache.is_intact(ref)
    assert shelf.cache.manifest(ref).digest == ref.tree


def test_an_empty_folder_is_a_tree_of_nothing(shelf: Any):
    shelf.put("model", {})

    assert shelf.get("model") == {}


def test_two_answers_of_one_content_share_their_tree(shelf: Any):
    assert shelf.put("one", FILES).tree == shelf.put("two", FILES).tree
    assert shelf.cache.pruner.usage().trees == 1


@posix
def test_only_what_may_be_executed_may_be_executed(shelf: Any):
    ref = shelf.put("model", {"run.sh": b"same", "data.bin": b"same"}, executable={"run.sh"})

    assert (tree(shelf, ref) / "run.sh").stat().st_mode & stat.S_IXUSR
    assert not (tree(shelf, ref) / "data.bin").stat().st_mode & 0o111
    assert ref.tree != shelf.put("plain", {"run.sh": b"same", "data.bin": b"same"}).tree


@posix
def test_whoever_shares_a_group_shares_the_cache(tmp_path: Path, shelf: Any):
    old = os.umask(0o002)
    try:
        ref = shelf.put("model", FILES, executable={"a.bin"})
    finally:
        os.umask(old)

    folders = [path for path in shelf.root.rglob("*") if path.is_dir()]
    assert [path for path in folders if stat.S_IMODE(path.stat().st_mode) != 0o775] == []
    assert stat.S_IMODE((tree(shelf, ref) / "a.bin").stat().st_mode) == 0o555
    assert stat.S_IMODE((tree(shelf, ref) / "deep/b.bin").stat().st_mode) == 0o444
    assert stat.S_IMODE((shelf.root / "refs" / f"{shelf.key('model')}.json").stat().st_mode) == 0o664


@posix
def test_a_private_umask_is_kept(shelf: Any):
    old = os.umask(0o077)
    try:
        shelf.put("model", FILES, executable={"a.bin"})
    finally:
        os.umask(old)

    assert [path for path in shelf.root.rglob("*") if path.stat().st_mode & 0o077] == []


def test_a_second_user_of_the_group_uses_and_mends_and_fills_the_cache_of_the_first(
    open_folder: Path, make_shelf: Callable[..., Any], as_user: Callable[..., AbstractContextManager[None]]
):
    group = 54321
    root = open_folder / "cache"
    root.mkdir()
    os.chown(root, 0, group)
    root.chmod(0o2775)
    first, second = make_shelf(root), make_shelf(root)
    with as_user(12345, group, umask=0o002):
        ref = first.put("model", FILES, executable={"a.bin"})

    with as_user(23456, group, umask=0o002):
        assert second.get("model") == FILES
        (tree(second, ref) / "a.bin").unlink()
        assert second.get("model") == FILES
        second.put("other", {**FILES, "d.bin": b"more"})
    with as_user(12345, group, umask=0o002):
        assert first.get("other") == {**FILES, "d.bin": b"more"}
        first.cache.pruner.remove([first.key("model"), first.key("other")])

    assert first.cache.pruner.usage().size == 0


def test_a_file_that_someone_replaced_is_right_again(shelf: Any, overwrite: Callable[[Path, bytes], None]):
    ref = shelf.put("model", FILES)
    overwrite(tree(shelf, ref) / "a.bin", b"edited!")

    assert not shelf.cache.is_intact(ref)
    assert shelf.get("model") == FILES
    assert shelf.cache.is_intact(ref)
    assert shelf.wrong_blobs() == []


def test_a_file_that_someone_wrote_into_is_found_out_and_never_handed_on(
    shelf: Any, damage: Callable[[Path, bytes], None]
):
    ref = shelf.put("model", FILES)
    damage(tree(shelf, ref) / "a.bin", b"edited!")

    # Where files are links, the content was written into as well, and only the source has it.
    assert shelf.get("model") in (None, FILES)
    shelf.put("model", FILES)

    assert shelf.get("model") == FILES
    assert shelf.wrong_blobs() == []


def test_what_only_looks_changed_is_hashed_and_kept(shelf: Any):
    ref = shelf.put("model", FILES)
    path = tree(shelf, ref) / "a.bin"
    inode = path.stat().st_ino
    os.utime(path, (1000, 1000))

    assert not shelf.cache.is_intact(ref)
    assert shelf.get("model") == FILES
    assert path.stat().st_ino == inode
    assert shelf.cache.is_intact(ref)


def test_files_and_folders_that_are_gone_come_back(shelf: Any):
    ref = shelf.put("model", FILES)
    shutil.rmtree(tree(shelf, ref) / "deep")

    assert shelf.get("model") == FILES


def test_a_whole_tree_that_is_gone_comes_back(shelf: Any):
    ref = shelf.put("model", FILES)
    shutil.rmtree(tree(shelf, ref))

    assert shelf.get("model") == FILES


@posix
def test_a_link_in_the_place_of_a_file_is_replaced(shelf: Any, tmp_path: Path):
    ref = shelf.put("model", FILES)
    (tmp_path / "elsewhere").write_bytes(b"content")
    (tree(shelf, ref) / "a.bin").unlink()
    (tree(shelf, ref) / "a.bin").symlink_to(tmp_path / "elsewhere")

    assert shelf.get("model") == FILES
    assert not (tree(shelf, ref) / "a.bin").is_symlink()


def test_a_file_in_the_place_of_a_folder_is_moved_away(shelf: Any):
    ref = shelf.put("model", FILES)
    shutil.rmtree(tree(shelf, ref) / "deep")
    (tree(shelf, ref) / "deep").write_bytes(b"a file")

    assert shelf.get("model") == FILES


def test_a_folder_in_the_place_of_a_file_is_moved_away(shelf: Any):
    ref = shelf.put("model", FILES)
    (tree(shelf, ref) / "a.bin").unlink()
    (tree(shelf, ref) / "a.bin").mkdir()
    (tree(shelf, ref) / "a.bin" / "kept.txt").write_bytes(b"mine")

    assert shelf.get("model") == FILES


def test_what_someone_put_into_a_tree_is_moved_out_of_it_and_not_lost(shelf: Any, caplog: pytest.LogCaptureFixture):
    ref = shelf.put("model", FILES)
    (tree(shelf, ref) / "notes").mkdir()
    (tree(shelf, ref) / "notes" / "mine.txt").write_bytes(b"mine")
    (tree(shelf, ref) / "deep" / "stray.txt").write_bytes(b"stray")

    shelf.cache.trees.repair(ref.tree)

    assert shelf.seen(ref) == FILES
    moved = sorted((shelf.root / "tmp").iterdir())
    assert sorted(path.read_bytes() if path.is_file() else (path / "mine.txt").read_bytes() for path in moved) == [
        b"mine",
        b"stray",
    ]
    assert all(str(path) in caplog.text for path in moved)


def test_a_file_whose_content_is_lost_is_named(shelf: Any):
    ref = shelf.put("model", FILES)
    (tree(shelf, ref) / "a.bin").unlink()
    shelf.blob(b"content").unlink()

    assert shelf.cache.mend(ref) == ["a.bin"]
    assert not shelf.cache.is_intact(ref)
    shelf.put("model", FILES)

    assert shelf.get("model") == FILES


@pytest.mark.parametrize("text", [b"", b"[]", b"[1"])
def test_a_tree_whose_manifest_is_damaged_needs_its_source(shelf: Any, text: bytes):
    file, folder = shelf.put("file", {"a.bin": b"content"}), shelf.put("folder", FILES)
    for ref in (file, folder):
        Path(shelf.cache.layout.manifest(ref.tree)).write_bytes(text)
        stamp(shelf, ref).unlink()

    assert shelf.cache.mend(file) == ["a.bin"]
    assert shelf.cache.mend(folder) == [folder.tree]
    shelf.put("folder", FILES)

    assert shelf.get("folder") == FILES


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("below", ["", "deep/"])
def test_any_change_of_any_file_is_seen_by_its_status(
    shelf: Any, count: int, below: str, overwrite: Callable[[Path, bytes], None]
):
    files = {f"{below}{index}.bin": b"%d" % index for index in range(count)}
    ref = shelf.put("model", files)
    assert shelf.cache.is_intact(ref)

    def touch(path: Path) -> None:
        # Not now: a clock that ticks slowly may tell the time at which the file was written.
        os.utime(path, (1000, 1000))

    for change in (lambda path: path.unlink(), lambda path: overwrite(path, b"other"), touch):
        change(tree(shelf, ref) / f"{below}{count - 1}.bin")
        assert not shelf.cache.is_intact(ref)
        assert shelf.get("model") == files
        assert shelf.cache.is_intact(ref)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null", b"7", b"[1, 2]", b"[null,[]]", b'[null,[["",1,["a"],[1],[1],[]]]]']
)
def test_a_stamp_that_was_cut_off_vouches_for_nothing(shelf: Any, text: bytes, overwrite: Callable[..., None]):
    ref = shelf.put("model", FILES)
    stamp(shelf, ref).write_bytes(text)
    overwrite(tree(shelf, ref) / "a.bin", b"edited!")

    assert not shelf.cache.is_intact(ref)
    assert shelf.cache.trees.vouched(ref.tree) == {}
    assert shelf.get("model") == FILES
    assert shelf.cache.is_intact(ref)


def test_after_a_crash_of_the_machine_files_are_hashed_once_and_then_trusted(shelf: Any):
    ref = shelf.put("model", FILES)
    restamp(shelf, ref, "another boot")
    before = stamps.load(str(stamp(shelf, ref)))

    assert not shelf.cache.is_intact(ref)
    assert shelf.get("model") == FILES

    after = stamps.load(str(stamp(shelf, ref)))
    assert after.boot is None
    assert after.folders == before.folders
    assert shelf.cache.is_intact(ref)


def test_after_a_crash_of_the_machine_lost_bytes_are_found_though_sizes_and_times_are_right(
    shelf: Any, damage: Callable[[Path, bytes], None]
):
    ref = shelf.put("model", FILES)
    path = tree(shelf, ref) / "a.bin"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    damage(path, bytes(7))
    os.utime(path, ns=times)
    restamp(shelf, ref, "another boot")

    assert shelf.get("model") in (None, FILES)


def test_files_that_were_mended_may_not_have_reached_the_disk(shelf: Any, overwrite: Callable[[Path, bytes], None]):
    ref = shelf.put("model", FILES)
    restamp(shelf, ref, None)
    overwrite(tree(shelf, ref) / "a.bin", b"edited!")

    assert shelf.get("model") == FILES
    assert stamps.load(str(stamp(shelf, ref))).boot == stamps.boot_id()


def test_where_the_machine_tells_no_boot_contents_reach_the_disk_before_they_are_trusted(
    shelf: Any, sha256: Callable[[bytes], str]
):
    shelf.cache.layout.create()
    shelf.cache.blobs.add_bytes(b"content", sha256(b"content"))
    manifest = Manifest.of([Entry("a.bin", sha256(b"content"), 7)])
    trees = Trees(shelf.cache.layout, shelf.cache.blobs, boot=lambda: None)

    assert trees.publish(manifest) == []

    assert stamps.load(shelf.cache.layout.stamp(manifest.digest)).boot is None
    assert trees.is_intact(manifest.digest)


def test_an_unchanged_stamp_is_not_written_again(shelf: Any):
    ref = shelf.put("model", FILES)
    before = stamp(shelf, ref).stat()

    shelf.cache.trees.repair(ref.tree)

    assert stamp(shelf, ref).stat() == before


def test_a_tree_vouches_for_its_contents_by_their_inodes(shelf: Any, sha256: Callable[[bytes], str]):
    ref = shelf.put("model", {"a.bin": b"content"})

    vouched = shelf.cache.trees.vouched(ref.tree)

    assert vouched == {sha256(b"content"): (tree(shelf, ref) / "a.bin").stat().st_ino}
    (tree(shelf, ref) / "a.bin").unlink()
    assert shelf.cache.trees.vouched(ref.tree) == {}
    assert shelf.cache.trees.vouched("0" * 64) == {}


@posix
def test_a_cache_that_cannot_be_written_is_checked_all_the_same(
    open_folder: Path, make_shelf: Callable[..., Any], unwritable: Callable[[Path], AbstractContextManager[None]]
):
    shelf = make_shelf(open_folder)
    ref = shelf.put("model", FILES)
    restamp(shelf, ref, "another boot")

    with unwritable(open_folder):
        assert shelf.cache.mend(ref) == []


@posix
def test_a_cache_that_cannot_be_written_cannot_be_mended(
    open_folder: Path,
    make_shelf: Callable[..., Any],
    unwritable: Callable[[Path], AbstractContextManager[None]],
    overwrite: Callable[[Path, bytes], None],
):
    shelf = make_shelf(open_folder)
    ref = shelf.put("model", FILES)
    overwrite(tree(shelf, ref) / "a.bin", b"edited!")

    with unwritable(open_folder), pytest.raises(CacheError, match="cannot be written"):
        shelf.cache.mend(ref)


def test_a_tree_whose_contents_disappeared_is_not_published(shelf: Any, sha256: Callable[[bytes], str]):
    gone = Entry("a.bin", sha256(b"content"), 7)
    with shelf.cache.filling(shelf.key("model")) as filling:
        filling.add(gone, identity="", data=b"content")
        shelf.cache.blobs.remove(gone.sha256)

        assert filling.publish(Manifest.of([gone])) == [gone]

    assert not Path(shelf.cache.layout.tree(Manifest.of([gone]).digest)).exists()
    assert list((shelf.root / "tmp").iterdir()) == []


def test_a_tree_that_another_process_made_meanwhile_is_taken_up(make_shelf: Callable[..., Any], tmp_path: Path):
    other = make_shelf(tmp_path / "cache")

    def interfere(stage: str) -> None:
        if stage == "tree built":
            other.put("model", FILES)

    shelf = make_shelf(tmp_path / "cache", on_stage=interfere)

    shelf.put("model", FILES)

    assert shelf.get("model") == FILES
    assert shelf.left_over() == []


def test_a_tree_that_cannot_be_put_in_its_place_is_an_error(make_shelf: Callable[..., Any], tmp_path: Path):
    def interfere(stage: str) -> None:
        if stage == "tree built":
            # A file where the tree is to go.
            digest = Manifest.of([]).digest
            (tmp_path / "cache" / "trees" / "sha256" / digest).write_bytes(b"")

    shelf = make_shelf(tmp_path / "cache", on_stage=interfere)

    with pytest.raises(CacheError, match=r"4f53cda18c2baa0c.* does not belong into the cache"):
        shelf.put("model", {})


@pytest.mark.parametrize(
    "stage",
    ["blob written", "blob published", "manifest written", "tree built", "tree published", "stamp written"],
)
def test_a_process_that_dies_at_any_step_leaves_nothing_wrong(
    make_shelf: Callable[..., Any], tmp_path: Path, stage: str
):
    def die(reached: str) -> None:
        if reached == stage:
            raise Killed

    with pytest.raises(Killed):
        make_shelf(tmp_path / "cache", on_stage=die).put("model", FILES)
    shelf = make_shelf(tmp_path / "cache")

    assert shelf.get("model") is None
    assert shelf.wrong_blobs() == []
    shelf.put("model", FILES)
    assert shelf.get("model") == FILES


def test_removing_a_tree_leaves_nothing_of_it(shelf: Any):
    ref = shelf.put("model", FILES)

    shelf.cache.trees.remove(ref.tree)
    shelf.cache.trees.remove(ref.tree)

    assert list((shelf.root / "trees" / "sha256").iterdir()) == []
    assert shelf.cache.trees.digests() == []
    assert shelf.cache.trees.inodes(ref.tree) == set()


_PUBLISHER = """
import hashlib, sys
from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.store import Cache
cache = Cache(sys.argv[1])
sys.stdin.readline()
for turn in range(5):
    contents = {f"{turn}/{index}.bin": b"%d" % (index % 7) * 500 for index in range(20)}
    entries = [Entry(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in contents.items()]
    with cache.filling("%064d" % turn) as filling:
        for entry in entries:
            filling.add(entry, identity="", data=contents[entry.path])
        assert filling.publish(Manifest.of(entries)) == []
print("done")
"""


def test_processes_that_publish_one_tree_at_once_all_end_right(shelf: Any):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PUBLISHER, str(shelf.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]

    said = [process.communicate("go\n", timeout=60) for process in processes]

    assert said == [("done\n", "")] * 4
    assert len(shelf.cache.trees.digests()) == 5
    assert all(shelf.cache.trees.is_intact(digest) for digest in shelf.cache.trees.digests())
    assert shelf.wrong_blobs() == []
    assert shelf.left_over() == []
