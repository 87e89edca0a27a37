"""What a client is told of an error over gRPC: a status code, a message, and when to try again."""

from __future__ import annotations

import logging
import math
from typing import NamedTuple
from uuid import uuid4

from grpc import StatusCode

from modelreg.exceptions import InferenceError, InvalidInput

_log = logging.getLogger(__name__)

# Characters of a message at most: it travels in a header, and clients refuse long ones.
_LONGEST_MESSAGE = 1000
# Handlers choose a status of HTTP; of those that are not here, 4xx are FAILED_PRECONDITION and 5xx INTERNAL.
_CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ABORTED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.INVALID_ARGUMENT,
    416: StatusCode.OUT_OF_RANGE,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    501: StatusCode.UNIMPLEMENTED,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


class Refusal(NamedTuple):
    """What a call ends with.

    Attributes:
        code: The status code.
        message: What the client is told.
        retry_after_s: Seconds after which the client may try again, if it may.
    """

    code: StatusCode
    message: str
    retry_after_s: float | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with it: when to try again, for people and for gRPC's own retries."""
        if self.retry_after_s is None:
            return ()
        return (
            ("retry-after", str(math.ceil(self.retry_after_s))),
            ("grpc-retry-pushback-ms", str(math.ceil(self.retry_after_s * 1000))),
        )


def refusal(error: Exception) -> Refusal:
    """Return what a client is told of an error.

    An error that is not of the serving branch is a bug of the server: the client gets an id, the log the rest.

    Example:
        >>> refusal(InvalidInput("tensor 'x' has 3 elements for the shape [4]")).code
        <StatusCode.INVALID_ARGUMENT: (3, 'invalid argument')>
    """
    if isinstance(error, InvalidInput):
        return Refusal(StatusCode.INVALID_ARGUMENT, _shortened(str(error)))
    if isinstance(error, InferenceError):
        return Refusal(_code(error.status), _shortened(str(error)), error.retry_after_s)
    error_id = uuid4().hex[:12]
    _log.error("internal error %s", error_id, exc_info=error)
    return Refusal(StatusCode.INTERNAL, f"internal error {error_id}")


def _code(status: int) -> StatusCode:
    return _CODES.get(status, StatusCode.FAILED_PRECONDITION if status < 500 else StatusCode.INTERNAL)


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}..."
