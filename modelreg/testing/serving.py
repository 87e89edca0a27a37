"""Models for tests of what is around a model: one that echoes, one that waits to be released, one that fails."""

from __future__ import annotations

import threading
from typing import Any

from modelreg.exceptions import InvalidInput, TimedOut
from modelreg.serving.model import Model

# What a test is given before it fails rather than hangs.
_PATIENCE_S = 30.0


class EchoModel(Model):
    """Answers with what it was given: the inputs as outputs over V2, the instances as predictions over V1.

    Example:
        >>> model = EchoModel("echo")
        >>> model.predict({"instances": [1, 2]})
        {'predictions': [1, 2]}
    """

    platform = "echo"

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - a handler's signature
        response_headers: dict[str, str] | None = None,  # noqa: ARG002 - the base's signature
    ) -> Any:
        """Return ``payload`` as an answer.

        Raises:
            InvalidInput: It is neither an ``InferRequest`` nor a dict with ``instances``.
        """
        # Here, so that the names of modelreg.testing are there without the extra.
        from modelreg.types.inference import InferOutput, InferRequest, InferResponse

        if isinstance(payload, InferRequest):
            outputs = [InferOutput(t.name, t.shape, t.datatype, t.as_numpy()) for t in payload.inputs]
            return InferResponse(payload.id, self.name, outputs)
        if isinstance(payload, dict) and "instances" in payload:
            return {"predictions": payload["instances"]}
        raise InvalidInput("there are no 'instances'")


class HeldModel(EchoModel):
    """Echoes, but only once it is released: so a test can look at a server that is at work.

    Args:
        name: Name under which the server answers for it.
        version: Version under which it does.

    Example:
        >>> import threading
        >>> model = HeldModel("held")
        >>> call = threading.Thread(target=model.predict, args=({"instances": [1]},))
        >>> call.start()
        >>> model.wait_for_calls(1)
        >>> model.release()
        >>> call.join()
    """

    def __init__(self, name: str, *, version: str | None = None) -> None:
        super().__init__(name, version=version)
        self._changed = threading.Condition()
        self._released = False
        #: Calls of ``predict`` that have begun.
        self.calls = 0
        #: Calls of ``predict`` that run.
        self.running = 0
        #: The most that ever ran at once.
        self.most_running = 0
        #: Whether ``stop`` was called.
        self.stopped = False

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Return ``payload`` as an answer, once the model is released.

        Raises:
            TimedOut: Nobody released it within half a minute.
        """
        with self._changed:
            self.calls += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self._changed.notify_all()
            released = self._changed.wait_for(lambda: self._released, _PATIENCE_S)
            self.running -= 1
        if not released:
            raise TimedOut(f"model {self.name!r} was not released")
        return super().predict(payload, headers, response_headers)

    def release(self) -> None:
        """Let every call end, those that are yet to come too."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_for_calls(self, count: int) -> None:
        """Wait until ``predict`` was called that often.

        Raises:
            TimedOut: It was not within half a minute.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.calls >= count, _PATIENCE_S):
                raise TimedOut(f"model {self.name!r} was called {self.calls} times, not {count}")

    def stop(self) -> None:
        """Note that it was stopped."""
        self.stopped = True
        super().stop()


class FailingModel(Model):
    """Fails every request with the same error.

    Args:
        name: Name under which the server answers for it.
        error: What ``predict`` raises.
    """

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self.error = error

    def predict(
        self,
        payload: Any,  # noqa: ARG002 - a handler's signature
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the base's signature
        response_headers: dict[str, str] | None = None,  # noqa: ARG002 - the base's signature
    ) -> Any:
        """Raise the error."""
        raise self.error
