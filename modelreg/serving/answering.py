"""The way of one request: admitted, through the handlers of its model before its deadline, counted, its errors told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic, perf_counter
from typing import Any
from uuid import uuid4

import attrs

from modelreg.exceptions import (
    DeadlineExceeded,
    HandlerFailed,
    InferenceError,
    InvalidInput,
    ModelNotReady,
    ModelRegError,
    UnsupportedProtocol,
)
from modelreg.serving.admission import Admission, BatchGate, Gate, ModelGate, Slots, seconds_until
from modelreg.serving.batching import Batcher
from modelreg.serving.handler_threads import HandlerThreads, LoopThread
from modelreg.serving.metrics import Metrics
from modelreg.serving.model import BatchSettings
from modelreg.serving.repository import ModelRepository
from modelreg.serving.running import Call, Handlers, resolved, run, run_on_loop
from modelreg.serving.served import Served

_log = logging.getLogger(__name__)

#: Makes the answer of what the handlers returned.
Finish = Callable[[Any, Call, Served], Any]


@attrs.frozen
class _Way:
    """How the requests for one model go: through a gate, to its handlers."""

    handlers: Handlers
    gate: Gate
    explain_gate: Gate


class Answering:
    """Answers requests with the models of a repository.

    Args:
        repository: The models.
        admission: How many requests run and wait.
        metrics: Where requests are counted.
        loop: Where ``async def`` handlers run.
        deadline_s: Seconds within which every request is answered; ``None`` for no such limit.
        batching: How requests are answered together, for models without a setting of their own; ``None``: one by one.
    """

    def __init__(
        self,
        repository: ModelRepository,
        *,
        admission: Admission,
        metrics: Metrics,
        loop: LoopThread,
        deadline_s: float | None,
        batching: BatchSettings | None,
    ) -> None:
        self._repository = repository
        self._admission = admission
        self._metrics = metrics
        self._loop = loop
        self._threads = HandlerThreads()
        self._deadline_s = deadline_s
        self._batching = batching
        self._attaching = threading.Lock()

    def answer(self, call: Call, finish: Finish) -> Any:
        """Return what ``finish`` makes of what the model's handlers return, and count the request.

        Raises:
            InvalidInput: The handlers refuse the request.
            InferenceError: Another error, with its HTTP status.
        """
        begun = perf_counter()
        served = None
        status = 200
        try:
            served = self._repository.use(call.name, call.version)
            return finish(self._run(served, call), call, served)
        except Exception as error:
            failure = explained(error, call)
            status = getattr(failure, "status", 400)
            if failure is error:
                raise
            raise failure from error
        finally:
            # A name that is not served is not counted by name, or anybody could make as many series as they like.
            model, version = ("", None) if served is None else (served.name, served.version)
            seconds = perf_counter() - begun
            # A copy: past its deadline, a handler may still be adding to it.
            phases = call.seconds.copy()
            self._metrics.observe(
                model, version, call.protocol, status, seconds=seconds, waited=call.waited, phases=phases
            )

    def warm_up(self, served: Served) -> None:
        """Have a model that is not in use yet start its engine, and answer what it wants to be warmed up with.

        Raises:
            ModelNotReady: Its engine did not make it ready.
            Exception: What its engine or its handlers raise.
        """
        if getattr(served.model, "engine", False):
            resolved(served.model.start_engine(), self._loop)
            if not served.ready:
                raise ModelNotReady(served.name, "its start_engine() did not make it ready")
        for payload in getattr(served.model, "warm_up", list)():
            run(served.handlers, Call(served.name, served.version, payload, {}, protocol=""), self._loop)

    def close(self) -> None:
        """Let the threads end, each when its handler has."""
        self._threads.close()

    def _run(self, served: Served, call: Call) -> Any:
        """What the handlers of a model in use return; the use ends when they have ended."""
        try:
            way = self._way(served)
            gate = way.explain_gate if call.explain else way.gate
            self._enter(gate, call)
        except BaseException:
            served.release()
            raise

        if call.deadline is not None:
            return self._run_until(call.deadline, way.handlers, call, ended=partial(_end_use, served, gate))
        try:
            return run(way.handlers, call, self._loop)
        finally:
            _end_use(served, gate)

    def _enter(self, gate: Gate, call: Call) -> None:
        timeout_s = call.timeout_s
        if self._deadline_s is not None:
            call.deadline = monotonic() + self._deadline_s
            timeout_s = self._deadline_s if timeout_s is None else min(timeout_s, self._deadline_s)
        begun = perf_counter()
        gate.enter(timeout_s)
        call.waited = perf_counter() - begun

    def _run_until(self, deadline: float, handlers: Handlers, call: Call, ended: Callable[[], None]) -> Any:
        """Run the handlers on a thread that can be left alone when the deadline comes."""
        cancel = None
        try:
            if handlers.asynchronous:
                outcome, cancel = self._loop.submit(run_on_loop(handlers, call), ended=ended)
            else:
                outcome = self._threads.submit(lambda: run(handlers, call, self._loop), ended=ended)
        except BaseException:
            ended()
            raise
        if outcome.wait(seconds_until(deadline)):
            return outcome.get()
        if cancel is not None:
            cancel()
        raise DeadlineExceeded(f"no answer within {self._deadline_s:g} s")

    def _way(self, served: Served) -> _Way:
        if not served.ready:
            raise ModelNotReady(served.name, served.reason or None)
        if served.attachment is None:
            with self._attaching:
                if served.attachment is None:
                    served.attachment = self._new_way(served)
        way: _Way = served.attachment
        return way

    def _new_way(self, served: Served) -> _Way:
        limit = getattr(served.model, "max_concurrency", None)
        settings = getattr(served.model, "batching", None) or self._batching
        if settings is None:
            gate: Gate = self._admission if limit is None else ModelGate(self._admission, Slots(limit))
            return _Way(served.handlers, gate, gate)
        # One batch at a time, unless the model says how many: what comes meanwhile makes the next one larger.
        turns = ModelGate(self._admission, Slots(limit or 1))
        batcher = Batcher(
            served.handlers.predict,
            settings,
            turns=turns,
            loop=self._loop,
            observe=partial(self._metrics.observe_batch, served.name, served.version),
        )
        handlers = attrs.evolve(served.handlers, predict=batcher.predict, asynchronous=False)
        return _Way(handlers, BatchGate(self._admission), turns)


def _end_use(served: Served, gate: Gate) -> None:
    gate.leave()
    served.release()


def explained(error: Exception, call: Call) -> ModelRegError:
    """Return what the client is told of ``error``.

    What a handler raised on purpose is told as it is. A bug is told to the log, under an id that the client is told.
    """
    if isinstance(error, InferenceError):
        if error.debug_details is not None:
            _log.warning("model %s refused a request: %s: %s", call.name, error, error.debug_details)
        return error
    if isinstance(error, InvalidInput):
        return error
    if isinstance(error, NotImplementedError):
        return UnsupportedProtocol(f"model {call.name!r} does not implement that")
    failure = HandlerFailed(uuid4().hex[:12])
    request_id = getattr(call.payload, "id", None) or call.headers.get("x-request-id", "-")
    where = f"{call.phase}()" if call.phase else "the answer"
    _log.error("%s: %s of model %s failed, request %s", failure, where, call.name, request_id, exc_info=error)
    return failure
