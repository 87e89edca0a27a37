"""A bounded pool of threads whose work and whose end its one caller controls; or no thread but the caller's."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from modelreg.exceptions import TransferStalled
from modelreg.storage.retrying import Cancelled

# How often a waiting caller looks for a stall and for being cancelled. Also what Ctrl-C waits for on Windows.
_LOOK_EVERY_S = 0.2
# How long the end waits for threads that are inside a read; they are daemons and end at its deadline.
_JOIN_S = 2.0
_CANCELLED = "the transfer was cancelled"
#: A piece of work: called in a thread of the pool, its answer comes out of :meth:`WorkerPool.next`.
Task = Callable[["Worker"], Any]


class Worker:
    """What a task sees of the thread that does it.

    Attributes:
        stop: Set when the work is to end.
        is_caller: The thread is that of the pool's caller, whom nobody waits for.
    """

    is_caller = False

    def __init__(self, answers: Callable[[Any], object], stop: threading.Event) -> None:
        self.stop = stop
        self._answer = answers
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
        self._answer(answer)

    def silent_s(self) -> float:
        """Return for how many seconds a read has brought nothing."""
        since = self._active_since
        return 0.0 if since is None else time.monotonic() - since


class _Thread(threading.Thread):
    def __init__(
        self, tasks: queue.SimpleQueue[Task | None], answers: queue.SimpleQueue[Any], stop: threading.Event
    ) -> None:
        super().__init__(name="modelreg-transfer", daemon=True)
        self.worker = Worker(answers.put, stop)
        self._tasks = tasks

    def run(self) -> None:
        """Do tasks until there are no more."""
        while (task := self._tasks.get()) is not None:
            try:
                self.worker.alive_now()
                answer = task(self.worker)
            except Cancelled:
                return
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                answer = error
            self.worker.resting()
            self.worker.tell(answer)


class _Caller(Worker):
    is_caller = True


class CallersThread:
    """What :class:`WorkerPool` is, without threads: each task is done when the caller waits for its answer.

    For work that takes less time than a thread takes to start, and that ends by itself if nothing comes.

    Args:
        cancel: Set by anyone to end the work.
    """

    def __init__(self, *, cancel: threading.Event | None = None) -> None:
        self._cancel = cancel or threading.Event()
        self._tasks: deque[Task] = deque()
        self._answers: deque[Any] = deque()

    def submit(self, task: Task) -> None:
        """Have ``task`` done."""
        self._tasks.append(task)

    def next(self) -> Any:
        """Return what some task answered, or told, next.

        Raises:
            KeyboardInterrupt: The work was cancelled by its event.
        """
        worker = _Caller(self._answers.append, self._cancel)
        try:
            while not self._answers:
                worker.alive_now()
                worker.tell(self._tasks.popleft()(worker))
        except Cancelled:
            raise KeyboardInterrupt(_CANCELLED) from None
        if self._cancel.is_set():
            raise KeyboardInterrupt(_CANCELLED)
        return self._answers.popleft()

    def close(self) -> bool:
        """Drop what was not done, and return that nothing is under way."""
        self._tasks.clear()
        return True


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
        self._threads: list[_Thread] = []

    def submit(self, task: Task) -> None:
        """Have ``task`` done."""
        self._tasks.put(task)
        if len(self._threads) < self._size:
            thread = _Thread(self._tasks, self._answers, self._stop)
            self._threads.append(thread)
            thread.start()

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
                raise KeyboardInterrupt(_CANCELLED)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    def close(self) -> bool:
        """End the work and return whether every thread has ended.

        Tasks under way stop at their next byte, those that wait are dropped. A thread inside a read that brings
        nothing is not waited for: it writes nothing any more, and ends when the read does.
        """
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _check(self) -> None:
        if self._cancel.is_set():
            raise KeyboardInterrupt(_CANCELLED)
        silent = max((thread.worker.silent_s() for thread in self._threads), default=0.0)
        if silent > self._silence_s:
            raise TransferStalled(f"no byte came for {silent:.0f} seconds", next_step="try again: what came is kept")
