"""The contents of tensors in a large serialized message, as views of it; protobuf would copy each of them twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
from google.protobuf.descriptor import FieldDescriptor

from modelreg.types.elements import Malformed, Raw
from modelreg.wire.protos import open_inference_pb2 as pb
from modelreg.wire.varints import LENGTH_DELIMITED, field_head, read_varint

# Bytes from which it pays.
_LARGE = 65536
# Fields up to which it pays: a message may have millions, which protobuf goes through faster and in less memory.
_MOST_FIELDS = 1000

#: Names of the fields of contents that are numbers, which are packed, by their numbers.
PACKED: Mapping[int, str] = {
    field.number: field.name
    for field in pb.InferTensorContents.DESCRIPTOR.fields
    if field.type != FieldDescriptor.TYPE_BYTES
}
# Requests and responses have the same fields for their tensors.
_CONTENTS = pb.ModelInferRequest.InferInputTensor.DESCRIPTOR.fields_by_name["contents"].number


@attrs.frozen
class Contents:
    """What was cut out of a message.

    Attributes:
        raw: Its raw contents, in their order.
        packed: By the position of a tensor: the name of the one field that its contents are, and the bytes of it.
    """

    raw: list[Raw] = attrs.field(factory=list)
    packed: dict[int, tuple[str, Raw]] = attrs.field(factory=dict)


def cut_out(data: bytes, *, tensors: int, raw: int) -> tuple[bytes, Contents]:
    """A message without the contents of its tensors, and these as views of ``data``.

    Contents that are anything but one packed field are left in the message, and so are those of a small one.

    Args:
        data: The message.
        tensors: Number of its field for tensors.
        raw: Number of its field for raw contents.
    """
    kept: list[Raw] = []
    cut = Contents()
    if len(data) < _LARGE:
        return data, cut
    position = 0
    try:
        for number, field, body in _fields(memoryview(data)):
            if number == raw:
                cut.raw.append(body)
                continue
            packed = _without_contents(body) if number == tensors and len(body) >= _LARGE else None
            if packed is None:
                kept.append(field)
            else:
                rest, name, contents = packed
                cut.packed[position] = name, contents
                kept += (field_head(tensors, len(rest)), rest)
            position += number == tensors
    except Malformed:
        # Left to protobuf, which knows what to make of it.
        return data, Contents()
    return (b"".join(kept), cut) if cut.raw or cut.packed else (data, cut)


def _without_contents(tensor: memoryview) -> tuple[bytes, str, memoryview] | None:
    """A tensor without its contents, the name of the field that these are, and its bytes; ``None`` if it is not one."""
    fields = [*_fields(tensor)]
    contents = [body for number, _, body in fields if number == _CONTENTS]
    if len(contents) != 1:
        return None
    number, field, body = next(_fields(contents[0]), (0, contents[0], contents[0]))
    if len(field) != len(contents[0]) or number not in PACKED:
        return None
    return b"".join(field for number, field, _ in fields if number != _CONTENTS), PACKED[number], body


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """The number of each field of a message, all of it, and its content.

    Raises:
        Malformed: A field is no string, bytes, message or packed field, or does not end, or there are too many.
    """
    offset = count = 0
    while offset < len(message):
        start = offset
        count += 1
        tag, offset = read_varint(message, offset)
        length, offset = read_varint(message, offset)
        end = offset + length
        if tag & 7 != LENGTH_DELIMITED or end > len(message) or count > _MOST_FIELDS:
            raise Malformed("it has a field of another kind, or one without an end, or too many")
        yield tag >> 3, message[start:end], message[offset:end]
        offset = end
