"""The ``GRPCInferenceService`` of the Open Inference Protocol: its methods decode, ask the data plane, and encode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.grpc_methods import Answer, headers_of, parsed
from modelreg.types.inference import InferRequest
from modelreg.wire.oip_proto import decode_request, encode_response
from modelreg.wire.protos import open_inference_pb2 as pb

#: Full name of the service.
NAME = "inference.GRPCInferenceService"

PROTOCOL = "grpc"
# Passed through, so that logs and traces of client, proxies and server meet.
_PASSED_THROUGH = ("x-request-id", "traceparent")
# gRPC gives a time of centuries to a call without a deadline.
_NO_DEADLINE_S = 1e9
# What a model may not say of the answer: the names are gRPC's, or their values are bytes.
_SERVERS_OWN = re.compile(r"grpc-.*|.*-bin|content-type|te")
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")


class InferenceService:
    """The methods of the service.

    Args:
        dataplane: Where the models are.
        enable_repository_api: Whether clients may load and unload models.
    """

    def __init__(self, dataplane: DataPlane, *, enable_repository_api: bool = False) -> None:
        self._dataplane = dataplane
        self._enable_repository_api = enable_repository_api

    def methods(
        self, *, probes: ThreadPoolExecutor, workers: ThreadPoolExecutor, inference: ThreadPoolExecutor
    ) -> dict[str, tuple[Answer, ThreadPoolExecutor]]:
        """Return what answers each method, and the threads that it runs on.

        Args:
            probes: For the methods that answer at once.
            workers: For those that load and unload models.
            inference: For those that ask models.
        """
        return {
            "ServerLive": (self.server_live, probes),
            "ServerReady": (self.server_ready, probes),
            "ServerMetadata": (self.server_metadata, probes),
            "ModelReady": (self.model_ready, probes),
            "ModelMetadata": (self.model_metadata, probes),
            "ModelInfer": (self.model_infer, inference),
            "RepositoryIndex": (self.repository_index, probes),
            "RepositoryModelLoad": (self.repository_model_load, workers),
            "RepositoryModelUnload": (self.repository_model_unload, workers),
        }

    def server_live(self, _data: bytes, _context: Any) -> bytes:
        """Answer that the server runs."""
        return _written(pb.ServerLiveResponse(live=self._dataplane.live()))

    def server_ready(self, _data: bytes, _context: Any) -> bytes:
        """Answer whether every model can be asked."""
        return _written(pb.ServerReadyResponse(ready=self._dataplane.ready()))

    def server_metadata(self, _data: bytes, _context: Any) -> bytes:
        """Answer what the server is and can do."""
        return _written(pb.ServerMetadataResponse(**self._dataplane.server_metadata()))

    def model_ready(self, data: bytes, _context: Any) -> bytes:
        """Answer whether one model can be asked."""
        asked = parsed(pb.ModelReadyRequest, data)
        return _written(pb.ModelReadyResponse(ready=self._dataplane.model_ready(asked.name, asked.version or None)))

    def model_metadata(self, data: bytes, _context: Any) -> bytes:
        """Answer what a model is, takes and gives."""
        asked = parsed(pb.ModelMetadataRequest, data)
        told = self._dataplane.model_metadata(asked.name, asked.version or None)
        return _written(
            pb.ModelMetadataResponse(
                name=told["name"],
                versions=told["versions"],
                platform=told["platform"],
                inputs=[_tensor(tensor) for tensor in told["inputs"]],
                outputs=[_tensor(tensor) for tensor in told["outputs"]],
            )
        )

    def model_infer(self, data: bytes, context: Any) -> bytes:
        """Answer what a model makes of its inputs."""
        request = self._decoded(data)
        headers = headers_of(context)
        if not request.id and "x-request-id" in headers:
            request.id = headers["x-request-id"]
        remaining_s = context.time_remaining()
        response, response_headers = self._dataplane.infer(
            request,
            headers=headers,
            protocol=PROTOCOL,
            timeout_s=remaining_s if remaining_s is not None and remaining_s < _NO_DEADLINE_S else None,
        )
        answer = encode_response(response)
        metadata = [(name, headers[name]) for name in _PASSED_THROUGH if name in headers]
        if response_headers:
            metadata += _model_metadata(response_headers)
        if metadata:
            context.set_trailing_metadata(metadata)
        return answer

    def _decoded(self, data: bytes) -> InferRequest:
        begun = perf_counter()
        try:
            return decode_request(data)
        except InvalidInput:
            # The data plane counts what comes to it.
            self._dataplane.metrics.observe("", None, PROTOCOL, 400, seconds=perf_counter() - begun)
            raise

    def repository_index(self, data: bytes, _context: Any) -> bytes:
        """Answer which models there are, and in which state."""
        asked = parsed(pb.RepositoryIndexRequest, data)
        # A false one is every client's default, and means all models.
        models = self._dataplane.index(asked.ready or None)
        return _written(
            pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(**model) for model in models])
        )

    def repository_model_load(self, data: bytes, _context: Any) -> bytes:
        """Load a model, and answer that it is."""
        name = self._named(pb.RepositoryModelLoadRequest, data)
        self._dataplane.load(name)
        return _written(pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True))

    def repository_model_unload(self, data: bytes, _context: Any) -> bytes:
        """Unload a model, and answer that it is."""
        name = self._named(pb.RepositoryModelUnloadRequest, data)
        self._dataplane.unload(name)
        return _written(pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True))

    def _named(self, message: Any, data: bytes) -> str:
        """The model that a request to the repository is about, from KServe's clients and from Triton's."""
        asked = parsed(message, data)
        if not self._enable_repository_api:
            raise InferenceError("this server does not load or unload models on request", status=403)
        return asked.triton_model_name or asked.model_name  # type: ignore[no-any-return]  # a message's fields are untyped


def _written(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _tensor(described: Mapping[str, Any]) -> Any:
    """What a model says of a tensor; without a shape it is of any."""
    return pb.ModelMetadataResponse.TensorMetadata(
        name=described.get("name", ""), datatype=described.get("datatype", ""), shape=described.get("shape") or ()
    )


def _model_metadata(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers that a model wants on its answer, as metadata.

    Raises:
        InferenceError: A name or a value is not one that gRPC can carry.
    """
    given = [(str(name).lower(), str(value)) for name, value in headers.items()]
    for name, value in given:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise InferenceError("the model gave its answer a header that gRPC cannot carry", debug_details=name)
    return [(name, value) for name, value in given if not _SERVERS_OWN.fullmatch(name)]
