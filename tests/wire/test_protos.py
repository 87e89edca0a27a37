"""The messages are those of the protocol, field for field, and share a process with those of other packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from modelreg.wire.protos import open_inference_pb2

# A line for each field and method of the protocol's own .proto file, as `described` makes them of a descriptor.
RECORDED = Path(__file__).resolve().parents[1] / "data" / "open_inference_fields.txt"


def described(message: Any, parent: str) -> Iterator[str]:
    name = f"{parent}.{message.name}"
    if not message.field:
        yield name
    for field in message.field:
        label = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
        kind = field.type_name.lstrip(".") or FieldDescriptorProto.Type.Name(field.type)[5:].lower()
        choice = f" oneof {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
        yield f"{name}.{field.name} {field.number} {label}{kind}{choice}"
    for nested in message.nested_type:
        yield from described(nested, name)


def description() -> Any:
    file = FileDescriptorProto()
    open_inference_pb2.DESCRIPTOR.CopyToProto(file)
    return file


def test_the_messages_and_methods_are_those_of_the_protocol():
    file = description()
    ours = {line for message in file.message_type for line in described(message, file.package)}
    for service in file.service:
        for method in service.method:
            types = f"{method.input_type.lstrip('.')} {method.output_type.lstrip('.')}"
            ours.add(f"{file.package}.{service.name}/{method.name} {types}")

    # The repository is what the services of KServe and Triton have beyond the protocol.
    added = {line for line in ours if ".Repository" in line or "/Repository" in line}
    assert ours - added == set(RECORDED.read_text(encoding="utf-8").splitlines())
    assert {"inference.RepositoryModelLoadRequest.model_name 1 string"} <= added


def test_a_process_may_hold_another_package_s_messages_of_the_same_names():
    other = description()
    other.name = "grpc_predict_v2.proto"
    other.message_type[0].field.add(name="other", number=9, type=FieldDescriptorProto.TYPE_STRING, label=1)
    code = (
        "from google.protobuf import descriptor_pool;"
        f"descriptor_pool.Default().AddSerializedFile({other.SerializeToString()!r});"
        "from modelreg.wire.protos import open_inference_pb2 as pb;"
        "pb.ServerLiveRequest(); print(pb.DESCRIPTOR.package)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert result.stdout.strip() == "inference", result.stderr


def test_the_messages_have_a_pool_of_their_own():
    assert open_inference_pb2.DESCRIPTOR.pool is not descriptor_pool.Default()
    assert open_inference_pb2.ModelInferRequest.DESCRIPTOR.file.pool is open_inference_pb2.DESCRIPTOR.pool
