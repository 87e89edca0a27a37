"""Requests that come together are answered together, each with its own part of the answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from modelreg.exceptions import InferenceError, InvalidInput, Overloaded
from modelreg.serving.admission import seconds_until
from modelreg.serving.batch_values import Part, part_of, split
from modelreg.serving.handler_threads import LoopThread, Outcome
from modelreg.serving.model import BatchSettings
from modelreg.serving.running import Call, Handler, resolved

__all__ = ["BatchSettings", "Batcher", "Turns"]

_log = logging.getLogger(__name__)


class Turns(Protocol):
    """Where a batch waits for its turn."""

    def begin(self, timeout_s: float | None = None) -> None:
        """Wait for a turn, no longer than ``timeout_s`` seconds."""

    def end(self) -> None:
        """Give it back."""


class Batcher:
    """Puts requests for one model together; :meth:`predict` takes the place of the model's.

    The first request of a batch leads it: it waits until the batch is full or it has waited long enough, then for its
    turn while others may still join, and runs ``predict`` once for all of them. No thread is needed for that but those
    of the requests.

    Where ``predict`` fails for several requests at once, or its result cannot be taken apart, it is run for each alone,
    so that no request fails for another's fault. An error that is about the server (an
    :class:`~modelreg.exceptions.InferenceError` with a status of 500 or more) is everybody's at once.

    Args:
        predict: The model's handler. For several requests together it is given no headers.
        settings: How large batches are, and how long a request waits for others.
        turns: Where batches wait for their turn.
        loop: Where ``async def`` handlers run.
        observe: Told the requests and the rows of each batch.
    """

    def __init__(
        self,
        predict: Handler,
        settings: BatchSettings,
        *,
        turns: Turns,
        loop: LoopThread,
        observe: Callable[[int, int], None],
    ) -> None:
        self._predict = predict
        self._max_rows = settings.max_batch_size
        self._latency_s = settings.max_latency_ms / 1000
        self._turns = turns
        self._loop = loop
        self._observe = observe
        self._lock = threading.Lock()
        self._open: dict[tuple[Any, ...], _Batch] = {}

    def predict(self, payload: Any, call: Call) -> Any:
        """Return the model's answer to ``payload``, which may have been given to it together with others.

        Raises:
            Overloaded: The request waited too long for its turn.
            Exception: What ``predict`` raises for this payload.
        """
        part = part_of(payload)
        if part is None or part.rows >= self._max_rows:
            return self._run_large(payload, call, rows=1 if part is None else part.rows)
        member = _Member(payload, call, part)
        batch, leads = self._join(member)
        if not leads:
            member.outcome.wait()
        if leads or member.promoted():
            self._lead(batch, member)
        return member.outcome.get()

    def _run_large(self, payload: Any, call: Call, *, rows: int) -> Any:
        arrived = perf_counter()
        self._turns.begin(_patience(call))
        try:
            call.waited += perf_counter() - arrived
            self._observe(1, rows)
            return resolved(self._predict(payload, call), self._loop)
        finally:
            self._turns.end()

    def _join(self, member: _Member) -> tuple[_Batch, bool]:
        """The batch that ``member`` is in now, and whether it is the first there."""
        key = member.part.key
        with self._lock:
            batch = self._open.get(key)
            if batch is not None and batch.rows + member.part.rows > self._max_rows:
                self._close(key, batch)
                batch = None
            leads = batch is None
            if batch is None:
                batch = self._open[key] = _Batch()
            batch.members.append(member)
            batch.rows += member.part.rows
            if batch.rows == self._max_rows:
                self._close(key, batch)
        return batch, leads

    def _close(self, key: tuple[Any, ...], batch: _Batch) -> None:
        """Let nobody join ``batch`` any more; the caller holds the lock."""
        if self._open.get(key) is batch:
            del self._open[key]
            batch.closed.succeed(None)

    def _lead(self, batch: _Batch, leader: _Member) -> None:
        latency_s, patience_s = leader.arrived + self._latency_s - perf_counter(), _patience(leader.call)
        batch.closed.wait(latency_s if patience_s is None else min(latency_s, patience_s))
        try:
            self._begin_turn(leader.call)
        except BaseException:
            self._step_down(batch, leader)
            raise
        try:
            with self._lock:
                self._close(leader.part.key, batch)
            self._run(batch.members)
        finally:
            self._turns.end()

    def _begin_turn(self, call: Call) -> None:
        self._turns.begin(_patience(call))
        patience_s = _patience(call)
        if patience_s is not None and patience_s <= 0:
            # The turn came with the deadline: nobody waits for the answer any more.
            self._turns.end()
            raise Overloaded("the request's turn came too late", retry_after_s=1.0)

    def _step_down(self, batch: _Batch, leader: _Member) -> None:
        """Leave the batch to who came next: that its first request waits no longer is no reason for the others."""
        with self._lock:
            batch.members.remove(leader)
            batch.rows -= leader.part.rows
            if not batch.members:
                self._close(leader.part.key, batch)
                return
            heir = batch.members[0]
        heir.promote()

    def _run(self, members: list[_Member]) -> None:
        """Give every one of ``members`` its outcome."""
        begun = perf_counter()
        for member in members:
            member.call.waited += begun - member.arrived
        self._observe(len(members), sum(member.part.rows for member in members))
        try:
            self._run_together(members)
        except BaseException as error:
            # Such as SystemExit: nobody may be left waiting.
            for member in members:
                member.fail_if_open(error)
            raise

    def _run_together(self, members: Sequence[_Member]) -> None:
        if len(members) == 1:
            self._run_alone(members[0])
            return
        try:
            results = self._results(members)
        except (InferenceError, InvalidInput) as error:
            if isinstance(error, InferenceError) and error.status >= 500:
                for member in members:
                    member.outcome.fail(error)
                return
            _log.debug("a batch of %d requests was refused (%s); each is run alone", len(members), error)
        except Exception:  # noqa: BLE001 - each request is run again, and has its own error
            _log.warning("a batch of %d requests failed; each is run alone", len(members), exc_info=True)
        else:
            for member, result in zip(members, results, strict=True):
                member.outcome.succeed(result)
            return
        for member in members:
            self._run_alone(member)

    def _results(self, members: Sequence[_Member]) -> list[Any]:
        first = members[0]
        call = Call(first.call.name, first.call.version, None, {}, protocol="")
        payload = first.part.joined([member.part.value for member in members])
        results = split(resolved(self._predict(payload, call), self._loop), [member.part.rows for member in members])
        for member in members:
            member.call.response_headers.update(call.response_headers)
        return results

    def _run_alone(self, member: _Member) -> None:
        try:
            result = resolved(self._predict(member.payload, member.call), self._loop)
        except Exception as error:  # noqa: BLE001 - raised again in the thread of the request
            member.outcome.fail(error)
        else:
            member.outcome.succeed(result)


class _Batch:
    __slots__ = ("closed", "members", "rows")

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.rows = 0
        self.closed: Outcome[None] = Outcome()


class _Member:
    """A request in a batch."""

    __slots__ = ("_promoted", "arrived", "call", "outcome", "part", "payload")

    def __init__(self, payload: Any, call: Call, part: Part) -> None:
        self.payload = payload
        self.call = call
        self.part = part
        self.arrived = perf_counter()
        self.outcome: Outcome[Any] = Outcome()
        self._promoted = False

    def promote(self) -> None:
        """Wake it to lead the batch."""
        self._promoted = True
        self.outcome.succeed(None)

    def promoted(self) -> bool:
        """Whether it was woken to lead the batch, rather than by its outcome, which is then yet to come."""
        if self._promoted:
            self._promoted = False
            self.outcome = Outcome()
            return True
        return False

    def fail_if_open(self, error: BaseException) -> None:
        """Fail, unless there is an outcome already."""
        if not self.outcome.wait(0):
            self.outcome.fail(error)


def _patience(call: Call) -> float | None:
    limits = [limit for limit in (call.timeout_s, seconds_until(call.deadline)) if limit is not None]
    return min(limits, default=None)
