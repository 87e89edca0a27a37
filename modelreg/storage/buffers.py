"""Buffers that are used again: to have the pages of a fresh one from the kernel costs as much as to fill them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

_PIECE_BYTES = 1 << 20


class Buffers:
    """Buffers of one length, each of them filled again once it was given back.

    As many are made as are out at once; what is never given back is let go with its last reader. Safe to be used by
    several threads at once.

    Args:
        piece_bytes: Length of a buffer: large enough to cost few calls, small enough to stay in the processor's cache.

    Example:
        >>> import io
        >>> buffers = Buffers(4)
        >>> [bytes(piece) for piece in buffers.filled(io.BytesIO(b"abcdefgh").readinto, 6)]
        [b'abcd', b'ef']
    """

    def __init__(self, piece_bytes: int = _PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self._free: deque[bytearray] = deque()

    def filled(self, readinto: Callable[[memoryview], int | None], length: int) -> Iterator[memoryview]:
        """Yield the next ``length`` bytes of what ``readinto`` reads, in pieces; fewer if it ends before."""
        while length:
            wanted = memoryview(self._take())[: min(length, self._piece_bytes)]
            count = _fill(readinto, wanted)
            if not count:
                return
            yield wanted[:count]
            length -= count

    def give_back(self, piece: Any) -> None:
        """Take back ``piece``, which nobody reads any more; what is not of these buffers is let go."""
        if isinstance(piece, memoryview) and isinstance(piece.obj, bytearray) and len(piece.obj) == self._piece_bytes:
            self._free.append(piece.obj)

    def _take(self) -> bytearray:
        try:
            # The last one that was given back is the one that the processor still has at hand.
            return self._free.pop()
        except IndexError:
            return bytearray(self._piece_bytes)


def _fill(readinto: Callable[[memoryview], int | None], wanted: memoryview) -> int:
    """Read until ``wanted`` is full or nothing more comes, and return how many bytes came."""
    came = 0
    while came < len(wanted):
        count = readinto(wanted[came:])
        if not count:
            break
        came += count
    return came
