"""The standard service ``grpc.reflection.v1.ServerReflection``, by which tools such as grpcurl learn what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from modelreg.serving.grpc_methods import Streaming, Streams, parsed
from modelreg.wire.protos.reflection_pb2 import (
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

#: Full names of the service: many tools know the older one alone, whose messages are the same.
NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Reflection:
    """The method of the service.

    Args:
        files: Descriptors of the files that describe the services of the server.
        streams: Where calls are counted.
    """

    def __init__(self, files: Iterable[Any], *, streams: Streams) -> None:
        self._files = {file.name: file for file in files}
        self._streams = streams

    def services(self, *, pool: ThreadPoolExecutor) -> list[grpc.GenericRpcHandler]:
        """Return the service for gRPC, under both of its names.

        Args:
            pool: Threads that it runs on.
        """
        method = grpc.stream_stream_rpc_method_handler(Streaming(self.info, pool=pool))
        return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in NAMES]

    def info(self, questions: Iterable[bytes], context: Any) -> Iterator[bytes]:
        """Answer each question about the services of the server."""
        with self._streams.opened(context.cancel):
            for question in questions:
                asked = parsed(ServerReflectionRequest, question)
                answer = self._answer(asked)
                answer.valid_host = asked.host
                answer.original_request.CopyFrom(asked)
                yield answer.SerializeToString()

    def _answer(self, asked: Any) -> Any:
        kind = asked.WhichOneof("message_request")
        if kind == "list_services":
            names = (service.full_name for file in self._files.values() for service in file.services_by_name.values())
            services = ListServiceResponse(service=[ServiceResponse(name=name) for name in names])
            return ServerReflectionResponse(list_services_response=services)
        if kind == "file_by_filename":
            file = self._files.get(asked.file_by_filename)
        elif kind == "file_containing_symbol":
            file = self._file_of(asked.file_containing_symbol)
        else:
            # No message of these files has an extension.
            file = None
        if file is None:
            return _error(grpc.StatusCode.NOT_FOUND, "there is nothing of that name")
        # None of these files imports another.
        return ServerReflectionResponse(
            file_descriptor_response=FileDescriptorResponse(file_descriptor_proto=[file.serialized_pb])
        )

    def _file_of(self, symbol: str) -> Any:
        """The descriptor of the file that has a message, a service or what is within them; ``None`` where none has."""
        for file in self._files.values():
            if _has(file, symbol):
                return file
        return None


def _has(file: Any, symbol: str) -> bool:
    if not symbol.startswith(f"{file.package}."):
        return False
    first, *_ = symbol[len(file.package) + 1 :].split(".")
    return first in file.message_types_by_name or first in file.services_by_name or first in file.enum_types_by_name


def _error(code: grpc.StatusCode, message: str) -> Any:
    return ServerReflectionResponse(error_response=ErrorResponse(error_code=code.value[0], error_message=message))
