"""What foreign errors mean, told from their type or, where a library has one type for all, from their text."""

from __future__ import annotations

import re
from collections.abc import Collection

from modelreg.exceptions import (
    AccessDenied,
    ModelRegError,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageRefused,
    StorageUnreachable,
    TransferStalled,
    UnsafeName,
)
from modelreg.redact import redact_text

#: Longest text of a foreign error that is quoted in one of ours.
_LONGEST = 300
# obstore tells its own settings along with an error, retry_timeout among them.
_STALLED = re.compile(r"(?<!retry_)timed? ?out|deadline", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"dns error|error trying to connect|connection (refused|reset|closed|error)|broken pipe|unreachable|tls|certificate"
    r"|name or service|cannot connect|could not connect|error sending request|unexpected end of file|IncompleteMessage",
    re.IGNORECASE,
)
_STATUS = re.compile(r"(?:status(?: code)?:? ?|returned non-2xx status code: )(\d{3})", re.IGNORECASE)


def from_status(status: int, what: str, detail: str = "", retry_after_s: float | None = None) -> StorageError:
    """Return the error that an HTTP ``status`` means for ``what``."""
    said = f": {detail}" if detail else ""
    if status in {401, 403, 407}:
        return AccessDenied(
            f"the storage denies access to {what} (status {status}{said})",
            next_step="check the credentials, or name none for what is public; 'modelreg doctor' shows what was found",
        )
    if status in {404, 410}:
        return ObjectNotFound(f"{what} does not exist (status {status})")
    if status in {409, 412, 416}:
        return ObjectChanged(f"{what} changed while it was read (status {status})")
    return StorageRefused(
        f"the storage failed on {what} (status {status}{said})", status=status, retry_after_s=retry_after_s
    )


def from_text(error: Exception, what: str) -> ModelRegError:
    """Return what ``error`` means for ``what``, told from its text."""
    text = _chain_text(error)
    status = _STATUS.search(text)
    if status is not None and not status[1].startswith(("1", "2")):
        return from_status(int(status[1]), what, quoted(error))
    if _STALLED.search(text):
        return TransferStalled(f"no byte of {what} came in time: {quoted(error)}")
    if _UNREACHABLE.search(text):
        return StorageUnreachable(
            f"cannot reach the storage of {what}: {quoted(error)}",
            next_step="check the address, the proxy and the certificates",
        )
    return StorageError(f"the storage failed on {what}: {quoted(error)}")


def from_os_error(error: OSError, what: str) -> ModelRegError:
    """Return what ``error`` of the operating system, or of a client that uses its types, means for ``what``."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ObjectNotFound(f"{what} does not exist")
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"access to {what} is denied: {quoted(error)}", next_step="check the credentials or the file's permissions"
        )
    if isinstance(error, TimeoutError):
        return TransferStalled(f"no byte of {what} came in time: {quoted(error)}")
    if isinstance(error, ConnectionError):
        return StorageUnreachable(
            f"cannot reach the storage of {what}: {quoted(error)}",
            next_step="check the address, the proxy and the certificates",
        )
    return from_text(error, what)


def unsafe_key(what: str, error: Exception) -> UnsafeName:
    """Return the error for keys that a client refuses to list."""
    return UnsafeName(f"a name under {what} must not become a local path: {quoted(error)}")


def quoted(error: BaseException) -> str:
    """Return the first lines of what ``error`` says, or the error that it wraps, redacted and cut."""
    # What obstore adds for its own developers fills a screen.
    told = str(_innermost(error)).partition("Debug source:")[0]
    text = " ".join(redact_text(told).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _innermost(error: BaseException) -> BaseException:
    """Return the error that the ones of requests and urllib3 are about: theirs tell of pools and retries."""
    inner = getattr(error, "reason", None) or next(iter(error.args), None)
    return _innermost(inner) if isinstance(inner, BaseException) else error


def without(secrets: Collection[str], error: ModelRegError) -> ModelRegError:
    """Return ``error`` with ``secrets`` taken out of what it says: a server may repeat what it was sent."""
    error.message = redact_text(error.message, secrets)
    error.args = (error.message, *error.args[1:])
    return error


def _chain_text(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
