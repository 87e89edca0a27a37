from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache.layout import Layout
from modelreg.cache.machine import owner_name
from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.partials import ABANDONED_AFTER_S, Partials, is_abandoned
from modelreg.cache.refs import SourceFile

A, B = "a" * 64, "b" * 64
DEAD = owner_name().rsplit("-", 2)[0] + "-999999999-1"
ELSEWHERE = f"{'e' * 16}-12-34"
SOURCE = SourceFile("a.bin", "etag:1", B, 7)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "cache"))
    layout.create()
    return layout


def begin(partials: Partials, identity: str = "one") -> Path:
    """Write the first bytes of a download, with the journal of their ranges."""
    path = Path(partials.path(identity))
    path.write_bytes(b"first")
    path.with_name(f"{path.name}.ranges").write_bytes(b"0-5")
    return path


def owned_by(path: Path, owner: str) -> Path:
    """Make a partial file, and what belongs to it, another process's."""
    name = path.name.split(".")[0]
    target = path.with_name(f"{name}.{owner}-token")
    path.rename(target)
    path.with_name(f"{path.name}.ranges").rename(f"{target}.ranges")
    return target


def names(layout: Layout) -> list[str]:
    return sorted(path.name for path in Path(layout.partial).iterdir())


def test_two_fetches_at_once_write_two_files(layout: Layout):
    first, second = Partials(layout, A), Partials(layout, A)

    begin(first)

    assert not Path(second.path("one")).exists()
    assert second.path("one") != first.path("one")


def test_other_contents_have_other_files(layout: Layout):
    partials = Partials(layout, A)

    assert partials.path("one") != partials.path("two")


def test_what_was_let_go_is_taken_up_with_its_ranges(layout: Layout):
    first = Partials(layout, A)
    begin(first)
    first.release()

    path = Path(Partials(layout, B).path("one"))

    assert path.read_bytes() == b"first"
    assert path.with_name(f"{path.name}.ranges").read_bytes() == b"0-5"
    assert len(names(layout)) == 2


def test_what_was_let_go_is_taken_up_by_one(layout: Layout):
    first = Partials(layout, A)
    begin(first)
    first.release()
    second, third = Partials(layout, A), Partials(layout, A)
    second.path("other")
    third.path("other")

    took = [Path(partials.path("one")).exists() for partials in (second, third)]

    assert took == [True, False]


def test_what_a_dead_process_left_is_taken_up(layout: Layout):
    owned_by(begin(Partials(layout, A)), DEAD)

    assert Path(Partials(layout, A).path("one")).read_bytes() == b"first"


def test_what_a_silent_process_of_another_machine_left_is_taken_up_after_a_while(layout: Layout):
    owned_by(begin(Partials(layout, A)), ELSEWHERE)
    later = Partials(layout, A, clock=lambda: time.time() + ABANDONED_AFTER_S + 60)

    assert not Path(Partials(layout, A).path("one")).exists()
    assert Path(later.path("one")).read_bytes() == b"first"


def test_a_file_without_its_ranges_is_taken_up_without(layout: Layout):
    first = Partials(layout, A)
    path = begin(first)
    path.with_name(f"{path.name}.ranges").unlink()
    first.release()

    taken = Path(Partials(layout, A).path("one"))

    assert taken.read_bytes() == b"first"
    assert len(names(layout)) == 1


def test_a_file_that_is_gone_was_not_abandoned():
    assert not is_abandoned("/nowhere/file", ELSEWHERE, now=time.time())


def test_files_that_came_are_known_to_the_next_attempt(layout: Layout):
    first = Partials(layout, A)
    first.note(SOURCE)
    first.note(SOURCE._replace(path="b.bin"))

    assert Partials(layout, A).known() == [SOURCE, SOURCE._replace(path="b.bin")]
    assert Partials(layout, B).known() == []
    first.close()


def test_an_attempt_that_ends_well_clears_up_after_those_that_did_not(layout: Layout):
    cut_off, under_way, last = Partials(layout, A), Partials(layout, A), Partials(layout, A)
    for partials in (cut_off, under_way, last):
        partials.note(SOURCE)
    cut_off.release()

    journal = last.finish()

    assert journal is not None
    assert len(names(layout)) == 2
    under_way.close()


def test_an_attempt_that_moved_nothing_has_no_journal(layout: Layout):
    assert Partials(layout, A).finish() is None


def test_discarding_leaves_nothing_of_ones_own(layout: Layout):
    mine, other = Partials(layout, A), Partials(layout, A)
    for partials in (mine, other):
        begin(partials)
        partials.note(SOURCE)

    mine.discard()

    assert len(names(layout)) == 3
    other.close()


def test_a_filling_that_is_cut_off_is_resumed_by_the_next(shelf: Any, sha256: Callable[[bytes], str]):
    digest = sha256(b"content")
    entry = Entry("a.bin", digest, 7)
    with shelf.cache.filling(A) as filling:
        filling.partial("b.bin at its place").write_bytes(b"half of ")
        filling.add(entry, identity="etag:1", data=b"content")

    with shelf.cache.filling(A) as filling:
        assert filling.known() == [SourceFile("a.bin", "etag:1", digest, 7)]
        assert filling.reusable({digest: 7, B: 7}) == {digest}
        assert filling.partial("b.bin at its place").read_bytes() == b"half of "


def test_what_is_known_is_known_from_other_answers_too(shelf: Any):
    shelf.put("whole", {"a.bin": b"content", "b.bin": b"other"})

    with shelf.cache.filling(shelf.key("part")) as filling:
        assert [source.path for source in filling.known(shelf.key("whole"))] == ["a.bin", "b.bin"]
        assert filling.known() == []
        assert filling.reusable({}) == set()


def test_contents_of_the_last_answer_are_reused_unhashed_while_its_tree_is_intact(
    shelf: Any, sha256: Callable[[bytes], str]
):
    shelf.put("model", {"a.bin": b"content"})

    with shelf.cache.filling(shelf.key("model")) as filling:
        assert filling.reusable({sha256(b"content"): 7}) == {sha256(b"content")}


def test_a_file_that_has_arrived_moves_into_the_cache_with_its_journal_gone(shelf: Any, sha256: Callable[[bytes], str]):
    entry = Entry("a.bin", sha256(b"content"), 7)
    with shelf.cache.filling(A) as filling:
        path = filling.partial("a.bin at its place")
        path.write_bytes(b"content")
        path.with_name(f"{path.name}.ranges").write_bytes(b"0-7")
        filling.add(entry, identity="", path=path)

        assert filling.noted == {("a.bin", "")}
        assert filling.publish(Manifest.of([entry])) == []

    assert shelf.left_over() == []
    assert shelf.blob(b"content").read_bytes() == b"content"


def test_a_folder_moves_into_the_cache_whole(shelf: Any):
    with shelf.cache.filling(A) as filling:
        folder = Path(filling.scratch())
        (folder / "deep").mkdir(parents=True)
        (folder / "a.bin").write_bytes(b"content")
        (folder / "deep" / "run.sh").write_bytes(b"#!")
        (folder / "deep" / "run.sh").chmod(0o755)

        manifest = filling.add_folder(str(folder))
        assert filling.publish(manifest) == []

    assert [(entry.path, entry.size) for entry in manifest.entries] == [("a.bin", 7), ("deep/run.sh", 2)]
    assert [entry.executable for entry in manifest.entries] == [False, os.name != "nt"]
    assert shelf.left_over() == []


def test_what_is_discarded_is_gone_and_what_others_hold_stays(shelf: Any, sha256: Callable[[bytes], str]):
    shelf.put("kept", {"a.bin": b"content"})

    with shelf.cache.filling(A) as filling:
        filling.add(Entry("a.bin", sha256(b"content"), 7), identity="etag:1", data=b"content")
        filling.add(Entry("b.bin", sha256(b"wrong"), 5), identity="etag:2", data=b"wrong")
        filling.discard()

    assert not shelf.blob(b"wrong").exists()
    assert shelf.get("kept") == {"a.bin": b"content"}
    assert shelf.left_over() == []
