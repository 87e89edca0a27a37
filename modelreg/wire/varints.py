"""Integers as protocol buffers write them: seven bits to a byte, the lowest first, the eighth set where more follow."""

from __future__ import annotations

import numpy as np

from modelreg.types.elements import Array, Malformed

#: Wire type of strings, bytes, messages and packed fields.
LENGTH_DELIMITED = 2

# Bytes that 64 bits take at most.
_LONGEST = 10


def read_varint(data: bytes | memoryview, offset: int) -> tuple[int, int]:
    r"""One integer, and the offset behind it.

    Args:
        data: What it is in.
        offset: Where it begins.

    Raises:
        Malformed: ``data`` ends before it does, or it has more than 64 bits.

    Example:
        >>> read_varint(b"\x96\x01", 0)
        (150, 2)
    """
    value = 0
    for position, byte in enumerate(data[offset : offset + _LONGEST]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, offset + position + 1
    raise Malformed("an integer has no end")


def write_varint(value: int) -> bytes:
    r"""The bytes of an integer that is not negative.

    Example:
        >>> write_varint(150)
        b'\x96\x01'
    """
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def field_head(number: int, length: int) -> bytes:
    r"""What stands before the content of a string, bytes, a message or a packed field.

    Args:
        number: Number of the field.
        length: Bytes of its content.

    Example:
        >>> field_head(2, 300)
        b'\x12\xac\x02'
    """
    return write_varint(number << 3 | LENGTH_DELIMITED) + write_varint(length)


def packed_integers(data: bytes | bytearray | memoryview) -> Array:
    r"""The integers of a packed field, as uint64; negative ones are those of int64 with the same bits.

    Raises:
        Malformed: ``data`` ends within an integer, or one has more than 64 bits.

    Example:
        >>> packed_integers(b"\x01\x96\x01").tolist()
        [1, 150]
    """
    buffer = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(buffer < 0x80)
    if len(ends) == len(buffer):
        return buffer.astype(np.uint64)
    if not len(ends) or ends[-1] != len(buffer) - 1:
        raise Malformed("its packed integers end within one")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > _LONGEST:
        raise Malformed("it has a packed integer of more than 64 bits")
    # Behind the last one there is room to look for the bytes that it does not have.
    septets = np.concatenate((buffer & 0x7F, np.zeros(longest, np.uint8)))
    values = septets[starts].astype(np.uint64)
    for position in range(1, longest):
        higher = septets[starts + position].astype(np.uint64)
        higher[lengths <= position] = 0
        values |= higher << np.uint64(7 * position)
    return values
