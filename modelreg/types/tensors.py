"""Tensors: what they hold, in whichever form, and the check that it fits their shape and data type.

A tensor holds its data in the form that it came in, and makes others of it when they are asked for. The values of BF16,
for which numpy has no type, are arrays of float32; the elements of BYTES are :class:`bytes` objects, however they were
sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from modelreg.exceptions import InferenceError, InvalidInput, ModelRegError
from modelreg.types.datatypes import DATATYPES, DataType, datatype_of
from modelreg.types.elements import (
    Array,
    Malformed,
    Raw,
    array_of,
    cast,
    check_count,
    element_count,
    flattened,
    from_raw,
    to_raw,
)

if TYPE_CHECKING:
    from typing_extensions import Self

Parameters = dict[str, Any]

# The numpy type of the data types whose elements are what arrays of it hold: BF16 has fewer bits, and BYTES no type.
_EXACT = {datatype.name: datatype.dtype for datatype in DATATYPES.values() if datatype.name not in {"BF16", "BYTES"}}

_INTEGERS = frozenset({int})


def _upper(text: str) -> str:
    return text.upper()


@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class Tensor:
    """A named tensor.

    Args:
        name: Its name.
        shape: Its dimensions; none are a scalar.
        datatype: Name of its data type, such as ``FP32``.
        data: Its elements as a list, flat or nested, as an array, or as bytes in the protocol's binary form.
        parameters: What the protocol passes along with it.

    Attributes:
        parameters: As given; ``None`` where there are none.

    Example:
        >>> InferInput("x", [2, 2], "INT32", [1, 2, 3, 4]).as_numpy()
        array([[1, 2],
               [3, 4]], dtype=int32)
    """

    name: str
    shape: Sequence[int]
    datatype: str = attrs.field(converter=_upper)
    _content: Any = attrs.field(default=None, alias="data", repr=False)
    parameters: Parameters | None = attrs.field(default=None, repr=False)
    #: Where the data is an array that stands for lists of numbers, their lengths, level by level.
    _lists: Sequence[int] | None = attrs.field(default=None, init=False, repr=False)
    #: Whether it is to be sent as one, too.
    _sent_as_list: bool = attrs.field(default=False, init=False, repr=False)

    #: What a tensor is called in messages, and the error that it raises when its data is wrong.
    _kind: ClassVar[str]
    _error: ClassVar[type[ModelRegError]]

    @classmethod
    def from_numpy(cls, name: str, array: Array, parameters: Parameters | None = None) -> Self:
        """A tensor that has the shape, the data type and the elements of ``array``, which it does not copy.

        Args:
            name: Its name.
            array: Its elements; objects and strings are sent as BYTES.
            parameters: What the protocol passes along with it.

        Raises:
            InvalidInput: No data type of the protocol has such elements (of an input).
            InferenceError: The same of an output.
        """
        datatype = datatype_of(array.dtype)
        if datatype is None:
            raise cls._error(f"{cls._kind} {name!r:.100} has an array of {array.dtype.name}, which no data type is for")
        return cls(name, list(array.shape), datatype, array, parameters)

    @property
    def data(self) -> Any:
        """What was given as data; of a tensor that was received, the elements as a list, nested as they were sent."""
        if isinstance(self._content, (bytes, bytearray, memoryview)):
            return self.as_numpy().ravel().tolist()
        if self._lists is None:
            return self._content
        lists = self._content.reshape(self._lists).tolist()
        if self._sent_as_list:
            # Whoever changes it means what is sent.
            self.data = lists
        return lists

    @data.setter
    def data(self, data: Any) -> None:
        self._content = data
        self._lists = None
        self._sent_as_list = False

    @property
    def is_raw(self) -> bool:
        """Whether the data is in the protocol's binary form."""
        return isinstance(self._content, (bytes, bytearray, memoryview))

    @property
    def is_list(self) -> bool:
        """Whether the data is a list."""
        return self._sent_as_list or isinstance(self._content, (list, tuple))

    def as_numpy(self) -> Array:
        """The elements as an array of this shape and data type.

        It is a read-only view of what was received in binary form, and a view of an array that was given.

        Raises:
            InvalidInput: The data does not fit the shape or the data type (of an input).
            InferenceError: The same of an output.
        """
        content = self._content
        # What is as it should be needs no further look: so are most tensors, each of which is asked for it repeatedly.
        if (
            type(content) is np.ndarray
            and content.dtype is _EXACT.get(self.datatype)
            and [*content.shape] == self.shape
            # [1.0] and [True] equal [1].
            and _INTEGERS.issuperset(map(type, self.shape))
        ):
            return content
        try:
            datatype = self._datatype()
            count = element_count(self.shape, datatype.itemsize)
            return self._array(datatype, count).reshape(self.shape)
        except Malformed as error:
            raise self._error(f"{self._label}: {error}") from error

    def as_raw(self) -> Raw:
        """The elements in the protocol's binary form: what was received, or a view of an array, where there is one.

        Raises:
            InvalidInput: The data does not fit the shape or the data type (of an input).
            InferenceError: The same of an output.
        """
        array = self.as_numpy()
        return self._content if self.is_raw else to_raw(array, DATATYPES[self.datatype])

    def as_string(self) -> list[str]:
        """The elements of a BYTES tensor of any rank as strings, in row-major order.

        Raises:
            InvalidInput: The tensor is not a BYTES one, or an element is not UTF-8 (of an input).
            InferenceError: The same of an output.
        """
        if self.datatype != "BYTES":
            raise self._error(f"{self._label} has the data type {self.datatype}: only BYTES are strings")
        try:
            return [element.decode() for element in self.as_numpy().ravel().tolist()]
        except UnicodeDecodeError as error:
            raise self._error(f"{self._label} has an element that is not UTF-8") from error

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, with the data as :attr:`data` has it; ``None`` where that is in binary form.

        Example:
            >>> InferInput("x", [2], "INT32", [1, 2]).to_dict()
            {'name': 'x', 'shape': [2], 'datatype': 'INT32', 'data': [1, 2], 'parameters': None}
        """
        data = None if self.is_raw else self.data
        fields = {"name": self.name, "shape": self.shape, "datatype": self.datatype}
        return {**fields, "data": data, "parameters": self.parameters}

    def _hold_array(self, array: Array, binary_data: bool) -> None:
        """Do what ``set_data_from_numpy`` of inputs and outputs says; each calls its array by a name of its own."""
        if not isinstance(array, np.ndarray):
            raise self._error(f"{self._label} needs an array, not {type(array).__name__}")
        found = datatype_of(array.dtype)
        if found != self.datatype and (found, self.datatype) != ("FP32", "BF16"):
            raise self._error(f"{self._label} is {self.datatype}, and the array is of {array.dtype.name}")
        if array.shape != tuple(self.shape):
            raise self._error(f"{self._label} has the shape {list(self.shape)}, the array {array.shape}")
        parameters = dict(self.parameters or ())
        parameters.pop("binary_data_size", None)
        self.data = array
        # A copy each time: what the caller does with the array afterwards is not to change the tensor.
        if binary_data:
            self.data = bytes(self.as_raw())
            parameters["binary_data_size"] = len(self._content)
        elif self.datatype == "BYTES":
            self.data = self.as_string()
        else:
            self._content = self.as_numpy().copy()
            self._lists, self._sent_as_list = (array.size,), True
        self.parameters = parameters or None

    def settle(self) -> None:
        """Check received data against the shape and the data type, and keep lists of numbers as arrays.

        Raises:
            InvalidInput: The data does not fit (of an input).
            InferenceError: The same of an output.
        """
        try:
            datatype = self._datatype()
            count = element_count(self.shape, datatype.itemsize)
            if not isinstance(self._content, list):
                self._array(datatype, count)
                return
            elements, dimensions = flattened(self._content)
            check_count(len(elements), count)
            array = array_of(elements, datatype)
        except Malformed as error:
            raise self._error(f"{self._label}: {error}") from error
        if datatype.family != "bytes":
            self._content = array.reshape(self.shape)
            self._lists = dimensions

    def receive(self, array: Array, dimensions: Sequence[int] | None = None) -> None:
        """Make numbers the data that were received as a list, after a check against the shape and the data type.

        Args:
            array: The numbers, in one dimension.
            dimensions: The lengths of the lists that they were received in, level by level; ``None`` for one list.

        Raises:
            InvalidInput: The numbers do not fit (of an input).
            InferenceError: The same of an output.
        """
        try:
            datatype = self._datatype()
            check_count(array.size, element_count(self.shape, datatype.itemsize))
            self._content = cast(array, datatype).reshape(self.shape)
        except Malformed as error:
            raise self._error(f"{self._label}: {error}") from error
        self._lists = (array.size,) if dimensions is None else dimensions

    @property
    def _label(self) -> str:
        """What messages call the tensor; a client may have given it a name of megabytes."""
        return f"{self._kind} {self.name!r:.100}"

    def _datatype(self) -> DataType:
        datatype = DATATYPES.get(self.datatype)
        if datatype is None:
            raise Malformed(f"there is no data type {self.datatype!r:.40}; use one of {', '.join(DATATYPES)}")
        return datatype

    def _array(self, datatype: DataType, count: int) -> Array:
        """The checked elements, in whichever dimensions they are held."""
        # A sum over all axes is a scalar of numpy's, and no array.
        content = np.asarray(self._content) if isinstance(self._content, np.generic) else self._content
        if isinstance(content, np.ndarray):
            check_count(content.size, count)
            return cast(content, datatype)
        if isinstance(content, (list, tuple)):
            if content and isinstance(content[0], np.ndarray):
                content = [row.tolist() if isinstance(row, np.ndarray) else row for row in content]
            elements, _ = flattened(content)
            check_count(len(elements), count)
            return array_of(elements, datatype)
        if self.is_raw:
            return from_raw(content, datatype, count)
        raise Malformed("it has no data" if content is None else f"its data is of the type {type(content).__name__}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        if self._described() != other._described():
            return False
        if self._content is None or other._content is None:
            return self._content is other._content
        return self.as_raw() == other.as_raw()

    # As of every class whose objects change.
    __hash__ = None  # type: ignore[assignment]  # data may be exchanged

    def _described(self) -> tuple[Any, ...]:
        return self.name, list(self.shape), self.datatype, self.parameters or {}


@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class InferInput(Tensor):
    """An input of a model; its data is wrong where the client's is, so its errors are :exc:`InvalidInput`."""

    _kind = "input"
    _error = InvalidInput

    def set_data_from_numpy(self, input_tensor: Array, binary_data: bool = True) -> None:
        """Make the elements of an array the data.

        Args:
            input_tensor: Of this shape and data type; float32 is right for BF16, and is rounded.
            binary_data: Whether it is sent in the protocol's binary form; as a list otherwise.

        Raises:
            InvalidInput: The array has another shape or data type.
        """
        self._hold_array(input_tensor, binary_data)


@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class InferOutput(Tensor):
    """An output of a model; its data is wrong where the model's is, so its errors are :exc:`InferenceError`."""

    _kind = "output"
    _error = InferenceError

    def set_data_from_numpy(self, output_tensor: Array, binary_data: bool = True) -> None:
        """Make the elements of an array the data.

        Args:
            output_tensor: Of this shape and data type; float32 is right for BF16, and is rounded.
            binary_data: Whether it is sent in the protocol's binary form; as a list otherwise.

        Raises:
            InferenceError: The array has another shape or data type.
        """
        self._hold_array(output_tensor, binary_data)


def check_names(tensors: Sequence[Tensor], error: type[ModelRegError]) -> None:
    """Refuse tensors two of which have the same name.

    Raises:
        ModelRegError: They do; it is the ``error`` that was given.
    """
    if len(tensors) < 2 or len({tensor.name for tensor in tensors}) == len(tensors):
        return
    name, count = Counter(tensor.name for tensor in tensors).most_common(1)[0]
    raise error(f"{count} of the tensors have the name {name!r:.100}")
