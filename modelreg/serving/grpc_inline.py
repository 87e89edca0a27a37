"""Calls that are answered by the thread that serves gRPC's connections, while they are quick.

gRPC's synchronous server hands each call to a thread of a pool, which asks for the message and waits until the serving
thread brings it: four changes of thread for a call of microseconds. What is here asks for the message at once, and has
the serving thread answer the call as soon as it brings the message. A relay replaces a serving thread that is held up
by another, and calls that are not quick go to the pool.

gRPC has no public way to say this. What is used of its inside has been the same from grpcio 1.67 on, the oldest that is
supported, and is looked at when the module is loaded: where it is not as expected, every call goes to the pool.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import attrs
from grpc import _server
from grpc._cython import cygrpc

from modelreg.serving.relay import Relay

# Threads that serve connections; of those that answer calls there is always one fewer.
_SERVING_THREADS = 4
# Seconds after which a serving thread that nothing came for looks whether the server has ended.
_LOOK_S = 1.0
# Field 1 of a ModelInferRequest is the name of the model: number and type, length if it is short, and its characters.
_MODEL_NAME = 0x0A
_LONGEST_NAME = 0x7F


@attrs.frozen
class Inside:
    """What of gRPC's inside is used here.

    Attributes:
        answer: Answers a call, on the thread of a pool that gRPC gives it to.
        receive: Makes what gRPC is told with that a message has come.
        received: What a call is due for until then.
        receive_operation: Makes the operation that receives a message.
        process: Does what an event asks for, and returns whether there will be others.
        request_call: Asks for the next call.
        stages: In which a server can be.
        nothing_came: What an event is called that is none.
    """

    answer: Callable[..., None]
    receive: Callable[..., Any]
    received: str
    receive_operation: Callable[[int], Any]
    process: Callable[..., bool]
    request_call: Callable[..., None]
    stages: Any
    nothing_came: Any


_NAMES = {
    "answer": "_unary_response_in_pool",
    "receive": "_receive_message",
    "received": "_RECEIVE_MESSAGE_TOKEN",
    "process": "_process_event_and_continue",
    "request_call": "_request_call",
    "stages": "_ServerStage",
}
_PARAMETERS = {
    "answer": "rpc_event, state, behavior, argument_thunk, request_deserializer, response_serializer",
    "receive": "state, call, request_deserializer",
    "process": "state, event",
    "request_call": "state",
}


def look_inside(server: Any, core: Any) -> Inside | None:
    """Return the inside of gRPC, or ``None`` where it is not what this module knows.

    Args:
        server: Where gRPC has its synchronous server.
        core: Where it has the operations underneath.
    """
    try:
        inside = Inside(
            **{name: getattr(server, theirs) for name, theirs in _NAMES.items()},
            receive_operation=core.ReceiveMessageOperation,
            nothing_came=core.CompletionType.queue_timeout,
        )
    except AttributeError:
        return None
    taken = {name: ", ".join(inspect.signature(getattr(inside, name)).parameters) for name in _PARAMETERS}
    return inside if taken == _PARAMETERS else None


_INSIDE = look_inside(_server, cygrpc)
#: Whether calls can be answered by serving threads with the grpcio that is installed.
SUPPORTED = _INSIDE is not None


class InlineCalls(ThreadPoolExecutor):
    """What gRPC hands calls to, as if it were a pool of threads: its own serving threads answer those that are quick.

    gRPC takes none but that class, and asks of it what is here.

    Args:
        others: The threads that answer the other calls.
        relay: Keeps all serving threads but one from fetching, while one is enough.
    """

    def __init__(self, others: ThreadPoolExecutor, *, relay: Relay | None = None) -> None:
        super().__init__(1)
        self._others = others
        self._relay = Relay() if relay is None else relay
        self._lock = threading.Lock()
        self._answering = 0
        self._ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Answer a call whose message is still to come, on a serving thread or on another; anything else on another."""
        if _INSIDE is not None and args and args[0] is _INSIDE.answer:
            call = _Call(_INSIDE, fn, args[1:], place=self._place)
            call.ask_for_message()
            return call.ended
        return self._others.submit(fn, *args, **kwargs)

    def start(self, server: Any) -> None:
        """Have the server answer calls from now on.

        Args:
            server: What ``grpc.server`` returned.
        """
        if _INSIDE is None:
            server.start()
            return
        state = server._state  # noqa: SLF001 - there since grpcio has a server, and nothing public leads to it
        with state.lock:
            # What server.start() does, but for the thread that it starts.
            state.server.start()
            state.stage = _INSIDE.stages.STARTED
            _INSIDE.request_call(state)
        for number in range(_SERVING_THREADS):
            # The server is held, so that gRPC does not find it forgotten while it serves.
            args = (_INSIDE, server, state)
            threading.Thread(target=self._serve, args=args, name=f"grpc-serving-{number + 1}", daemon=True).start()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - the base's signature
        """Keep no serving thread from now on; they end with the server."""
        self._relay.close()

    def _serve(self, inside: Inside, server: Any, state: Any) -> None:  # noqa: ARG002 - held
        while not self._ended:
            event = state.completion_queue.poll(time.time() + _LOOK_S)
            if event.completion_type != inside.nothing_came and not inside.process(state, event):
                self._ended = True
            # As gRPC's own thread does it: an event may hold a call, which is to end before the next one is waited for.
            event = None

    def _place(self, message: Any, answer: Callable[[], None]) -> Callable[[], None] | None:
        """Return what the thread that brought ``message`` is to call, if it is to answer, and hand the call on if not.

        One serving thread always goes on serving.
        """
        kind = _model_of(message)
        with self._lock:
            inline = message is not None and self._answering < _SERVING_THREADS - 1 and not self._relay.is_slow(kind)
            self._answering += inline
        if not inline:
            self._others.submit(answer)
            return None
        return lambda: self._relay.run(kind, self._answer, answer)

    def _answer(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        finally:
            with self._lock:
                self._answering -= 1


class _Call:
    """A call whose message is on its way.

    Args:
        inside: Of gRPC.
        run: Calls a function in the context of the call.
        args: What gRPC's function that answers is given.
        place: Told the message when it is there, and what answers the call then.

    Attributes:
        ended: What gRPC holds to learn that the call was answered.
    """

    __slots__ = ("_args", "_inside", "_place", "_run", "_tell_grpc", "ended")

    def __init__(
        self, inside: Inside, run: Callable[..., Any], args: tuple[Any, ...], *, place: Callable[..., Any]
    ) -> None:
        self._inside = inside
        self._run = run
        self._args = args
        self._place = place
        rpc_event, state, _, _, deserializer, _ = args
        self._tell_grpc: Any = inside.receive(state, rpc_event.call, deserializer)
        self.ended: Future[Any] = Future()

    def ask_for_message(self) -> None:
        """Have gRPC receive the message; gRPC holds the lock of the call."""
        rpc_event, state, *_ = self._args
        rpc_event.call.start_server_batch((self._inside.receive_operation(0),), self._received)
        state.due.add(self._inside.received)

    def _received(self, event: Any) -> tuple[Any, list[Callable[[], None]]]:
        """Tell gRPC that the message is there, or that none will come, and what the serving thread is to call."""
        finished, callbacks = self._tell_grpc(event)
        if finished is not None:
            # The client has gone.
            self.ended.set_result(None)
            return finished, callbacks
        job = self._place(self._args[1].request, self._answer)
        return finished, callbacks if job is None else [*callbacks, job]

    def _answer(self) -> None:
        rpc_event, state, behavior, ask_again, *serializers = self._args
        # A serving thread that stays in the relay holds on to this one, and gRPC's part of the call is to end.
        self._args, self._tell_grpc = (), None
        with state.condition:
            message, state.request = state.request, None
        # Without a message, gRPC's own way to ask for one tells the client what is missing.
        take = ask_again if message is None else lambda: message
        self._run(self._inside.answer, rpc_event, state, behavior, take, *serializers)
        self.ended.set_result(None)


def _model_of(message: Any) -> str:
    """The name that a message begins with, as all clients write it; what answers take as long have the same."""
    if not message or len(message) < 2 or message[0] != _MODEL_NAME or message[1] > _LONGEST_NAME:
        return ""
    return str(message[2 : 2 + message[1]], "latin-1")
