"""Where handlers run: on one event loop, or on threads that may be left alone; and how their outcome comes back."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

from modelreg.exceptions import ShuttingDown

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Outcome(Generic[T]):
    """What a call on another thread ends with; one thread waits for it."""

    __slots__ = ("_error", "_pending", "_result")

    def __init__(self) -> None:
        # A bare lock is the quickest way of CPython to wait for another thread.
        self._pending = threading.Lock()
        self._pending.acquire()
        self._result: T | None = None
        self._error: BaseException | None = None

    def succeed(self, result: T) -> None:
        """Wake who waits, with ``result``."""
        self._result = result
        self._pending.release()

    def fail(self, error: BaseException) -> None:
        """Wake who waits, with ``error``."""
        self._error = error
        self._pending.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return whether the call has ended, after at most ``timeout_s`` seconds (``None``: however long it takes)."""
        if not self._pending.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0)):
            return False
        self._pending.release()
        return True

    def get(self) -> T:
        """Return the result of a call that has ended.

        Raises:
            BaseException: What the call raised.
        """
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback holds this frame: no cycle of the two.
                self._error = None
        return cast("T", self._result)


class LoopThread:
    """The event loop that ``async def`` handlers run on, in a thread of its own that the first of them starts.

    Args:
        close_s: Seconds that handlers have to end when they are cancelled by :meth:`close`.
    """

    def __init__(self, *, close_s: float = 5.0) -> None:
        self._close_s = close_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(
        self, coroutine: Coroutine[Any, Any, T], *, ended: Callable[[], None] | None = None
    ) -> tuple[Outcome[T], Callable[[], None]]:
        """Return the outcome that ``coroutine`` will have, and what cancels it.

        Args:
            coroutine: What to run.
            ended: Called when it has ended, however it did, and before its outcome is there.

        Raises:
            ShuttingDown: The loop is closed; ``ended`` was not called.
        """
        outcome: Outcome[T] = Outcome()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(settle)

        def settle(task: asyncio.Task[T]) -> None:
            if ended is not None:
                ended()
            _settle(task, outcome)

        def cancel() -> None:
            loop.call_soon_threadsafe(cancel_here)

        def cancel_here() -> None:
            # In turn after begin, so the task is there.
            tasks[0].cancel()

        with self._lock:
            if self._closed:
                coroutine.close()
                raise ShuttingDown("the server is shutting down")
            loop = self._running_loop()
            loop.call_soon_threadsafe(begin)
        return outcome, cancel

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what ``coroutine`` returns, once it has.

        Raises:
            ShuttingDown: The loop is closed.
        """
        outcome, _ = self.submit(coroutine)
        outcome.wait()
        return outcome.get()

    def close(self) -> None:
        """Cancel what still runs, and end the thread; a handler that does not let it is left behind."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_others_and_stop(), loop)
        thread.join(self._close_s)
        if thread.is_alive():
            # The thread is a daemon: it does not keep the process from ending.
            _log.warning("an async handler still runs %g s after it was cancelled", self._close_s)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run_loop, args=(self._loop,), name="modelreg-loop", daemon=True)
            self._thread.start()
        return self._loop


def _settle(task: asyncio.Task[T], outcome: Outcome[T]) -> None:
    if task.cancelled():
        outcome.fail(ShuttingDown("the request was cancelled"))
    elif (error := task.exception()) is not None:
        outcome.fail(error)
    else:
        outcome.succeed(task.result())


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _cancel_others_and_stop() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    asyncio.get_running_loop().stop()


class HandlerThreads:
    """Threads for handlers that someone waits for no longer than until a deadline.

    They are daemons: a handler that never ends does not keep the process from ending. A thread is started when none is
    idle; how many there are is bounded by who calls (see :mod:`modelreg.serving.admission`).
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0

    def submit(self, call: Callable[[], T], *, ended: Callable[[], None]) -> Outcome[T]:
        """Return the outcome that ``call`` will have, on another thread and in the context variables of this one.

        Args:
            call: What to run.
            ended: Called when it has ended, however it did, and before its outcome is there.
        """
        outcome: Outcome[T] = Outcome()
        context = contextvars.copy_context()

        def job() -> None:
            try:
                result = context.run(call)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                ended()
                outcome.fail(error)
            else:
                ended()
                outcome.succeed(result)

        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._started += 1
                name = f"modelreg-handler-{self._started}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        self._jobs.put(job)
        return outcome

    def close(self) -> None:
        """Let the threads end, each when its handler has."""
        with self._lock:
            started, self._started = self._started, 0
        for _ in range(started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            # Or what the last job held would live until the next one.
            del job
            with self._lock:
                self._idle += 1
