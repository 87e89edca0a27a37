"""A bounded pool of threads whose work and whose end its one caller controls."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from modelreg.exceptions import TransferStalled
from modelreg.storage.retrying import Cancelled

# How often a waiting caller looks for a stall and for being cancelled. Also what Ctrl-C waits for on Windows.
_LOOK_EVERY_S = 0.2
# How long the end waits for threads that are inside a read; they are daemons and end at its deadline.
_JOIN_S = 2.0
#: A piece of work: called in a thread of the pool, its answer comes out of :meth:`WorkerPool.next`.
Task = Callable[["Worker"], Any]


class Worker(threading.Thread):
    """One thread of a pool.

    Attributes:
        stop: Set when the work is to end.
    """

    def __init__(self, tasks: queue.SimpleQueue[Task | None], answers: queue.SimpleQueue[Any], stop: threading.Event):
        super().__init__(name="modelreg-transfer", daemon=True)
        self.stop = stop
        self._tasks = tasks
        self._answers = answers
        self._active_since: float | None = None

    def alive_now(self) -> None:
        """Note that bytes came, or that the work goes on for another reason.

        Raises:
            Cancelled: The work is to end.
        """
        self._active_since = time.monotonic()
        if self.stop.is_set():
            raise Cancelled

    def resting(self) -> None:
        """Note that this thread waits on purpose."""
        self._active_since = None

    def tell(self, answer: Any) -> None:
        """Hand ``answer`` to the pool's caller before the task ends."""
        self._answers.put(answer)

    def silent_s(self) -> float:
        """Return for how many seconds a read has brought nothing."""
        since = self._active_since
        return 0.0 if since is None else time.monotonic() - since

    def run(self) -> None:
        """Do tasks until there are no more."""
        while (task := self._tasks.get()) is not None:
            try:
                self.alive_now()
                answer = task(self)
            except Cancelled:
                return
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                answer = error
            self._active_since = None
            self._answers.put(answer)


class WorkerPool:
    """Runs tasks in at most ``size`` threads; threads start when there is work for them.

    Args:
        size: Threads at most.
        stall_timeout_s: Seconds of silence in one read after which the pool's caller is told; ``None``: never.
        cancel: Set by anyone to end the work.
    """

    def __init__(
        self, size: int, *, stall_timeout_s: float | None = None, cancel: threading.Event | None = None
    ) -> None:
        self._size = size
        # A backend's own deadline comes first, and its error says more; this one is for those that have none.
        self._silence_s = float("inf") if stall_timeout_s is None else stall_timeout_s * 1.5 + 1
        self._cancel = cancel or threading.Event()
        self._stop = threading.Event()
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workers: list[Worker] = []

    def submit(self, task: Task) -> None:
        """Have ``task`` done."""
        self._tasks.put(task)
        if len(self._workers) < self._size:
            worker = Worker(self._tasks, self._answers, self._stop)
            self._workers.append(worker)
            worker.start()

    def next(self) -> Any:
        """Return what some task answered, or told, next.

        Raises:
            TransferStalled: A read brings nothing.
            KeyboardInterrupt: The work was cancelled by its event.
        """
        while True:
            try:
                answer = self._answers.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                self._check()
                continue
            if self._cancel.is_set():
                raise KeyboardInterrupt("the transfer was cancelled")
            if isinstance(answer, BaseException):
                raise answer
            return answer

    def close(self) -> bool:
        """End the work and return whether every thread has ended.

        Tasks under way stop at their next byte, those that wait are dropped. A thread inside a read that brings
        nothing is not waited for: it writes nothing any more, and ends when the read does.
        """
        self._stop.set()
        for _ in self._workers:
            self._tasks.put(None)
        deadline = time.monotonic() + _JOIN_S
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        return not any(worker.is_alive() for worker in self._workers)

    def _check(self) -> None:
        if self._cancel.is_set():
            raise KeyboardInterrupt("the transfer was cancelled")
        silent = max((worker.silent_s() for worker in self._workers), default=0.0)
        if silent > self._silence_s:
            raise TransferStalled(f"no byte came for {silent:.0f} seconds", next_step="try again: what came is kept")
