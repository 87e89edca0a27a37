"""The transfer engine: many files at once, and ranges of one large file at once, through one bounded pool.

- A small file is read whole, in memory, by one request; several go to a thread at a time. A single one is read by the
  caller's own thread, where the storage keeps its deadlines: starting another takes as long as reading it.
- A large file is cut into parts, which any thread writes to their place in its :class:`PartialFile`. The thread that
  brings the next piece in line hashes it, so hashing runs beside the transfer.
- A file that can only be read from its start is one stream.

The caller's thread hands out the work and calls back; whatever it raises ends the transfer, and the partial files
that are left are taken up by the next one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from modelreg.storage.model import Downloaded, RemoteFile
from modelreg.storage.moving import Arrived, Changed, Job, LargeFile, Moved, SmallFiles, WholeFile
from modelreg.storage.partial import discard
from modelreg.storage.pool import CallersThread, Task, WorkerPool
from modelreg.storageconfig import TransferSettings

if TYPE_CHECKING:
    from modelreg.storage.backends import Backend

_MOST_FILES_AT_ONCE = 16


@attrs.frozen
class TransferProgress:
    """How far a transfer is.

    Attributes:
        bytes_done: Bytes that came, those taken up from an earlier try included.
        bytes_total: Bytes that are to come, as far as sizes are known.
        files_done: Files that arrived whole.
        files_total: Files that are to arrive.
    """

    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int


#: Called in the caller's own thread as bytes and files arrive; what it raises ends the transfer.
Progress = Callable[[TransferProgress], object]


def download(
    backend: Backend,
    jobs: Iterable[tuple[RemoteFile, Path]],
    *,
    options: TransferSettings | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[Downloaded]:
    """Yield each file as it arrives whole, hashed, in no particular order.

    A file that changed since its listing arrives as it is now, and :attr:`Downloaded.file` says so.

    Args:
        backend: What the files are read through.
        jobs: Each file, and the path of its partial file, where a large one goes and an earlier try may have left a
            part of it; ``<path>.ranges`` beside it is the engine's own.
        options: How bytes are moved; by default as the backend's settings say.
        progress: Called as bytes and files arrive.
        cancel: Ends the transfer when another thread sets it.

    Raises:
        ObjectNotFound: A file is gone.
        ObjectChanged: A file changed each time it was begun anew.
        DigestMismatch: A file is not what its source vouches for.
        TransferStalled: No byte came within the deadline.
        StorageError: The storage failed, and kept failing.
        CacheFull: No space is left for a partial file.
        KeyboardInterrupt: ``cancel`` was set.
    """
    settings = options or backend.settings.transfer
    wanted = [Job(file, path) for file, path in jobs]
    engine = _Engine(backend, wanted, settings, progress or _ignore, cancel)
    try:
        yield from engine.run()
    finally:
        engine.close()


def _ignore(_: TransferProgress) -> None:
    """Be told of progress and do nothing."""


class _Engine:
    def __init__(
        self,
        backend: Backend,
        jobs: list[Job],
        settings: TransferSettings,
        progress: Progress,
        cancel: threading.Event | None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._progress = progress
        size = settings.concurrency if backend.concurrency is None else backend.concurrency
        self._pool: WorkerPool | CallersThread
        if backend.keeps_deadlines and len(jobs) == 1 and self._is_small(jobs[0].file):
            self._pool = CallersThread(cancel=cancel)
        else:
            self._pool = WorkerPool(size, stall_timeout_s=settings.stall_timeout_s, cancel=cancel)
        # Enough work for every thread while the caller keeps a file, and a bound on what is held in memory.
        self._most_under_way = size * 2
        self._under_way = 0
        self._large: set[LargeFile] = set()
        self._bytes_total = sum(job.file.size or 0 for job in jobs)
        self._bytes_done = 0
        self._files_total = len(jobs)
        self._files_done = 0
        self._tasks = self._plan(jobs)
        self._again: deque[Iterator[Task]] = deque()

    def run(self) -> Iterator[Downloaded]:
        """Yield each file as it arrives."""
        while self._feed():
            answer: Moved | Arrived = self._pool.next()
            if isinstance(answer, Moved):
                self._bytes_done += answer.count
                self._report()
                continue
            self._under_way -= 1
            for changed in answer.changed:
                self._begin_anew(changed)
            for file in answer.files:
                self._files_done += 1
                self._report()
                yield file

    def close(self) -> None:
        """End every thread and leave what came to be taken up later."""
        if self._pool.close():
            for large in self._large:
                large.leave()

    def _feed(self) -> bool:
        """Hand out work as far as it may be under way at once; return whether there is any."""
        while self._under_way < self._most_under_way:
            task = next(self._again[0], None) if self._again else next(self._tasks, None)
            if task is not None:
                self._under_way += 1
                self._pool.submit(task)
            elif self._again:
                self._again.popleft()
            else:
                break
        return self._under_way > 0

    def _report(self) -> None:
        done = TransferProgress(self._bytes_done, self._bytes_total, self._files_done, self._files_total)
        self._progress(done)

    def _plan(self, jobs: list[Job]) -> Iterator[Task]:
        """Yield the work that brings ``jobs``, large files first so that none is left to run alone at the end."""
        small = [job for job in jobs if self._is_small(job.file)]
        for job in jobs:
            if not self._is_small(job.file):
                yield from self._plan_large(job)
        for batch in _batches(small, self._settings):
            yield SmallFiles(self._backend, batch, self._settings)

    def _plan_large(self, job: Job) -> Iterator[Task]:
        if job.file.size is None or not self._backend.ranged:
            yield WholeFile(self._backend, job, self._settings)
            return
        large = LargeFile(self._backend, job, self._settings, ended=self._large.discard)
        self._large.add(large)
        self._bytes_done += large.taken_up
        yield from large.tasks()

    def _is_small(self, file: RemoteFile) -> bool:
        return file.size is not None and file.size <= self._settings.small_bytes

    def _begin_anew(self, changed: Changed) -> None:
        job = changed.job
        self._bytes_done -= changed.in_vain
        if job.restarts >= self._settings.restarts:
            raise changed.error
        discard(job.path)
        now = self._backend.stat(job.file)
        self._bytes_total += (now.size or 0) - (job.file.size or 0)
        self._again.append(self._plan([attrs.evolve(job, file=now, restarts=job.restarts + 1)]))


def _batches(jobs: list[Job], settings: TransferSettings) -> Iterator[tuple[Job, ...]]:
    """Yield small files in groups: each hand-over between threads costs as much as reading a small file."""
    most = max(1, min(_MOST_FILES_AT_ONCE, len(jobs) // (settings.concurrency * 2)))
    batch: list[Job] = []
    size = 0
    for job in jobs:
        if batch and (len(batch) >= most or size + (job.file.size or 0) > settings.small_bytes):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(job)
        size += job.file.size or 0
    if batch:
        yield tuple(batch)
