"""Numbers that several processes count in memory that they share, each in a part of its own."""

from __future__ import annotations

import json
import mmap
import multiprocessing.sharedctypes
import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

from modelreg.exceptions import InvalidInput

#: Some numbers in shared memory, as doubles.
Numbers: TypeAlias = "memoryview[float]"

# Bytes for the series of one worker; only those that are used take memory.
_PART_BYTES = 1024 * 1024
# How many bytes of a part are used: written after what they hold, so that a reader never sees half a series.
_USED = struct.Struct("<Q")
# Lengths of what follows: the key, in bytes, and the numbers, in doubles.
_ENTRY = struct.Struct("<II")
_DOUBLE = 8


class SharedNumbers:
    """Series of numbers by key, counted by several processes and added up by whichever is asked.

    Made before the processes are forked, it is memory that all of them see; made with ``spawned``, those as well that
    it is sent to when they begin. No process ever waits for another: each writes into its own part alone, and a part
    outlives the process that wrote it.

    Args:
        workers: How many processes count.
        spawned: Whether they are spawned.

    Raises:
        InvalidInput: ``workers`` is below 1.

    Example:
        >>> numbers = SharedNumbers(workers=2)
        >>> for worker in range(2):
        ...     numbers.of_worker(worker).series(("requests", "iris"), 1)[0] += 3
        >>> numbers.sums()
        {('requests', 'iris'): [6.0]}
    """

    def __init__(self, workers: int = 1, *, spawned: bool = False) -> None:
        if workers < 1:
            raise InvalidInput(f"numbers must be shared by at least one worker, not {workers}")
        self.workers = workers
        size = workers * _PART_BYTES
        self._shared: Any = multiprocessing.sharedctypes.RawArray("B", size) if spawned else mmap.mmap(-1, size)
        self._memory = memoryview(self._shared).cast("B")

    def __getstate__(self) -> dict[str, Any]:
        return {"workers": self.workers, "_shared": self._shared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._memory = memoryview(self._shared).cast("B")

    def of_worker(self, worker: int) -> WorkerNumbers:
        """Return the part that the worker of that number, from 0, writes into.

        Raises:
            InvalidInput: There is no worker of that number.
        """
        if not 0 <= worker < self.workers:
            raise InvalidInput(f"there is no worker {worker} among {self.workers}")
        return WorkerNumbers(self._part(worker))

    def sums(self) -> dict[tuple[str, ...], list[float]]:
        """Return the numbers of every series, each added up over the workers."""
        sums: dict[tuple[str, ...], list[float]] = {}
        for worker in range(self.workers):
            for key, numbers in _entries(self._part(worker)):
                before = sums.get(key, [0.0] * len(numbers))
                sums[key] = [a + b for a, b in zip(before, numbers, strict=True)]
        return sums

    def _part(self, worker: int) -> memoryview:
        return self._memory[worker * _PART_BYTES : (worker + 1) * _PART_BYTES]


class WorkerNumbers:
    """The series of one worker. Whoever uses it sees to it that one thread at a time does.

    Args:
        part: Its memory, with what a worker before it counted.
    """

    def __init__(self, part: memoryview) -> None:
        self._part = part
        self._series = dict(_entries(part))

    def series(self, key: tuple[str, ...], count: int) -> Numbers:
        """Return the numbers of a series, to be added to; all are 0 where the series is new.

        Args:
            key: Name of the series and its labels.
            count: How many numbers it has.

        Returns:
            Numbers that are shared; where the memory is full, numbers that are not.
        """
        numbers = self._series.get(key)
        if numbers is None:
            numbers = self._series[key] = self._added(key, count)
        return numbers

    def _added(self, key: tuple[str, ...], count: int) -> Numbers:
        name = json.dumps(key).encode()
        # Numbers begin at whole doubles.
        name += b" " * (-(len(name) + _ENTRY.size) % _DOUBLE)
        (used,) = _USED.unpack_from(self._part)
        start = used or _USED.size
        numbers_at = start + _ENTRY.size + len(name)
        end = numbers_at + count * _DOUBLE
        if end > len(self._part):
            return memoryview(bytearray(count * _DOUBLE)).cast("d")
        _ENTRY.pack_into(self._part, start, len(name), count)
        self._part[start + _ENTRY.size : numbers_at] = name
        _USED.pack_into(self._part, 0, end)
        return self._part[numbers_at:end].cast("d")


def _entries(part: memoryview) -> Iterator[tuple[tuple[str, ...], Numbers]]:
    (used,) = _USED.unpack_from(part)
    position = _USED.size
    while position < used:
        length, count = _ENTRY.unpack_from(part, position)
        numbers_at = position + _ENTRY.size + length
        position = numbers_at + count * _DOUBLE
        key = tuple(json.loads(bytes(part[numbers_at - length : numbers_at])))
        yield key, part[numbers_at:position].cast("d")
