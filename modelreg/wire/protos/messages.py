"""Message classes from the description of a ``.proto`` file.

Every file gets a pool of its own. The default one, which protoc's own Python code uses, takes each name once, and the
clients of KServe and Triton each bring an ``inference.ModelInferRequest``: a process that imports one of them could not
import ours. Nor is the code tied to one version of protobuf, as protoc's is.
"""

from __future__ import annotations

from typing import Any

from modelreg.exceptions import MissingExtra

try:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass
except ImportError as error:
    raise MissingExtra("gRPC needs protobuf", next_step="pip install 'modelreg[serve]'") from error


def file_in_own_pool(description: bytes) -> Any:
    """The descriptor of a file, alone in a new pool.

    Args:
        description: The file, as a serialized ``FileDescriptorProto``.
    """
    pool = DescriptorPool()
    pool.AddSerializedFile(description)
    return pool.FindFileByName(FileDescriptorProto.FromString(description).name)


def message_classes(file: Any) -> dict[str, type[Any]]:
    """The class of each message of a file, by name.

    Args:
        file: The file's descriptor.
    """
    return {name: GetMessageClass(message) for name, message in file.message_types_by_name.items()}
