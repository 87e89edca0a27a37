"""Small models as ONNX files, written without a library: the messages of ``onnx.proto`` that they need."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

# Types of elements.
FLOAT, INT64, STRING = 1, 7, 8
_ML = "ai.onnx.ml"
_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _field(number: int, value: str | bytes | float) -> bytes:
    if isinstance(value, float):
        return _varint(number << 3 | _FIXED32) + struct.pack("<f", value)
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _attribute(name: str, value: Any) -> bytes:
    """AttributeProto: text, or a list of whole numbers, of other numbers or of text."""
    if isinstance(value, str):
        return _field(1, name) + _field(4, value) + _field(20, 3)
    number, kind = {float: (7, 6), int: (8, 7), str: (9, 8)}[type(value[0])]
    return _field(1, name) + b"".join(_field(number, one) for one in value) + _field(20, kind)


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any) -> bytes:
    """NodeProto."""
    names = [_field(1, name) for name in inputs] + [_field(2, name) for name in outputs]
    named = [_field(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join([*names, _field(4, operator), *named, _field(7, domain)])


def _tensor(element: int, shape: Sequence[int | str] | None) -> bytes:
    """TypeProto of a tensor; a dimension that is text is open, and without a shape all are."""
    described = _field(1, element)
    if shape is not None:
        sizes = [_field(1, one) if isinstance(one, int) else _field(2, one) for one in shape]
        described += _field(2, b"".join(_field(1, size) for size in sizes))
    return _field(1, described)


def _value(name: str, kind: bytes) -> bytes:
    """ValueInfoProto."""
    return _field(1, name) + _field(2, kind)


def _model(nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    """ModelProto, with the two sets of operators."""
    parts = [*((1, node) for node in nodes), (2, "graph"), *((11, one) for one in inputs), *((12, o) for o in outputs)]
    graph = b"".join(_field(number, part) for number, part in parts)
    operators = [_field(1, domain) + _field(2, version) for domain, version in (("", 17), (_ML, 1))]
    return _field(1, 8) + _field(7, graph) + b"".join(_field(8, one) for one in operators)


def classifier(coefficients: Any, intercepts: Any, *, as_maps: bool = True) -> bytes:
    """A linear classifier, such as a fitted LogisticRegression is, with the classes 0, 1 and so on.

    Args:
        coefficients: A row for each class, a column for each feature.
        intercepts: A number for each class.
        as_maps: Whether probabilities are a map for each row, as scikit-learn's converter gives them.
    """
    classes = [*range(len(intercepts))]
    classify = _node(
        "LinearClassifier",
        ["X"],
        ["output_label", "probabilities"],
        _ML,
        coefficients=[float(one) for row in coefficients for one in row],
        intercepts=[float(one) for one in intercepts],
        classlabels_ints=classes,
        post_transform="SOFTMAX",
    )
    label = _value("output_label", _tensor(INT64, ["rows"]))
    rows = [_value("X", _tensor(FLOAT, ["rows", len(coefficients[0])]))]
    if not as_maps:
        return _model([classify], rows, [label, _value("probabilities", _tensor(FLOAT, ["rows", len(classes)]))])
    zipped = _node("ZipMap", ["probabilities"], ["output_probability"], _ML, classlabels_int64s=classes)
    a_map = _field(5, _field(1, INT64) + _field(2, _tensor(FLOAT, [])))
    maps = _value("output_probability", _field(4, _field(1, a_map)))
    return _model([classify, zipped], rows, [label, maps])


def operator(name: str, *inputs: tuple[str, int, Sequence[int | str] | None], output: int) -> bytes:
    """One operator over inputs, each with its type of elements and its shape, and an output ``y`` of any shape."""
    described = [_value(named, _tensor(element, shape)) for named, element, shape in inputs]
    return _model(
        [_node(name, [named for named, *_ in inputs], ["y"])], described, [_value("y", _tensor(output, None))]
    )


def length_of_sequence() -> bytes:
    """A model whose input is a sequence of tensors, which the inference protocol has no data type for."""
    sequence = _field(4, _field(1, _tensor(FLOAT, None)))
    return _model([_node("SequenceLength", ["x"], ["y"])], [_value("x", sequence)], [_value("y", _tensor(INT64, []))])
