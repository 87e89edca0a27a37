"""Threads for gRPC, which do not keep the process from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any


class DaemonThreads(ThreadPoolExecutor):
    """A pool of threads, made as they are needed.

    The standard pool joins its threads when the process ends: a model that never returns would keep a server that was
    told to stop. gRPC takes none but that class, and asks of it what is here.

    Args:
        threads: How many there may be.
        name: Of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._limit = threads
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._made = self._idle = self._queued = 0
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``fn`` on a thread, as the standard pool does.

        Raises:
            RuntimeError: The pool was shut down.
        """
        future: Future[Any] = Future()

        def job() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whoever holds the future is told
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._queued += 1
            another = self._queued > self._idle and self._made < self._limit
            self._made += another
        self._jobs.put(job)
        if another:
            threading.Thread(target=self._work, name=f"{self._name}-{self._made}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - the base's signature
        """Let each thread end when it has nothing left to do; they are not waited for."""
        with self._lock:
            self._closed = True
            made = self._made
        for _ in range(made):
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
                self._queued -= 1
            if job is None:
                return
            job()
            # Not kept until the next one comes.
            del job
