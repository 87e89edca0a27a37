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
    ├── UnsafeName (ValueError)               a remote or archived name that must not become a local path
    ├── ArchiveError                          an archive is damaged, or larger than its limits
    └── CacheError                            the local cache
        ├── DigestMismatch                    content is not what its digest says; nothing was kept
        ├── NotCached (LookupError)           offline, and the cache does not hold all of it
        ├── CacheFull (OSError)               no space left, or the quota is too small
        └── CacheTooNew                       written by a newer modelreg; left untouched

The names that Kubeflow's ``model_registry.exceptions`` exports are here and catch what they say: ``StoreError`` is
everything the registry part raises, ``ServerError`` the server's own failures, ``DuplicateError`` a name that is taken.

This module imports the standard library only, so that everything may import it.
"""

from __future__ import annotations


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


class InvalidInput(ModelRegError, ValueError):
    """An argument is wrong; nothing was sent or written."""


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
