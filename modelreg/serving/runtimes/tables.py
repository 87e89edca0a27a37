"""Tables: what a request holds, as the matrix or data frame that an estimator takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from modelreg.exceptions import InvalidInput, MissingExtra
from modelreg.types.inference import InferInput

Array = npt.NDArray[Any]
_SHOWN_NAMES = 8


@attrs.frozen(kw_only=True)
class Features:
    """The features that an estimator takes.

    Attributes:
        names: Their names in its order; empty where it knows none.
        count: How many there are; ``None`` where it does not say.
        datatype: Name of the data type that the metadata give them.
        by_name: Whether it wants a data frame of them where they have names.
        kept_as: How it writes a name that it was given.
    """

    names: tuple[str, ...] = ()
    count: int | None = None
    datatype: str = "FP64"
    by_name: bool = False
    kept_as: Callable[[str], str] = str

    def described(self) -> list[dict[str, Any]]:
        """Return the inputs for the metadata."""
        if self.names:
            return [{"name": name, "datatype": self.datatype, "shape": [-1, 1]} for name in self.names]
        return [{"name": "input", "datatype": self.datatype, "shape": [-1, self.count or -1]}]

    def table(self, matrix: Array, given: str) -> Any:
        """Return a matrix as the estimator takes it.

        Args:
            matrix: The features in the estimator's order.
            given: What the request calls it, for errors.

        Raises:
            InvalidInput: It has another number of columns.
        """
        if matrix.ndim == 1 and self.count == 1:
            matrix = matrix.reshape(-1, 1)
        if matrix.ndim != 2 and not (matrix.ndim == 1 and self.count is None):
            raise InvalidInput(
                f"{given} has the shape {[*matrix.shape]}: it must be [rows, {self.count or 'features'}]"
            )
        if self.count is not None and matrix.shape[1] != self.count:
            raise InvalidInput(f"{given} has {matrix.shape[1]} columns: the model takes {self.count} features")
        if self.by_name and self.names:
            return _frame(dict(zip(self.names, matrix.T, strict=True)))
        return matrix

    def table_of_columns(self, columns: Mapping[str, Array]) -> Any:
        """Return columns as the estimator takes them: by their names where it knows those, else in their order.

        Raises:
            InvalidInput: One is missing or unknown, or they differ in rows.
        """
        if len({len(column) for column in columns.values()}) > 1:
            rows = ", ".join(f"{name!r} has {len(column)}" for name, column in columns.items())
            raise InvalidInput(f"the inputs differ in rows: {rows}")
        ordered = self._in_order(self._as_kept(columns))
        is_mixed = len({column.dtype == object for column in ordered.values()}) > 1
        if (self.by_name and self.names) or is_mixed:
            return _frame(ordered)
        return np.column_stack([*ordered.values()])

    def _as_kept(self, columns: Mapping[str, Array]) -> Mapping[str, Array]:
        kept = {self.kept_as(name): column for name, column in columns.items()} if self.names else columns
        if len(kept) != len(columns):
            raise InvalidInput(f"two of {_listed([*columns])} are one feature: the model takes {_listed(self.names)}")
        return kept

    def _in_order(self, columns: Mapping[str, Array]) -> Mapping[str, Array]:
        if self.names and not columns.keys().isdisjoint(self.names):
            missing = [name for name in self.names if name not in columns]
            unknown = [name for name in columns if name not in self.names]
            if missing or unknown:
                problem = f"lacks {_listed(missing)}" if missing else f"has {_listed(unknown)} besides"
                raise InvalidInput(f"the input {problem}: the model takes the features {_listed(self.names)}")
            return {name: columns[name] for name in self.names}
        if self.count is not None and len(columns) != self.count:
            takes = f"takes {self.count}" + (f", named {_listed(self.names)}" if self.names else "")
            raise InvalidInput(f"there are {len(columns)} features in the input: the model {takes}")
        return dict(zip(self.names, columns.values(), strict=True)) if self.names else columns


def table_of_tensors(inputs: Sequence[InferInput], features: Features) -> Any:
    """Return the table that tensors make.

    Raises:
        InvalidInput: They do not suit the features, or an element is wrong.
    """
    if not inputs:
        raise InvalidInput("the request has no inputs")
    if len(inputs) == 1 and (features.count != 1 or features.kept_as(inputs[0].name) not in features.names):
        return features.table(_values(inputs[0]), f"input {inputs[0].name!r}")
    return features.table_of_columns({tensor.name: _column(tensor) for tensor in inputs})


def table_of_instances(payload: Any, features: Features) -> Any:
    """Return the table that the decoded JSON of V1 makes.

    Args:
        payload: ``{"instances": [...]}`` or ``{"inputs": ...}``: rows, each a list or an object; or an
            object of columns.
        features: What it is to suit.

    Raises:
        InvalidInput: It has no rows, or they do not suit the features.
    """
    rows = payload.get("instances", payload.get("inputs")) if isinstance(payload, dict) else None
    if isinstance(rows, dict) and rows:
        return features.table_of_columns({str(name): _array(column, 1) for name, column in rows.items()})
    if not isinstance(rows, list) or not rows:
        raise InvalidInput("the request has no rows: send {'instances': [[...], ...]}")
    if all(isinstance(row, dict) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return features.table_of_columns({name: _array([row.get(name) for row in rows], 1) for name in names})
    return features.table(_array(rows, None), "'instances'")


def _values(tensor: InferInput) -> Array:
    if tensor.datatype != "BYTES":
        return tensor.as_numpy()
    return np.array(tensor.as_string(), dtype=object).reshape(tensor.shape)


def _column(tensor: InferInput) -> Array:
    values = _values(tensor)
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
        return values.reshape(-1)
    raise InvalidInput(
        f"input {tensor.name!r} has the shape {[*values.shape]}: where there are several inputs, each is one feature,"
        " of the shape [rows] or [rows, 1]"
    )


def _array(values: Any, rank: int | None) -> Array:
    """Return lists as an array of numbers, or of objects where some are text; ``None`` is a number that is missing."""
    try:
        array: Array = np.asarray(values)
        if array.dtype.kind in "OUS":
            array = np.array(values, dtype=object)
            array = _numbers(array)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("the rows are not all of one length, or a number in them is too large") from error
    if rank is not None and array.ndim != rank:
        raise InvalidInput("a feature holds lists where it must hold single values")
    return array


def _numbers(array: Array) -> Array:
    """Return an array of objects as numbers, if nothing in it is text."""
    flat = array.ravel().tolist()
    if all(item is None or isinstance(item, (bool, int, float)) for item in flat):
        return array.astype(np.float64)
    return array


def _frame(columns: Mapping[str, Array]) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("this model takes its features by name, which needs pandas", next_step=_PANDAS) from error
    return pd.DataFrame(dict(columns))


_PANDAS = "pip install 'modelreg[sklearn]'"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NAMES])
    return f"{shown} and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else shown
