"""Large JSON documents, whose arrays of numbers become numpy arrays without a Python object for each number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np

from modelreg.exceptions import MissingExtra
from modelreg.types.datatypes import DATATYPES
from modelreg.types.elements import MAX_RANK
from modelreg.types.tensors import Tensor
from modelreg.wire.json_text import loads

try:
    import simdjson
except ImportError as error:
    raise MissingExtra("serving needs pysimdjson", next_step="pip install 'modelreg[serve]'") from error

# Bytes from which simdjson is quicker than orjson, although its values are reached one by one.
LARGE = 4096

# Element type that the buffers of simdjson have, by the kind of the data type's numpy type.
_BUFFERS = {"f": ("d", "<f8"), "i": ("i", "<i8"), "u": ("u", "<u8")}


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
        root = simdjson.Parser().parse(body)
        if isinstance(root, simdjson.Object):
            document = {key: _tensors(value) if key in tensor_lists else _plain(value) for key, value in _items(root)}
            # The buffers of simdjson do not tell 1 from [1]: there must be no list that its neighbours are not.
            if _brackets(document) == bytes(body).count(b"["):
                return document
    except (TypeError, ValueError, RuntimeError, KeyError):
        # One reader is the judge of what is JSON, and of what it says, whatever the size. simdjson finds no key that
        # has an escape in it.
        pass
    return loads(body)


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
    return {
        key: NumberArray(value) if key == "data" and isinstance(value, simdjson.Array) else _plain(value)
        for key, value in _items(fields)
    }


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
    """An array of a large document, which most likely has nothing but numbers in it.

    Args:
        array: The array, as simdjson has it.

    Raises:
        TypeError: An array has other elements beside arrays.
        ValueError: Arrays of one level differ in length, or are nested too deep.
    """

    __slots__ = ("_array", "_dimensions")

    def __init__(self, array: Any) -> None:
        self._array = array
        self._dimensions = _dimensions(array)

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
        datatype = DATATYPES.get(tensor.datatype)
        kind = _BUFFERS.get(datatype.dtype.kind) if datatype else None
        if kind is not None:
            try:
                numbers = np.frombuffer(self._array.as_buffer(of_type=kind[0]), kind[1])
            except (TypeError, ValueError):
                # Not all are numbers, or not such ones: the lists tell what they are.
                pass
            else:
                tensor.receive(numbers, self._dimensions)
                return
        tensor.data = self._array.as_list()
        tensor.settle()


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
