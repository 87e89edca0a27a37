"""The three ways a file's bytes are moved: several small files whole, one large file by parts, one file as a stream."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from modelreg.exceptions import DigestMismatch, ObjectChanged, StorageError, StorageUnreachable
from modelreg.storage.model import Downloaded, RemoteFile
from modelreg.storage.ordered import OrderedHash
from modelreg.storage.partial import PartialFile, discard, disk_errors, write_whole
from modelreg.storage.pool import Task, Worker
from modelreg.storage.retrying import Attempts
from modelreg.storageconfig import TransferSettings

if TYPE_CHECKING:
    from modelreg.storage.backends import Backend

# Up to here a file is handed over in memory, which is quicker than to write and move a file for it.
_IN_MEMORY_BYTES = 64 << 10
# Of one large file: the longest part, and what waits to be hashed and is kept in memory.
_PART_BYTES = 8 << 20
_KEPT_BYTES = 64 << 20
# How many parts may be moved beyond the one that is hashed, for each thread, if that one is slow to come.
_AHEAD = 3
_LOOK_EVERY_S = 0.2
# The caller's thread is woken by what it is told, and takes turns with those that move bytes.
_TELL_EVERY_S = 0.05


@attrs.frozen
class Job:
    """One file to be had.

    Attributes:
        file: As it was last seen.
        path: Its partial file.
        restarts: How often it changed while it was read.
    """

    file: RemoteFile
    path: Path
    restarts: int = 0


@attrs.frozen
class Moved:
    """Told by a thread: this many bytes came; below zero, they came in vain."""

    count: int


@attrs.frozen
class Changed:
    """A file that changed while it was read.

    Attributes:
        job: What was to be had.
        error: How it was seen.
        in_vain: Bytes that came and are of no use any more.
    """

    job: Job
    error: ObjectChanged
    in_vain: int = 0


@attrs.frozen
class Arrived:
    """Answered by a task: these files are whole; these must be begun anew."""

    files: tuple[Downloaded, ...] = ()
    changed: tuple[Changed, ...] = ()


class _Came:
    """Counts bytes that came, and tells a worker's caller of them now and then.

    Attributes:
        total: Bytes that came.
    """

    def __init__(self, worker: Worker) -> None:
        self.total = 0
        self._worker = worker
        self._told = 0
        self._told_at = time.monotonic()

    def add(self, count: int) -> None:
        """Note that ``count`` more bytes came."""
        self.total += count
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Tell of all that came."""
        if self.total > self._told:
            self._worker.tell(Moved(self.total - self._told))
        self._told = self.total
        self._told_at = time.monotonic()

    def take_back(self) -> None:
        """Tell that what was told of came in vain."""
        self._worker.tell(Moved(-self._told))
        self.total = self._told = 0


@attrs.frozen
class SmallFiles:
    """Reads small files whole, one after the other; what is not tiny goes to its partial file at once."""

    backend: Backend
    jobs: tuple[Job, ...]
    settings: TransferSettings

    def __call__(self, worker: Worker) -> Arrived:
        """Do it."""
        files = [self._read_or_changed(job, worker) for job in self.jobs]
        arrived = tuple(file for file in files if isinstance(file, Downloaded))
        worker.tell(Moved(sum(file.size for file in arrived)))
        return Arrived(arrived, tuple(file for file in files if isinstance(file, Changed)))

    def _read_or_changed(self, job: Job, worker: Worker) -> Downloaded | Changed:
        try:
            return self._read(job, worker)
        except ObjectChanged as error:
            return Changed(job, error)

    def _read(self, job: Job, worker: Worker) -> Downloaded:
        attempts = Attempts(self.settings, worker.stop)
        while True:
            worker.alive_now()
            try:
                data = self.backend.read(job.file)
            except StorageError as error:
                worker.resting()
                attempts.failed(error)
                continue
            if len(data) != job.file.size:
                raise ObjectChanged(f"{job.file.path} came with {len(data)} bytes where {job.file.size} were listed")
            sha256 = hashlib.sha256(data).hexdigest()
            if worker.is_caller or len(data) <= _IN_MEMORY_BYTES:
                return _checked(job.file, sha256, len(data), data=data)
            # Written here, beside the other threads: the caller's one thread would be what all of them wait for.
            write_whole(job.path, data)
            return _checked(job.file, sha256, len(data), path=job.path)


@attrs.frozen
class WholeFile:
    """Reads a file from its start to its end, where ranges cannot be had or its size is not known."""

    backend: Backend
    job: Job
    settings: TransferSettings

    def __call__(self, worker: Worker) -> Arrived:
        """Do it."""
        attempts = Attempts(self.settings, worker.stop)
        while True:
            came = _Came(worker)
            try:
                return Arrived(files=(self._read(worker, came),))
            except ObjectChanged as error:
                came.take_back()
                return Arrived(changed=(Changed(self.job, error),))
            except StorageError as error:
                came.take_back()
                worker.resting()
                attempts.failed(error)

    def _read(self, worker: Worker, came: _Came) -> Downloaded:
        file, path = self.job.file, self.job.path
        digest = hashlib.sha256()
        with disk_errors(path):
            discard(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            out = path.open("xb")
        with out:
            for chunk in self.backend.stream(file, 0, None):
                worker.alive_now()
                with disk_errors(path):
                    out.write(chunk)
                digest.update(chunk)
                came.add(len(chunk))
            with disk_errors(path):
                out.flush()
        if file.size is not None and file.size != came.total:
            raise StorageUnreachable(f"{file.path} ended after {came.total} of {file.size} bytes")
        came.tell()
        return _checked(file, digest.hexdigest(), came.total, path=path)


class LargeFile:
    """One large file whose parts any thread moves, and which is hashed in order as they complete.

    No thread begins a part that lies far ahead of what is hashed: where bytes come faster than one processor hashes
    them, the threads that move them would otherwise take its time, leave most of the hashing to the end, and fill the
    memory that what waits to be hashed is kept in, so that it must be read back from the file.

    Args:
        backend: What it is read through.
        job: What is to be had.
        settings: How bytes are moved.
        ended: Told when the file is whole or given up, and its partial file closed.
    """

    def __init__(
        self, backend: Backend, job: Job, settings: TransferSettings, *, ended: Callable[[LargeFile], object]
    ) -> None:
        self._backend = backend
        self._job = job
        self._settings = settings
        self._ended = ended
        self._partial = PartialFile(
            job.path,
            size=job.file.size or 0,
            part_bytes=min(settings.part_bytes, _PART_BYTES),
            identity=job.file.identity,
        )
        self._lock = threading.Lock()
        self._hash = OrderedHash(self._partial, kept_bytes=_KEPT_BYTES, release=backend.release)
        self._under_way = 0
        self._error: ObjectChanged | None = None
        self._moved = self.taken_up

    @functools.cached_property
    def taken_up(self) -> int:
        """Bytes that an earlier try left."""
        return sum(self._partial.bounds(part)[1] for part in self._partial.done)

    def tasks(self) -> Iterator[Task]:
        """Yield the work that is left, until the file changes."""
        missing = [part for part in range(self._partial.parts) if part not in self._partial.done]
        works: list[Callable[[Worker], Downloaded | None]]
        works = [functools.partial(self._move, part) for part in missing] or [self._advance]
        for work in works:
            with self._lock:
                if self._error is not None:
                    return
                self._under_way += 1
            yield functools.partial(self._run, work)

    def leave(self) -> None:
        """Close the partial file, to be taken up later."""
        self._partial.close()

    def _run(self, work: Callable[[Worker], Downloaded | None], worker: Worker) -> Arrived:
        """Do one piece of work; the last one to end says that the file has changed, if it has."""
        whole = None
        try:
            if self._error is None:
                whole = work(worker)
        except ObjectChanged as error:
            with self._lock:
                self._error = error
        with self._lock:
            self._under_way -= 1
            given_up = self._error if self._under_way == 0 else None
        if whole is not None:
            return Arrived(files=(whole,))
        if given_up is not None:
            self._partial.close()
            self._ended(self)
            return Arrived(changed=(Changed(self._job, given_up, in_vain=self._moved),))
        return Arrived()

    def _move(self, part: int, worker: Worker) -> Downloaded | None:
        self._wait_for_turn(part, worker)
        if self._error is not None:
            return None
        position, length = self._partial.bounds(part)
        end = position + length
        attempts = Attempts(self._settings, worker.stop)
        while position < end:
            came, error = self._move_some(part, position, end, worker)
            position += came
            if came:
                attempts.progressed()
            if error is not None:
                worker.resting()
                attempts.failed(error)
        self._partial.mark(part)
        return self._advance(worker)

    def _wait_for_turn(self, part: int, worker: Worker) -> None:
        """Wait until ``part`` is near what is hashed; hash what can be hashed meanwhile."""
        near = part + 1 - self._settings.concurrency
        far = part + 1 - self._settings.concurrency * _AHEAD
        needed = near
        while self._hash.part < needed and self._error is None:
            # Parts that an earlier try left have no mover who would hash them.
            self._advance(worker)
            worker.alive_now()
            worker.resting()
            self._hash.wait_for(near, _LOOK_EVERY_S)
            # What has not been hashed by now is slow to come: that is no reason for other connections to rest.
            needed = far
        worker.alive_now()

    def _move_some(self, part: int, position: int, end: int, worker: Worker) -> tuple[int, StorageError | None]:
        """Move what one request brings of the bytes up to ``end``; return how many, and what ended it early."""
        came = _Came(worker)
        try:
            for chunk in self._backend.stream(self._job.file, position, end - position):
                worker.alive_now()
                self._keep(part, chunk, position + came.total, end)
                came.add(len(chunk))
                self._hash.advance(worker.alive_now)
        except StorageError as error:
            return came.total, error
        finally:
            came.tell()
        missing = end - position - came.total
        if missing:
            return came.total, StorageUnreachable(f"{self._job.file.path} ended {missing} bytes early")
        return came.total, None

    def _keep(self, part: int, chunk: Any, position: int, end: int) -> None:
        if position + len(chunk) > end:
            raise ObjectChanged(f"{self._job.file.path} came with more bytes than were asked for")
        self._partial.write_at(chunk, position)
        self._hash.keep(part, chunk)
        with self._lock:
            self._moved += len(chunk)

    def _advance(self, worker: Worker) -> Downloaded | None:
        """Hash what is next in line, unless another thread does; return the file if that was the last."""
        if not self._hash.advance(worker.alive_now):
            return None
        self._partial.finish()
        self._ended(self)
        return _checked(self._job.file, self._hash.hexdigest(), self._partial.size, path=self._job.path)


def _checked(file: RemoteFile, sha256: str, size: int, *, data: Any = None, path: Path | None = None) -> Downloaded:
    """Return what arrived, if it is what its source vouches for."""
    if file.sha256 is not None and file.sha256 != sha256:
        if path is not None:
            discard(path)
        raise DigestMismatch(
            f"{file.path} is not what its source vouches for",
            expected=f"sha256:{file.sha256}",
            actual=f"sha256:{sha256}",
        )
    return Downloaded(file=file, sha256=sha256, size=size, data=data, path=path)
