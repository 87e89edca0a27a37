"""A client of a model server over gRPC: the Open Inference Protocol, with tensors in binary form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modelreg.client.grpc_transport import Call, GRPCTransport, Headers, Timeout, channel_credentials, parsed
from modelreg.exceptions import InvalidInput
from modelreg.http.retry import RetryPolicy
from modelreg.types.inference import InferRequest, InferResponse
from modelreg.wire.oip_proto import decode_response, encode_request
from modelreg.wire.protos import open_inference_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from typing_extensions import Self

__all__ = ["InferenceGRPCClient"]


class InferenceGRPCClient:
    """A client of one model server. It may be used from any number of threads; a forked process makes its own.

    Its constructor and its calls are those of KServe's client, without ``await``. It connects when it is first used.

    Args:
        url: Address of the server, as ``host:port``; without a port, 443 with TLS and 80 without.
        verbose: Whether every call is logged, at the level INFO.
        use_ssl: Whether to speak TLS.
        root_certificates: Path of the certificates of the authorities to trust, as PEM; gRPC's own by default.
        private_key: Path of the private key of the client, as PEM.
        certificate_chain: Path of the certificate of the client, as PEM.
        creds: gRPC's credentials, in the place of ``use_ssl`` and the certificates.
        channel_args: Settings of gRPC, as pairs of name and value, which win over the client's.
        timeout: Seconds that a call may take, all attempts included; ``None`` is for ever.
        retries: How often a call is sent again that the server cannot have begun with: no connection came about, or the
            server says when to come back. One that only asks is sent again, too, if its connection broke.
        connections: How many connections there are, which take turns. One is enough for all but the largest loads.
        binary: Whether tensors go in binary form; else each element is encoded, which some servers need.
        retry: The pauses before a call is sent again; by default exponential, or what the server asks for.

    Raises:
        InvalidInput: ``url`` is no such address, a file cannot be read, or ``connections`` is below 1.

    Example:
        >>> with InferenceGRPCClient("127.0.0.1:9", retries=0) as client:
        ...     client.is_server_ready()
        Traceback (most recent call last):
        modelreg.exceptions.ServerUnreachable: ServerReady of 127.0.0.1:9: failed to connect to all addresses; ...
    """

    def __init__(  # noqa: PLR0917 - the predecessor's signature
        self,
        url: str,
        verbose: bool = False,
        use_ssl: bool = False,
        root_certificates: str | os.PathLike[str] | None = None,
        private_key: str | os.PathLike[str] | None = None,
        certificate_chain: str | os.PathLike[str] | None = None,
        creds: Any = None,
        channel_args: Sequence[tuple[str, Any]] | None = None,
        timeout: float | None = 60.0,
        retries: int | None = 3,
        *,
        connections: int = 1,
        binary: bool = True,
        retry: RetryPolicy | None = None,
    ) -> None:
        if creds is None and use_ssl:
            creds = channel_credentials(root_certificates, private_key, certificate_chain)
        self._transport = GRPCTransport(
            url,
            credentials=creds,
            options=channel_args or (),
            timeout_s=timeout,
            retry=RetryPolicy(attempts=(retries or 0) + 1) if retry is None else retry,
            connections=connections,
            verbose=verbose,
        )
        self._binary = binary

    def __repr__(self) -> str:
        return f"InferenceGRPCClient({self._transport.target!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the calls under way; there can be no further ones."""
        self._transport.close()

    def infer(
        self, infer_request: InferRequest, timeout: Timeout = "default", headers: Headers | None = None
    ) -> InferResponse:
        """Return a model's answer.

        Args:
            infer_request: The request, with the name of the model and, where it asks for one, its version.
            timeout: Seconds that the call may take; ``None`` is for ever. By default those of the client.
            headers: Metadata to send along.

        Raises:
            InvalidInput: It is no request, or the server refuses it (INVALID_ARGUMENT).
            ModelNotFound: The server has no such model (NOT_FOUND).
            DeadlineExceeded: There was no answer in time.
            ServerUnreachable: No answer came.
            InferenceError: The server answered with another error, or with something else than an answer.
        """
        if not isinstance(infer_request, InferRequest):
            raise InvalidInput(f"the request must be an InferRequest, not {type(infer_request).__name__}")
        data = encode_request(infer_request, raw=self._binary)
        call = Call("ModelInfer", data, infer_request.model_name, repeatable=False)
        return decode_response(self._transport.ask(call, timeout, headers))

    def is_server_ready(self, timeout: Timeout = "default", headers: Headers | None = None) -> bool:
        """Return whether the server can answer for its models; arguments are those of :meth:`infer`.

        Raises:
            ServerUnreachable: No answer came.
            InferenceError: The server answered with an error.
        """
        answer = self._question("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse, timeout, headers)
        return bool(answer.ready)

    def is_server_live(self, timeout: Timeout = "default", headers: Headers | None = None) -> bool:
        """Return whether the server runs; arguments are those of :meth:`infer`.

        Raises:
            ServerUnreachable: No answer came.
            InferenceError: The server answered with an error.
        """
        answer = self._question("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse, timeout, headers)
        return bool(answer.live)

    def is_model_ready(
        self,
        model_name: str,
        timeout: Timeout = "default",
        headers: Headers | None = None,
        *,
        model_version: str | None = None,
    ) -> bool:
        """Return whether a model can answer; arguments are those of :meth:`infer`.

        Raises:
            ModelNotFound: The server has no such model.
            ServerUnreachable: No answer came.
            InferenceError: The server answered with another error.
        """
        asked = pb.ModelReadyRequest(name=model_name, version=model_version or "")
        answer = self._question("ModelReady", asked, pb.ModelReadyResponse, timeout, headers, model_name=model_name)
        return bool(answer.ready)

    def server_metadata(self, timeout: Timeout = "default", headers: Headers | None = None) -> dict[str, Any]:
        """Return ``name``, ``version`` and ``extensions`` of the server; arguments are those of :meth:`infer`.

        Raises:
            ServerUnreachable: No answer came.
            InferenceError: The server answered with an error.
        """
        told = self._question("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, timeout, headers)
        return {"name": told.name, "version": told.version, "extensions": [*told.extensions]}

    def model_metadata(
        self,
        model_name: str,
        model_version: str | None = None,
        timeout: Timeout = "default",
        headers: Headers | None = None,
    ) -> dict[str, Any]:
        """Return ``name``, ``versions``, ``platform``, ``inputs`` and ``outputs`` of a model.

        Raises:
            ModelNotFound: The server has no such model.
            ServerUnreachable: No answer came.
            InferenceError: The server answered with another error.
        """
        asked = pb.ModelMetadataRequest(name=model_name, version=model_version or "")
        told = self._question("ModelMetadata", asked, pb.ModelMetadataResponse, timeout, headers, model_name=model_name)
        return {
            "name": told.name,
            "versions": [*told.versions],
            "platform": told.platform,
            "inputs": [_tensor(tensor) for tensor in told.inputs],
            "outputs": [_tensor(tensor) for tensor in told.outputs],
        }

    def _question(
        self,
        method: str,
        asked: Message,
        answer: Any,
        timeout: Timeout,
        headers: Headers | None,
        *,
        model_name: str | None = None,
    ) -> Any:
        call = Call(method, asked.SerializeToString(), model_name, repeatable=True)
        return parsed(answer, self._transport.ask(call, timeout, headers))


def _tensor(described: Any) -> dict[str, Any]:
    return {"name": described.name, "datatype": described.datatype, "shape": [*described.shape]}
