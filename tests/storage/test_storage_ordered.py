"""The hash of a file whose parts arrive side by side."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import CacheError
from modelreg.storage.ordered import OrderedHash
from modelreg.storage.partial import PartialFile

PART = 64
CONTENT = bytes(range(250))
PARTS = [(start, CONTENT[start : start + PART]) for start in range(0, len(CONTENT), PART)]


@contextmanager
def partial(folder: Path) -> Iterator[PartialFile]:
    file = PartialFile(folder / "part", size=len(CONTENT), part_bytes=PART, identity="")
    try:
        yield file
    finally:
        file.close()


def nothing() -> None:
    """Do nothing."""


def bring(file: PartialFile, hashed: OrderedHash, part: int, *, piece_bytes: int = PART) -> bool:
    """Write and keep one part by pieces, and return whether the file is hashed then."""
    start, content = PARTS[part]
    for offset in range(0, len(content), piece_bytes):
        piece = content[offset : offset + piece_bytes]
        file.write_at(piece, start + offset)
        hashed.keep(part, piece)
        assert not hashed.advance(nothing)
    file.mark(part)
    return hashed.advance(nothing)


@given(
    order=st.permutations(range(len(PARTS))),
    piece_bytes=st.integers(1, PART),
    kept_bytes=st.integers(0, 2 * len(CONTENT)),
)
def test_whatever_the_order_and_the_room_the_digest_is_that_of_the_whole(
    order: list[int], piece_bytes: int, kept_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, partial(Path(folder)) as file:
        hashed = OrderedHash(file, kept_bytes=kept_bytes)

        ended = [bring(file, hashed, part, piece_bytes=piece_bytes) for part in order]

        assert ended == [False] * (len(PARTS) - 1) + [True]
        assert hashed.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
        assert not hashed.advance(nothing)


def test_what_is_next_in_line_is_hashed_before_its_part_is_whole(tmp_path: Path) -> None:
    with partial(tmp_path) as file:
        hashed = OrderedHash(file, kept_bytes=0)
        hashed.keep(0, CONTENT[:10])

        hashed.advance(nothing)

        assert hashed.hexdigest() == hashlib.sha256(CONTENT[:10]).hexdigest()


def test_the_end_is_not_told_before_the_last_part_is_noted(tmp_path: Path) -> None:
    with partial(tmp_path) as file:
        hashed = OrderedHash(file, kept_bytes=len(CONTENT))
        for part, (start, content) in enumerate(PARTS):
            file.write_at(content, start)
            hashed.keep(part, content)
        assert not hashed.advance(nothing)

        for part in range(len(PARTS)):
            file.mark(part)

        assert hashed.advance(nothing)


def test_a_file_that_was_cut_short_by_someone_else_is_an_error_each_time(tmp_path: Path) -> None:
    with partial(tmp_path) as file:
        hashed = OrderedHash(file, kept_bytes=0)
        file.mark(0)

        for _ in range(2):
            with pytest.raises(CacheError, match="cut short"):
                hashed.advance(nothing)


def test_only_one_thread_hashes(tmp_path: Path) -> None:
    with partial(tmp_path) as file:
        hashed = OrderedHash(file, kept_bytes=len(CONTENT))
        hashed.keep(0, CONTENT[:PART])
        inside, leave = threading.Event(), threading.Event()

        def hold() -> None:
            inside.set()
            leave.wait(30)

        other = threading.Thread(target=hashed.advance, args=(hold,))
        other.start()
        assert inside.wait(30)

        assert not hashed.advance(lambda: pytest.fail("two threads hash at once"))

        leave.set()
        other.join()
        assert hashed.part == 1


def test_waiting_ends_when_the_part_is_next_in_line(tmp_path: Path) -> None:
    with partial(tmp_path) as file:
        hashed = OrderedHash(file, kept_bytes=len(CONTENT))
        waiting = threading.Thread(target=hashed.wait_for, args=(1, 30))
        waiting.start()

        bring(file, hashed, 0)

        waiting.join(10)
        assert not waiting.is_alive()


def test_waiting_ends_after_its_time(tmp_path: Path) -> None:
    with partial(tmp_path) as file:
        before = time.monotonic()

        OrderedHash(file, kept_bytes=0).wait_for(1, 0.01)

        assert time.monotonic() - before < 10
