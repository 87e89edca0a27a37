"""When to try a request again, and how long to wait before it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timezone
from email.utils import parsedate_to_datetime

import attrs
from requests.exceptions import SSLError

from modelreg.exceptions import RegistryError, StoreError, Unreachable

# Statuses after which the same request may succeed.
_TRANSIENT = frozenset({429, 502, 503, 504})


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a request is tried, and the pauses in between: exponential, jittered, or what the server asks for.

    Attributes:
        attempts: How often a request is sent at most, the first time included.
        first_delay_s: Seconds before the second attempt; the pause doubles with each further one.
        max_delay_s: Seconds that such a pause lasts at most.
        max_retry_after_s: Seconds that the server may ask to wait; it asks for more, and the error is raised at once.
        sleep: Waits; tests give one that does not.
        jitter: Returns a number from 0 to 1: clients that failed together come back apart.

    Example:
        >>> RetryPolicy(jitter=lambda: 1.0).pause_s(3)
        0.8
    """

    attempts: int = 4
    first_delay_s: float = 0.2
    max_delay_s: float = 5.0
    max_retry_after_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def pause_s(self, attempt: int) -> float:
        """Return the seconds to wait after attempt number ``attempt``, from half of the full pause to all of it."""
        full: float = min(self.max_delay_s, self.first_delay_s * 2 ** (attempt - 1))
        return full * (0.5 + 0.5 * self.jitter())

    def delay_s(self, error: StoreError, attempt: int, *, repeatable: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or ``None`` if there should be none.

        Args:
            error: How the attempt failed.
            attempt: Number of the attempt, from 1.
            repeatable: Whether the request does the same when it is done twice.
        """
        if attempt >= self.attempts or not is_transient(error) or (error.maybe_done and not repeatable):
            return None
        asked_s = error.retry_after_s if isinstance(error, RegistryError) else None
        if asked_s is None:
            return self.pause_s(attempt)
        return asked_s if asked_s <= self.max_retry_after_s else None


def parse_retry_after(value: str | None, *, clock: Callable[[], float] = time.time) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait, or ``None`` if it says nothing that can be read.

    Args:
        value: The header: seconds, or an HTTP date.
        clock: Returns the seconds since the epoch.

    Example:
        >>> parse_retry_after("2"), parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", clock=lambda: 57.0)
        (2.0, 3.0)
    """
    if value is None:
        return None
    value = value.strip()
    if value.isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    # Dates in HTTP are in UTC, also one that does not say so.
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(0.0, when.timestamp() - clock())


def is_transient(error: StoreError) -> bool:
    """Return whether the same request may succeed a little later."""
    if isinstance(error, RegistryError):
        # Below 300: an answer that was cut short.
        return error.status in _TRANSIENT or (error.status < 300 and error.maybe_done)
    return isinstance(error, Unreachable) and not isinstance(error.__cause__, SSLError)
