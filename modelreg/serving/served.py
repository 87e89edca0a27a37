"""A model in service: its handlers, who uses it, and how it is loaded and taken out of service again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from modelreg.exceptions import ModelNotReady, ModelRegError
from modelreg.serving.running import Handlers, bind, own_handler

_log = logging.getLogger(__name__)

#: Seconds that a model which is taken away is given to end the requests that it answers.
RETIRE_S = 60.0


class Served:
    """A model that the server answers for, and how many requests use it.

    Args:
        model: The model; ``name``, ``version`` and ``ready`` are its own, and its handlers are bound here, once.
        name: Name under which the server answers for it.

    Attributes:
        handlers: The handlers of the model.
        healthy: The model's own check, where it has one.
        reason: Why the model could not be loaded; empty where it could.
        output_name: What the model calls its first output, empty where it does not say; ``None`` until it is asked.
        attachment: What the data plane keeps beside the model, such as its batches; ``None`` until it does.

    Raises:
        InvalidInput: A handler of the model cannot be called.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.model = model
        self.name = name
        self.version: str | None = getattr(model, "version", None)
        self.handlers: Handlers = bind(model)
        self.healthy: Callable[[], Any] | None = own_handler(model, "healthy")
        self.attachment: Any = None
        self.output_name: str | None = None
        self.reason = ""
        self._lock = threading.Lock()
        self._unused = threading.Condition(self._lock)
        self._users = 0
        self._started = False
        self._retired = False

    @property
    def ready(self) -> bool:
        """Whether the model says that it is loaded."""
        return bool(getattr(self.model, "ready", True))

    def use(self) -> bool:
        """Return whether the model can be used; :meth:`release` ends the use."""
        with self._lock:
            if self._retired:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """End one use of the model."""
        with self._lock:
            self._users -= 1
            if self._retired and not self._users:
                self._unused.notify_all()

    def load(self, prepare: Callable[[Served], None]) -> None:
        """Load the model where it is not loaded, and start it where it is not started.

        Args:
            prepare: Called once both are done.

        Raises:
            ModelNotReady: The model says that it could not be loaded.
            Exception: What ``load`` or ``start`` of the model, or ``prepare``, raises.
        """
        try:
            if not self.ready:
                loaded = self.model.load()
                self.model.ready = self._made_ready(loaded)
            if not self._started:
                getattr(self.model, "start", nothing)()
                prepare(self)
                self._started = True
        except Exception as error:
            self.reason = (
                str(error) if isinstance(error, ModelRegError) else f"{type(error).__name__} while it was loaded"
            )
            raise
        self.reason = ""

    def _made_ready(self, loaded: object) -> bool:
        # KServe's models set the attribute, return it, or do both; those with an engine may leave it to that.
        made_ready = bool(self.ready or loaded)
        if not (made_ready or self._has_engine):
            raise ModelNotReady(self.name, "its load() did not make it ready")
        return made_ready

    @property
    def _has_engine(self) -> bool:
        return bool(getattr(self.model, "engine", False))

    def retire(self, timeout_s: float | None = RETIRE_S, *, stop: bool = True) -> bool:
        """Let no request use the model any more, wait for those that do, and stop it.

        Args:
            timeout_s: Seconds to wait for them; ``None`` for however long it takes.
            stop: Whether to stop it; not where it is served under another name as well.

        Returns:
            Whether they ended in time. A model that is still used is stopped all the same.
        """
        with self._unused:
            if self._retired:
                return True
            self._retired = True
            unused = self._unused.wait_for(lambda: not self._users, timeout_s)
        if not unused:
            _log.warning("requests still use model %s %s s after it was taken out of service", self.name, timeout_s)
        if stop:
            self._stop()
        return unused

    def _stop(self) -> None:
        for name in ("stop", "stop_engine") if self._has_engine else ("stop",):
            try:
                getattr(self.model, name, nothing)()
            except Exception:  # noqa: BLE001, PERF203 - a model's own bug, and logged
                # It is out of service already, and the rest must still be stopped.
                _log.exception("%s() of model %s failed", name, self.name)


def nothing(*_: object) -> None:
    """What is called where there is nothing to do."""
