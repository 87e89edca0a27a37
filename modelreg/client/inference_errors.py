"""What a model server's refusals become on the client's side: the same errors that a handler would raise for them.

So a handler that calls another server may let them pass, and its own client gets a status that fits.
"""

from __future__ import annotations

from modelreg.exceptions import (
    DeadlineExceeded,
    InferenceError,
    InvalidInput,
    ModelNotFound,
    PayloadTooLarge,
    ServerNotReady,
    TooManyRequests,
    UnsupportedMediaType,
    UnsupportedProtocol,
)
from modelreg.redact import redact_text

_LONGEST_MESSAGE = 500
_BY_STATUS: dict[int, type[InferenceError]] = {
    413: PayloadTooLarge,
    415: UnsupportedMediaType,
    429: TooManyRequests,
    501: UnsupportedProtocol,
    504: DeadlineExceeded,
}


def from_status(
    status: int, message: str, *, model_name: str | None = None, retry_after_s: float | None = None
) -> InferenceError | InvalidInput:
    """Return the error that a server's answer stands for.

    Args:
        status: HTTP status code; one that is no error's is a server that does not speak the protocol.
        message: What the server says.
        model_name: Name of the model that was asked for, if one was.
        retry_after_s: Seconds that the server asked to wait, if it did.

    Example:
        >>> from_status(503, "model 'fraud' is not ready", retry_after_s=1.0).retry_after_s
        1.0
    """
    message = redact_text(message.strip())[:_LONGEST_MESSAGE] or f"the server answered with status {status}"
    if status in {400, 422}:
        return InvalidInput(message)
    error = _new_error(status, model_name)
    # What the server says, in place of what the class says.
    error.message = error.reason = message
    error.retry_after_s = retry_after_s
    return error


def _new_error(status: int, model_name: str | None) -> InferenceError:
    if status == 404 and model_name is not None:
        return ModelNotFound(model_name)
    if status == 503:
        return ServerNotReady()
    return _BY_STATUS.get(status, InferenceError)("", status if 400 <= status <= 599 else 502)
