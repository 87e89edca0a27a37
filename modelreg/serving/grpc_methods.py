"""Methods as gRPC calls them: bytes in, bytes out, every error told as a status."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from modelreg.exceptions import InvalidInput, ShuttingDown, TooManyRequests
from modelreg.serving.grpc_errors import Refusal, refusal

#: Answers one request: the message and gRPC's context in, the message of the answer out.
Answer = Callable[[bytes, Any], bytes]
#: Takes a record of each request that was answered.
Record = Callable[[dict[str, Any]], None]

_RETRY_AFTER_S = 1.0
_PASSED_THROUGH = (("x-request-id", "request_id"), ("traceparent", "traceparent"))


class Unary:
    """A method with one request and one answer, whatever happens on the way.

    gRPC decodes messages on the one thread that serves all connections, and calls what fails there an internal error of
    the server; so this is given the bytes, on a thread of the pool.

    Args:
        path: Name of the method, as the path of a request has it.
        answer: Makes the answer.
        pool: The threads that it runs on. The name of the attribute is gRPC's; a version that does not look at it takes
            the server's pool.
        record: Called with a record of each request; ``None`` for none.
    """

    __slots__ = ("_answer", "_path", "_record", "experimental_thread_pool")

    def __init__(self, path: str, answer: Answer, *, pool: ThreadPoolExecutor, record: Record | None = None) -> None:
        self._path = path
        self._answer = answer
        self._record = record
        self.experimental_thread_pool = pool

    def __call__(self, data: bytes, context: Any) -> bytes:
        """Return the answer, or end the call with the status of the error."""
        if self._record is None:
            outcome = self._outcome(data, context)
        else:
            wall, begun = time.time(), time.perf_counter()
            outcome = self._outcome(data, context)
            ms = (time.perf_counter() - begun) * 1e3
            self._record({"time": round(wall, 3), **self._told(data, context, outcome), "ms": round(ms, 3)})
        if isinstance(outcome, Refusal):
            _refuse(context, outcome)
        answer: bytes = outcome
        return answer

    def _outcome(self, data: bytes, context: Any) -> Any:
        try:
            return self._answer(data, context)
        except Exception as error:  # noqa: BLE001 - told to the client, and to the log where the client is not at fault
            return refusal(error)

    def _told(self, data: bytes, context: Any, outcome: Any) -> dict[str, Any]:
        """What there is to say of a request: the keys are those of the access log over HTTP."""
        headers = headers_of(context)
        refused = isinstance(outcome, Refusal)
        return {
            "method": "GRPC",
            "path": self._path,
            "status": outcome.code.name if refused else "OK",
            "received": len(data),
            "sent": 0 if refused else len(outcome),
            "client": context.peer(),
            **{key: headers[name] for name, key in _PASSED_THROUGH if name in headers},
        }


class Streaming:
    """A method with any number of answers, whatever happens on the way.

    Args:
        answers: Makes the answers of the request, or of the requests.
        pool: The threads that it runs on; as for :class:`Unary`.
    """

    __slots__ = ("_answers", "experimental_thread_pool")

    def __init__(self, answers: Callable[[Any, Any], Iterator[bytes]], *, pool: ThreadPoolExecutor) -> None:
        self._answers = answers
        self.experimental_thread_pool = pool

    def __call__(self, asked: Any, context: Any) -> Iterator[bytes]:
        """Give the answers, and end the call with the status of the error, if there is one."""
        try:
            yield from self._answers(asked, context)
        except grpc.RpcError:
            # The client has gone.
            raise
        except Exception as error:  # noqa: BLE001 - as for one answer
            refused = refusal(error)
        else:
            return
        _refuse(context, refused)


class Streams:
    """The calls that stay open for as long as their clients want. Each holds a thread, so there is a limit.

    Args:
        limit: How many there may be at once.

    Attributes:
        closed: Whether no new ones are taken.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._enders: set[Callable[[], object]] = set()
        self.closed = False

    @contextmanager
    def opened(self, end: Callable[[], object]) -> Iterator[None]:
        """Count a call as open.

        Args:
            end: Makes it end; called when the server is drained.

        Raises:
            TooManyRequests: As many are open as may.
            ShuttingDown: No new ones are taken.
        """
        with self._lock:
            if self.closed:
                raise ShuttingDown("the server is shutting down", retry_after_s=_RETRY_AFTER_S)
            if len(self._enders) >= self._limit:
                raise TooManyRequests(f"{self._limit} streams are open", next_step="close those that are not needed")
            self._enders.add(end)
        try:
            yield
        finally:
            with self._lock:
                self._enders.discard(end)

    def close(self) -> None:
        """Take no new ones, and end those that are open."""
        with self._lock:
            self.closed = True
            enders = [*self._enders]
        for end in enders:
            end()


def service(
    name: str, methods: Mapping[str, tuple[Answer, ThreadPoolExecutor]], *, record: Record | None = None
) -> grpc.GenericRpcHandler:
    """Return a service whose methods all have one request and one answer.

    Args:
        name: Its full name.
        methods: What answers, and the threads that it runs on, by the names of its methods.
        record: Called with a record of each request; ``None`` for none.
    """
    return grpc.method_handlers_generic_handler(
        name,
        {
            method: grpc.unary_unary_rpc_method_handler(Unary(f"/{name}/{method}", answer, pool=pool, record=record))
            for method, (answer, pool) in methods.items()
        },
    )


def parsed(message: Any, data: bytes) -> Any:
    """Return the message that ``data`` holds.

    Args:
        message: The class of the message.
        data: The serialized message.

    Raises:
        InvalidInput: It is no such message.
    """
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise InvalidInput(f"the body is not a {message.DESCRIPTOR.name}") from error


def headers_of(context: Any) -> dict[str, str]:
    """Return the metadata of a request as headers; binary ones are not among them."""
    return {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}


def _refuse(context: Any, refused: Refusal) -> None:
    """End a call. It does not return: gRPC leaves the method by an exception of its own."""
    if refused.metadata:
        context.set_trailing_metadata(refused.metadata)
    context.abort(refused.code, refused.message)
