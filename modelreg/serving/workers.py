"""Several processes that serve the same models on the same ports, and one that looks after them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any, Literal, TypeAlias, get_args

import attrs

from modelreg.exceptions import InvalidInput, ServerNotReady
from modelreg.serving.stopping import Stopping, leave

_log = logging.getLogger(__name__)

# How long the parent waits for news before it looks whether it was told to stop.
_LOOK_S = 0.2
# What processes are given beyond the time in which they should have ended.
_MARGIN_S = 5.0

#: How processes begin: as copies of this one, or anew.
StartMethod: TypeAlias = Literal["fork", "spawn"]

#: Serves in a process of its own until it is told to stop. It is given the number of the worker, from 0, what says when
#: to stop, and a function to call once every model is loaded.
Serve = Callable[[int, Stopping, Callable[[], None]], None]


def method_of_start(asked: str | None = None) -> StartMethod:
    """Return how worker processes begin here.

    Args:
        asked: How they are to; ``None`` for ``fork`` on Linux, and ``spawn`` elsewhere, where system libraries do not
            stand being copied.

    Raises:
        InvalidInput: There is no such method, or not on this system.
    """
    known = set(get_args(StartMethod)) & set(multiprocessing.get_all_start_methods())
    method: Any = asked or ("fork" if sys.platform == "linux" else "spawn")
    if method not in known:
        raise InvalidInput(f"worker processes cannot begin by {method!r} here: use {' or '.join(sorted(known))}")
    return method  # type: ignore[no-any-return]  # one of the two, as was just checked


@attrs.frozen
class _Begun:
    """A worker process.

    Attributes:
        process: The process.
        news: Where it tells that its models are loaded, or why not.
        lifeline: A process that was spawned stops when this is closed; ``None`` for one that was forked.
    """

    process: Any
    news: Connection
    lifeline: Connection | None

    def tell_to_stop(self) -> None:
        """Have it answer the requests under way, and end."""
        if self.lifeline is None:
            self.process.terminate()
        else:
            self.lifeline.close()


class WorkerProcesses:
    """Worker processes, and what looks after them.

    A worker that ends before its models are loaded ends them all; one that ends later is replaced.

    Args:
        serve: What each does. Those that are forked have it as it is; to those that are spawned it is sent.
        count: How many there are.
        grace_s: Seconds that one has to end once it is told to; then it is killed.
        method: How they begin.
    """

    def __init__(self, serve: Serve, *, count: int, grace_s: float, method: StartMethod) -> None:
        self._serve = serve
        self._count = count
        self._grace_s = grace_s + _MARGIN_S
        self._context: Any = multiprocessing.get_context(method)
        self._spawned = method == "spawn"
        self._workers: dict[int, _Begun] = {}
        self._loaded: set[int] = set()

    def run(self, stopping: Stopping) -> None:
        """Run them until it is time to stop.

        Raises:
            ServerNotReady: A worker could not load its models.
            InvalidInput: What is served cannot be sent to a process that is spawned.
        """
        try:
            for number in range(self._count):
                self._begin(number)
            while not stopping.asked:
                self._look()
        finally:
            self._end()

    def _begin(self, number: int) -> None:
        news, theirs = self._context.Pipe(duplex=False)
        # Copies of this process would hold each other's open.
        end, lifeline = self._context.Pipe(duplex=False) if self._spawned else (None, None)
        arguments = (self._serve, number, theirs, end, os.getpid())
        process = self._context.Process(target=_work, args=arguments, name=f"modelreg-{number}")
        begun = _Begun(process, news, lifeline)
        try:
            process.start()
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            _close(news, lifeline)
            raise InvalidInput(
                f"what is served cannot be sent to worker processes: {error}",
                next_step="use functions and classes that a module has by name, or one worker",
            ) from error
        finally:
            _close(theirs, end)
        self._loaded.discard(number)
        self._workers[number] = begun

    def _look(self) -> None:
        news = [begun.news for number, begun in self._workers.items() if number not in self._loaded]
        wait([*news, *(begun.process.sentinel for begun in self._workers.values())], timeout=_LOOK_S)
        for number, begun in [*self._workers.items()]:
            if number not in self._loaded and begun.news.poll():
                self._hear(number, begun.news)
            if begun.process.exitcode is not None:
                self._replace(number, begun.process.exitcode)

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
        _close(self._workers[number].news, self._workers[number].lifeline)
        self._begin(number)

    def _end(self) -> None:
        for begun in self._workers.values():
            begun.tell_to_stop()
        deadline = monotonic() + self._grace_s
        for number, begun in self._workers.items():
            begun.process.join(max(deadline - monotonic(), 0))
            if begun.process.exitcode is None:
                _log.error("worker %d did not end within %g s and is killed", number, self._grace_s)
                begun.process.kill()
                begun.process.join()
            begun.news.close()


def _close(*connections: Connection | None) -> None:
    for connection in connections:
        if connection is not None:
            connection.close()


def _stopping(lifeline: Connection | None, parent: int) -> Stopping:
    """What says when to stop: signals, and the end of the parent."""
    if lifeline is None:
        return Stopping(parent=parent)
    stopping = Stopping()

    def watch() -> None:
        # Nothing is ever sent: it is closed when it is time, or when the parent is gone.
        wait([lifeline])
        stopping.ask()

    threading.Thread(target=watch, name="modelreg-parent", daemon=True).start()
    return stopping


def _work(serve: Serve, number: int, news: Connection, lifeline: Connection | None, parent: int) -> None:
    """What a worker process does: tell once whether it could begin, and serve."""
    # The parent's handlers are for the parent.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    told = False

    def loaded() -> None:
        nonlocal told
        told = True
        news.send("")

    try:
        serve(number, _stopping(lifeline, parent), loaded)
    except Exception as error:  # noqa: BLE001 - the parent is told, and the log
        _log.exception("worker %d failed", number)
        if not told:
            news.send(str(error))
        # The parent has been told, and this process may be a copy: nothing of the program that it copies must run.
        os._exit(1)
    # As multiprocessing ends those that it forked.
    leave()
