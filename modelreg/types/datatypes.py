"""The data types that tensors have in the Open Inference Protocol, and the numpy type of each."""

from __future__ import annotations

from typing import Any

import attrs

from modelreg.exceptions import MissingExtra

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra("tensors need numpy", next_step="pip install 'modelreg[serve]'") from error


@attrs.frozen
class DataType:
    """One data type of the protocol.

    Attributes:
        name: As the protocol writes it.
        family: What its elements are: ``bool``, ``int``, ``float`` or ``bytes``.
        dtype: Of the array that holds its elements. Numpy has no type for BF16, whose values are held as float32, of
            which they are the upper half; the elements of BYTES are :class:`bytes` objects.
        itemsize: Bytes that an element takes in the binary form; at least so many for BYTES, whose elements each follow
            their length.
    """

    name: str
    family: str
    dtype: np.dtype[Any]
    itemsize: int


def _numeric(name: str, family: str, code: str) -> DataType:
    dtype = np.dtype(code)
    return DataType(name, family, dtype, dtype.itemsize)


_BF16 = DataType("BF16", "float", np.dtype("<f4"), 2)
_BYTES = DataType("BYTES", "bytes", np.dtype(object), 4)

#: Every data type, by name. The binary form is little-endian on every machine.
DATATYPES = {
    datatype.name: datatype
    for datatype in (
        _numeric("BOOL", "bool", "?"),
        _numeric("INT8", "int", "<i1"),
        _numeric("INT16", "int", "<i2"),
        _numeric("INT32", "int", "<i4"),
        _numeric("INT64", "int", "<i8"),
        _numeric("UINT8", "int", "<u1"),
        _numeric("UINT16", "int", "<u2"),
        _numeric("UINT32", "int", "<u4"),
        _numeric("UINT64", "int", "<u8"),
        _numeric("FP16", "float", "<f2"),
        _numeric("FP32", "float", "<f4"),
        _numeric("FP64", "float", "<f8"),
        _BF16,
        _BYTES,
    )
}

_BY_DTYPE = {
    (datatype.dtype.kind, datatype.dtype.itemsize): datatype.name
    for datatype in DATATYPES.values()
    if datatype not in {_BF16, _BYTES}
}


def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """The name of the data type that arrays of ``dtype`` are sent as, or ``None`` where there is none.

    Example:
        >>> import numpy as np
        >>> datatype_of(np.dtype("float32"))
        'FP32'
        >>> datatype_of(np.dtype("datetime64[s]")) is None
        True
    """
    found = _BY_DTYPE.get((dtype.kind, dtype.itemsize))
    if found is not None:
        return found
    if dtype.kind in "OSU":
        return "BYTES"
    # Last, as numpy puts the name together for each who asks.
    return "BF16" if dtype.name == "bfloat16" else None
