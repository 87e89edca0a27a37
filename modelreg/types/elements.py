"""Elements of tensors as lists, as arrays and in their binary form; what does not fit its data type is refused.

No function here allocates anything from a number that it did not check against the size of what it was given.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import index
from typing import Any, TypeAlias

import numpy as np

from modelreg.types.datatypes import DATATYPES, DataType, datatype_of

Array: TypeAlias = "np.ndarray[Any, Any]"
Raw: TypeAlias = bytes | bytearray | memoryview

# As many dimensions as a numpy array can have.
MAX_RANK = 64
# Arrays under this size are copied to bytes, which is quicker than to make a view of them.
_SMALL = 4096
# Numbers up to which Python compares them in less time than numpy needs to begin.
_FEW = 16
_LENGTH = struct.Struct("<I")
# The largest number of each type of floats.
_LARGEST = {
    datatype.dtype: float(np.finfo(datatype.dtype).max) for datatype in DATATYPES.values() if datatype.family == "float"
}

# JSON has no numbers for these; the names are those of the JSON mapping of protocol buffers.
_NOT_FINITE: dict[Any, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, None: math.nan}
_JSON_NAMES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class Malformed(Exception):
    """The data of a tensor does not fit its shape or its data type; whoever knows the tensor's name reports it."""


def element_count(shape: Sequence[int], itemsize: int = 1) -> int:
    """The number of elements that a tensor of ``shape`` has.

    Args:
        shape: Its dimensions.
        itemsize: Bytes that each element takes.

    Raises:
        Malformed: A dimension is no integer or negative, or there is no room for such a tensor on any machine.

    Example:
        >>> element_count([1, 3, 224, 224])
        150528
    """
    if not isinstance(shape, (list, tuple)):
        raise Malformed("its shape is not a list of integers")
    if len(shape) > MAX_RANK:
        raise Malformed(f"its shape has {len(shape)} dimensions, and {MAX_RANK} is the limit")
    for dimension in shape:
        if type(dimension) is not int:
            _check_integer(dimension)
        if dimension < 0:
            raise Malformed(f"its shape has a negative dimension, {dimension}")
    count = math.prod(shape)
    # A dimension of zero makes no other one harmless: numpy multiplies the rest.
    if (count or math.prod(filter(None, shape))) * itemsize > sys.maxsize:
        raise Malformed("its shape is too large")
    return count


def _check_integer(dimension: object) -> None:
    """Refuse what is no integer; those of numpy are."""
    try:
        index(dimension)  # type: ignore[arg-type]  # whether it is one is the question
    except TypeError:
        raise Malformed("its shape is not a list of integers") from None
    if isinstance(dimension, bool):
        raise Malformed("its shape is not a list of integers")


def check_count(found: int, expected: int) -> None:
    """Refuse another number of elements than the shape says."""
    if found != expected:
        raise Malformed(f"it has {found} elements where its shape says {expected}")


def flattened(data: Sequence[Any]) -> tuple[Sequence[Any], list[int]]:
    """The elements of nested lists in row-major order, and the lengths of the lists level by level.

    Raises:
        Malformed: Lists of one level differ in length, or have elements beside them.

    Example:
        >>> flattened([[1, 2], [3, 4], [5, 6]])
        ([1, 2, 3, 4, 5, 6], [3, 2])
    """
    dimensions = [len(data)]
    while data and type(data[0]) in {list, tuple}:
        if len(dimensions) == MAX_RANK:
            raise Malformed(f"its data is nested more than {MAX_RANK} levels deep")
        length = len(data[0])
        if not all(type(row) in {list, tuple} and len(row) == length for row in data):
            raise Malformed("its data is nested unevenly")
        dimensions.append(length)
        data = list(chain.from_iterable(data))
    return data, dimensions


def array_of(elements: Sequence[Any], datatype: DataType) -> Array:
    """A new array of one dimension that holds ``elements``.

    Numbers are taken as JSON has them: 1.0 is an integer, and 1 and 0 are booleans. Where a float is asked for,
    ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` are, too, and ``None`` is not a number.

    Raises:
        Malformed: An element is of another type, or has a value that the data type cannot hold.
    """
    kinds = set(map(type, elements))
    if not kinds <= _JSON_NAMES.keys() and datatype.family != "bytes":
        return cast(_array_of_objects(elements), datatype)
    return _MAKERS[datatype.family](elements, kinds, datatype)


def _array_of_objects(elements: Sequence[Any]) -> Array:
    """An array of what a handler may put into a list beside plain values: scalars of numpy."""
    try:
        array = np.array(elements)
    except ValueError as error:
        raise Malformed("its data is nested unevenly") from error
    if datatype_of(array.dtype) in {None, "BYTES"}:
        raise Malformed(f"it has elements of the type {type(elements[0]).__name__}")
    return array


def _floats(elements: Sequence[Any], kinds: set[type], datatype: DataType) -> Array:
    if not kinds <= {float, int}:
        elements = [_float(element, position) for position, element in enumerate(elements)]
    try:
        if _surely_fit(elements, datatype):
            array = np.array(elements, datatype.dtype)
        else:
            with np.errstate(over="raise"):
                array = np.array(elements, datatype.dtype)
    except (OverflowError, FloatingPointError) as error:
        raise Malformed(f"it has a number that {datatype.name} cannot hold") from error
    return _rounded(array, datatype)


def _surely_fit(elements: Sequence[Any], datatype: DataType) -> bool:
    """Whether few numbers are seen to be in the range of ``datatype``, which is quicker than to have numpy watch."""
    if not 0 < len(elements) <= _FEW:
        return False
    limit = _LARGEST[datatype.dtype]
    # A NaN that is first is all that min and max see, and is in no range; any other they pass over.
    return bool(-limit <= min(elements) and max(elements) <= limit)


def _float(element: object, position: int) -> float:
    if type(element) in {float, int}:
        return element  # type: ignore[return-value]  # just checked, in the cheapest way there is
    if (element is None or type(element) is str) and element in _NOT_FINITE:
        return _NOT_FINITE[element]
    raise Malformed(_refusal(element, position, "a number"))


def _integers(elements: Sequence[Any], kinds: set[type], datatype: DataType) -> Array:
    if kinds - {int}:
        elements = [_integer(element, position) for position, element in enumerate(elements)]
    try:
        return np.array(elements, datatype.dtype)
    except OverflowError as error:
        raise Malformed(f"it has a number that {datatype.name} cannot hold") from error


def _integer(element: object, position: int) -> int:
    if type(element) is int:
        return element
    if type(element) is float:
        if element.is_integer():
            return int(element)
        raise Malformed(f"element {position} is not an integer")
    raise Malformed(_refusal(element, position, "an integer"))


def _booleans(elements: Sequence[Any], kinds: set[type], datatype: DataType) -> Array:
    if kinds - {bool}:
        for position, element in enumerate(elements):
            if type(element) not in {bool, int} or element not in {0, 1}:
                raise Malformed(_refusal(element, position, "a boolean"))
    return np.array(elements, datatype.dtype)


def _strings(elements: Sequence[Any], kinds: set[type], datatype: DataType) -> Array:
    if not kinds <= {str, bytes}:
        for position, element in enumerate(elements):
            if not isinstance(element, (str, bytes)):
                raise Malformed(_refusal(element, position, "a string"))
    array = np.empty(len(elements), datatype.dtype)
    try:
        array[:] = [bytes(e) if isinstance(e, bytes) else e.encode() for e in elements]
    except UnicodeEncodeError as error:
        raise Malformed("it has a string that UTF-8 cannot hold") from error
    return array


_MAKERS = {"float": _floats, "int": _integers, "bool": _booleans, "bytes": _strings}


def _refusal(element: object, position: int, wanted: str) -> str:
    found = _JSON_NAMES.get(type(element), f"of the type {type(element).__name__}")
    return f"element {position} is {found} where {wanted} is needed"


def cast(array: Array, datatype: DataType) -> Array:
    """``array`` with the elements of ``datatype``; the same array where it has them.

    Raises:
        Malformed: The array has elements of another family, or with values that the data type cannot hold.
    """
    if array.dtype == datatype.dtype and datatype.family != "bytes":
        return _rounded(array, datatype)
    found = datatype_of(array.dtype)
    family = DATATYPES[found].family if found else None
    if datatype.family == "bytes" == family:
        strings: Array = array_of(array.ravel().tolist(), datatype).reshape(array.shape)
        return strings
    if datatype.family == "float" and family in {"float", "int"}:
        return _cast_to_float(array, datatype)
    if datatype.family == "int" and family == "int":
        return _cast_to_integer(array, datatype)
    raise Malformed(f"it has an array of {array.dtype.name} where {datatype.name} is needed")


def _cast_to_float(array: Array, datatype: DataType) -> Array:
    try:
        with np.errstate(over="raise"):
            return _rounded(array.astype(datatype.dtype), datatype)
    except FloatingPointError as error:
        raise Malformed(f"it has a number that {datatype.name} cannot hold") from error


def _cast_to_integer(array: Array, datatype: DataType) -> Array:
    if array.size and not np.can_cast(array.dtype, datatype.dtype):
        limits = np.iinfo(datatype.dtype)
        # As Python's integers: numpy compares those of mixed signs as floats.
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise Malformed(f"it has a number that {datatype.name} cannot hold")
    return array.astype(datatype.dtype)


def from_raw(raw: Raw, datatype: DataType, count: int) -> Array:
    """The array of one dimension that the binary form ``raw`` holds: a read-only view of it where numpy has the type.

    Raises:
        Malformed: ``raw`` has another size than ``count`` elements have.
    """
    if datatype.family == "bytes":
        return _strings(split_bytes(raw, count), set(), datatype)
    size = count * datatype.itemsize
    if len(raw) != size:
        raise Malformed(f"it has {len(raw)} bytes where its shape and data type say {size}")
    if datatype.name == "BF16":
        return _from_bf16(np.frombuffer(raw, "<u2"))
    if datatype.family == "bool":
        return _from_bool(np.frombuffer(raw, np.uint8))
    array = np.frombuffer(raw, datatype.dtype)
    array.flags.writeable = False
    return array


def to_raw(array: Array, datatype: DataType) -> Raw:
    """The binary form of ``array``, which has the elements of ``datatype``: a view of it where it is large."""
    if datatype.family == "bytes":
        return join_bytes(array.ravel().tolist())
    if datatype.name == "BF16":
        return _to_bf16(array).tobytes()
    if array.nbytes <= _SMALL:
        return array.tobytes()
    return np.ascontiguousarray(array).data.cast("B")


def split_bytes(raw: Raw, count: int) -> list[bytes]:
    """The elements of a BYTES tensor, each of which follows its length in four bytes.

    Raises:
        Malformed: ``raw`` ends too early or too late.
    """
    size = len(raw)
    if count * _LENGTH.size > size:
        raise Malformed(f"it has {size} bytes, which cannot hold {count} elements")
    elements = []
    offset = 0
    for position in range(count):
        start = offset + _LENGTH.size
        if start > size:
            raise Malformed(f"its bytes end before the length of element {position}")
        (length,) = _LENGTH.unpack_from(raw, offset)
        offset = start + length
        if offset > size:
            raise Malformed(f"element {position} has {length} bytes, and {size - start} are left")
        elements.append(bytes(raw[start:offset]))
    if offset != size:
        raise Malformed(f"its bytes go on after element {count - 1}: {size - offset} are left")
    return elements


def join_bytes(elements: Iterable[bytes]) -> bytes:
    r"""The binary form of a BYTES tensor.

    Example:
        >>> join_bytes([b"a", b""])
        b'\x01\x00\x00\x00a\x00\x00\x00\x00'
    """
    return b"".join(chain.from_iterable((_LENGTH.pack(len(element)), element) for element in elements))


def _from_bool(array: Array) -> Array:
    """Every byte that is not zero is true; numpy takes nothing else than 0 and 1 for a boolean."""
    truth = array.view(np.bool_) if not array.size or array.max() <= 1 else array != 0
    truth.flags.writeable = False
    return truth


def _rounded(array: Array, datatype: DataType) -> Array:
    """``array`` with the precision of BF16, where that is what it is to have."""
    return _from_bf16(_to_bf16(array)) if datatype.name == "BF16" else array


def _from_bf16(halves: Array) -> Array:
    return (halves.astype("<u4") << 16).view("<f4")


def _to_bf16(array: Array) -> Array:
    """The upper halves of float32 values, rounded to the nearest, to the even one of two that are as near."""
    bits = np.ascontiguousarray(array, "<f4").view("<u4")
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    # A NaN stays one, whatever rounding would make of its bits.
    return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2")
