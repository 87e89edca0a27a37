"""How a server that runs in the main thread is told to stop: by a signal, or by another thread."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

# How long a wait goes on at most before it looks around: a signal does not end one on every system.
_LOOK_S = 0.5
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)]


class Stopping:
    """Whether to stop.

    Args:
        parent: Process whose end asks to stop, too: the parent of this one, named by itself, as it may be gone already.
    """

    def __init__(self, *, parent: int | None = None) -> None:
        self._asked = threading.Event()
        self._before: dict[int, Any] = {}
        self._parent = parent

    def ask(self) -> None:
        """Ask to stop."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether it was asked to stop."""
        return self._asked.is_set() or (self._parent is not None and os.getppid() != self._parent)

    def wait(self) -> None:
        """Wait until it is asked to stop."""
        while not self.asked:
            self._asked.wait(_LOOK_S)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT while the context lasts, where it is entered in the main thread.

        The second signal does what it would do without this: whoever waits too long can end the process.
        """
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            self._restore()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._restore()
        self._asked.set()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None: a handler that was not set from Python, and cannot be set again from there.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def leave() -> NoReturn:
    """End the process with success, but not its interpreter: threads of granian's that come back to one abort it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
