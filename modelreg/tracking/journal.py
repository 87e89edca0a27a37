"""The journal of one run: an append-only file on local disk, in segments, that a killed process leaves readable.

:meth:`Journal.append` hands each record to the kernel before it returns, so that it survives the death of the process
whatever kills it. :class:`~modelreg.tracking.commit.Committer` calls :meth:`Journal.commit` at most every 50 ms, which
bounds what a power cut can take. Where the disk is full, training goes on: records wait in a bounded memory for space,
one warning says so, and what is on disk stays readable.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from modelreg.tracking import lines

logger = logging.getLogger(__name__)

#: A place in a journal: the number of the segment and the offset in it, in bytes.
Position: TypeAlias = tuple[int, int]

#: Where every journal begins.
START: Position = (1, 0)

_SUFFIX = ".journal"
# os.O_BINARY is what keeps Windows from translating line feeds; elsewhere there is nothing to say.
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_RETRY_S = 0.5


def segment_path(folder: Path, number: int) -> Path:
    """Return the path of a journal's segment ``number``."""
    return folder / f"{number:06d}{_SUFFIX}"


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable, where the platform can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class OpenFiles:
    """Keeps the number of open journals bounded, so that ten thousand runs fit a process's limit on open files.

    Args:
        limit: Journals that are open at once.
    """

    def __init__(self, limit: int = 128) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._open: dict[Journal, None] = {}

    def opened(self, journal: Journal) -> None:
        """Count ``journal`` as open, and close those that were opened first where there are too many."""
        with self._lock:
            self._open[journal] = None
            surplus = list(self._open)[: max(0, len(self._open) - self._limit)]
            for other in surplus:
                # One that is being written to at this moment stays.
                if other is not journal and other.release():
                    del self._open[other]

    def closed(self, journal: Journal) -> None:
        """Count ``journal`` as closed."""
        with self._lock:
            self._open.pop(journal, None)


class Journal:
    """The writing side of a run's journal; any number of threads may append.

    Args:
        folder: The journal's own folder, which exists.
        on_dirty: Called with the journal when it has the first record that no commit has seen.
        files: What bounds the number of open files.
        segment_bytes: Size at which the next segment is begun.
        backlog_bytes: Bytes of records that wait in memory while the disk takes none; more are dropped, and counted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on_dirty: Callable[[Journal], None],
        files: OpenFiles,
        segment_bytes: int = 16 * 1024 * 1024,
        backlog_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self.folder = folder
        #: Records that found no room, on disk or in memory.
        self.dropped = 0
        self._on_dirty = on_dirty
        self._files = files
        self._segment_bytes = segment_bytes
        self._backlog_bytes = backlog_bytes
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._full: list[int] = []
        self._segment, self._size = START
        self._dirty = False
        self._closed = False
        self._torn = False
        self._warned = False
        self._backlog: deque[bytes] = deque()
        self._backlog_size = 0
        self._next_try = 0.0

    @property
    def position(self) -> Position:
        """Where the next record goes."""
        return self._segment, self._size

    @property
    def waiting(self) -> int:
        """Records that wait in memory for space on the disk."""
        return len(self._backlog)

    def append(self, body: bytes) -> None:
        """Add a record, given its JSON; it is in the kernel's hands, and outlives the process, when this returns.

        A disk that takes nothing is no error here: the record waits in memory, within bounds.
        """
        data = lines.line(body)
        with self._lock:
            if self._backlog:
                self._keep(data)
                if time.monotonic() >= self._next_try:
                    self._write_backlog()
            elif not self._write(data):
                self._keep(data)
            if self._dirty:
                return
            self._dirty = True
        self._on_dirty(self)

    def commit(self) -> None:
        """Make every record so far durable against a power cut."""
        with self._lock:
            self._dirty = False
            if self._closed:
                return
            if self._backlog:
                self._write_backlog()
            descriptors, self._full = self._full, []
            try:
                descriptors.append(self._duplicate())
            except OSError as error:
                self._warn(error)
        for descriptor in descriptors:
            self._sync(descriptor)

    def close(self) -> None:
        """Commit and close the journal for good."""
        self.commit()
        with self._lock:
            self._closed = True
            self._close()
        self._files.closed(self)
        if self.waiting or self.dropped:
            logger.error("%s: %d records found no room on the disk", self.folder, self.waiting + self.dropped)

    def release(self) -> bool:
        """Close the file unless a record is being written; return whether it is closed."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._close()
        finally:
            self._lock.release()
        return True

    def abandon(self) -> None:
        """Close the file in a forked child, whose parent goes on writing: no lock, no commit."""
        self._close()

    def _write(self, data: bytes) -> bool:
        try:
            descriptor = self._open() if self._descriptor is None else self._descriptor
            # What a full disk tore apart becomes a line of its own, which its checksum leaves out.
            data = b"\n" + data if self._torn else data
            written = os.write(descriptor, data)
        except OSError as error:
            self._warn(error)
            return False
        self._size += written
        self._torn = written != len(data)
        if self._size >= self._segment_bytes and not self._torn:
            self._begin_segment(descriptor)
        return not self._torn

    def _begin_segment(self, descriptor: int) -> None:
        # The next commit makes the full segment durable and closes it: the caller does not wait for that.
        self._full.append(descriptor)
        self._descriptor = None
        self._segment += 1
        self._size = 0

    def _keep(self, data: bytes) -> None:
        if self._backlog_size + len(data) > self._backlog_bytes:
            self.dropped += 1
            return
        self._backlog.append(data)
        self._backlog_size += len(data)

    def _write_backlog(self) -> None:
        while self._backlog and self._write(self._backlog[0]):
            self._backlog_size -= len(self._backlog.popleft())
        self._next_try = time.monotonic() + _RETRY_S

    def _open(self) -> int:
        path = segment_path(self.folder, self._segment)
        self._descriptor = os.open(path, _APPEND, 0o600)
        if self._size == 0:
            sync_folder(self.folder)
        self._files.opened(self)
        return self._descriptor

    def _duplicate(self) -> int:
        if self._descriptor is not None:
            return os.dup(self._descriptor)
        return os.open(segment_path(self.folder, self._segment), _APPEND, 0o600)

    def _sync(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            self._warn(error)
        finally:
            os.close(descriptor)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "cannot write the journal %s: %s; the run goes on, what it logs waits in memory (%d bytes) for space",
                *(self.folder, error.strerror or error, self._backlog_bytes),
            )


class JournalReader:
    """The reading side of a journal, of this process or of another; it keeps no file open.

    Args:
        folder: The journal's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, position: Position, *, max_bytes: int, max_records: int) -> tuple[list[Any], Position]:
        """Return the records that follow ``position``, and the place after the last of them.

        A line that is not complete yet is left for the next call; at the end of the journal nothing is returned and the
        place stays the same.

        Args:
            position: Where to read on.
            max_bytes: Bytes to read; a longer record is read whole.
            max_records: Records to return at most.
        """
        segment, offset = position
        # Asked before reading: once there is a next segment, this one has all its records.
        is_full = segment_path(self.folder, segment + 1).exists()
        data = self._lines(segment, offset, max_bytes)
        if not data:
            return [], (segment + 1, 0) if is_full else position
        if data.count(b"\n") > max_records:
            data = b"".join(data.splitlines(keepends=True)[:max_records])
        return lines.decode(data), (segment, offset + len(data))

    def discard(self, position: Position) -> None:
        """Delete the segments that lie before ``position`` altogether."""
        number = position[0] - 1
        while number and (path := segment_path(self.folder, number)).exists():
            path.unlink(missing_ok=True)
            number -= 1

    def last_written_ms(self) -> int:
        """Return when the journal was last written to, in milliseconds since the epoch."""
        times = [path.stat().st_mtime for path in self.folder.glob(f"*{_SUFFIX}")]
        return int(max(times, default=time.time()) * 1000)

    def _lines(self, segment: int, offset: int, max_bytes: int) -> bytes:
        """Return whole lines from ``offset`` on; empty at the end."""
        with contextlib.suppress(FileNotFoundError), segment_path(self.folder, segment).open("rb") as file:
            file.seek(offset)
            data = file.read(max_bytes)
            while b"\n" not in data and (more := file.read(max_bytes)):
                data += more
            return data[: data.rfind(b"\n") + 1]
        return b""
