"""A file that is being downloaded: its bytes, and the journal beside it that says which of them are there.

The journal (``<path>.ranges``) is text. Its first line is a JSON object: ``format`` (1), ``size`` and ``part`` in
bytes, ``identity`` of the remote file and ``boot``, which changes when the machine starts anew. Each further line is
the number of a part whose bytes were written before the line was, or ``synced N``: the first N parts of the journal
lie on the disk itself. A killed process loses neither. After the machine went down, only synced parts count.
"""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modelreg.exceptions import CacheError, CacheFull

_FORMAT = 1
_JOURNAL_SUFFIX = ".ranges"
# What a machine that goes down may cost; small enough to lose, large enough for a sync not to be felt.
_SYNC_EVERY = 1 << 30
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class PartialFile:
    """The bytes of one remote file that have arrived so far.

    Safe to be used by several threads at once. What an earlier process left is taken up where it fits; what does not
    fit is unlinked rather than emptied, so that a process that still writes it harms no one.

    Args:
        path: Where the bytes go; the journal lies beside it.
        size: Bytes of the whole file.
        part_bytes: Length of a part.
        identity: The remote file's; if empty, nothing is taken up.

    Raises:
        CacheFull: No space is left.
        CacheError: The disk cannot be used.
    """

    def __init__(self, path: Path, *, size: int, part_bytes: int, identity: str) -> None:
        self.path = path
        self.size = size
        self.part_bytes = part_bytes
        self._journal_path = path.with_name(path.name + _JOURNAL_SUFFIX)
        self._header = {
            "format": _FORMAT,
            "size": size,
            "part": part_bytes,
            "identity": identity,
            "boot": _boot_id(),
        }
        self._position_lock = threading.Lock()
        self._journal_lock = threading.Lock()
        self._unsynced = 0
        with disk_errors(path):
            there, synced = self._resumable() if identity else ([], 0)
            self.done = set(there)
            if not self.done:
                discard(path)
                path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, _FLAGS | (0 if self.done else os.O_EXCL), 0o666)
            self._noted = len(there)
            self._journal = self._begin_journal(there, synced)

    @property
    def parts(self) -> int:
        """How many parts the file has."""
        return -(-self.size // self.part_bytes)

    def bounds(self, part: int) -> tuple[int, int]:
        """Return offset and length of ``part`` in bytes."""
        offset = part * self.part_bytes
        return offset, min(self.part_bytes, self.size - offset)

    def write_at(self, data: Any, offset: int) -> None:
        """Write ``data`` at ``offset``.

        Raises:
            CacheFull: No space is left.
            CacheError: The disk cannot be used.
        """
        view = memoryview(data)
        with disk_errors(self.path):
            while view:
                written = _pwrite(self._fd, view, offset, self._position_lock)
                view = view[written:]
                offset += written

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Fill ``buffer`` from ``offset`` on and return how many bytes there were.

        Raises:
            CacheError: The disk cannot be used.
        """
        with disk_errors(self.path):
            return _pread_into(self._fd, buffer, offset, self._position_lock)

    def mark(self, part: int) -> None:
        """Note that the bytes of ``part`` are written.

        Raises:
            CacheFull: No space is left.
            CacheError: The disk cannot be used.
        """
        with self._journal_lock:
            self._note(str(part))
            self._noted += 1
            self._unsynced += self.bounds(part)[1]
            noted = self._noted
            due = self._unsynced >= _SYNC_EVERY and noted < self.parts
            self._unsynced = 0 if due else self._unsynced
        if due:
            self._sync(noted)
        # Last: once every part is done another thread may close the file.
        self.done.add(part)

    def _sync(self, noted: int) -> None:
        """Bring the first ``noted`` parts of the journal to the disk itself."""
        with disk_errors(self.path):
            os.fsync(self._fd)
            self._note(f"synced {noted}")
            os.fsync(self._journal)

    def finish(self) -> None:
        """Close the file, which is whole, and drop its journal."""
        self.close()
        with suppress(FileNotFoundError), disk_errors(self.path):
            self._journal_path.unlink()

    def close(self) -> None:
        """Close the file and leave it to be taken up later."""
        for name in ("_fd", "_journal"):
            descriptor, closed = getattr(self, name), -1
            setattr(self, name, closed)
            if descriptor != closed:
                os.close(descriptor)

    def _note(self, line: str) -> None:
        with disk_errors(self.path):
            os.write(self._journal, f"{line}\n".encode())

    def _begin_journal(self, there: list[int], synced: int) -> int:
        """Write what is there already, the ``synced`` first of it safely, and return the journal open for more."""
        lines = [json.dumps(self._header), *map(str, there[:synced])]
        lines += [f"synced {synced}"] if synced else []
        lines += map(str, there[synced:])
        fresh = self._journal_path.with_name(f"{self._journal_path.name}.new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.replace(self._journal_path)
        return os.open(self._journal_path, _FLAGS | os.O_APPEND, 0o600)

    def _resumable(self) -> tuple[list[int], int]:
        """Return the parts that are there already, and how many of them, the first, lie on the disk itself."""
        try:
            lines = self._journal_path.read_bytes().split(b"\n")[:-1]
            header = json.loads(lines[0])
            there = self.path.stat().st_size
        except (FileNotFoundError, PermissionError, IndexError, ValueError):
            return [], 0
        if not os.access(self.path, os.W_OK):
            # Begun by another user of a shared cache.
            return [], 0
        same_boot = isinstance(header, dict) and header.pop("boot", None) == self._header["boot"]
        if header != {name: value for name, value in self._header.items() if name != "boot"}:
            return [], 0
        noted = [int(line) for line in lines[1:] if line.isdigit()]
        kept = noted if same_boot else noted[: _synced(lines)]
        parts = [part for part in dict.fromkeys(kept) if part < self.parts and sum(self.bounds(part)) <= there]
        safe = set(noted[: _synced(lines)])
        return sorted(parts, key=lambda part: part not in safe), sum(part in safe for part in parts)


def discard(path: Path) -> None:
    """Remove a partial file and its journal, if they are there."""
    for one in (path, path.with_name(path.name + _JOURNAL_SUFFIX)):
        with suppress(FileNotFoundError):
            one.unlink()


def write_whole(path: Path, data: Any) -> None:
    """Write ``data`` as the partial file ``path``, which then lacks nothing; what was there before is let go.

    Raises:
        CacheFull: No space is left.
        CacheError: The disk cannot be used.
    """
    with disk_errors(path), _opened_anew(path) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def _opened_anew(path: Path) -> io.FileIO:
    """Return a new file at ``path``, which no other process has open; what an earlier try left is let go."""
    try:
        return io.FileIO(path, "xb")
    except FileExistsError:
        discard(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    return io.FileIO(path, "xb")


def _synced(lines: list[bytes]) -> int:
    """Return how many parts a journal says to be on the disk itself."""
    return max((int(line[7:]) for line in lines if line.startswith(b"synced ") and line[7:].isdigit()), default=0)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        # The moment of the start, as far as two clocks agree on it; a guess that is off costs a fresh download.
        return f"{round((time.time() - time.monotonic()) / 10)}"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say what an error of the local disk means for the download into ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise CacheFull(
                f"no space is left for the download in {path.parent}",
                next_step="free some, or put the cache elsewhere with MODELREG_CACHE_DIR",
            ) from error
        raise CacheError(f"the download {path} cannot be written: {error.strerror or error}") from error


if hasattr(os, "pwrite"):

    def _pwrite(descriptor: int, data: memoryview, offset: int, lock: threading.Lock) -> int:
        del lock
        return os.pwrite(descriptor, data, offset)
else:  # Windows has one position per file, which threads must not move under each other.

    def _pwrite(descriptor: int, data: memoryview, offset: int, lock: threading.Lock) -> int:
        with lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.write(descriptor, data)


if hasattr(os, "preadv"):

    def _pread_into(descriptor: int, buffer: memoryview, offset: int, lock: threading.Lock) -> int:
        del lock
        return os.preadv(descriptor, [buffer], offset)
else:

    def _pread_into(descriptor: int, buffer: memoryview, offset: int, lock: threading.Lock) -> int:
        with lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            data = os.read(descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)
