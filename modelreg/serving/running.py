"""How a model's handlers are called: bound once, in whichever form they were written, and on which thread they run."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable, Coroutine, Mapping
from time import perf_counter
from typing import Any, Generic, TypeVar, cast

import attrs

from modelreg.exceptions import InvalidInput, ShuttingDown
from modelreg.serving.model import Model

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
    """The event loop that ``async def`` handlers run on, in a thread of its own that the first of them starts."""

    def __init__(self) -> None:
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
        """Cancel what still runs, and end the thread."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            with self._lock:
                self._loop = self._thread = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="modelreg-handlers-loop", daemon=True)
            self._thread.start()
        return self._loop


def _settle(task: asyncio.Task[T], outcome: Outcome[T]) -> None:
    if task.cancelled():
        outcome.fail(ShuttingDown("the request was cancelled"))
    elif (error := task.exception()) is not None:
        outcome.fail(error)
    else:
        outcome.succeed(task.result())


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


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


def bind(model: Any) -> Handlers:
    """Return the handlers of ``model``, which need not be a :class:`Model`: ``predict`` is enough.

    Raises:
        InvalidInput: A handler takes no payload.
    """
    own = {name: own_handler(model, name) for name in ("preprocess", "predict", "postprocess", "explain")}
    bound = {name: None if handler is None else _adapted(model, name, handler) for name, handler in own.items()}
    written = [handler for handler in own.values() if handler is not None]
    return Handlers(
        preprocess=bound["preprocess"],
        predict=bound["predict"] or _refusal(model, Model.predict),
        postprocess=bound["postprocess"],
        explain=bound["explain"] or _refusal(model, Model.explain),
        asynchronous=bool(written) and all(inspect.iscoroutinefunction(handler) for handler in written),
    )


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
    for phase, handler in _phases(handlers, call):
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
    for phase, handler in _phases(handlers, call):
        call.phase = phase
        begun = perf_counter()
        value = handler(value, call)
        if hasattr(value, "__await__"):
            value = await value
        call.seconds[phase] = perf_counter() - begun
    return value


def _phases(handlers: Handlers, call: Call) -> list[tuple[str, Handler]]:
    phases = [("explain", handlers.explain) if call.explain else ("predict", handlers.predict)]
    if handlers.preprocess is not None:
        phases.insert(0, ("preprocess", handlers.preprocess))
    if handlers.postprocess is not None:
        phases.append(("postprocess", handlers.postprocess))
    return phases


async def _awaited(value: Any) -> Any:
    return await value
