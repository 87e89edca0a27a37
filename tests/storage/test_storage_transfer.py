"""The transfer engine on a storage in memory that does what a test tells it to."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import (
    AccessDenied,
    DigestMismatch,
    ModelRegError,
    ObjectChanged,
    StorageRefused,
    StorageUnreachable,
    TransferStalled,
)
from modelreg.storage.backends.base import Backend, Listed
from modelreg.storage.model import Downloaded, RemoteFile
from modelreg.storage.transfer import TransferProgress, download
from modelreg.storage.uri import StorageURI, parse_uri
from modelreg.storageconfig import StorageSettings, TransferSettings
from modelreg.testing.storage_place import pattern_bytes

KIB = 1024
FAST = TransferSettings(concurrency=4, part_bytes=64 * KIB, small_bytes=16 * KIB, backoff_s=0.001, attempts=3)
CHUNK = 10_000


class Memory(Backend):
    """Files in a dict. ``hook`` is called with (location, offset) before each chunk, and may raise or change files."""

    def __init__(self, files: dict[str, bytes], hook: Callable[[str, int], object] = lambda *_: None) -> None:
        super().__init__(parse_uri("memory://test/"), settings=StorageSettings(transfer=FAST))
        self.files = files
        self.hook = hook
        self.read_from: list[tuple[str, int]] = []

    def remote(self, name: str) -> RemoteFile:
        found = self._stat(name)
        assert found is not None
        return RemoteFile(name, found.size, found.identity, location=name)

    def _stat(self, location: str) -> Listed | None:
        data = self.files.get(location)
        if data is None:
            return None
        return Listed(location, location, len(data), f"etag:{hashlib.md5(data).hexdigest()}")

    def _read(self, file: RemoteFile) -> bytes:
        return b"".join(self._stream(file, 0, None))

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[bytes]:
        self.read_from.append((file.location, offset))
        end = len(self.files[file.location]) if length is None else offset + length
        while offset < end:
            self.hook(file.location, offset)
            if self.remote(file.location).identity != file.identity and file.identity:
                raise ObjectChanged("it changed")
            chunk = self.files[file.location][offset : min(offset + CHUNK, end)]
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        raise NotImplementedError

    def _listed(self, uri: StorageURI) -> list[Listed]:
        raise NotImplementedError

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        return StorageUnreachable(f"{what}: {error}") if isinstance(error, OSError) else None

    def location(self, name: str) -> str:
        return name

    def filesystem(self) -> Any:
        raise NotImplementedError

    def filesystem_path(self) -> str:
        raise NotImplementedError


def run(backend: Memory, folder: Path, *names: str, **how: Any) -> dict[str, bytes]:
    jobs = [(backend.remote(name), folder / f"{index}.part") for index, name in enumerate(names or backend.files)]
    return {one.file.path: content_of(one) for one in download(backend, jobs, **how)}


def content_of(one: Downloaded) -> bytes:
    content = bytes(one.data) if one.path is None else one.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == one.sha256
    assert len(content) == one.size
    return content


def fails_once(error: Exception, *, at: int = 0) -> Callable[[str, int], None]:
    left = [error]
    lock = threading.Lock()

    def hook(_: str, offset: int) -> None:
        with lock:
            due = offset >= at and left
            failing = left.pop() if due else None
        if failing is not None:
            raise failing

    return hook


def transfer_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "modelreg-transfer"]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert not transfer_threads()


def test_files_of_every_size_arrive(tmp_path: Path) -> None:
    sizes = [0, 1, 16 * KIB, 16 * KIB + 1, 64 * KIB, 64 * KIB + 1, 500_000]
    files = {f"f{size}": pattern_bytes(size) for size in sizes}

    assert run(Memory(files), tmp_path) == files


def test_small_files_never_touch_the_disk(tmp_path: Path) -> None:
    run(Memory({str(index): bytes([index]) for index in range(100)}), tmp_path)

    assert not any(tmp_path.iterdir())


def test_a_large_file_leaves_no_journal(tmp_path: Path) -> None:
    run(Memory({"large": pattern_bytes(300_000)}), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["0.part"]


def test_a_file_of_unknown_size_arrives(tmp_path: Path) -> None:
    backend = Memory({"f": pattern_bytes(100_000)})
    file = attrs.evolve(backend.remote("f"), size=None)

    [arrived] = download(backend, [(file, tmp_path / "part")])

    assert content_of(arrived) == backend.files["f"]


def test_a_storage_without_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    backend = Memory({"f": pattern_bytes(300_000)}, fails_once(OSError("cut"), at=100_000))
    backend.ranged = False

    assert run(backend, tmp_path) == backend.files
    assert [offset for _, offset in backend.read_from] == [0, 0]


def test_a_lost_connection_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    backend = Memory({"f": pattern_bytes(64 * KIB)}, fails_once(OSError("reset"), at=30_000))

    assert run(backend, tmp_path) == backend.files
    assert backend.read_from == [("f", 0), ("f", 30_000)]


def test_a_small_file_is_tried_again(tmp_path: Path) -> None:
    backend = Memory({"f": b"content"}, fails_once(OSError("reset")))

    assert run(backend, tmp_path) == backend.files


def test_what_keeps_failing_is_reported(tmp_path: Path) -> None:
    def refuse(_: str, __: int) -> None:
        raise OSError("reset")

    backend = Memory({"f": b"content"}, refuse)

    with pytest.raises(StorageUnreachable):
        run(backend, tmp_path)
    assert len(backend.read_from) == FAST.attempts


def test_what_is_denied_is_not_tried_again(tmp_path: Path) -> None:
    def deny(_: str, __: int) -> None:
        raise AccessDenied("no")

    backend = Memory({"f": b"content"}, deny)

    with pytest.raises(AccessDenied):
        run(backend, tmp_path)
    assert len(backend.read_from) == 1


def test_retry_after_is_kept(tmp_path: Path) -> None:
    busy = StorageRefused("busy", status=503, retry_after_s=0.2)
    backend = Memory({"f": b"content"}, fails_once(busy))

    start = time.monotonic()
    assert run(backend, tmp_path) == backend.files
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_file_that_changes_midway_arrives_as_it_is_now(tmp_path: Path, size: int) -> None:
    files = {"f": pattern_bytes(size)}
    changed = pattern_bytes(size + 7)[::-1]

    def change(_: str, offset: int) -> None:
        if offset >= size // 2 or size < CHUNK:
            files["f"] = changed

    assert run(Memory(files, change), tmp_path) == {"f": changed}


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_file_that_keeps_changing_is_given_up(tmp_path: Path, size: int) -> None:
    files = {"f": pattern_bytes(size)}

    def change(_: str, __: int) -> None:
        files["f"] = files["f"][1:] + b"x"

    with pytest.raises(ObjectChanged):
        run(Memory(files, change), tmp_path)


def test_a_truncated_file_is_never_taken_for_whole(tmp_path: Path) -> None:
    backend = Memory({"f": pattern_bytes(200_000)})
    file = attrs.evolve(backend.remote("f"), size=300_000)

    with pytest.raises((StorageUnreachable, ObjectChanged)):
        list(download(backend, [(file, tmp_path / "part")]))


@pytest.mark.parametrize("size", [1000, 300_000])
def test_content_that_its_source_does_not_vouch_for_is_refused(tmp_path: Path, size: int) -> None:
    backend = Memory({"f": pattern_bytes(size)})
    file = attrs.evolve(backend.remote("f"), sha256="0" * 64)

    with pytest.raises(DigestMismatch):
        list(download(backend, [(file, tmp_path / "part")]))
    assert not any(tmp_path.iterdir())


def test_what_an_earlier_transfer_left_is_taken_up(tmp_path: Path) -> None:
    files = {"f": pattern_bytes(640 * KIB)}

    def stop_late(_: str, offset: int) -> None:
        if offset >= 400_000:
            raise AccessDenied("the token ran out")

    with pytest.raises(AccessDenied):
        run(Memory(files, stop_late), tmp_path, options=attrs.evolve(FAST, concurrency=1))
    second = Memory(files)

    assert run(second, tmp_path) == files
    assert min(offset for _, offset in second.read_from) >= 6 * 64 * KIB


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("size", [FAST.part_bytes * 3, FAST.part_bytes * 2])
def test_what_arrives_may_be_read_by_whom_the_umask_lets(tmp_path: Path, size: int) -> None:
    settings = attrs.evolve(FAST, small_bytes=FAST.part_bytes * 2)
    backend = Memory({"f": pattern_bytes(size)})
    old = os.umask(0o027)
    try:
        [arrived] = download(backend, [(backend.remote("f"), tmp_path / "part")], options=settings)
    finally:
        os.umask(old)

    assert arrived.path is not None
    assert arrived.path.stat().st_mode & 0o777 == 0o640


def test_a_file_is_not_moved_far_ahead_of_what_is_hashed(tmp_path: Path) -> None:
    files = {"f": pattern_bytes(1280 * KIB)}
    ahead = 3 * FAST.concurrency * FAST.part_bytes
    last_allowed_part, first_part_came = threading.Event(), threading.Event()
    too_early: list[int] = []

    def hold_the_first_part(_: str, offset: int) -> None:
        if offset == 0:
            assert last_allowed_part.wait(30)
            first_part_came.set()
        elif offset >= ahead and not first_part_came.is_set():
            too_early.append(offset)
        elif offset >= ahead - FAST.part_bytes:
            last_allowed_part.set()

    assert run(Memory(files, hold_the_first_part), tmp_path) == files
    assert too_early == []


def test_what_belongs_to_another_version_is_not_taken_up(tmp_path: Path) -> None:
    def stop_late(_: str, offset: int) -> None:
        if offset >= 400_000:
            raise AccessDenied("the token ran out")

    with pytest.raises(AccessDenied):
        run(Memory({"f": pattern_bytes(640 * KIB)}, stop_late), tmp_path)
    changed = {"f": pattern_bytes(640 * KIB)[::-1]}

    assert run(Memory(changed), tmp_path) == changed


@pytest.mark.parametrize("journal", [b"", b"rubbish", b"{}\n0\n", b'{"format": 99}\n0\n', b"\xff\xfe\n1\n"])
def test_a_damaged_journal_begins_anew(tmp_path: Path, journal: bytes) -> None:
    (tmp_path / "0.part").write_bytes(b"rubbish" * 100_000)
    (tmp_path / "0.part.ranges").write_bytes(journal)
    files = {"f": pattern_bytes(300_000)}

    assert run(Memory(files), tmp_path) == files


def test_a_machine_that_went_down_costs_what_was_not_synced(tmp_path: Path) -> None:
    files = {"f": pattern_bytes(640 * KIB)}

    def stop_late(_: str, offset: int) -> None:
        if offset >= 400_000:
            raise AccessDenied("stop")

    with pytest.raises(AccessDenied):
        run(Memory(files, stop_late), tmp_path, options=attrs.evolve(FAST, concurrency=1))
    journal = tmp_path / "0.part.ranges"
    lines = journal.read_bytes().splitlines()
    import json

    header = {**json.loads(lines[0]), "boot": "another"}
    journal.write_bytes(b"\n".join([json.dumps(header).encode(), lines[1], b"synced 1", *lines[2:], b""]))
    second = Memory(files)

    assert run(second, tmp_path) == files
    assert min(offset for _, offset in second.read_from) == 64 * KIB


def test_a_silent_read_is_given_up(tmp_path: Path) -> None:
    release = threading.Event()
    backend = Memory({"f": b"content"}, lambda *_: release.wait(60))

    try:
        with pytest.raises(TransferStalled):
            run(backend, tmp_path, options=attrs.evolve(FAST, stall_timeout_s=0.1))
    finally:
        release.set()
    for thread in transfer_threads():
        thread.join(60)


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    files = {"a": pattern_bytes(300_000), "b": b"small", "c": b""}
    seen: list[TransferProgress] = []

    run(Memory(files), tmp_path, progress=seen.append)

    assert seen[-1] == TransferProgress(300_005, 300_005, 3, 3)
    assert [one.bytes_done for one in seen] == sorted(one.bytes_done for one in seen)


def test_what_the_callback_raises_ends_the_transfer(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def progress(done: TransferProgress) -> None:
        if done.bytes_done > 100_000:
            raise Stop

    files = {"f": pattern_bytes(640 * KIB)}
    with pytest.raises(Stop):
        run(Memory(files), tmp_path, progress=progress)

    assert run(Memory(files), tmp_path) == files


def test_another_thread_can_cancel(tmp_path: Path) -> None:
    cancel = threading.Event()

    def hook(_: str, offset: int) -> None:
        if offset > 100_000:
            cancel.set()

    with pytest.raises(KeyboardInterrupt):
        run(Memory({"f": pattern_bytes(2_000_000)}, hook), tmp_path, cancel=cancel)


def test_a_caller_that_stops_asking_leaves_no_thread(tmp_path: Path) -> None:
    backend = Memory({str(index): pattern_bytes(20_000) for index in range(50)})
    jobs = [(backend.remote(name), tmp_path / name) for name in backend.files]

    arriving = download(backend, jobs)
    next(arriving)
    arriving.close()

    assert not transfer_threads()


def test_nothing_is_asked_for_where_there_is_nothing(tmp_path: Path) -> None:
    assert list(download(Memory({}), [])) == []
    assert not any(tmp_path.iterdir())


@given(
    sizes=st.lists(st.integers(0, 200_000), max_size=6),
    cuts=st.sets(st.integers(0, 20), max_size=6),
)
def test_whatever_breaks_what_arrives_is_right(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cuts: set[int]
) -> None:
    files = {str(index): pattern_bytes(size) for index, size in enumerate(sizes)}
    calls = iter(range(1_000_000))

    def cut(_: str, __: int) -> None:
        if next(calls) in cuts:
            raise OSError("cut")

    backend = Memory(files, cut)

    assert run(backend, tmp_path_factory.mktemp("t"), options=attrs.evolve(FAST, attempts=10, backoff_s=1e-6)) == files


class Prompt(Memory):
    """The same, of a storage whose reads end by themselves; ``readers`` are the threads that read."""

    keeps_deadlines = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.readers: set[int] = set()

    def _read(self, file: RemoteFile) -> bytes:
        self.readers.add(threading.get_ident())
        return super()._read(file)


def test_one_small_file_is_read_by_the_thread_that_wants_it_and_stays_in_memory(tmp_path: Path) -> None:
    backend = Prompt({"f": pattern_bytes(15 * KIB)})

    assert run(backend, tmp_path) == backend.files
    assert backend.readers == {threading.get_ident()}
    assert not list(tmp_path.iterdir())


def test_several_small_files_are_read_beside_each_other_all_the_same(tmp_path: Path) -> None:
    backend = Prompt({"a": b"1", "b": b"2"})

    assert run(backend, tmp_path) == backend.files
    assert threading.get_ident() not in backend.readers


def test_the_callers_own_thread_tries_again_and_tells_progress(tmp_path: Path) -> None:
    backend = Prompt({"f": pattern_bytes(KIB)}, fails_once(OSError("reset")))
    told: list[TransferProgress] = []

    assert run(backend, tmp_path, progress=told.append) == backend.files
    assert told[-1] == TransferProgress(KIB, KIB, 1, 1)


@pytest.mark.parametrize("size", [2 * KIB, 300 * KIB])
def test_a_small_file_that_became_another_arrives_as_it_is_now(tmp_path: Path, size: int) -> None:
    backend = Prompt({"f": b"old"})
    changed = pattern_bytes(size)
    backend.hook = lambda *_: backend.files.update(f=changed)

    assert run(backend, tmp_path) == {"f": changed}


def test_what_the_callers_own_thread_cannot_read_is_reported(tmp_path: Path) -> None:
    def hook(_: str, _offset: int) -> None:
        raise OSError("reset")

    with pytest.raises(StorageUnreachable, match="reset"):
        run(Prompt({"f": b"x"}, hook), tmp_path)


def test_the_callers_own_thread_is_cancelled_before_it_reads(tmp_path: Path) -> None:
    backend = Prompt({"f": b"x"})
    cancel = threading.Event()
    cancel.set()

    with pytest.raises(KeyboardInterrupt):
        run(backend, tmp_path, cancel=cancel)

    assert backend.read_from == []


def test_the_callers_own_thread_is_cancelled_while_it_reads(tmp_path: Path) -> None:
    cancel = threading.Event()

    with pytest.raises(KeyboardInterrupt):
        run(Prompt({"f": b"x"}, lambda *_: cancel.set()), tmp_path, cancel=cancel)
