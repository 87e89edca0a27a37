"""What users write: a model, as a class whose handlers the server calls."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import attrs

from modelreg.exceptions import InvalidInput, UnsupportedProtocol

if TYPE_CHECKING:
    from modelreg.types.inference import InferResponse

#: What KServe says that a handler returns; one may return an array or a data frame as well.
InferReturnValueTypes: TypeAlias = Union[dict[str, Any], "InferResponse", list[str]]
InferReturnType: TypeAlias = InferReturnValueTypes | Awaitable[InferReturnValueTypes]


@attrs.frozen
class BatchSettings:
    """How requests that come together are answered together.

    Args:
        max_batch_size: Rows of a batch at most: the sum of the first dimensions of its requests. A single request with
            more rows is a batch of its own.
        max_latency_ms: Milliseconds that a request waits at most for others; 0 waits only while the model is busy.

    Raises:
        InvalidInput: ``max_batch_size`` is below 1, or ``max_latency_ms`` below 0.
    """

    max_batch_size: int = 32
    max_latency_ms: float = 5.0

    def __attrs_post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise InvalidInput(f"max_batch_size must be at least 1, not {self.max_batch_size}")
        if not self.max_latency_ms >= 0:
            raise InvalidInput(f"max_latency_ms must be at least 0, not {self.max_latency_ms}")


class InferenceVerb(Enum):
    """What a model is asked for when it is called; the names are KServe's."""

    EXPLAIN = 1
    PREDICT = 2


class Model:
    """A model behind the server. Override :meth:`predict`, and whichever other handler you need.

    Handlers are plain functions or ``async def``. Plain ones run in threads, several at once: set
    ``max_concurrency = 1`` where ``predict`` cannot stand that. Those that are ``async def`` run on one event loop, so
    they must not compute for long. A handler may leave out the parameters at the end that it does not need.

    The handlers of this class can be awaited, as ``await super().predict(payload, headers)``. So can the model itself:
    ``await model(payload, headers)`` runs its handlers one after the other, without a server, as a test may want it.

    Args:
        name: Name under which the server answers for it.
        predictor_config: Where a transformer finds its predictor; ``None`` for a model that predicts itself.
        return_response_headers: Whether ``predict`` and ``postprocess`` are given the headers of the answer as their
            third argument whatever it is called; one that is called ``response_headers`` is given them always.
        version: Version under which the server answers for it; ``None`` where it has none.

    Raises:
        InvalidInput: ``name`` or ``version`` is empty.

    Example:
        >>> class Doubler(Model):
        ...     def predict(self, payload, headers=None):
        ...         return {"predictions": [2 * number for number in payload["instances"]]}
        >>> Doubler("doubler").predict({"instances": [1, 2]})
        {'predictions': [2, 4]}
    """

    #: What runs the model, as its metadata say, such as ``sklearn``.
    platform: str = ""
    #: Calls of ``predict`` that may run at once; ``None`` for as many as the server runs.
    max_concurrency: int | None = None
    #: How requests are answered together; ``None`` for the server's setting.
    batching: BatchSettings | None = None
    #: Whether :meth:`start_engine` must have run before the model can answer.
    engine: bool = False

    def __init__(
        self,
        name: str,
        predictor_config: Any = None,
        return_response_headers: bool = False,
        *,
        version: str | None = None,
    ) -> None:
        if isinstance(predictor_config, bool):
            # Newer versions of KServe have no predictor_config here.
            predictor_config, return_response_headers = None, predictor_config
        if not name:
            raise InvalidInput("a model needs a name")
        if version is not None and not version:
            raise InvalidInput(f"the version of model {name!r} is empty: leave it out, or name one")
        self.name = name
        self.version = version
        self.ready = False
        self.predictor_config = predictor_config
        self.required_response_headers = return_response_headers

    async def __call__(
        self,
        body: Any,
        headers: dict[str, str] | None = None,
        verb: InferenceVerb = InferenceVerb.PREDICT,
    ) -> tuple[Any, dict[str, str]]:
        """Return what the handlers make of a request, and the headers that they give the answer.

        They run on the event loop of whoever awaits this, plain ones as well: nothing of the server is between.

        Args:
            body: An ``InferRequest``, or the decoded JSON of V1.
            headers: Headers of the request, their names in lower case.
            verb: Which of ``predict`` and ``explain`` is asked for.

        Raises:
            Exception: What a handler raises.
        """
        from modelreg.serving.running import Call, bind, run_on_loop

        explain = verb is InferenceVerb.EXPLAIN
        call = Call(self.name, self.version, body, {} if headers is None else headers, protocol="", explain=explain)
        return await run_on_loop(bind(self), call), call.response_headers

    def load(self) -> bool:
        """Load what the model needs, set ``ready``, and return it; called once, before the first request."""
        self.ready = True
        return self.ready

    def start(self) -> None:
        """Do what must be done in the process that serves, after :meth:`load`; nothing by default."""

    def start_engine(self) -> Any:
        """Start what answers in the model's place, where ``engine`` is true; after :meth:`start`, before a request.

        It may be ``async def``; it then runs on the event loop of the handlers. It is waited for, so what must go on is
        left to a task. The model must be ``ready`` afterwards.
        """
        self.ready = True
        return _awaitable(None)

    def warm_up(self) -> Iterable[Any]:
        """Return payloads that the handlers answer after :meth:`load`, before the first request; none by default.

        They are what requests would bring: ``InferRequest`` objects, or dicts as V1 has them.
        """
        return ()

    def stop(self) -> None:
        """Let go of what :meth:`load` and :meth:`start` took; called after the last request of the model."""
        self.ready = False

    def stop_engine(self) -> None:
        """End what :meth:`start_engine` began, where ``engine`` is true; called after :meth:`stop`."""
        self.ready = False

    def healthy(self) -> Any:
        """Return whether the model can answer; by default, whether it is ``ready``."""
        return _awaitable(self.ready)

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the inputs for the model's metadata, each with ``name``, ``datatype`` and ``shape`` (-1: any size)."""
        return []

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the outputs for the model's metadata, described as the inputs are."""
        return []

    def validate(self, payload: Any) -> Any:
        """Return what :meth:`predict` or :meth:`explain` is given: the payload, unless a model has more to check.

        Args:
            payload: What :meth:`preprocess` returned.

        Raises:
            InvalidInput: What an override of this raises for a payload that the model cannot answer.
        """
        return payload

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:  # noqa: ARG002 - for those who override it
        """Return what :meth:`predict` or :meth:`explain` is given.

        Args:
            payload: An ``InferRequest`` where the request came over V2, the decoded JSON where it came over V1.
            headers: Headers of the request (metadata over gRPC), their names in lower case.
        """
        return _awaitable(payload)

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,  # noqa: ARG002 - for those who override it - for those who override it
    ) -> Any:
        """Return the answer; where ``predictor_config`` is set, and nothing overrides this, the predictor's.

        It may be an ``InferResponse``, a dict as V1 or V2 have it, an array, a data frame, or a dict of arrays by name.

        Args:
            payload: What :meth:`preprocess` returned.
            headers: Headers of the request, their names in lower case.
            response_headers: Headers of the answer, to be added to.

        Raises:
            UnsupportedProtocol: The model does not override it, and has no predictor.
        """
        if self.predictor_config is not None:
            from modelreg.serving.transformer import forwarding

            return forwarding(self, payload, headers)
        raise UnsupportedProtocol(f"model {self.name!r} does not predict")

    def postprocess(
        self,
        result: Any,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - for those who override it
        response_headers: dict[str, str] | None = None,  # noqa: ARG002 - for those who override it
    ) -> Any:
        """Return the answer made of what :meth:`predict` returned.

        Args:
            result: What :meth:`predict` returned.
            headers: Headers of the request, their names in lower case.
            response_headers: Headers of the answer, to be added to.
        """
        return _awaitable(result)

    def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:  # noqa: ARG002 - for those who override it
        """Return the explanation of an answer.

        Args:
            payload: What :meth:`preprocess` returned.
            headers: Headers of the request, their names in lower case.

        Raises:
            UnsupportedProtocol: The model does not override it.
        """
        raise UnsupportedProtocol(f"model {self.name!r} does not explain")


#: KServe's names for models that do not predict as well.
BaseKServeModel = Model
InferenceModel = Model


def _awaitable(value: object) -> Coroutine[Any, Any, object]:
    async def give() -> object:
        return value

    return give()
