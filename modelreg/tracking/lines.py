"""The journal's records: one line each, a CRC-32 in eight hexadecimal digits, a blank and a JSON array.

Text, so that people can read a journal with ``less``; a checksum per line, so that a line which was torn by a power
cut or a full disk is told from one that is whole, and the lines after it can still be read.

The JSON is that of Python's ``json``: the tokens ``NaN``, ``Infinity`` and ``-Infinity`` are numbers too.
"""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

#: What stands before the JSON of a line: the checksum and a blank.
PREFIX_BYTES = 9


def encode(record: list[Any]) -> bytes:
    """Return the JSON of a record, without its checksum.

    Raises:
        TypeError: The record holds what JSON cannot.
    """
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def line(body: bytes) -> bytes:
    r"""Return the line of a record, given its JSON.

    Example:
        >>> line(b'["m","loss",0.5,1,1700000000000]')
        b'03561b2c ["m","loss",0.5,1,1700000000000]\n'
    """
    return b"%08x %b\n" % (crc32(body), body)


def decode(data: bytes) -> list[Any]:
    r"""Return the records of whole lines, in order; lines that fail their checksum are left out.

    Args:
        data: Lines, each with its line feed; what follows the last line feed is left out.

    Example:
        >>> decode(line(b"[1]") + b"torn\n" + line(b"[2]"))
        [[1], [2]]
    """
    bodies = [text[PREFIX_BYTES:] for text in data.split(b"\n")[:-1] if _is_whole(text)]
    # One call for all of them: several times faster than one a line.
    records: list[Any] = json.loads(b"[" + b",".join(bodies) + b"]") if bodies else []
    return records


def _is_whole(text: bytes) -> bool:
    # Compared as text: parsing what may be rubbish could fail.
    return text[:PREFIX_BYTES] == b"%08x " % crc32(text[PREFIX_BYTES:]) and len(text) > PREFIX_BYTES
