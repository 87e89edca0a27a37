"""Every failure of a request as one error of modelreg's tree."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    IncompleteRead,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)

from modelreg.exceptions import (
    BadRequest,
    Conflict,
    DuplicateError,
    Forbidden,
    InvalidInput,
    ModelRegError,
    NotFound,
    RateLimited,
    RegistryError,
    ServerError,
    StoreError,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from modelreg.http.retry import parse_retry_after
from modelreg.redact import REDACTED, keeps_secrets, redact_text, redact_url

E = TypeVar("E", bound=RegistryError)

_BY_STATUS: dict[int, tuple[type[RegistryError], str]] = {
    400: (BadRequest, ""),
    401: (Unauthorized, "give user_token, or a newer one"),
    403: (Forbidden, "ask the registry's owner for access"),
    404: (NotFound, ""),
    409: (Conflict, ""),
    422: (BadRequest, ""),
    429: (RateLimited, "send fewer requests"),
}
# A gateway that answers so cannot tell what became of the request.
_GATEWAY_TROUBLE = frozenset({502, 503, 504})

_LONGEST_MESSAGE = 500
# Of a filter or a name of thousands of characters the beginning tells which request it was.
_LONGEST_URL = 500
_FIELD = re.compile(r"\bfield:?\s+['\"`]?([A-Za-z][A-Za-z0-9_]*)")
_TAKEN = re.compile(r"already exists|duplicate|unique|is taken", re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]*>([^<]*)</title>", re.IGNORECASE)
# What is raised for an address or a header that cannot be sent; urllib3's is for a host that no name server can know.
_UNSENDABLE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    LocationValueError,
    UnicodeError,
)
# JSON that is nested too deep to be read is as bad as none.
_NOT_JSON = (ValueError, RecursionError)


def decode(response: requests.Response, *, secret: str | None = None) -> Any:
    """Return the JSON value that a successful answer holds; ``None`` where it says that it has no body.

    Args:
        response: The answer.
        secret: The token that was sent, as for :func:`from_response`.

    Raises:
        ServerError: The body is not JSON, such as a page of a proxy, or was cut short.
    """
    body = response.content
    if not body:
        if response.status_code == 204 or response.headers.get("Content-Length") == "0":
            return None
        # The connection ended before the headers did, or right after them.
        raise truncated(response, "the answer has no body")
    try:
        return json.loads(body)
    except _NOT_JSON as error:
        if _is_html(response):
            message = _html_message(_text(response, secret))
            raise _of_answer(ServerError, response, message, "check the address") from error
        raise truncated(response, f"the answer is not JSON, or was cut short: {error}") from error


def truncated(response: requests.Response, message: str) -> ServerError:
    """Return the error for an answer that did not come whole: what it answers to may have been done."""
    error = _of_answer(ServerError, response, message, "")
    error.maybe_done = True
    return error


def from_response(response: requests.Response, *, secret: str | None = None) -> RegistryError:
    """Return the error that an answer with an error status stands for.

    Args:
        response: The answer.
        secret: The token that was sent, which a server may repeat in its message: it is taken out.
    """
    message, field = _server_message(response, _text(response, secret))
    message = _without(secret, message)[:_LONGEST_MESSAGE]
    kind, next_step = _kind(response, message)
    error = _of_answer(kind, response, message, next_step)
    error.field = field
    error.retry_after_s = parse_retry_after(response.headers.get("Retry-After"))
    error.maybe_done = response.status_code in _GATEWAY_TROUBLE
    return error


def from_exception(error: Exception, *, method: str, url: str) -> ModelRegError:
    """Return the error that stands for what requests raised when no answer came.

    Args:
        error: What was raised.
        method: HTTP method of the request.
        url: URL of the request; it is redacted.
    """
    where = f"{method} {_shown(url)}"
    if isinstance(error, _UNSENDABLE):
        return InvalidInput(f"{where}: {redact_text(str(error))}", next_step="check the address and the token")
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return ServerError("the address redirects in a circle", method=method, url=redact_url(url))
    if isinstance(error, requests.exceptions.SSLError):
        return Unreachable(
            f"{where}: TLS failed: {_cause(error)}", next_step="give the server's CA certificates as custom_ca"
        )
    return _no_answer(error, where)


def shown_cause(error: Exception) -> Exception | None:
    """Return ``error`` as the cause of one of ours, ``None`` where a traceback of it would show a credential."""
    return None if keeps_secrets(error) else error


def _no_answer(error: Exception, where: str) -> StoreError:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return TimedOut(f"{where}: no connection in time", next_step="check the address, the network and the proxy")
    if _never_sent(error):
        through = " through the proxy" if isinstance(error, requests.exceptions.ProxyError) else ""
        return Unreachable(
            f"{where}: cannot connect{through}: {_cause(error)}",
            next_step="check the address, and that the server runs",
        )
    if isinstance(error, requests.exceptions.Timeout) or isinstance(_reason(error), ReadTimeoutError):
        return _maybe_done(TimedOut(f"{where}: no answer in time", next_step="give a longer timeout"))
    return _maybe_done(Unreachable(f"{where}: the connection broke: {_cause(error)}"))


def is_cut_short(error: Exception) -> bool:
    """Return whether requests raised ``error`` because a body ended before its length."""
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return True
    return isinstance(_reason(error), IncompleteRead)


def _maybe_done(error: StoreError) -> StoreError:
    error.maybe_done = True
    return error


def _never_sent(error: Exception) -> bool:
    reason = _reason(error)
    if isinstance(reason, NewConnectionError | NameResolutionError | ConnectTimeoutError):
        return True
    # A proxy that opens no tunnel is an OSError and nothing more special. A connection that broke after the request
    # went out may be a ProxyError, too.
    return isinstance(error, requests.exceptions.ProxyError) and type(reason) is OSError


def _reason(error: BaseException) -> Any:
    """Return what urllib3 says behind what requests raised, and behind what it takes for trouble with the proxy."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None) or inner
    return getattr(reason, "original_error", reason)


def _cause(error: BaseException) -> str:
    """Return the innermost reason, which is the one that says something to a reader."""
    reason: Any = error
    while True:
        inner = _reason(reason) if isinstance(reason, BaseException) else None
        if not isinstance(inner, BaseException):
            return redact_text(str(reason))[:_LONGEST_MESSAGE]
        reason = inner


def _kind(response: requests.Response, message: str) -> tuple[type[RegistryError], str]:
    status = response.status_code
    if status == 409 and (response.request.method == "POST" or _TAKEN.search(message)):
        return DuplicateError, ""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return ServerError, ""
    return (RegistryError, "") if status >= 400 else (ServerError, "check the address")


def _of_answer(kind: type[E], response: requests.Response, message: str, next_step: str) -> E:
    return kind(
        message,
        status=response.status_code,
        method=response.request.method,
        url=_shown(response.request.url or ""),
        next_step=next_step,
    )


def _shown(url: str) -> str:
    redacted = redact_url(url)
    return redacted if len(redacted) <= _LONGEST_URL else f"{redacted[:_LONGEST_URL]}..."


def _text(response: requests.Response, secret: str | None) -> str:
    # Before anything is cut off: of half a secret nobody would know that it is one.
    return _without(secret, response.content.decode("utf-8", errors="replace"))


def _without(secret: str | None, text: str) -> str:
    return text.replace(secret, REDACTED) if secret else text


def _server_message(response: requests.Response, text: str) -> tuple[str, str | None]:
    """Return what the server says went wrong, and the field that it names, if any."""
    if response.is_redirect:
        return f"it redirects to {redact_url(response.headers['Location'])}", None
    if _is_html(response):
        return _html_message(text), None
    try:
        body = json.loads(text)
    except _NOT_JSON:
        return redact_text(text.strip()) or (response.reason or "no message"), None
    if not isinstance(body, dict):
        return redact_text(str(body)), None
    message = redact_text(str(body.get("message") or body.get("error") or body.get("code") or "no message"))
    named = _FIELD.search(message)
    field = body.get("field") or (named.group(1) if named else None)
    return message, field if isinstance(field, str) else None


def _is_html(response: requests.Response) -> bool:
    return "html" in response.headers.get("Content-Type", "").lower() or response.content.lstrip()[:1] == b"<"


def _html_message(text: str) -> str:
    title = _TITLE.search(text)
    named = f" titled {redact_text(title.group(1).strip())[:100]!r}" if title else ""
    return f"the answer is a web page{named}, not the registry's"
