from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.tracking import lines
from modelreg.tracking.journal import START, Journal, JournalReader, OpenFiles, segment_path


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    made: list[Journal] = []

    def make(name: str = "run", files: OpenFiles | None = None, **options: int) -> Journal:
        folder = tmp_path / name
        folder.mkdir()
        journal = Journal(folder, on_dirty=lambda _: None, files=files or OpenFiles(), **options)
        made.append(journal)
        return journal

    yield make
    for journal in made:
        journal.close()


def read_all(folder: Path, *, max_bytes: int = 1 << 20, max_records: int = 1000) -> list[object]:
    reader, position, found = JournalReader(folder), START, []
    while True:
        records, after = reader.read(position, max_bytes=max_bytes, max_records=max_records)
        if after == position:
            return found
        found += records
        position = after


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5
)


@given(records=st.lists(st.lists(json_values, min_size=1), max_size=20))
def test_records_come_back_as_they_were(records: list[list[object]]):
    data = b"".join(lines.line(lines.encode(record)) for record in records)

    assert lines.decode(data) == records


@given(records=st.lists(st.lists(st.text(), min_size=1), min_size=1, max_size=10), data=st.data())
def test_a_journal_torn_anywhere_gives_the_whole_records_before_the_tear(records: list[list[str]], data: st.DataObject):
    whole = [lines.line(lines.encode(record)) for record in records]
    text = b"".join(whole)
    cut = data.draw(st.integers(0, len(text)))

    found = lines.decode(text[:cut])

    complete = sum(1 for index in range(len(whole)) if len(b"".join(whole[: index + 1])) <= cut)
    assert found == records[:complete]


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_its_own_record_and_no_other(position: int, bit: int):
    whole = [lines.line(lines.encode(["m", "loss", number, number, number])) for number in range(20)]
    text = bytearray(b"".join(whole))
    position %= len(text)
    text[position] ^= 1 << bit

    found = lines.decode(bytes(text))

    # A line feed that appears or disappears can spoil the neighbour as well.
    assert len(found) >= 18
    assert all(record == ["m", "loss", record[2], record[2], record[2]] for record in found)


def test_nan_and_infinities_are_numbers_of_a_record():
    text = lines.line(b'["m","x",NaN,0,0]') + lines.line(b'["m","x",-Infinity,0,0]')

    nan, infinity = (record[2] for record in lines.decode(text))

    assert math.isnan(nan)
    assert infinity == -math.inf


def test_what_is_appended_is_in_the_kernels_hands_at_once(make: Callable[..., Journal]):
    journal = make()

    journal.append(b'["one"]')

    assert read_all(journal.folder) == [["one"]]


def test_a_line_that_is_not_complete_yet_is_left_for_later(make: Callable[..., Journal]):
    journal = make()
    journal.append(b'["one"]')
    path = segment_path(journal.folder, 1)
    reader = JournalReader(journal.folder)
    _, after_one = reader.read(START, max_bytes=1000, max_records=10)
    whole = lines.line(b'["two"]')

    with path.open("ab") as file:
        file.write(whole[:5])
    early = reader.read(after_one, max_bytes=1000, max_records=10)
    with path.open("ab") as file:
        file.write(whole[5:])
    late, _ = reader.read(after_one, max_bytes=1000, max_records=10)

    assert early == ([], after_one)
    assert late == [["two"]]


def test_a_journal_goes_on_in_another_segment_and_is_read_through(make: Callable[..., Journal]):
    journal = make(segment_bytes=200)

    for number in range(100):
        journal.append(b"[%d]" % number)

    assert len(list(journal.folder.glob("*.journal"))) > 5
    assert read_all(journal.folder, max_bytes=64, max_records=3) == [[number] for number in range(100)]


def test_segments_that_were_sent_are_deleted(make: Callable[..., Journal]):
    journal = make(segment_bytes=100)
    for number in range(50):
        journal.append(b"[%d]" % number)
    reader = JournalReader(journal.folder)

    reader.discard((3, 0))

    assert not segment_path(journal.folder, 2).exists()
    assert segment_path(journal.folder, 3).exists()


def test_a_record_larger_than_what_is_read_at_once_is_read_whole(make: Callable[..., Journal]):
    journal = make()
    journal.append(lines.encode(["x" * 100_000]))
    journal.append(b'["next"]')

    assert read_all(journal.folder, max_bytes=1000) == [["x" * 100_000], ["next"]]


def test_a_thousand_journals_keep_a_few_files_open(make: Callable[..., Journal]):
    files = OpenFiles(limit=8)
    journals = [make(f"run-{number}", files) for number in range(100)]

    for turn in range(3):
        for journal in journals:
            journal.append(b"[%d]" % turn)

    assert sum(journal._descriptor is not None for journal in journals) <= 8
    assert all(read_all(journal.folder) == [[0], [1], [2]] for journal in journals)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """A disk on which no file grows beyond ``size`` bytes, as a full one takes none of the rest."""
    resource = pytest.importorskip("resource", reason="limits on file sizes are POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_a_full_disk_warns_once_and_what_is_on_it_stays_readable(
    make: Callable[..., Journal], caplog: pytest.LogCaptureFixture
):
    journal = make()

    with files_limited_to(1000), caplog.at_level(logging.WARNING):
        for number in range(200):
            journal.append(b"[%d]" % number)
        on_disk = read_all(journal.folder)

    assert on_disk == [[number] for number in range(len(on_disk))]
    assert 0 < len(on_disk) < 200
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the run goes on" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_records_that_waited_for_space_are_written_when_there_is_some(make: Callable[..., Journal]):
    journal = make()
    with files_limited_to(1000):
        for number in range(200):
            journal.append(b"[%d]" % number)

    journal.commit()

    assert read_all(journal.folder) == [[number] for number in range(200)]
    assert journal.waiting == journal.dropped == 0


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_what_waits_for_space_is_bounded_and_what_is_dropped_is_counted(make: Callable[..., Journal]):
    journal = make(backlog_bytes=100)

    with files_limited_to(100):
        for number in range(100):
            journal.append(b"[%d]" % number)

    assert journal.dropped > 0
    assert journal.waiting <= 10
