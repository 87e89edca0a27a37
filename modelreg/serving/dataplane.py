"""What every edge calls: inference, readiness, metadata and the repository, whatever the protocol."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

from modelreg._version import __version__
from modelreg.exceptions import (
    DeadlineExceeded,
    HandlerFailed,
    InferenceError,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
)
from modelreg.serving.admission import Admission
from modelreg.serving.answering import Answering, explained
from modelreg.serving.answers import infer_response, json_answer
from modelreg.serving.handler_threads import LoopThread
from modelreg.serving.metrics import Metrics, NoMetrics
from modelreg.serving.model import BatchSettings
from modelreg.serving.repository import ModelRepository
from modelreg.serving.running import Call, resolved
from modelreg.serving.served import Served
from modelreg.types.inference import InferRequest, InferResponse

_log = logging.getLogger(__name__)

# What an ``async def`` handler has to answer a probe, or to describe its model.
_PROBE_S = 1.0


class Inferred(NamedTuple):
    """The answer to a request over V2, and the headers that the model wants on it."""

    response: InferResponse
    headers: dict[str, str]


class Predicted(NamedTuple):
    """The answer to a request over V1, ready to be made JSON of, and the headers that the model wants on it."""

    answer: Any
    headers: dict[str, str]


class DataPlane:
    """The one place in which requests meet models. All of it is blocking, and may be called from any thread.

    Plain handlers run in the thread that calls, ``async def`` handlers on one event loop. With a deadline, plain ones
    run in another thread, so that the answer that they took too long is there in time; they keep their turn until they
    end.

    Args:
        repository: The models.
        admission: How many requests run and wait; its defaults where ``None``.
        metrics: Where requests are counted; nowhere where ``None``.
        deadline_s: Seconds within which every request is answered, its wait included; ``None`` for no such limit.
        batching: How requests are answered together, for models without a setting of their own; ``None``: one by one.
        others_loaded: Whether whoever else answers on the same ports has loaded its models: one that asks here whether
            the server is ready may be answered there next.

    Raises:
        InvalidInput: ``deadline_s`` is not above 0.

    Example:
        >>> from modelreg.serving.model import Model
        >>> class Doubler(Model):
        ...     def predict(self, payload):
        ...         return {"predictions": [2 * number for number in payload["instances"]]}
        >>> repository = ModelRepository()
        >>> repository.update(Doubler("doubler"))
        >>> dataplane = DataPlane(repository)
        >>> dataplane.start()
        >>> dataplane.predict("doubler", {"instances": [1, 2]}, headers={}, protocol="rest-v1").answer
        {'predictions': [2, 4]}
    """

    def __init__(
        self,
        repository: ModelRepository,
        *,
        admission: Admission | None = None,
        metrics: Metrics | None = None,
        deadline_s: float | None = None,
        batching: BatchSettings | None = None,
        others_loaded: Callable[[], bool] = lambda: True,
    ) -> None:
        if deadline_s is not None and not deadline_s > 0:
            raise InvalidInput(f"deadline_s must be above 0, not {deadline_s}")
        self.repository = repository
        self.admission = Admission() if admission is None else admission
        self.metrics: Metrics = NoMetrics() if metrics is None else metrics
        self._loop = LoopThread()
        self._answering = Answering(
            repository,
            admission=self.admission,
            metrics=self.metrics,
            loop=self._loop,
            deadline_s=deadline_s,
            batching=batching,
        )
        self._others_loaded = others_loaded
        self._starting = False
        self._leaving = False
        self.admission.report_to(self.metrics.levels())
        repository.prepare_with(self._answering.warm_up)

    def start(self) -> None:
        """Load the models that are not loaded, one after the other; the server is not ready until all of them are.

        Raises:
            ModelNotReady: A model says that it could not be loaded.
            Exception: What ``load`` or ``start`` of a model raises.
        """
        self._starting = True
        self.repository.load_all()
        self._starting = False

    def live(self) -> bool:
        """Return True: whoever asks has an answer."""
        return True

    def ready(self) -> bool:
        """Return whether every model can answer; not without models, and not from the beginning of a drain."""
        if self._starting or self._leaving or not self._others_loaded():
            return False
        everything = self.repository.all()
        return bool(everything) and all(self._is_healthy(served) for served in everything)

    def server_metadata(self) -> dict[str, Any]:
        """Return ``name``, ``version`` and ``extensions`` of the server."""
        extensions = ["model_repository", "binary_tensor_data", "model_repository_extension"]
        return {"name": "modelreg", "version": __version__, "extensions": extensions}

    def models(self) -> list[dict[str, Any]]:
        """Return ``name``, ``versions`` (the newest first) and ``ready`` (of the newest) of every model."""
        return [
            {"name": name, "versions": self.repository.versions(name), "ready": self.repository.is_model_ready(name)}
            for name in self.repository.get_models()
        ]

    def model_ready(self, name: str, version: str | None = None) -> bool:
        """Return whether a model can answer.

        Raises:
            ModelNotFound: There is no such model.
        """
        return self._is_healthy(self._find(name, version))

    def model_metadata(self, name: str, version: str | None = None) -> dict[str, Any]:
        """Return ``name``, ``versions``, ``platform``, ``inputs`` and ``outputs`` of a model.

        Raises:
            ModelNotFound: There is no such model.
            HandlerFailed: The model's own description of itself failed.
        """
        served = self._find(name, version)
        try:
            inputs, outputs = (
                self._value(getattr(served.model, kind, list)()) for kind in ("get_input_types", "get_output_types")
            )
        except Exception as error:
            raise explained(error, Call(name, version, None, {}, protocol="")) from error
        return {
            "name": name,
            "versions": self.repository.versions(name),
            "platform": getattr(served.model, "platform", ""),
            "inputs": inputs,
            "outputs": outputs,
        }

    def infer(
        self,
        request: InferRequest,
        *,
        headers: Mapping[str, str],
        protocol: str,
        timeout_s: float | None = None,
    ) -> Inferred:
        """Return a model's answer over V2. A request without an id is given one, which its answer has too.

        Args:
            request: The request, with the name of the model and, where it asks for one, its version.
            headers: Headers of the request, their names in lower case.
            protocol: What the request came over, for the metrics, such as ``rest-v2`` or ``grpc``.
            timeout_s: Seconds after which the client has gone: a request that still waits for its turn then is dropped.

        Raises:
            InvalidInput: The handler refuses the request.
            InferenceError: Another error, with its HTTP status: see its subclasses.
        """
        if not request.id:
            request.id = str(uuid4())
        call = Call(request.model_name, request.model_version, request, headers, protocol=protocol, timeout_s=timeout_s)
        return Inferred(self._answering.answer(call, self._v2_answer), call.response_headers)

    def predict(
        self,
        name: str,
        payload: Any,
        *,
        headers: Mapping[str, str],
        protocol: str,
        version: str | None = None,
        timeout_s: float | None = None,
    ) -> Predicted:
        """Return a model's answer over V1.

        Args:
            name: Name of the model.
            payload: The decoded JSON.
            headers: Headers of the request, their names in lower case.
            protocol: What the request came over, for the metrics, such as ``rest-v1``.
            version: Version of the model; ``None`` for the newest.
            timeout_s: Seconds after which the client has gone: a request that still waits for its turn then is dropped.

        Raises:
            InvalidInput: ``instances`` is not a list, or the handler refuses the request.
            InferenceError: Another error, with its HTTP status: see its subclasses.
        """
        _check_instances(payload)
        call = Call(name, version, payload, headers, protocol=protocol, timeout_s=timeout_s)
        return Predicted(self._answering.answer(call, _v1_prediction), call.response_headers)

    def explain(
        self,
        name: str,
        payload: Any,
        *,
        headers: Mapping[str, str],
        protocol: str,
        version: str | None = None,
        timeout_s: float | None = None,
    ) -> Predicted:
        """Return a model's explanation over V1; arguments and errors are those of :meth:`predict`."""
        _check_instances(payload)
        call = Call(name, version, payload, headers, protocol=protocol, timeout_s=timeout_s, explain=True)
        return Predicted(self._answering.answer(call, _v1_explanation), call.response_headers)

    def index(self, ready: bool | None = None) -> list[dict[str, str]]:
        """Return the rows of the repository's index; with ``ready``, those alone that are ready, or are not."""
        rows = self.repository.index()
        return rows if ready is None else [row for row in rows if (row["state"] == "READY") is ready]

    def load(self, name: str) -> None:
        """Load a model, or load it anew, while others are served; see :meth:`ModelRepository.load`.

        Raises:
            ModelNotFound: There is no such model.
            ModelNotReady: It could not be loaded; what was in service stays so.
        """
        try:
            # Repositories written for KServe may load in an ``async def``.
            resolved(self.repository.load(name), self._loop)
        except (InferenceError, InvalidInput):
            raise
        except Exception as error:
            failure = HandlerFailed(uuid4().hex[:12])
            _log.exception("%s: model %s could not be loaded", failure, name)
            raise ModelNotReady(name, f"it could not be loaded: {failure}") from error

    def unload(self, name: str) -> None:
        """Take a model out of service; see :meth:`ModelRepository.unload`.

        Raises:
            ModelNotFound: There is no such model.
        """
        self.repository.unload(name)

    def withdraw(self) -> None:
        """Not be ready from now on, and answer all the same: whoever sends requests here learns of it by the probes."""
        self._leaving = True

    def drain(self, timeout_s: float | None = None) -> bool:
        """Not be ready from now on, refuse new requests, and wait for those that have come in.

        Args:
            timeout_s: Seconds to wait for them; ``None`` for however long they take.

        Returns:
            Whether all of them ended in time.
        """
        self.withdraw()
        return self.admission.drain(timeout_s)

    def close(self) -> None:
        """Refuse new requests, stop the models, and end the threads. What still runs is waited for no longer."""
        self.drain(0)
        self.repository.close(timeout_s=0)
        self._loop.close()
        self._answering.close()

    def _v2_answer(self, result: Any, call: Call, served: Served) -> InferResponse:
        name = partial(self._output_name, served)
        return infer_response(result, call.payload, name=served.name, version=served.version, output_name=name)

    def _output_name(self, served: Served) -> str | None:
        """What the model calls its first output, asked for once."""
        if served.output_name is None:
            described = self._value(getattr(served.model, "get_output_types", list)())
            served.output_name = str(described[0]["name"]) if described else ""
        return served.output_name

    def _find(self, name: str, version: str | None) -> Served:
        served = self.repository.find(name, version or None)
        if served is None:
            raise ModelNotFound(name, version=version or None)
        return served

    def _is_healthy(self, served: Served) -> bool:
        if not served.ready or served.healthy is None:
            return served.ready
        try:
            return bool(self._value(served.healthy()))
        except Exception:  # noqa: BLE001 - a model's own bug, and logged
            # A model whose check fails is not well, whatever the reason.
            _log.exception("healthy() of model %s failed", served.name)
            return False

    def _value(self, value: Any) -> Any:
        """``value``, or what it gives where a handler is ``async def``."""
        if not inspect.iscoroutine(value):
            return value
        outcome, cancel = self._loop.submit(value)
        if outcome.wait(_PROBE_S):
            return outcome.get()
        cancel()
        raise DeadlineExceeded(f"no answer within {_PROBE_S:g} s")


def _v1_prediction(result: Any, _call: Call, _served: Served) -> Any:
    return json_answer(result, "predictions")


def _v1_explanation(result: Any, _call: Call, _served: Served) -> Any:
    return json_answer(result, "explanations")


def _check_instances(payload: Any) -> None:
    if isinstance(payload, dict) and not isinstance(payload.get("instances", []), list):
        raise InvalidInput("'instances' must be a list")
