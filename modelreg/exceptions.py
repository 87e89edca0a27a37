"""Every error that modelreg raises, in one tree.

Catch :class:`ModelRegError` for all of them, a branch for a kind of trouble, a leaf for one case::

    ModelRegError
    ├── InvalidInput (ValueError)             an argument is wrong; nothing was sent or written
    │   ├── UnsupportedType (StoreError, TypeError)  a value that custom properties cannot hold
    │   ├── InvalidURI                        a URI that cannot be parsed
    │   └── UnknownScheme                     a URI whose scheme no storage answers for
    ├── MissingExtra (ImportError)            an optional package is not installed
    ├── StoreError                            the registry refused, failed or could not be reached
    │   ├── RegistryError                     it answered with an error status
    │   │   ├── BadRequest                    400, 422
    │   │   ├── Unauthorized                  401
    │   │   ├── Forbidden                     403
    │   │   ├── NotFound (LookupError)        404
    │   │   ├── Conflict                      409
    │   │   │   └── DuplicateError            409: that name or external id is taken
    │   │   ├── RateLimited                   429
    │   │   └── ServerError                   5xx, or an answer that is not the registry's
    │   ├── Unreachable (ConnectionError)     no answer: refused, reset, TLS, DNS
    │   │   └── TimedOut (TimeoutError)       no answer in time
    │   ├── TypeNotFound                      an artifact or metadata type that this version does not know
    │   ├── MissingMetadata                   an object lacks a field that the call needs, such as its id
    │   ├── DatabaseError                     the embedded registry's database
    │   │   ├── DatabaseTooNew                written by a newer modelreg; left untouched
    │   │   └── DatabaseFull (OSError)        no space left; the database is intact
    │   └── ExperimentRunError                a run is used where it cannot be
    ├── StorageError                          object storage refused, failed or could not be reached
    │   ├── ObjectNotFound (FileNotFoundError)
    │   ├── AccessDenied (PermissionError)
    │   ├── StorageUnreachable (ConnectionError)
    │   ├── StorageRefused                    an error status that has no name of its own, such as 400 or 503
    │   ├── TransferStalled (TimeoutError)    no byte within the stall time-out
    │   ├── ObjectChanged                     the object changed while it was read, more than once
    │   └── ReadOnlyStorage (PermissionError) a scheme that cannot be written
    ├── InferenceError                        a model server cannot answer; handlers may raise it with any status
    │   ├── UntrustedModel (PermissionError)  403: loading the model could run code, and nobody has said that it may
    │   ├── ModelNotFound (LookupError)       404: no such model, or no such version of it
    │   ├── PayloadTooLarge                   413: the body is larger than the server reads
    │   ├── UnsupportedMediaType              415: a content type or encoding that the server does not read
    │   ├── TooManyRequests                   429: as many requests are waiting as may
    │   ├── InvalidModel (ValueError)         500: the files of a model are not what its format needs
    │   ├── HandlerFailed                     500: a handler has a bug, which the log tells under the id in the message
    │   ├── UnsupportedProtocol               501: the model does not do what was asked, such as to explain
    │   ├── ServerUnreachable (ConnectionError)  502: no answer came from a model server: refused, reset, TLS, DNS
    │   ├── ModelNotReady                     503: the model is not loaded, or says that it is not well
    │   ├── ServerNotReady                    503: the server cannot answer yet
    │   ├── Overloaded                        503: the request waited too long for its turn and was not begun
    │   ├── ShuttingDown                      503: the server takes no new requests
    │   └── DeadlineExceeded (TimeoutError)   504: no answer within the deadline
    ├── UnsafeName (ValueError)               a remote or archived name that must not become a local path
    ├── ArchiveError                          an archive is damaged, or larger than its limits
    └── CacheError                            the local cache
        ├── DigestMismatch                    content is not what its digest says; nothing was kept
        ├── NotCached (LookupError)           offline, and the cache does not hold all of it
        ├── CacheFull (OSError)               no space left, or the quota is too small
        └── CacheTooNew                       written by a newer modelreg; left untouched

The names of Kubeflow's ``model_registry.exceptions`` catch what they say: ``StoreError`` all of the registry part,
``ServerError`` the server's own failures, ``DuplicateError`` a taken name. This imports the standard library only.
"""

from __future__ import annotations

import copyreg


class ModelRegError(Exception):
    """Base of every error that modelreg raises.

    Args:
        message: What failed and why, naming the thing.
        next_step: What the reader can do about it; shown after the message.

    Example:
        >>> str(ModelRegError("no model 'fraud'", next_step="list them with 'modelreg models list'"))
        "no model 'fraud' (list them with 'modelreg models list')"
    """

    def __init__(self, message: str, *, next_step: str = "") -> None:
        self.message = message
        self.next_step = next_step
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} ({self.next_step})" if self.next_step else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Not by __init__, which may want arguments by name: a pool of processes breaks on what cannot be made again.
        return copyreg.__dict__["__newobj__"], (type(self), *self.args), {**self.__dict__, "args": self.args}


class InvalidInput(ModelRegError, ValueError):
    """An argument is wrong; nothing was sent or written."""

    def __init__(self, reason: str, *, next_step: str = "") -> None:
        super().__init__(reason, next_step=next_step)
        self.reason = reason


class InvalidURI(InvalidInput):
    """A URI cannot be parsed."""


class UnknownScheme(InvalidInput):
    """No storage answers for a URI's scheme."""


class MissingExtra(ModelRegError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""


class StoreError(ModelRegError):
    """The registry refused, failed or could not be reached.

    Attributes:
        maybe_done: Whether the registry may have done what was asked although no usable answer came.
    """

    maybe_done: bool = False


class UnsupportedType(InvalidInput, StoreError, TypeError):
    """A value has a type that custom properties cannot hold."""


class RegistryError(StoreError):
    """The registry answered with an error status.

    Args:
        message: The server's message, or why its answer cannot be used.
        status: HTTP status code.
        method: HTTP method of the request, where there was one.
        url: Redacted URL of the request, where there was one.
        field: The field that the server named, where it did.
        next_step: What the reader can do about it.

    Attributes:
        retry_after_s: Seconds that the server asked to wait, if it did.
    """

    #: The status that the embedded registry answers with where none is given.
    default_status = 500
    retry_after_s: float | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        method: str | None = None,
        url: str | None = None,
        field: str | None = None,
        next_step: str = "",
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.status = self.default_status if status is None else status
        self.method = method
        self.url = url
        self.field = field

    def __str__(self) -> str:
        if self.method is None or self.url is None:
            return super().__str__()
        return f"{self.method} {self.url}: {self.status}: {super().__str__()}"


class BadRequest(RegistryError):
    """The registry cannot use the request (400), or the request lacks a required field (422)."""

    default_status = 400


class Unauthorized(RegistryError):
    """The registry wants a token, or a newer one (401)."""

    default_status = 401


class Forbidden(RegistryError):
    """The token does not allow this (403)."""

    default_status = 403


class NotFound(RegistryError, LookupError):
    """The registry has no such object (404)."""

    default_status = 404


class Conflict(RegistryError):
    """The request does not fit what the registry holds (409)."""

    default_status = 409


class DuplicateError(Conflict):
    """A name or an external id is taken (409)."""


#: The short name of :class:`DuplicateError`.
Duplicate = DuplicateError


class RateLimited(RegistryError):
    """The registry wants fewer requests (429)."""

    default_status = 429


class ServerError(RegistryError):
    """The registry failed (5xx), or what answered is not a registry."""

    default_status = 500


class Unreachable(StoreError, ConnectionError):
    """No answer came: connection refused or reset, name not found, TLS failed."""


class TimedOut(Unreachable, TimeoutError):
    """No answer came in time."""


class TypeNotFound(StoreError):
    """An artifact or metadata type that this version does not know."""


class MissingMetadata(StoreError):
    """An object lacks a field that the call needs, such as its id."""


class DatabaseError(StoreError):
    """The embedded registry's database cannot be used."""


class DatabaseTooNew(DatabaseError):
    """The database was written by a newer modelreg; it was left untouched."""


class DatabaseFull(DatabaseError, OSError):
    """No space is left for the database; what it holds is intact."""


class ExperimentRunError(StoreError):
    """A run is used where it cannot be, such as after its end."""


class StorageError(ModelRegError):
    """Object storage refused, failed or could not be reached."""


class ObjectNotFound(StorageError, FileNotFoundError):
    """Nothing is stored under that URI."""


class AccessDenied(StorageError, PermissionError):
    """The credentials do not allow this, or none were found."""


class StorageUnreachable(StorageError, ConnectionError):
    """The storage could not be reached."""


class StorageRefused(StorageError):
    """The storage answered with an error status that has no name of its own.

    Args:
        message: What was asked of it, and what it said.
        status: HTTP status code.
        retry_after_s: Seconds that it asked to wait, if it did.
        next_step: What the reader can do about it.
    """

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.status = status
        self.retry_after_s = retry_after_s


class TransferStalled(StorageError, TimeoutError):
    """No byte came within the stall time-out."""


class ObjectChanged(StorageError):
    """The object changed while it was read, each time it was tried."""


class ReadOnlyStorage(StorageError, PermissionError):
    """The scheme cannot be written."""


class InferenceError(ModelRegError):
    """A model server cannot answer a request.

    A handler of a model raises it to answer with a status of its own. The message goes to the client.

    Args:
        reason: What failed, in words that the client may read.
        status: HTTP status code, 400 to 599; ``None`` for the class's own, which is 500 here.
        debug_details: More, for the log alone.
        next_step: What the client can do about it.

    Attributes:
        retry_after_s: Seconds after which to try again, where that helps.

    Raises:
        InvalidInput: ``status`` is not the code of an error.

    Example:
        >>> InferenceError("the feature store does not answer", status=502).status
        502
    """

    default_status = 500

    def __init__(
        self,
        reason: str,
        status: int | str | None = None,
        debug_details: object = None,
        *,
        retry_after_s: float | None = None,
        next_step: str = "",
    ) -> None:
        super().__init__(str(reason), next_step=next_step)
        self.reason = reason
        self.status = self.default_status if status is None else _error_status(status)
        self.debug_details = debug_details
        self.retry_after_s = retry_after_s


def _error_status(status: int | str) -> int:
    try:
        code = int(status)
    except ValueError as error:
        raise InvalidInput(f"the status of an error must be a number, not {status!r}") from error
    if not 400 <= code <= 599:
        raise InvalidInput(f"the status of an error must be between 400 and 599, not {code}")
    return code


class ModelNotFound(InferenceError, LookupError):
    """The server has no such model, or no such version of it (404).

    Args:
        model_name: Name of the model.
        version: The version that was asked for, if one was.
    """

    default_status = 404

    def __init__(self, model_name: str | None = None, *, version: str | None = None) -> None:
        of_version = f" in version {version!r}" if version is not None else ""
        super().__init__(f"there is no model {model_name!r}{of_version}")
        self.model_name = model_name
        self.version = version


class UntrustedModel(InferenceError, PermissionError):
    """Loading a model could run code of whoever wrote its files, and nobody has said that it may (403)."""

    default_status = 403


class InvalidModel(InferenceError, ValueError):
    """The files of a model are damaged, ambiguous, or not what its format needs."""


class PayloadTooLarge(InferenceError):
    """The body of a request is larger than the server reads (413)."""

    default_status = 413


class UnsupportedMediaType(InferenceError):
    """The body of a request has a content type or an encoding that the server does not read (415)."""

    default_status = 415


class TooManyRequests(InferenceError):
    """As many requests wait for their turn as may (429)."""

    default_status = 429


class HandlerFailed(InferenceError):
    """A handler of a model has a bug (500); the log has the error under the id that the message names.

    Args:
        error_id: What the message and the log have in common.
    """

    def __init__(self, error_id: str) -> None:
        super().__init__(f"internal error {error_id}")
        self.error_id = error_id


class UnsupportedProtocol(InferenceError):
    """The model or the server does not do what was asked, such as to explain (501)."""

    default_status = 501


class ServerUnreachable(InferenceError, ConnectionError):
    """No answer came from a model server: connection refused or reset, name not found, TLS failed (502).

    Clients raise it; a handler that calls another server may let it pass.
    """

    default_status = 502


class ModelNotReady(InferenceError):
    """A model is not loaded, or says that it is not well (503).

    Args:
        model_name: Name of the model.
        detail: Why, in words that the client may read.
    """

    default_status = 503

    def __init__(self, model_name: str, detail: str | None = None) -> None:
        super().__init__(f"model {model_name!r} is not ready{f': {detail}' if detail else ''}")
        self.model_name = model_name


class ServerNotReady(InferenceError):
    """The server cannot answer yet (503).

    Args:
        detail: Why, in words that the client may read.
    """

    default_status = 503

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(f"the server is not ready{f': {detail}' if detail else ''}")


class Overloaded(InferenceError):
    """A request waited too long for its turn (503); it was not begun, so it can be sent again."""

    default_status = 503


class ShuttingDown(InferenceError):
    """The server takes no new requests (503); another one may."""

    default_status = 503


class DeadlineExceeded(InferenceError, TimeoutError):
    """No answer within the deadline (504); what the model was asked may still be going on."""

    default_status = 504


class UnsafeName(ModelRegError, ValueError):
    """A remote or archived name must not become a local path."""


class ArchiveError(ModelRegError):
    """An archive is damaged, or larger than its limits."""


class CacheError(ModelRegError):
    """The local cache cannot be used."""


class DigestMismatch(CacheError):
    """Content is not what its digest says; nothing was kept.

    Args:
        message: What was read, from where.
        expected: The digest that was asked for, as ``sha256:<hex>``.
        actual: The digest of what was read, as ``sha256:<hex>``.
        next_step: What the reader can do about it.
    """

    def __init__(self, message: str, *, expected: str, actual: str, next_step: str = "") -> None:
        super().__init__(f"{message}: expected {expected}, got {actual}", next_step=next_step)
        self.expected = expected
        self.actual = actual


class NotCached(CacheError, LookupError):
    """Offline, and the cache does not hold all of what was asked for."""


class CacheFull(CacheError, OSError):
    """No space is left for the cache, or its quota is too small."""


class CacheTooNew(CacheError):
    """The cache was written by a newer modelreg; it was left untouched."""
