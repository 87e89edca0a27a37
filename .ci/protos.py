"""Makes the Python modules of the .proto files; run by ``tox -e protos``.

protoc writes the types, which mypy reads. The module itself holds the file's description alone, of which
``modelreg.wire.protos.messages`` makes the classes.
"""

from __future__ import annotations

import base64
import tempfile
import textwrap
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

FOLDER = Path(__file__).resolve().parents[1] / "modelreg" / "wire" / "protos"
INCLUDES = Path(grpc_tools.__file__).parent / "_proto"

MODULE = '''"""The messages of {proto}; written by ``tox -e protos``, not by hand."""

import base64

from modelreg.wire.protos.messages import file_in_own_pool, message_classes

DESCRIPTOR = file_in_own_pool(
    base64.b64decode(
{lines}
    )
)
globals().update(message_classes(DESCRIPTOR))
'''


def module(proto: str, description: bytes) -> str:
    """The text of the module that holds the description of the file ``proto``."""
    lines = (f'        "{line}"' for line in textwrap.wrap(base64.b64encode(description).decode(), 108))
    return MODULE.format(proto=proto, lines="\n".join(lines))


def generate(proto: Path) -> None:
    """Write the module of a file, and its types, beside it."""
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder, "descriptor")
        arguments = [f"-I{proto.parent}", f"-I{INCLUDES}", f"--pyi_out={proto.parent}", f"-o{described}", proto.name]
        if protoc.main(["protoc", *arguments]) != 0:
            raise SystemExit(f"protoc refused {proto.name}")
        (file,) = FileDescriptorSet.FromString(described.read_bytes()).file
    target = proto.with_name(f"{proto.stem}_pb2.py")
    target.write_text(module(proto.name, file.SerializeToString(deterministic=True)), encoding="utf-8")


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.proto")):
        generate(path)
