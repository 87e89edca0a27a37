"""Which failures of a storage are tried again, and when."""

from __future__ import annotations

import random
import threading

from modelreg.exceptions import (
    AccessDenied,
    ObjectChanged,
    ObjectNotFound,
    ReadOnlyStorage,
    StorageError,
    StorageRefused,
    TransferStalled,
)
from modelreg.storageconfig import TransferSettings

_FINAL = (AccessDenied, ObjectChanged, ObjectNotFound, ReadOnlyStorage)
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# A stall has already taken the whole deadline: one more try, on a new connection, is all that is worth waiting for.
_STALLED_ATTEMPTS = 2


class Cancelled(Exception):
    """The transfer was told to stop, and its threads unwind; never leaves this package."""


class Attempts:
    """Counts the failures of one piece of work in a row and waits between its tries.

    Args:
        settings: How often, and how long.
        stop: Set when the transfer stops; ends a wait at once.
    """

    def __init__(self, settings: TransferSettings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._failures = 0

    def progressed(self) -> None:
        """Note that bytes came: failures so far do not count any more."""
        self._failures = 0

    def failed(self, error: StorageError) -> None:
        """Wait until the next try is due.

        Raises:
            StorageError: ``error`` itself, if another try would be in vain.
            Cancelled: The transfer stops.
        """
        self._failures += 1
        allowed = min(self._settings.attempts, _STALLED_ATTEMPTS) if _is_stall(error) else self._settings.attempts
        if self._failures >= allowed or not is_passing(error):
            raise error
        if self._stop.wait(self._wait_s(error)):
            raise Cancelled

    def _wait_s(self, error: StorageError) -> float:
        asked = error.retry_after_s if isinstance(error, StorageRefused) else None
        if asked is None:
            # Spread over the whole interval, so that the threads of many machines do not come back together.
            asked = random.uniform(0.5, 1.0) * self._settings.backoff_s * 2 ** (self._failures - 1)  # noqa: S311 - no secret
        return min(asked, self._settings.max_backoff_s)


def is_passing(error: StorageError) -> bool:
    """Return whether ``error`` may be gone at the next try."""
    if isinstance(error, StorageRefused):
        return error.status in _PASSING_STATUS
    return not isinstance(error, _FINAL)


def _is_stall(error: StorageError) -> bool:
    return isinstance(error, TransferStalled)
