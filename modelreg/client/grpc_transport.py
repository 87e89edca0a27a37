"""gRPC to model servers: kept connections, retries of what is safe, and one error for every failure."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Literal, NamedTuple

from modelreg._version import __version__
from modelreg.client.inference_errors import from_status
from modelreg.exceptions import DeadlineExceeded, InferenceError, InvalidInput, MissingExtra, ServerUnreachable
from modelreg.http.retry import RetryPolicy, parse_retry_after
from modelreg.redact import redact_text

try:
    import grpc
    from google.protobuf.message import DecodeError
except ImportError as error:
    raise MissingExtra("gRPC needs grpcio and protobuf", next_step="pip install 'modelreg[serve]'") from error

logger = logging.getLogger(__name__)

Timeout = float | None | Literal["default"]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]

_SERVICE = "/inference.GRPCInferenceService"
# The statuses of HTTP that say what gRPC's codes do.
_STATUSES = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 412,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
# A status does not tell whether the server sent it or gRPC made it on this side; the text does. That a call never left:
_NEVER_SENT = ("failed to connect", "DNS resolution failed", "name resolution", "Name resolution")
# That its connection broke.
_BROKEN = (
    *("Socket closed", "Connection reset", "Broken pipe", "Stream removed", "Endpoint closing", "Transport closed"),
    *("GOAWAY", "RST_STREAM", "keepalive", "ping timeout", "recvmsg", "sendmsg"),
)
_OUT_OF_TIME = "Deadline Exceeded"
# How gRPC tells that a message is larger than either side takes.
_TOO_LARGE = "larger than max"
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")


class Call(NamedTuple):
    """What is asked of a server.

    Attributes:
        method: Name of the method.
        data: Its serialized message.
        model_name: Name of the model that it is about, if it is about one.
        repeatable: Whether it only asks, so that it may be sent twice.
    """

    method: str
    data: bytes
    model_name: str | None
    repeatable: bool


class GRPCTransport:
    """Sends calls to one model server. It may be used from any number of threads; a forked process makes its own.

    Args:
        url: Address of the server, as ``host:port``; without a port, 443 with credentials and 80 without.
        credentials: gRPC's credentials; ``None`` for plain text.
        options: Settings of gRPC, as pairs of name and value, which win over those made here.
        timeout_s: Seconds that a call may take, all attempts included; ``None`` is for ever.
        retry: How often a call is tried, and the pauses in between.
        connections: How many connections there are, which take turns.
        verbose: Whether every call is logged, at the level INFO.

    Attributes:
        target: The address, as gRPC has it.

    Raises:
        InvalidInput: ``url`` is no such address, or ``connections`` is below 1.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Any,
        options: Sequence[tuple[str, Any]],
        timeout_s: float | None,
        retry: RetryPolicy,
        connections: int,
        verbose: bool,
    ) -> None:
        if connections < 1:
            raise InvalidInput(f"connections must be at least 1, not {connections}")
        self.target = _target(url, secure=credentials is not None)
        self._timeout_s = timeout_s
        self._retry = retry
        self._verbose = verbose
        self._channels = [_channel(self.target, credentials, options) for _ in range(connections)]
        self._turns = itertools.cycle(self._channels)

    def close(self) -> None:
        """Close the connections, and end the calls under way; there can be no further ones."""
        for channel in self._channels:
            channel.close()

    def ask(self, call: Call, timeout: Timeout = "default", headers: Headers | None = None) -> bytes:
        """Return the answer to a call, which is sent again where that is safe.

        Args:
            call: What is asked.
            timeout: Seconds that it may take; ``None`` is for ever, ``"default"`` for those of the transport.
            headers: Metadata to send along.

        Raises:
            InvalidInput: A header cannot be sent, or the server refuses the call.
            DeadlineExceeded: There was no answer in time.
            ServerUnreachable: No answer came.
            InferenceError: The server answered with another error.
        """
        limit_s = self._timeout_s if timeout == "default" else timeout
        deadline = None if limit_s is None else monotonic() + limit_s
        metadata = _metadata(headers)
        attempt = 1
        while True:
            remaining_s = None if deadline is None else deadline - monotonic()
            try:
                data = self._send(call, remaining_s, metadata)
            except grpc.RpcError as error:
                failure = self._failure(call, error, limit_s)
                delay_s = self._pause_s(call, error, failure, attempt)
                if delay_s is None or (remaining_s is not None and delay_s >= remaining_s):
                    raise failure from error
            else:
                if self._verbose:
                    logger.info("%s of %s: OK", call.method, self.target)
                return data
            logger.info(
                "%s of %s: attempt %d failed, trying again in %.1f s", call.method, self.target, attempt, delay_s
            )
            self._retry.sleep(delay_s)
            attempt += 1

    def _send(self, call: Call, timeout_s: float | None, metadata: Sequence[tuple[str, str]]) -> bytes:
        # No serializers: gRPC would make its own error of what fails in them.
        method = next(self._turns).unary_unary(f"{_SERVICE}/{call.method}")
        try:
            data: bytes = method(call.data, timeout=timeout_s, metadata=metadata)
        except ValueError as error:
            raise InvalidInput(f"the client of {self.target} is closed", next_step="make another one") from error
        return data

    def _failure(self, call: Call, error: Any, limit_s: float | None) -> InferenceError | InvalidInput:
        """What the caller is told of an error of gRPC."""
        code, details = error.code().name, error.details() or ""
        where = f"{call.method} of {self.target}"
        if code == "DEADLINE_EXCEEDED" and _OUT_OF_TIME in details and limit_s is not None:
            return DeadlineExceeded(f"{where}: no answer within {limit_s:g} s")
        if code == "UNAVAILABLE" and _has(details, _NEVER_SENT + _BROKEN):
            message = f"{where}: {redact_text(details)[:500]}"
            return ServerUnreachable(
                message, next_step="check the address, that the server runs, and whether it has TLS"
            )
        status = 413 if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details else _STATUSES.get(code, 500)
        retry_after_s = parse_retry_after(dict(error.trailing_metadata() or ()).get("retry-after"))
        return from_status(status, details or code, model_name=call.model_name, retry_after_s=retry_after_s)

    def _pause_s(self, call: Call, error: Any, failure: Exception, attempt: int) -> float | None:
        """The seconds to wait before the next attempt, or ``None`` if there should be none."""
        if attempt >= self._retry.attempts:
            return None
        if isinstance(failure, ServerUnreachable):
            safe = call.repeatable or _has(error.details(), _NEVER_SENT)
            return self._retry.pause_s(attempt) if safe else None
        # A server that says when to come back has not begun.
        asked_s = failure.retry_after_s if isinstance(failure, InferenceError) else None
        return asked_s if asked_s is not None and asked_s <= self._retry.max_retry_after_s else None


def channel_credentials(
    authorities: str | os.PathLike[str] | None,
    private_key: str | os.PathLike[str] | None,
    certificate: str | os.PathLike[str] | None,
) -> Any:
    """Return gRPC's credentials for TLS.

    Args:
        authorities: Path of the certificates of the authorities to trust, as PEM; gRPC's own by default.
        private_key: Path of the private key of the client, as PEM.
        certificate: Path of its certificate, as PEM.

    Raises:
        InvalidInput: A file cannot be read.
    """
    try:
        parts = [None if path is None else Path(path).read_bytes() for path in (authorities, private_key, certificate)]
    except OSError as error:
        raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}") from error
    return grpc.ssl_channel_credentials(*parts)


def parsed(message: Any, data: bytes) -> Any:
    """Return the message that a server answered with.

    Args:
        message: The class of the message.
        data: The serialized message.

    Raises:
        InferenceError: It is no such message.
    """
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise InferenceError(f"the server's answer is not a {message.DESCRIPTOR.name}", 502) from error


def _channel(target: str, creds: Any, channel_args: Sequence[tuple[str, Any]]) -> Any:
    options = {
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": -1,
        # Those of gRPC repeat what may have been done, and copy each message first.
        "grpc.enable_retries": 0,
        # Or all channels of a process to one server would share one connection.
        "grpc.use_local_subchannel_pool": 1,
        "grpc.primary_user_agent": f"modelreg/{__version__}",
        **dict(channel_args),
    }
    if creds is None:
        return grpc.insecure_channel(target, options=[*options.items()])
    return grpc.secure_channel(target, creds, options=[*options.items()])


def _target(url: str, *, secure: bool) -> str:
    """The address as gRPC wants it.

    Raises:
        InvalidInput: It is a URL, or empty.

    Example:
        >>> _target("models.local", secure=True), _target("[::1]", secure=False), _target("unix:/run/m", secure=False)
        ('models.local:443', '[::1]:80', 'unix:/run/m')
    """
    scheme, separator, _ = url.partition("://")
    if not url or (separator and scheme in {"http", "https", "grpc", "grpcs"}):
        raise InvalidInput(
            f"{redact_text(url)!r} is no address of a server over gRPC", next_step="give one such as host:8081"
        )
    has_port = ":" in (url.rpartition("]")[2] if url.startswith("[") else url)
    return url if has_port else f"{url}:{443 if secure else 80}"


def _metadata(headers: Headers | None) -> list[tuple[str, str]]:
    """Headers as gRPC wants them.

    Raises:
        InvalidInput: gRPC cannot carry a name or a value; the message has no value, which may be a token.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    metadata = [(name.lower(), value) for name, value in pairs]
    for name, value in metadata:
        if not _NAME.fullmatch(name) or (isinstance(value, str) and not _VALUE.fullmatch(value)):
            raise InvalidInput(f"gRPC cannot carry the header {name!r:.100}, or what it says")
    return metadata


def _has(details: str, phrases: Iterable[str]) -> bool:
    return any(phrase in details for phrase in phrases)
