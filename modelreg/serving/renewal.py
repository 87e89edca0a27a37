"""Certificates that are exchanged while the server runs: their files change, and new connections get the new ones."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TypeAlias

import attrs

from modelreg.exceptions import InvalidInput, ModelRegError
from modelreg.serving.http_server import HTTPServer
from modelreg.serving.tls import TLSSettings, copied

_log = logging.getLogger(__name__)

# What a file is known by: its time, size and number on the disk; None where there is none.
_Stat: TypeAlias = "tuple[int, int, int] | None"


class CertificateFiles:
    """The files of TLS, and whether they have changed. It may be used from any thread.

    Files that Kubernetes mounts are links, which are followed.

    Args:
        tls: The files, as they were when the server took them.
    """

    def __init__(self, tls: TLSSettings) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._seen = self._state()

    def renewed(self) -> bool:
        """Return, once for each change, whether the files have changed into ones that can be used.

        A certificate without its key, where only one of them is written yet, is told to the log; the change that
        makes them fit is another one.
        """
        state = self._state()
        with self._lock:
            if state == self._seen:
                return False
            self._seen = state
        try:
            # Made anew, they are checked anew.
            attrs.evolve(self._tls)
        except InvalidInput as error:
            _log.warning("the server goes on with the certificate that it has: %s", error)
            return False
        return True

    def _state(self) -> list[_Stat]:
        paths = (self._tls.certfile, self._tls.keyfile, self._tls.client_ca)
        return [None if path is None else _stat(path) for path in paths]


def _stat(path: Path) -> _Stat:
    try:
        found = path.stat()
    except OSError:
        # Gone, or between two of its versions: another state, which cannot be used.
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class RenewingHTTPServer:
    """An HTTP server that another takes the place of, on the same port, when the files of TLS change.

    Requests under way end on the connections that they came over; a connection without one is closed, as any idle
    connection may be.

    Args:
        create: Makes a server that speaks TLS with the files that it is given.
        tls: The files.
        look_s: Seconds between two looks at them.
        grace_s: Seconds that the requests under way have to end.
        in_turn: Whether two servers cannot listen on one port, so that for a moment nobody does.

    Raises:
        InvalidInput: ``look_s`` is not above 0.
    """

    def __init__(
        self,
        create: Callable[[TLSSettings], HTTPServer],
        tls: TLSSettings,
        *,
        look_s: float,
        grace_s: float,
        in_turn: bool = sys.platform == "win32",
    ) -> None:
        if not look_s > 0:
            raise InvalidInput(f"certificates must be looked at every few seconds, not every {look_s}")
        self._create = create
        self._tls = tls
        self._files = CertificateFiles(tls)
        self._look_s = look_s
        self._grace_s = grace_s
        self._in_turn = in_turn
        self._running: _Running | None = None
        self._leaving: list[_Running] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="modelreg-certificates", daemon=True)

    def start(self) -> None:
        """Listen, and answer requests from now on.

        Raises:
            InvalidInput: The files cannot be used any more.
            Unreachable: The port was taken in the meantime.
        """
        self._running = self._begin()
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Accept no more connections, and wait until the requests under way are answered.

        Args:
            timeout_s: Seconds to wait; ``None`` for however long it takes.

        Returns:
            Whether they were answered in time.
        """
        deadline = None if timeout_s is None else monotonic() + timeout_s
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        everything = [*self._leaving, *([] if self._running is None else [self._running])]
        ended = [one.stop(None if deadline is None else max(deadline - monotonic(), 0)) for one in everything]
        return all(ended)

    def _look(self) -> None:
        due = False
        while not self._ended.wait(self._look_s):
            self._leaving = [one for one in self._leaving if not one.stop(0)]
            due = self._files.renewed() or due
            if due:
                due = not self._replace()

    def _replace(self) -> bool:
        """Return whether another server has taken the place of the one that runs."""
        before = self._running
        if self._in_turn and before is not None:
            before.stop(self._grace_s)
        try:
            self._running = self._begin()
        except ModelRegError:
            # Tried again: what is in the way may go.
            _log.exception("the server cannot begin with the certificate that has changed")
            return False
        _log.info("new connections get the certificate that has changed")
        if before is not None and not before.stop(self._grace_s):
            _log.warning("requests that began before the certificate changed still run after %g s", self._grace_s)
            self._leaving.append(before)
        return True

    def _begin(self) -> _Running:
        with ExitStack() as stack:
            server = self._create(stack.enter_context(copied(self._tls)))
            server.start()
            return _Running(server, stack.pop_all())


@attrs.frozen
class _Running:
    """A server, and the files that it reads when it likes."""

    server: HTTPServer
    files: ExitStack

    def stop(self, timeout_s: float | None) -> bool:
        ended = self.server.stop(timeout_s)
        if ended:
            self.files.close()
        return ended
