"""Several processes that serve the same models on the same ports, and one that looks after them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any

from modelreg.exceptions import ServerNotReady
from modelreg.serving.ports import SHARED_PORTS
from modelreg.serving.stopping import Stopping

_log = logging.getLogger(__name__)

# How long the parent waits for news before it looks whether it was told to stop.
_LOOK_S = 0.2
# What processes are given beyond the time in which they should have ended.
_MARGIN_S = 5.0

#: Serves in a process of its own until it is told to stop. It is given the number of the worker, from 0, and a function
#: to call once every model is loaded.
Serve = Callable[[int, Callable[[], None]], None]


def worker_count(asked: int) -> int:
    """Return how many worker processes there can be: one where the system does not share a port between processes."""
    if asked > 1 and not (SHARED_PORTS and "fork" in multiprocessing.get_all_start_methods()):
        _log.warning("this system does not share a port between processes: there is one worker, not %d", asked)
        return 1
    return max(asked, 1)


class WorkerProcesses:
    """Worker processes, begun as copies of this one, so that what they serve need not be written down to be sent.

    A worker that ends before its models are loaded ends them all; one that ends later is replaced.

    Args:
        serve: What each does.
        count: How many there are.
        grace_s: Seconds that one has to end once it is told to; then it is killed.
    """

    def __init__(self, serve: Serve, *, count: int, grace_s: float) -> None:
        self._serve = serve
        self._count = count
        self._grace_s = grace_s + _MARGIN_S
        self._context = multiprocessing.get_context("fork")
        self._workers: dict[int, tuple[Any, Connection]] = {}
        self._loaded: set[int] = set()

    def run(self, stopping: Stopping) -> None:
        """Run them until it is time to stop.

        Raises:
            ServerNotReady: A worker could not load its models.
        """
        try:
            for number in range(self._count):
                self._begin(number)
            while not stopping.asked:
                self._look()
        finally:
            self._end()

    def _begin(self, number: int) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(self._serve, number, theirs), name=f"modelreg-{number}")
        process.start()
        theirs.close()
        self._loaded.discard(number)
        self._workers[number] = (process, ours)

    def _look(self) -> None:
        news = [news for number, (_, news) in self._workers.items() if number not in self._loaded]
        wait([*news, *(process.sentinel for process, _ in self._workers.values())], timeout=_LOOK_S)
        for number, (process, connection) in [*self._workers.items()]:
            if number not in self._loaded and connection.poll():
                self._hear(number, connection)
            if process.exitcode is not None:
                self._replace(number, process.exitcode)

    def _hear(self, number: int, connection: Connection) -> None:
        try:
            failure = connection.recv()
        except EOFError:
            failure = "it ended before its models were loaded"
        if failure:
            raise ServerNotReady(f"worker {number}: {failure}")
        self._loaded.add(number)

    def _replace(self, number: int, exitcode: int) -> None:
        if number not in self._loaded:
            raise ServerNotReady(f"worker {number} ended with exit code {exitcode} before its models were loaded")
        _log.error("worker %d ended with exit code %d; another takes its place", number, exitcode)
        self._workers[number][1].close()
        self._begin(number)

    def _end(self) -> None:
        for process, _ in self._workers.values():
            process.terminate()
        deadline = monotonic() + self._grace_s
        for number, (process, connection) in self._workers.items():
            process.join(max(deadline - monotonic(), 0))
            if process.exitcode is None:
                _log.error("worker %d did not end within %g s and is killed", number, self._grace_s)
                process.kill()
                process.join()
            connection.close()


def _work(serve: Serve, number: int, news: Connection) -> None:
    """What a worker process does: tell once whether it could begin, and serve."""
    # The parent's handlers are for the parent.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    told = False

    def loaded() -> None:
        nonlocal told
        told = True
        news.send("")

    try:
        serve(number, loaded)
    except Exception as error:  # noqa: BLE001 - the parent is told, and the log
        _log.exception("worker %d failed", number)
        if not told:
            news.send(str(error))
        # The parent has been told, and this process is a copy: nothing of the program that it copies must run.
        os._exit(1)
