from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache.leftovers import KEPT_S
from modelreg.cache.machine import owner_name
from modelreg.cache.manifests import Entry
from modelreg.cache.partials import Partials
from modelreg.cache.prune import PARTIAL_KEPT_S, YOUNG_S, Usage
from modelreg.exceptions import CacheError, CacheFull

DEAD = owner_name().rsplit("-", 2)[0] + "-999999999-1"
KB = 1000
posix = pytest.mark.skipif(os.name == "nt", reason="folders have no modes here")


def content(number: int, size: int = KB) -> bytes:
    return b"%03d" % number + bytes(size - 3)


def put_in_turn(shelf: Any, *names: str) -> None:
    """Put an answer of 1 KB each, one second after the other."""
    for number, name in enumerate(names):
        shelf.put(name, {"a.bin": content(number)})
        used_at(shelf, name, 1000 + number)


def used_at(shelf: Any, name: str, time: float) -> None:
    shelf.cache.refs.touch(shelf.key(name), now=time)


def held(shelf: Any) -> list[str]:
    return sorted(ref.uri.removeprefix("test://") for _, ref in shelf.cache.refs)


@pytest.fixture
def small(make_shelf: Callable[..., Any], tmp_path: Path) -> Any:
    """A cache that holds three answers of 1 KB, and some change."""
    return make_shelf(tmp_path / "cache", max_size=3 * KB + 500)


def test_a_cache_that_was_never_filled_is_empty(shelf: Any):
    pruner = shelf.cache.pruner

    assert pruner.usage() == Usage(0, 0, 0, 0, 0, 0)
    assert pruner.prune(max_size=0, unused_s=0) == (0, ())
    assert pruner.verify() == (0, 0, (), ())
    assert not shelf.root.exists()


def test_contents_count_once_whoever_holds_them(shelf: Any):
    shelf.put("one", {"a.bin": content(1), "b.bin": content(2)})
    shelf.put("two", {"a.bin": content(1), "c.bin": content(1)})
    shelf.cache.refs.pin(shelf.key("two"))

    assert shelf.cache.pruner.usage() == Usage(size=2 * KB, blobs=2, trees=2, refs=2, pinned=1, partial_size=0)


def test_what_is_partial_counts(shelf: Any):
    with shelf.cache.filling(shelf.key("model")) as filling:
        filling.partial("a.bin").write_bytes(bytes(KB))

        assert shelf.cache.pruner.usage() == Usage(KB, 0, 0, 0, 0, KB)


def test_a_quota_evicts_what_was_used_least_recently(small: Any):
    put_in_turn(small, "a", "b", "c")
    used_at(small, "a", 2000)

    small.put("d", {"a.bin": content(9)})

    assert held(small) == ["a", "c", "d"]
    assert small.cache.pruner.usage().size == 3 * KB
    assert not small.blob(content(1)).exists()


def test_use_is_what_keeps_an_answer(small: Any):
    put_in_turn(small, "a", "b", "c")
    small.get("a")
    small.get("c")

    small.put("d", {"a.bin": content(9)})

    assert held(small) == ["a", "c", "d"]


def test_a_pinned_answer_is_not_evicted(small: Any):
    put_in_turn(small, "a", "b", "c")
    small.cache.refs.pin(small.key("a"))

    small.put("d", {"a.bin": content(9)})

    assert held(small) == ["a", "c", "d"]


def test_an_answer_in_use_is_not_evicted(small: Any):
    put_in_turn(small, "a", "b", "c")
    ref = small.cache.lookup(small.key("a"))

    with small.cache.lease(ref):
        small.put("d", {"a.bin": content(9)})

        assert small.get("a") == {"a.bin": content(0)}
    assert held(small) == ["a", "c", "d"]


def test_an_answer_that_a_dead_process_used_is_evicted(small: Any):
    put_in_turn(small, "a", "b", "c")
    tree = small.cache.lookup(small.key("a")).tree
    (small.root / "leases" / f"{tree}.{DEAD}-token").touch()

    small.put("d", {"a.bin": content(9)})

    assert held(small) == ["b", "c", "d"]


def test_nothing_is_evicted_for_what_does_not_fit_anyway(small: Any):
    put_in_turn(small, "a", "b", "c")
    small.cache.refs.pin(small.key("c"))

    with pytest.raises(CacheFull, match=r"3,000 bytes do not fit .* its quota is 3,500"):
        small.put("d", {"a.bin": content(9, 3 * KB)})

    assert held(small) == ["a", "b", "c"]
    assert small.cache.pruner.usage().size == 3 * KB
    assert small.left_over() == []


def test_what_belongs_to_no_answer_makes_room_first(small: Any):
    put_in_turn(small, "a", "b", "c")
    small.cache.refs.pin(small.key("b"))
    small.cache.refs.pin(small.key("c"))
    (small.root / "refs" / f"{small.key('a')}.json").unlink()
    small.clock.ahead_s += YOUNG_S + 60

    small.put("d", {"a.bin": content(9)})

    assert held(small) == ["b", "c", "d"]
    assert small.cache.pruner.usage().size == 3 * KB


def test_content_that_two_answers_share_is_freed_with_the_second(small: Any):
    small.put("one", {"a.bin": content(1), "b.bin": content(2)})
    small.put("two", {"a.bin": content(1), "c.bin": content(3)})
    used_at(small, "one", 1000)
    used_at(small, "two", 1001)

    small.put("three", {"a.bin": content(4)})

    assert held(small) == ["three", "two"]
    assert small.get("two") == {"a.bin": content(1), "c.bin": content(3)}
    assert not small.blob(content(2)).exists()


def test_the_answer_that_is_being_renewed_is_not_evicted_for_its_successor(small: Any):
    put_in_turn(small, "a", "b", "c")

    small.put("a", {"a.bin": content(9)})

    assert held(small) == ["a", "c"]
    assert small.get("a") == {"a.bin": content(9)}


def test_what_no_disk_has_room_for_is_refused_before_it_is_moved(shelf: Any):
    free = shutil.disk_usage(shelf.root.parent).free

    with shelf.cache.filling(shelf.key("model")) as filling:
        filling.reserve(0)
        with pytest.raises(CacheFull, match="are free on its disk"):
            filling.reserve(free + 1)


@posix
def test_room_that_cannot_be_made_for_lack_of_rights_is_the_caches_own_error(
    open_folder: Path, make_shelf: Callable[..., Any], unwritable: Callable[[Path], AbstractContextManager[None]]
):
    shelf = make_shelf(open_folder, max_size=KB)
    shelf.put("model", {"a.bin": content(1)})

    with unwritable(open_folder), pytest.raises(CacheError, match="cannot be written"):
        shelf.put("other", {"a.bin": content(2)})

    assert shelf.get("model") == {"a.bin": content(1)}


def test_removing_an_answer_says_what_that_freed(shelf: Any):
    shelf.put("one", {"a.bin": content(1), "b.bin": content(2)})
    shelf.put("two", {"a.bin": content(1), "c.bin": content(3)})
    shelf.cache.refs.pin(shelf.key("one"))

    removed = shelf.cache.pruner.remove([shelf.key("one"), shelf.key("never")])

    assert removed == (KB, ("test://one",))
    assert shelf.get("one") is None
    assert shelf.get("two") == {"a.bin": content(1), "c.bin": content(3)}


def test_removing_one_of_two_answers_that_are_the_same_frees_nothing(shelf: Any):
    shelf.put("one", {"a.bin": content(1)})
    shelf.put("two", {"a.bin": content(1)})

    assert shelf.cache.pruner.remove([shelf.key("one")]) == (0, ("test://one",))
    assert shelf.get("two") == {"a.bin": content(1)}


def test_a_tree_in_use_outlives_its_answer(shelf: Any):
    ref = shelf.put("model", {"a.bin": content(1)})

    with shelf.cache.lease(ref):
        shelf.cache.pruner.remove([shelf.key("model")])
        assert shelf.seen(ref) == {"a.bin": content(1)}
    shelf.clock.ahead_s += YOUNG_S + 60

    assert shelf.cache.pruner.collect() == (KB, ())
    assert shelf.cache.pruner.usage().size == 0


def test_pruning_by_age_keeps_what_was_used_and_what_is_pinned(shelf: Any):
    put_in_turn(shelf, "old", "pinned", "new")
    shelf.cache.refs.pin(shelf.key("pinned"))
    used_at(shelf, "new", shelf.clock())

    assert shelf.cache.pruner.prune(unused_s=86400) == (KB, ("test://old",))
    assert held(shelf) == ["new", "pinned"]


def test_pruning_by_size_keeps_what_was_used_most_recently(shelf: Any):
    put_in_turn(shelf, "a", "b", "c")

    assert shelf.cache.pruner.prune(max_size=2 * KB) == (KB, ("test://a",))
    assert shelf.cache.pruner.prune(max_size=2 * KB) == (0, ())
    assert held(shelf) == ["b", "c"]


def test_pruning_to_nothing_leaves_what_is_in_use(shelf: Any):
    put_in_turn(shelf, "a", "b")

    with shelf.cache.lease(shelf.cache.lookup(shelf.key("a"))):
        shelf.cache.pruner.prune(max_size=0)

    assert held(shelf) == ["a"]


def test_a_content_that_is_young_may_belong_to_a_download_under_way(shelf: Any, sha256: Callable[[bytes], str]):
    shelf.cache.layout.create()
    shelf.cache.blobs.add_bytes(b"content", sha256(b"content"))

    assert shelf.cache.pruner.collect() == (0, ())
    shelf.clock.ahead_s += YOUNG_S + 60
    assert shelf.cache.pruner.collect() == (7, ())
    assert not shelf.blob(b"content").exists()


def test_contents_of_a_download_that_was_cut_off_are_kept_to_be_resumed(shelf: Any, sha256: Callable[[bytes], str]):
    with shelf.cache.filling(shelf.key("model")) as filling:
        filling.add(Entry("a.bin", sha256(b"content"), 7), identity="etag:1", data=b"content")
    shelf.clock.ahead_s += YOUNG_S + 60

    assert shelf.cache.pruner.collect() == (0, ())
    assert shelf.blob(b"content").exists()


def test_a_download_that_nobody_resumed_is_given_up(shelf: Any):
    shelf.cache.layout.create()
    under_way, cut_off = (Partials(shelf.cache.layout, shelf.key("model")) for _ in range(2))
    for partials in (under_way, cut_off):
        Path(partials.path("a.bin")).write_bytes(b"half")
    cut_off.release()
    (shelf.root / "partial" / "stray").write_bytes(b"")

    assert shelf.cache.pruner.collect() == (0, ())
    shelf.clock.ahead_s += PARTIAL_KEPT_S + 60
    assert shelf.cache.pruner.collect() == (4, ())

    assert Path(under_way.path("a.bin")).exists()


def test_what_was_left_in_the_making_goes_after_a_day(shelf: Any):
    shelf.cache.layout.create()
    (shelf.root / "tmp" / "file").write_bytes(b"")
    (shelf.root / "tmp" / "folder" / "deep").mkdir(parents=True)

    shelf.cache.pruner.collect()
    assert len(shelf.left_over()) == 2
    shelf.clock.ahead_s += KEPT_S + 60
    shelf.cache.pruner.collect()

    assert shelf.left_over() == []


def test_verifying_a_right_cache_finds_nothing(shelf: Any, sha256: Callable[[bytes], str]):
    shelf.put("model", {"a.bin": content(1), "b.bin": content(2)})
    shelf.cache.blobs.add_bytes(b"beside", sha256(b"beside"))

    found = shelf.cache.pruner.verify()

    assert (found.trees, found.mended, found.damaged) == (1, (), ())
    assert found.blobs >= 1


def test_verifying_mends_what_was_edited_though_it_looks_unchanged(
    shelf: Any, overwrite: Callable[[Path, bytes], None]
):
    ref = shelf.put("model", {"a.bin": b"content"})
    path = Path(shelf.cache.path(ref))
    status = path.stat()
    overwrite(path, b"CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert shelf.cache.pruner.verify().mended == (ref.tree,)
    assert shelf.get("model") == {"a.bin": b"content"}
    assert shelf.cache.pruner.verify().mended == ()


def test_verifying_finds_a_content_that_rotted_on_the_disk(shelf: Any, damage: Callable[[Path, bytes], None]):
    ref = shelf.put("model", {"a.bin": b"content"})
    path = Path(shelf.cache.path(ref))
    status = path.stat()
    for one in (path, shelf.blob(b"content")):
        damage(one, b"CONTENT")
        os.utime(one, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert shelf.cache.pruner.verify().damaged == (ref.tree,)
    assert not shelf.cache.is_intact(ref)
    assert shelf.get("model") is None
    assert shelf.wrong_blobs() == []
    shelf.put("model", {"a.bin": b"content"})
    assert shelf.get("model") == {"a.bin": b"content"}


def test_verifying_removes_a_wrong_content_that_no_tree_holds(
    shelf: Any, sha256: Callable[[bytes], str], damage: Callable[[Path, bytes], None]
):
    shelf.cache.layout.create()
    shelf.cache.blobs.add_bytes(b"content", sha256(b"content"))
    damage(shelf.blob(b"content"), b"CONTENT")

    shelf.cache.pruner.verify()

    assert not shelf.blob(b"content").exists()


def test_verifying_removes_a_tree_that_nothing_proves(shelf: Any):
    ref = shelf.put("model", {"a.bin": b"content"})
    Path(shelf.cache.layout.manifest(ref.tree)).write_bytes(b"[]")

    assert shelf.cache.pruner.verify().damaged == (ref.tree,)
    assert not Path(shelf.cache.layout.tree(ref.tree)).exists()
    assert shelf.get("model") is None


def test_a_tree_that_nothing_proves_holds_no_content(shelf: Any):
    damaged = shelf.put("damaged", {"a.bin": content(1), "b.bin": content(2)})
    shelf.put("right", {"a.bin": content(1)})
    Path(shelf.cache.layout.manifest(damaged.tree)).write_bytes(b"[]")
    shelf.clock.ahead_s += YOUNG_S + 60

    assert shelf.cache.pruner.collect() == (KB, ())
    assert shelf.get("right") == {"a.bin": content(1)}


def test_a_damaged_answer_and_what_only_it_held_are_collected(shelf: Any):
    shelf.put("model", {"a.bin": content(1)})
    (shelf.root / "refs" / f"{shelf.key('model')}.json").write_bytes(b"{")
    shelf.clock.ahead_s += YOUNG_S + 60

    assert shelf.cache.pruner.collect().size == KB
    assert shelf.cache.pruner.usage() == Usage(0, 0, 0, 0, 0, 0)
