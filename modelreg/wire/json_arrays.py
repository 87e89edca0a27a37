"""Large JSON documents, whose arrays of numbers become numpy arrays without a Python object for each number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np

from modelreg.exceptions import MissingExtra
from modelreg.types.datatypes import DATATYPES
from modelreg.types.elements import MAX_RANK, Array
from modelreg.types.tensors import Tensor
from modelreg.wire.json_text import loads

try:
    import simdjson
except ImportError as error:
    raise MissingExtra("serving needs pysimdjson", next_step="pip install 'modelreg[serve]'") from error

# Bytes from which simdjson is quicker than orjson, although its values are reached one by one.
LARGE = 4096

# Parsers that wait for a document, with their memory: made anew for each, they leave the process with a lot of it that
# is free and in pieces.
_PARSERS: deque[Any] = deque(maxlen=2)
# Bytes of a document from which its parser is not kept; it has about seven times as many.
_KEPT = 16 << 20

# Bytes between two brackets, on average, from which it is quicker to find them one by one.
_APART = 256

# Element type that the buffers of simdjson have, by the kind of the data type's numpy type.
_BUFFERS: dict[str, tuple[Any, str]] = {"f": ("d", "<f8"), "i": ("i", "<i8"), "u": ("u", "<u8")}


def read_document(body: bytes | bytearray | memoryview, tensor_lists: Sequence[str]) -> Any:
    """The value that a JSON document holds; in a large one, the data of tensors are :class:`NumberArray`.

    Args:
        body: The document.
        tensor_lists: Keys of the document that have lists of tensors.

    Raises:
        InvalidInput: It is no JSON.
    """
    if len(body) < LARGE:
        return loads(body)
    try:
        document = _read_large(body, tensor_lists)
        # The buffers of simdjson do not tell 1 from [1]: there must be no list that its neighbours are not.
        if isinstance(document, dict) and _has_brackets(body, _brackets(document)):
            return document
    except (TypeError, ValueError, RuntimeError, KeyError):
        # One reader is the judge of what is JSON, and of what it says, whatever the size. simdjson finds no key that
        # has an escape in it.
        pass
    return loads(body)


def _has_brackets(body: bytes | bytearray | memoryview, count: int) -> bool:
    """Whether the text has exactly ``count`` opening brackets."""
    if isinstance(body, memoryview) or count * _APART > len(body):
        return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord("["))) == count
    # Found one by one: what numpy finds takes as much memory as the body, and to count looks at one byte at a time.
    place = -1
    for _ in range(count):
        place = body.find(b"[", place + 1)
        if place < 0:
            return False
    return body.find(b"[", place + 1) < 0


def _read_large(body: bytes | bytearray | memoryview, tensor_lists: Sequence[str]) -> Any:
    """What :func:`read_document` returns, by simdjson; ``None`` where the document is no object.

    Raises:
        TypeError, ValueError, RuntimeError, KeyError: simdjson cannot read it.
    """
    try:
        parser = _PARSERS.pop()
    except IndexError:
        parser = simdjson.Parser()
    document = _read_object(parser.parse(body), tensor_lists)
    # Nothing of the document is left that looks into the parser's memory.
    if len(body) <= _KEPT:
        _PARSERS.append(parser)
    return document


def _read_object(root: Any, tensor_lists: Sequence[str]) -> dict[str, Any] | None:
    if not isinstance(root, simdjson.Object):
        return None
    return {key: _tensors(value) if key in tensor_lists else _plain(value) for key, value in _items(root)}


def _items(fields: Any) -> Iterator[tuple[str, Any]]:
    """What an object has, with the arrays in it left in place; its own ``items`` makes lists of them.

    Raises:
        ValueError: A key is there twice.
    """
    keys = list(fields.keys())
    if len(keys) != len(set(keys)):
        raise ValueError("a key is there twice")
    return ((key, fields[key]) for key in keys)


def _tensors(described: Any) -> Any:
    """A list of tensors, if it is one, with the data of each left in place."""
    if not isinstance(described, simdjson.Array):
        return _plain(described)
    return [_tensor(fields) if isinstance(fields, simdjson.Object) else _plain(fields) for fields in described]


def _tensor(fields: Any) -> dict[str, Any]:
    described = {key: value if key == "data" else _plain(value) for key, value in _items(fields)}
    if "data" in described:
        described["data"] = _data(described["data"], described.get("datatype"))
    return described


def _data(value: Any, datatype: Any) -> Any:
    """The data of a tensor: numbers as :class:`NumberArray`."""
    known = DATATYPES.get(datatype.upper()) if isinstance(datatype, str) else None
    kind = _BUFFERS.get(known.dtype.kind) if known else None
    if kind is None or not isinstance(value, simdjson.Array):
        return _plain(value)
    dimensions = _dimensions(value)
    try:
        numbers = np.frombuffer(value.as_buffer(of_type=kind[0]), kind[1])
    except (TypeError, ValueError):
        # Not all are numbers, or not such ones: the lists tell what they are.
        return value.as_list()
    return NumberArray(numbers, dimensions)


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value


def _brackets(value: Any) -> int:
    """How many opening brackets the text of ``value`` has, if all arrays are as even as they seem."""
    if isinstance(value, NumberArray):
        return value.lists
    if isinstance(value, dict):
        return sum(key.count("[") + _brackets(one) for key, one in value.items())
    if isinstance(value, list):
        return 1 + sum(map(_brackets, value))
    return value.count("[") if isinstance(value, str) else 0


class NumberArray:
    """An array of a large document, or arrays in an array, with nothing but numbers in them.

    Args:
        numbers: The numbers, in one dimension.
        dimensions: The lengths of the arrays, level by level.
    """

    __slots__ = ("_dimensions", "_numbers")

    def __init__(self, numbers: Array, dimensions: Sequence[int]) -> None:
        self._numbers = numbers
        self._dimensions = dimensions

    @property
    def lists(self) -> int:
        """How many lists it is made of, itself included."""
        lists: int = 1 + sum(accumulate(self._dimensions[:-1], mul))
        return lists

    def into(self, tensor: Tensor) -> None:
        """Make the array the data of ``tensor``, which it is to fit.

        Raises:
            InvalidInput: It does not fit (of an input).
            InferenceError: The same of an output.
        """
        tensor.receive(self._numbers, self._dimensions)


def _dimensions(array: Any) -> list[int]:
    """The lengths of nested arrays, level by level.

    Raises:
        TypeError: An array has other elements beside arrays.
        ValueError: Arrays of one level differ in length, or are nested too deep.
    """
    dimensions = [len(array)]
    rows = [array]
    while dimensions[-1] and isinstance(rows[0][0], simdjson.Array):
        if len(dimensions) == MAX_RANK:
            raise ValueError("nested too deep")
        rows = [row for parent in rows for row in parent]
        (length,) = set(map(len, rows))
        dimensions.append(length)
    return dimensions
