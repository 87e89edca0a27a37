"""How a model's handlers are called: bound once, in whichever form they were written, and run one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from time import perf_counter
from typing import Any, cast

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.serving.handler_threads import LoopThread
from modelreg.serving.model import Model


class Call:
    """One request on its way through the handlers of a model.

    Args:
        name: Name of the model.
        version: Version of the model; ``None`` for the newest.
        payload: What the first handler is given.
        headers: Headers of the request, their names in lower case.
        protocol: What the request came over.
        timeout_s: Seconds that it waits for its turn at most; ``None`` for however long it takes.
        explain: Whether it is for ``explain`` rather than ``predict``.

    Attributes:
        deadline: When it must be answered, in seconds of the monotonic clock; ``None`` for no such time.
        response_headers: What the handlers want among the headers of the answer.
        seconds: How long each handler took, by its name.
        waited: Seconds that the request waited for its turn.
        phase: The handler that runs, or ran last.
    """

    __slots__ = (
        *("name", "version", "payload", "headers", "protocol", "timeout_s", "explain"),
        *("deadline", "phase", "response_headers", "seconds", "waited"),
    )

    def __init__(
        self,
        name: str,
        version: str | None,
        payload: Any,
        headers: Mapping[str, str],
        *,
        protocol: str,
        timeout_s: float | None = None,
        explain: bool = False,
    ) -> None:
        self.name = name
        self.version = version or None
        self.payload = payload
        # Handlers may add to it, as KServe's do.
        self.headers = headers if type(headers) is dict else dict(headers)
        self.protocol = protocol
        self.timeout_s = timeout_s
        self.explain = explain
        self.deadline: float | None = None
        self.response_headers: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.waited = 0.0
        self.phase = ""


#: A handler as the server calls it: with what the handler before it returned, and the request that it is for.
Handler = Callable[[Any, Call], Any]


@attrs.frozen
class Handlers:
    """The handlers of one model, each in the one form that the server calls.

    Attributes:
        preprocess: ``None`` where the model has none of its own.
        predict: Answers a request.
        postprocess: ``None`` where the model has none of its own.
        explain: Explains an answer.
        asynchronous: Whether all of them are ``async def``, so that they can run one after the other on the loop.
    """

    preprocess: Handler | None
    predict: Handler
    postprocess: Handler | None
    explain: Handler
    asynchronous: bool

    def phases(self, call: Call) -> tuple[tuple[str, Handler], ...]:
        """Return the handlers that a request goes through, each with its name."""
        return self._explaining if call.explain else self._predicting

    @cached_property
    def _predicting(self) -> tuple[tuple[str, Handler], ...]:
        return self._around(("predict", self.predict))

    @cached_property
    def _explaining(self) -> tuple[tuple[str, Handler], ...]:
        return self._around(("explain", self.explain))

    def _around(self, answering: tuple[str, Handler]) -> tuple[tuple[str, Handler], ...]:
        before = () if self.preprocess is None else (("preprocess", self.preprocess),)
        after = () if self.postprocess is None else (("postprocess", self.postprocess),)
        return (*before, answering, *after)


def bind(model: Any) -> Handlers:
    """Return the handlers of ``model``, which need not be a :class:`Model`: ``predict`` is enough.

    Raises:
        InvalidInput: A handler takes no payload.
    """
    own = {name: own_handler(model, name) for name in ("preprocess", "predict", "postprocess", "explain")}
    bound = {name: None if handler is None else _adapted(model, name, handler) for name, handler in own.items()}
    written = [handler for handler in own.values() if handler is not None]
    return Handlers(
        preprocess=_validating(model, bound["preprocess"]),
        predict=bound["predict"] or _refusal(model, Model.predict),
        postprocess=bound["postprocess"],
        explain=bound["explain"] or _refusal(model, Model.explain),
        asynchronous=bool(written) and all(inspect.iscoroutinefunction(handler) for handler in written),
    )


def _validating(model: Any, preprocess: Handler | None) -> Handler | None:
    """``preprocess``, and then the check that a model of ours may have of its own: before requests become a batch."""
    if not isinstance(model, Model) or (validate := own_handler(model, "validate")) is None:
        return preprocess
    if preprocess is None:
        return lambda value, _: validate(value)

    async def awaited(value: Any) -> Any:
        return validate(await value)

    def both(value: Any, call: Call) -> Any:
        value = preprocess(value, call)
        return awaited(value) if hasattr(value, "__await__") else validate(value)

    return both


def own_handler(model: Any, name: str) -> Callable[..., Any] | None:
    """Return the handler that the class or the object itself brings; ``None`` where it is :class:`Model`'s."""
    handler = getattr(model, name, None)
    if handler is None or getattr(handler, "__func__", None) is getattr(Model, name):
        return None
    return cast("Callable[..., Any]", handler)


def _refusal(model: Any, of_base: Callable[..., Any]) -> Handler:
    return lambda value, call: of_base(model, value, call.headers)


def _adapted(model: Any, name: str, handler: Callable[..., Any]) -> Handler:
    """``handler``, given the headers of the request and of the answer only where it takes them."""
    try:
        parameters = [*inspect.signature(handler).parameters.values()]
    except (TypeError, ValueError):
        # Compiled code that does not tell: KServe's signature.
        return lambda value, call: handler(value, call.headers)
    positional = [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]
    third = bool(getattr(model, "required_response_headers", False)) or positional[2:3] == ["response_headers"]
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        count = max(len(positional[:3]), 3 if third else 2)
    else:
        count = len(positional[: 3 if third else 2])
    if count == 0:
        raise InvalidInput(f"{name}() of model {model.name!r} takes no payload")
    by_name = {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    return _called_with(handler, count, by_name & {"headers", "response_headers"})


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _called_with(handler: Callable[..., Any], count: int, by_name: set[str]) -> Handler:
    if by_name:
        return lambda value, call: handler(
            *(value, call.headers, call.response_headers)[:count], **{name: getattr(call, name) for name in by_name}
        )
    if count == 1:
        return lambda value, _: handler(value)
    if count == 2:
        return lambda value, call: handler(value, call.headers)
    return lambda value, call: handler(value, call.headers, call.response_headers)


def run(handlers: Handlers, call: Call, loop: LoopThread) -> Any:
    """Return what ``handlers`` make of ``call``: plain ones here, ``async def`` ones on ``loop``."""
    if handlers.asynchronous:
        return loop.run(run_on_loop(handlers, call))
    value = call.payload
    for phase, handler in handlers.phases(call):
        call.phase = phase
        begun = perf_counter()
        waited = call.waited
        value = resolved(handler(value, call), loop)
        # Less what a batch let it wait.
        call.seconds[phase] = perf_counter() - begun - (call.waited - waited)
    return value


def resolved(value: Any, loop: LoopThread) -> Any:
    """Return ``value``, or what it gives where it is to be awaited, on ``loop``."""
    return loop.run(_awaited(value)) if hasattr(value, "__await__") else value


async def run_on_loop(handlers: Handlers, call: Call) -> Any:
    """Return what ``handlers`` make of ``call``, on the event loop that runs."""
    value = call.payload
    for phase, handler in handlers.phases(call):
        call.phase = phase
        begun = perf_counter()
        value = handler(value, call)
        if hasattr(value, "__await__"):
            value = await value
        call.seconds[phase] = perf_counter() - begun
    return value


async def _awaited(value: Any) -> Any:
    return await value
