"""The sha256 of a file whose parts arrive side by side: it follows the bytes as closely as their order allows."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from modelreg.exceptions import CacheError
from modelreg.storage.partial import PartialFile

_READ_BYTES = 1 << 20


class OrderedHash:
    """Hashes the parts of ``file`` in their order, in whichever thread brings what is next in line.

    What comes before its turn is kept in memory as far as ``kept_bytes`` goes, and read back from the file beyond that.
    A part is kept from its start on: what comes after a piece that did not fit is not kept either.

    Safe to be used by several threads at once.

    Args:
        file: Where the bytes are written, and which of its parts are.
        kept_bytes: What may wait in memory.
        release: Given each piece that is not needed any more.
    """

    def __init__(
        self, file: PartialFile, *, kept_bytes: int, release: Callable[[Any], object] = lambda _: None
    ) -> None:
        self._file = file
        self._free = kept_bytes
        self._release = release
        self._digest = hashlib.sha256()
        self._changed = threading.Condition()
        self._hashing = False
        self._ended = False
        self._position = 0
        self._kept: dict[int, deque[Any]] = {}
        self._overflown: set[int] = set()

    @property
    def part(self) -> int:
        """The part that is next in line."""
        return self._position // self._file.part_bytes

    def hexdigest(self) -> str:
        """Return the digest of what was hashed."""
        return self._digest.hexdigest()

    def keep(self, part: int, piece: Any) -> None:
        """Take the next bytes of ``part``, which must not change until they are released."""
        with self._changed:
            # What is next in line does not wait.
            if len(piece) > self._free and part != self.part:
                self._overflown.add(part)
            if part not in self._overflown:
                self._free -= len(piece)
                self._kept.setdefault(part, deque()).append(piece)
                return
        self._release(piece)

    def advance(self, alive: Callable[[], object]) -> bool:
        """Hash what is next in line, unless another thread does; return, once, that nothing is left.

        Args:
            alive: Called before each piece; what it raises ends the work.

        Raises:
            CacheError: The file cannot be read back.
        """
        while self._begin():
            count = 0
            try:
                alive()
                count = self._hash_next()
            finally:
                self._end(count)
        with self._changed:
            if self._ended or self._position < self._file.size or len(self._file.done) < self._file.parts:
                return False
            self._ended = True
            return True

    def wait_for(self, part: int, timeout_s: float) -> None:
        """Wait until ``part`` is next in line, or hashed, for ``timeout_s`` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self.part >= part, timeout_s)

    def _begin(self) -> bool:
        """Return whether this thread is to hash what is next in line."""
        with self._changed:
            if self._hashing or self._position >= self._file.size:
                return False
            self._hashing = bool(self._kept.get(self.part)) or self.part in self._file.done
            return self._hashing

    def _end(self, count: int) -> None:
        with self._changed:
            self._hashing = False
            before = self.part
            self._position += count
            if self.part != before:
                self._changed.notify_all()

    def _hash_next(self) -> int:
        """Hash the next piece and return how many bytes it had."""
        with self._changed:
            kept = self._kept.get(self.part)
            piece = kept.popleft() if kept else None
        if piece is None:
            piece = self._read_back()
            self._digest.update(piece)
            return len(piece)
        self._digest.update(piece)
        count = len(piece)
        with self._changed:
            self._free += count
        self._release(piece)
        return count

    def _read_back(self) -> memoryview:
        start, length = self._file.bounds(self.part)
        buffer = memoryview(bytearray(min(_READ_BYTES, start + length - self._position)))
        count = self._file.read_at(buffer, self._position)
        if not count:
            raise CacheError(f"the partial file {self._file.path} was cut short by someone else")
        return buffer[:count]
