from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache.refs import TOUCH_AFTER_S, Ref, SourceFile, load_sources, source_line
from modelreg.exceptions import CacheError

A = "a" * 64


def ref_file(shelf: Any, name: str) -> Path:
    return shelf.root / "refs" / f"{shelf.key(name)}.json"


def test_an_answer_reads_back_as_it_was_filed(shelf: Any):
    ref = shelf.put("model", {"a.bin": b"content", "b.bin": b"other"})

    found = shelf.cache.lookup(shelf.key("model"))

    assert found._replace(used=0.0) == ref
    assert found.used > 0


def test_what_was_never_asked_has_no_answer(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})

    assert shelf.cache.lookup(shelf.key("other")) is None


def test_an_answer_is_a_documented_json_object(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})

    document = json.loads(ref_file(shelf, "model").read_bytes())

    assert set(document) == {"format", *Ref._fields} - {"used"}
    assert document["format"] == 1
    assert document["uri"] == "test://model"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"format": 2}',
        b'{"format": 1}',
        b'{"format": 1, "surprise": 1}',
        b"\xff\xfe",
        bytes(300),
    ],
)
def test_a_damaged_answer_is_none_and_can_be_filed_anew(shelf: Any, text: bytes):
    shelf.put("model", {"a.bin": b"content"})
    ref_file(shelf, "model").write_bytes(text)

    assert shelf.cache.lookup(shelf.key("model")) is None
    assert list(shelf.cache.refs) == []
    shelf.put("model", {"a.bin": b"content"})

    assert shelf.get("model") == {"a.bin": b"content"}


@pytest.mark.parametrize(
    "change",
    [{"tree": "../../etc"}, {"tree": None}, {"tree": 7}, {"file": "../a"}, {"file": "/etc/passwd"}, {"file": 7}],
)
def test_an_answer_that_leads_out_of_the_cache_is_none(shelf: Any, change: dict[str, object]):
    shelf.put("model", {"a.bin": b"content"})
    path = ref_file(shelf, "model")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))

    assert shelf.cache.lookup(shelf.key("model")) is None


def test_the_digest_of_a_file_is_that_of_its_bytes(shelf: Any, sha256: Callable[[bytes], str]):
    ref = shelf.put("model", {"a.bin": b"content"})

    assert ref.digest == f"sha256:{sha256(b'content')}"
    assert ref.matches(f"sha256:{sha256(b'content')}")
    assert ref.matches(f"sha256:{ref.tree}")
    assert not ref.matches(f"sha256:{A}")


def test_the_digest_of_a_folder_is_that_of_its_manifest(shelf: Any):
    ref = shelf.put("model", {"a.bin": b"content", "b.bin": b"other"})

    assert ref.digest == f"sha256:{ref.tree}"


def test_the_path_of_a_file_is_its_own_and_that_of_a_folder_its_trees(shelf: Any):
    file = shelf.put("file", {"a.bin": b"content"})
    folder = shelf.put("folder", {"a.bin": b"content", "b.bin": b"other"})

    assert Path(shelf.cache.path(file)).read_bytes() == b"content"
    assert sorted(path.name for path in Path(shelf.cache.path(folder)).iterdir()) == ["a.bin", "b.bin"]


def test_a_hit_notes_its_time_only_now_and_then(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})
    path = ref_file(shelf, "model")
    filed = path.stat().st_mtime_ns

    shelf.get("model")
    assert path.stat().st_mtime_ns == filed

    shelf.clock.ahead_s += TOUCH_AFTER_S + 1
    shelf.get("model")
    assert path.stat().st_mtime == pytest.approx(shelf.clock(), abs=60)


def test_a_hit_in_a_cache_that_cannot_be_written_writes_nothing(
    open_folder: Path, make_shelf: Callable[..., Any], unwritable: Callable[[Path], AbstractContextManager[None]]
):
    shelf = make_shelf(open_folder)
    shelf.put("model", {"a.bin": b"content"})
    before = {path: path.stat().st_mtime_ns for path in open_folder.rglob("*")}
    shelf.clock.ahead_s += TOUCH_AFTER_S + 1

    with unwritable(open_folder):
        ref = shelf.cache.lookup(shelf.key("model"))
        assert shelf.cache.is_intact(ref)
        shelf.cache.refs.touch("0" * 64, now=shelf.clock())

    assert {path: path.stat().st_mtime_ns for path in open_folder.rglob("*")} == before


def test_an_answer_of_another_user_counts_as_used_by_whoever_uses_it(
    open_folder: Path, make_shelf: Callable[..., Any], as_user: Callable[..., AbstractContextManager[None]]
):
    with as_user(0, 0, umask=0):
        shelf = make_shelf(open_folder / "cache")
        shelf.put("model", {"a.bin": b"content"})
    path = ref_file(shelf, "model")
    os.utime(path, (1000, 1000))

    with as_user(65534, 65534):
        assert shelf.get("model") == {"a.bin": b"content"}

    assert path.stat().st_mtime == pytest.approx(shelf.clock(), abs=60)


def test_new_times_are_optional_and_new_answers_are_not(
    open_folder: Path, make_shelf: Callable[..., Any], unwritable: Callable[[Path], AbstractContextManager[None]]
):
    shelf = make_shelf(open_folder)
    ref = shelf.put("model", {"a.bin": b"content"})

    with unwritable(open_folder):
        shelf.cache.file(shelf.key("model"), ref._replace(checked=5.0), optional=True)
        with pytest.raises(CacheError, match="cannot be written"):
            shelf.cache.file(shelf.key("other"), ref)

    assert shelf.cache.lookup(shelf.key("model")).checked == ref.checked


def test_an_answer_may_be_filed_under_a_second_question(shelf: Any):
    ref = shelf.put("model", {"a.bin": b"content"})

    shelf.cache.file(shelf.key("alias"), ref)

    assert shelf.get("alias") == {"a.bin": b"content"}


def test_an_answer_knows_what_its_files_looked_like_at_their_source(shelf: Any, sha256: Callable[[bytes], str]):
    shelf.put("model", {"a.bin": b"content"})
    digest = sha256(b"content")

    assert shelf.cache.refs.sources(shelf.key("model")) == [SourceFile("a.bin", f"etag:{digest}", digest, 7)]


def test_sources_are_read_up_to_the_line_that_was_cut_off(tmp_path: Path):
    whole = SourceFile("a\n.bin", "etag:1", A, 7)
    junk = [b"null", b"[]", b'["a","","%s",1]' % A.encode(), b'["a","etag","short",1]', b"7", b'["a", "etag", 5, 1]']
    lines = b"\n".join(junk) + b"\n" + source_line(whole) + source_line(whole)[:-9]
    (tmp_path / "journal").write_bytes(lines)

    assert load_sources(str(tmp_path / "journal")) == [whole]


def test_there_are_no_sources_where_there_is_no_list(tmp_path: Path):
    assert load_sources(str(tmp_path / "nothing")) == []


def test_a_pin_holds_until_it_is_taken_away(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})
    refs, key = shelf.cache.refs, shelf.key("model")

    assert not refs.is_pinned(key)
    refs.pin(key)
    refs.pin(key)
    assert refs.is_pinned(key)
    refs.unpin(key)
    refs.unpin(key)
    assert not refs.is_pinned(key)


def test_removing_an_answer_leaves_nothing_of_it(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})
    shelf.cache.refs.pin(shelf.key("model"))

    shelf.cache.refs.remove(shelf.key("model"))

    assert list((shelf.root / "refs").iterdir()) == []


def test_files_that_are_no_answers_are_left_out_and_damaged_ones_removed(shelf: Any):
    shelf.put("model", {"a.bin": b"content"})
    (shelf.root / "refs" / "notes.json").write_bytes(b"{}")
    (shelf.root / "refs" / f"{A}.json").write_bytes(b"{")

    shelf.cache.refs.remove_damaged()

    assert shelf.cache.refs.keys() == [shelf.key("model")]
    assert (shelf.root / "refs" / "notes.json").exists()


def test_a_cache_that_was_never_filled_has_no_answers(shelf: Any):
    assert shelf.cache.refs.keys() == []
