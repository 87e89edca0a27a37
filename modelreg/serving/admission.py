"""How many requests are worked on at once, how many may wait for their turn, and how long."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import Protocol, TypeAlias

from modelreg.exceptions import InvalidInput, Overloaded, ShuttingDown, TooManyRequests

_RETRY_AFTER_S = 1.0

#: Where the numbers of running and of waiting requests are kept, in this order.
Levels: TypeAlias = "list[float] | memoryview[float]"


class Slots:
    """A number of slots that requests take in the order in which they came.

    Args:
        count: How many there are.

    Raises:
        InvalidInput: ``count`` is below 1.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise InvalidInput(f"at least one request must be able to run at once, not {count}")
        self.count = count
        self.taken = 0
        self.lock = threading.Lock()
        self._waiting: deque[_Ticket] = deque()

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._waiting)

    def take(self, timeout_s: float | None = None) -> bool:
        """Return whether a slot became free within ``timeout_s`` seconds (``None``: however long it takes)."""
        with self.lock:
            ticket = self.take_or_queue()
        return ticket is None or self.await_turn(ticket, timeout_s)

    def take_or_queue(self) -> _Ticket | None:
        """Take a slot and return ``None``, or return a place in the queue; the caller holds the lock."""
        if self.taken < self.count and not self._waiting:
            self.taken += 1
            return None
        ticket = _Ticket()
        self._waiting.append(ticket)
        return ticket

    def await_turn(self, ticket: _Ticket, timeout_s: float | None) -> bool:
        """Return whether the turn of ``ticket`` came within ``timeout_s`` seconds; else it has left the queue."""
        if ticket.turn.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0)):
            return True
        with self.lock:
            if ticket.has_slot:
                # It came between the end of the wait and the lock.
                return True
            self._waiting.remove(ticket)
        return False

    def free(self) -> None:
        """Give a slot back: to who waits longest, if anyone waits."""
        with self.lock:
            self.free_locked()

    def free_locked(self) -> None:
        """Do as :meth:`free` does; the caller holds the lock."""
        if self._waiting:
            ticket = self._waiting.popleft()
            ticket.has_slot = True
            ticket.turn.release()
        else:
            self.taken -= 1


class _Ticket:
    __slots__ = ("has_slot", "turn")

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.has_slot = False


class Admission:
    """Who may come in, and who may run.

    A request is present from when it comes in until its handlers have ended; it runs while it holds a slot. No more
    than ``max_concurrency + max_queue`` are ever present, so an edge with a few threads more than that always has one
    for a probe, and for the answer that there are too many requests.

    Args:
        max_concurrency: Requests whose handlers run at once.
        max_queue: Requests that may wait for their turn.
        max_wait_s: Seconds that a request waits for its turn at most; ``None`` for however long it takes.

    Raises:
        InvalidInput: A limit is below 1, or ``max_queue`` below 0.
    """

    def __init__(self, *, max_concurrency: int = 32, max_queue: int = 96, max_wait_s: float | None = None) -> None:
        if max_queue < 0:
            raise InvalidInput(f"max_queue must be at least 0, not {max_queue}")
        self.max_concurrency = max_concurrency
        self.max_queue = max_queue
        self.max_wait_s = max_wait_s
        self._slots = Slots(max_concurrency)
        self._lock = self._slots.lock
        self._gone = threading.Condition(self._lock)
        self._capacity = max_concurrency + max_queue
        self._present = 0
        self._closed = False
        self._levels: Levels = [0.0, 0.0]

    def report_to(self, levels: Levels) -> None:
        """Keep ``levels`` at the number of requests that run and the number that are present but do not."""
        with self._lock:
            self._levels = levels
            self._report()

    @property
    def present(self) -> int:
        """How many requests have come in and not ended."""
        # Whoever counted one has reported it, too.
        with self._lock:
            return self._present

    def come_in(self) -> None:
        """Be present, without a slot; :meth:`go` ends it.

        Raises:
            TooManyRequests: As many are present as may.
            ShuttingDown: No new requests are taken.
        """
        with self._lock:
            self._come_in()
            self._report()

    def go(self) -> None:
        """Be present no longer."""
        with self._lock:
            self._go()
            self._report()

    def take_slot(self, timeout_s: float | None = None, *, of_model: Slots) -> None:
        """Wait for a slot of a model and then for one of the server; :meth:`free_slot` gives the latter back.

        Args:
            timeout_s: Seconds to wait at most for both; no longer than ``max_wait_s`` either way.
            of_model: The model's own slots.

        Raises:
            Overloaded: None became free in time.
        """
        patience = self._patience(timeout_s)
        deadline = None if patience is None else monotonic() + patience
        if not of_model.take(patience):
            raise self._overloaded()
        if not self._slots.take(seconds_until(deadline)):
            of_model.free()
            raise self._overloaded()
        with self._lock:
            self._report()

    def free_slot(self) -> None:
        """Give the slot back."""
        with self._lock:
            self._slots.free_locked()
            self._report()

    def enter(self, timeout_s: float | None = None) -> None:
        """Come in and wait for a slot, no longer than ``timeout_s`` and than ``max_wait_s``; :meth:`leave` ends both.

        Raises:
            TooManyRequests: As many are present as may.
            ShuttingDown: No new requests are taken.
            Overloaded: No slot became free in time.
        """
        with self._lock:
            self._come_in()
            ticket = self._slots.take_or_queue()
            self._report()
        if ticket is not None and not self._slots.await_turn(ticket, self._patience(timeout_s)):
            self.go()
            raise self._overloaded()

    def leave(self) -> None:
        """Give the slot back and be present no longer."""
        with self._lock:
            self._slots.free_locked()
            self._go()
            self._report()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Take no new requests, and return whether those that are present ended within ``timeout_s`` seconds."""
        with self._gone:
            self._closed = True
            return self._gone.wait_for(lambda: self._present == 0, timeout_s)

    def _come_in(self) -> None:
        if self._closed:
            raise ShuttingDown("the server is shutting down", retry_after_s=_RETRY_AFTER_S)
        if self._present >= self._capacity:
            raise TooManyRequests(
                f"{self.max_concurrency} requests are being answered and {self.max_queue} more wait",
                retry_after_s=_RETRY_AFTER_S,
                next_step="try again a little later",
            )
        self._present += 1

    def _go(self) -> None:
        self._present -= 1
        if self._closed and not self._present:
            self._gone.notify_all()

    def _report(self) -> None:
        taken = self._slots.taken
        self._levels[0] = taken
        self._levels[1] = self._present - taken

    def _patience(self, timeout_s: float | None) -> float | None:
        limits = [limit for limit in (timeout_s, self.max_wait_s) if limit is not None]
        return min(limits, default=None)

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            "the request waited too long for its turn",
            retry_after_s=_RETRY_AFTER_S,
            next_step="try again a little later",
        )


class Gate(Protocol):
    """What a request passes on its way to the handlers of a model, and again when they have ended."""

    def enter(self, timeout_s: float | None = None) -> None:
        """Come in and wait for a turn, no longer than ``timeout_s`` seconds."""

    def leave(self) -> None:
        """Undo what :meth:`enter` did."""


class ModelGate:
    """The way to a model that runs fewer requests at once than the server does.

    Args:
        admission: The server's admission.
        slots: The model's own slots. One of them is taken first, so that requests which wait for this model do not hold
            up those for others.
    """

    def __init__(self, admission: Admission, slots: Slots) -> None:
        self._admission = admission
        self._slots = slots

    def enter(self, timeout_s: float | None = None) -> None:
        """Come in and wait for both slots, no longer than ``timeout_s`` seconds.

        Raises:
            TooManyRequests: As many are present as may.
            ShuttingDown: No new requests are taken.
            Overloaded: No slot became free in time.
        """
        self._admission.come_in()
        try:
            self.begin(timeout_s)
        except BaseException:
            self._admission.go()
            raise

    def leave(self) -> None:
        """Give the slots back and be present no longer."""
        self.end()
        self._admission.go()

    def begin(self, timeout_s: float | None = None) -> None:
        """Wait for both slots, for requests that are present already.

        Raises:
            Overloaded: No slot became free in time.
        """
        self._admission.take_slot(timeout_s, of_model=self._slots)

    def end(self) -> None:
        """Give the slots back."""
        self._admission.free_slot()
        self._slots.free()


class BatchGate:
    """The way to a model that answers in batches: its requests are present, and their batch takes a slot.

    Args:
        admission: The server's admission.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def enter(self, timeout_s: float | None = None) -> None:  # noqa: ARG002 - the batch waits, not the request
        """Come in.

        Raises:
            TooManyRequests: As many are present as may.
            ShuttingDown: No new requests are taken.
        """
        self._admission.come_in()

    def leave(self) -> None:
        """Be present no longer."""
        self._admission.go()


def seconds_until(deadline: float | None) -> float | None:
    """Return the seconds until ``deadline`` of the monotonic clock, negative after it; ``None`` where there is none."""
    return None if deadline is None else deadline - monotonic()
