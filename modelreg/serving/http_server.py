"""A WSGI application served over HTTP by threads of this process: granian, without the processes of its command line.

granian's own way to serve starts a process for the application. A model that was given as an object must not be moved
to another process: its threads and its device would stay behind. So this is the one place that uses granian's parts as
its command line does; ``docs/explanation/adr/0043-http-server.md`` says what was measured, and what it costs.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from time import monotonic, sleep
from typing import Any

from granian import _futures, _granian
from granian.http import HTTP1Settings

from modelreg.exceptions import MissingExtra, Unreachable
from modelreg.serving.ports import BACKLOG, ReservedPort
from modelreg.serving.relay import Relay
from modelreg.serving.tls import TLSSettings

# They are typed for another version than their own.
_PARTS: Any = _granian
_FUTURES: Any = _futures

#: Connections that are open at once; those that do nothing cost little.
_CONNECTIONS = 16_384
#: Threads without work end after so many seconds.
_IDLE_S = 30
# How long to wait for threads that have nothing more to do to end, and between two looks at whether they have.
_ENDING_S, _LOOK_S = 30.0, 0.001

_WSGI = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


class HTTPServer:
    """Serves a WSGI application over HTTP/1.1 and HTTP/2, until it is stopped.

    Args:
        app: The application. It runs in several threads at once.
        port: Where to listen.
        threads: Requests that are answered at once.
        tls: How to speak TLS; ``None`` for plain text.
        keep_alive_s: Seconds after which a connection without a request is closed.
    """

    def __init__(
        self,
        app: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]],
        *,
        port: ReservedPort,
        threads: int,
        tls: TLSSettings | None = None,
        keep_alive_s: float = 65.0,
    ) -> None:
        self._app = app
        self._port = port
        self._threads = threads
        self._tls = tls
        self._keep_alive_s = keep_alive_s
        self._relay = Relay()
        self._pool = _Pool()
        self._signal = _PARTS.WorkerSignal()
        self._told = False
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Listen, and answer requests from now on.

        Raises:
            Unreachable: The port was taken in the meantime.
        """
        try:
            worker = self._worker(self._sockets())
        except TypeError as error:
            # Its parts are put together otherwise.
            step = "pip install 'modelreg[serve]'"
            raise MissingExtra(f"serving needs another version of granian: {error}", next_step=step) from error
        except (OSError, RuntimeError) as error:
            raise Unreachable(f"the server cannot listen on port {self._port.port}: {error}") from error
        self._signal.add_cb(self._ended.set)
        # granian wants one for applications that are coroutines, and never runs it for others.
        self._loop = asyncio.new_event_loop()
        new_scheduler = _FUTURES._new_cbscheduler  # noqa: SLF001 - see above
        scheduler = new_scheduler(self._loop, self._answer_in_turn, impl_asyncio=True)
        worker.serve_mtr(scheduler, self._loop, self._signal)

    def stop(self, timeout_s: float | None = None) -> bool:
        """Accept no more connections, and wait until the requests under way are answered; may be called again to wait.

        Args:
            timeout_s: Seconds to wait; ``None`` for however long it takes.

        Returns:
            Whether they were answered in time.
        """
        if self._loop is None:
            return True
        if not self._told:
            # Once: a second signal would wait, and let no other thread run, until the first is acted upon.
            self._told = True
            self._relay.close()
            self._signal.set()
        ended = self._ended.wait(timeout_s)
        if ended:
            self._pool.wait(_ENDING_S)
            self._loop.close()
            self._loop = None
        return ended

    def _sockets(self) -> tuple[Any, Any]:
        """Where to listen, and what listens already."""
        listening = self._port.listening
        if listening is None:
            listener = _PARTS.ListenerSpec(self._port.address, self._port.port, BACKLOG)
            return (listener, None) if sys.platform == "linux" else (None, listener.build())
        # All duplicates, in all processes, are one socket, which Python would have wait where it does not know better:
        # that would hold up a process that takes connections from it already.
        listening.setblocking(False)
        # A duplicate, as granian closes it in the end; what follows it says that it is no Unix socket.
        of_posix = () if sys.platform == "win32" else (False, BACKLOG)
        return None, _PARTS.SocketHolder(listening.dup().detach(), *of_posix)

    def _worker(self, sockets: tuple[Any, Any]) -> Any:
        return _PARTS.WSGIWorker(
            1,
            sockets,
            None,  # granian's own metrics
            1,  # threads that move bytes; the application's are the next but one
            512,
            self._threads,
            _IDLE_S,
            _CONNECTIONS,
            "auto",
            HTTP1Settings(header_read_timeout=int(self._keep_alive_s * 1000)),
            None,
            None,
            *_tls_options(self._tls),
            (None, None),
        )

    def _answer_in_turn(self, protocol: Any, environ: dict[str, Any]) -> None:
        self._pool.note()
        self._relay.run(environ["PATH_INFO"], self._answer, protocol, environ)

    def _answer(self, protocol: Any, environ: dict[str, Any]) -> None:
        environ.update(_WSGI)
        status, headers = 500, list[tuple[str, str]]()

        def start_response(line: str, given: list[tuple[str, str]], _error: object = None) -> None:
            nonlocal status, headers
            status, headers = int(line[:3]), given

        parts = self._app(environ, start_response)
        protocol.response_bytes(status, headers, b"".join(parts))
        # A thread that stays in the relay would keep the body.
        environ.clear()


class _Mark:
    """Lasts as long as what Python keeps for a thread."""

    __slots__ = ("__weakref__",)


class _Pool:
    """The threads that have answered something, and have not ended.

    granian does not wait for its threads. One that still gives back what it has of Python's while the interpreter ends
    is ended by it, which Rust takes for a reason to abort the process.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._marks: set[weakref.ref[_Mark]] = set()

    def note(self) -> None:
        """Count the thread that calls, until it has ended."""
        if not hasattr(self._own, "mark"):
            self._own.mark = mark = _Mark()
            # Removed by a function that is not Python's own code: no other thread runs before this one is done.
            self._marks.add(weakref.ref(mark, self._marks.discard))

    def wait(self, timeout_s: float) -> None:
        """Wait until all of them have ended, or the time is over."""
        deadline = monotonic() + timeout_s
        while self._marks and monotonic() < deadline:
            sleep(_LOOK_S)


def _tls_options(tls: TLSSettings | None) -> tuple[Any, ...]:
    if tls is None:
        return (False, None, None, None, "tls1.2", None, [], False)
    authorities = None if tls.client_ca is None else str(tls.client_ca)
    pair = (str(tls.certfile), str(tls.keyfile), tls.key_password)
    return (True, *pair, "tls1.2", authorities, [], authorities is not None)
