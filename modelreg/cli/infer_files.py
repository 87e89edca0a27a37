"""Requests to models from files: JSON of the protocol, tables in CSV, arrays of numpy."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from modelreg.exceptions import InvalidInput
from modelreg.types.datatypes import DATATYPES
from modelreg.types.inference import InferInput, InferRequest
from modelreg.wire.oip_json import decode_request, loads

Format = Literal["json", "csv", "npy"]
#: What a model says of its inputs: ``name`` and ``datatype`` of each.
Inputs = Sequence[Mapping[str, Any]]

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Source(NamedTuple):
    """What is to be sent, and how it is written.

    Attributes:
        content: The file's bytes.
        format: How they are to be read.
        name: What messages call the file.
    """

    content: bytes
    format: Format
    name: str


def format_of(path: Path) -> Format:
    """Return the format that a file's name says it has: JSON, unless it ends in ``.csv`` or ``.npy``.

    Example:
        >>> format_of(Path("rows.csv")), format_of(Path("request"))
        ('csv', 'json')
    """
    suffix = path.suffix.lower()
    return "csv" if suffix == ".csv" else "npy" if suffix == ".npy" else "json"


def request_from(
    source: Source, model: str, version: str | None, *, inputs_of: Callable[[], Inputs]
) -> InferRequest | dict[str, Any]:
    """Return the request that a file holds: a dictionary where it is JSON of V1, else one for V2.

    Args:
        source: The file.
        model: Name of the model.
        version: Version of the model; ``None`` for the newest.
        inputs_of: Asks the model for its inputs; called for tables and arrays alone.

    Raises:
        InvalidInput: The file holds no request, or does not fit the model's inputs.
    """
    if source.format == "json":
        return _from_json(source, model, version)
    tensors = _table(source, inputs_of()) if source.format == "csv" else [_array(source, inputs_of())]
    return InferRequest(model, tensors, model_version=version)


def _from_json(source: Source, model: str, version: str | None) -> InferRequest | dict[str, Any]:
    document = loads(source.content)
    if isinstance(document, dict) and "inputs" in document:
        return decode_request(source.content, model_name=model, model_version=version)
    if isinstance(document, dict) and "instances" in document:
        return document
    raise InvalidInput(
        f"{source.name} is no request: it has neither 'inputs' nor 'instances'",
        next_step='write it as {"inputs": [{"name": ..., "shape": ..., "datatype": ..., "data": ...}]}',
    )


def _array(source: Source, inputs: Inputs) -> InferInput:
    try:
        array = np.load(io.BytesIO(source.content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidInput(f"{source.name} is no array of numpy: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{source.name} holds several arrays", next_step="give one .npy file")
    if len(inputs) > 1:
        raise InvalidInput(
            f"{source.name} is one array, and the model has {len(inputs)} inputs: {_names(inputs)}",
            next_step="give a request in JSON",
        )
    tensor = InferInput.from_numpy(inputs[0]["name"] if inputs else "input-0", array)
    return tensor if not inputs else _converted(tensor, inputs[0]["datatype"])


def _converted(tensor: InferInput, datatype: str) -> InferInput:
    """Return ``tensor`` in the data type that the model wants, where numpy takes one for the other."""
    wanted = DATATYPES.get(datatype)
    array = tensor.as_numpy()
    if tensor.datatype == datatype or wanted is None or not np.can_cast(array.dtype, wanted.dtype, "same_kind"):
        return tensor
    return InferInput(tensor.name, tensor.shape, datatype, array.astype(wanted.dtype))


def _table(source: Source, inputs: Inputs) -> list[InferInput]:
    """Return a tensor for each input that the table has a column for, or the whole table where the model has one."""
    columns = _columns(source)
    if not inputs:
        return [_column(name, cells, _guess(cells)) for name, cells in columns.items()]
    names = [one["name"] for one in inputs]
    if set(names) == set(columns):
        return [_column(one["name"], columns[one["name"]], one["datatype"], len(one["shape"])) for one in inputs]
    if len(inputs) == 1:
        return [_whole(columns, inputs[0])]
    raise InvalidInput(
        f"the columns of {source.name} are {', '.join(map(repr, columns))}; the model's inputs are {_names(inputs)}",
        next_step="name the columns as the inputs",
    )


def _columns(source: Source) -> dict[str, list[str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(source.content.decode("utf-8-sig"), newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{source.name} is no table in CSV: {error}") from error
    if len(rows) < 2:
        raise InvalidInput(f"{source.name} has no rows below a line of names")
    names, *rows = rows
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise InvalidInput(f"{source.name} has {len(names)} columns, and {len(row)} in row {number}")
    if len(set(names)) < len(names):
        raise InvalidInput(f"{source.name} has two columns of one name")
    return {name: list(cells) for name, *cells in zip(names, *rows, strict=True)}


def _guess(cells: Sequence[str]) -> str:
    """Return the data type of a column whose model says nothing of it: INT64, FP64 or BYTES."""
    for datatype, read in (("INT64", int), ("FP64", float)):
        try:
            for cell in cells:
                read(cell)
        except ValueError:
            continue
        return datatype
    return "BYTES"


def _column(name: str, cells: Sequence[str], datatype: str, rank: int = 1) -> InferInput:
    if datatype.startswith("FP") and not any(map(_is_number, cells)):
        # A model that was fitted on a data frame calls all of its columns numbers, those of text, too.
        datatype = "BYTES"
    shape = [len(cells), *([1] * (rank - 1))]
    return InferInput(name, shape, datatype, _values(name, cells, datatype).reshape(shape))


def _whole(columns: Mapping[str, Sequence[str]], wanted: Mapping[str, Any]) -> InferInput:
    datatype = wanted["datatype"]
    table = np.stack([_values(name, cells, datatype) for name, cells in columns.items()], axis=1)
    return InferInput(wanted["name"], list(table.shape), datatype, table)


def _values(name: str, cells: Sequence[str], datatype: str) -> np.ndarray[Any, Any]:
    known = DATATYPES.get(datatype)
    if known is None:
        raise InvalidInput(f"the model wants column {name!r} as {datatype!r}, which is no data type of the protocol")
    try:
        if known.family == "bool":
            return np.array([_TRUTH[cell.strip().lower()] for cell in cells])
        if known.family == "bytes":
            return np.array([cell.encode() for cell in cells], dtype=object)
        read = int if known.family == "int" else _float
        return np.array([read(cell) for cell in cells]).astype(known.dtype)
    except (KeyError, ValueError, OverflowError) as error:
        raise InvalidInput(f"column {name!r} has a value that is no {datatype}: {error}") from error


def _float(cell: str) -> float:
    return float(cell) if cell.strip() else float("nan")


def _is_number(cell: str) -> bool:
    try:
        _float(cell)
    except ValueError:
        return False
    return True


def _names(inputs: Inputs) -> str:
    return ", ".join(repr(one["name"]) for one in inputs)
