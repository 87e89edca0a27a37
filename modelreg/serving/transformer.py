"""Models that leave the prediction to a predictor elsewhere, over REST or gRPC, and work before and after it."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.serving.model import Model
from modelreg.types.inference import InferRequest

if TYPE_CHECKING:
    from modelreg.client.grpc_inference import InferenceGRPCClient
    from modelreg.client.rest_inference import InferenceRESTClient

_GRPC = "grpc-v2"
_PROTOCOLS = ("v1", "v2", _GRPC)
# Headers of a request that are for whoever answers it; all others are for this server alone.
_PASSED_ON = frozenset({"authorization", "traceparent", "tracestate", "x-b3-traceid", "x-request-id"})


@attrs.frozen
class PredictorConfig:
    """Where a predictor is, and how it is asked; the arguments are KServe's.

    Args:
        predictor_host: Its host, with a port where that is not the scheme's own.
        predictor_protocol: ``"grpc-v2"`` asks over gRPC; with ``"v1"`` and ``"v2"`` a request goes on over the protocol
            that it came over.
        predictor_use_ssl: Whether to speak TLS.
        predictor_request_timeout_seconds: Seconds for each request.
        predictor_request_retries: How often a request is sent again that the predictor cannot have begun with.
        predictor_health_check: Whether the model is well only while its predictor is ready.

    Raises:
        InvalidInput: There is no host, or no such protocol.

    Example:
        >>> PredictorConfig("fraud-predictor.default:8080", "v2").predictor_base_url
        'http://fraud-predictor.default:8080'
    """

    predictor_host: str
    predictor_protocol: str = "v1"
    predictor_use_ssl: bool = False
    predictor_request_timeout_seconds: float = 600
    predictor_request_retries: int = 0
    predictor_health_check: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.predictor_host:
            raise InvalidInput("a predictor needs a host")
        if self.predictor_protocol not in _PROTOCOLS:
            raise InvalidInput(
                f"there is no protocol {self.predictor_protocol!r}", next_step=f"use one of {', '.join(_PROTOCOLS)}"
            )

    @property
    def predictor_base_url(self) -> str:
        """Its address over REST."""
        return f"{'https' if self.predictor_use_ssl else 'http'}://{self.predictor_host}"

    @property
    def protocol(self) -> str:
        """Another name of ``predictor_protocol``, KServe's."""
        return self.predictor_protocol

    @property
    def timeout(self) -> float:
        """Another name of ``predictor_request_timeout_seconds``, KServe's."""
        return self.predictor_request_timeout_seconds

    @property
    def retries(self) -> int:
        """Another name of ``predictor_request_retries``, KServe's."""
        return self.predictor_request_retries

    @property
    def use_ssl(self) -> bool:
        """Another name of ``predictor_use_ssl``, KServe's."""
        return self.predictor_use_ssl


class Predictor(Protocol):
    """What answers in a transformer's place. It may be used from any thread."""

    def infer(
        self,
        name: str,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Return the answer to ``payload``: an ``InferResponse`` over V2 and gRPC, decoded JSON over V1."""

    def is_ready(self, name: str) -> bool:
        """Return whether it can answer for a model."""

    def close(self) -> None:
        """Close the connections."""


class Transformer(Model):
    """A model whose ``predict`` asks a predictor elsewhere, which has a model of the same name.

    Override ``preprocess`` and ``postprocess``; the base class alone passes everything on. What the predictor refuses,
    it refuses, with the same status; a predictor that does not answer is a 502.

    Args:
        name: Name under which it is served, and the model's at the predictor.
        predictor_config: Where the predictor is; the server's, if it has one, where ``None``.
        return_response_headers: As in :class:`~modelreg.serving.Model`.
        version: Version under which it is served.
        predictor: What is asked; by default the predictor that ``predictor_config`` names.
    """

    platform = "transformer"

    def __init__(
        self,
        name: str,
        predictor_config: PredictorConfig | None = None,
        return_response_headers: bool = False,
        *,
        version: str | None = None,
        predictor: Predictor | None = None,
    ) -> None:
        super().__init__(name, predictor_config, return_response_headers, version=version)
        self._predictor = predictor

    def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> Any:
        """Return the predictor's answer.

        Args:
            payload: What ``preprocess`` returned: an ``InferRequest``, or a dict as V1 has it.
            headers: Headers of the request; those that are for whoever answers it go along.
            response_headers: Takes the headers of the predictor's answer.

        Raises:
            InvalidInput: No predictor is set, or it refuses the request.
            ServerUnreachable: It does not answer.
            InferenceError: It answers with another error.
        """
        return self._asked().infer(self.name, payload, headers, response_headers)

    def healthy(self) -> bool:
        """Return whether the model is ready, and its predictor, where that is to be checked."""
        config = self.predictor_config
        if not self.ready or config is None or not config.predictor_health_check:
            return self.ready
        return self._asked().is_ready(self.name)

    def stop(self) -> None:
        """Close the connections to the predictor."""
        super().stop()
        if self._predictor is not None:
            self._predictor.close()

    def _asked(self) -> Predictor:
        if self._predictor is None:
            if self.predictor_config is None:
                raise InvalidInput(
                    f"model {self.name!r} has no predictor to ask",
                    next_step="give it a PredictorConfig, or start the server with --predictor-host",
                )
            self._predictor = predictor_of(self.predictor_config)
        return self._predictor


def predictor_of(config: PredictorConfig) -> Predictor:
    """Return the predictor that ``config`` names; it connects when it is first asked."""
    return GRPCPredictor(config) if config.predictor_protocol == _GRPC else RESTPredictor(config)


def forwarding(model: Model, payload: Any, headers: dict[str, str] | None = None) -> Coroutine[Any, Any, Any]:
    """Return the awaitable answer of the predictor of a model that is no :class:`Transformer` but has one set."""
    return asyncio.to_thread(forward, model, payload, headers)


def forward(model: Model, payload: Any, headers: dict[str, str] | None = None) -> Any:
    """Return the answer of the predictor of a model that is no :class:`Transformer` but has one set."""
    predictor = model.__dict__.get("_predictor")
    if predictor is None:
        # Of two threads that come first, both use the same one.
        predictor = model.__dict__.setdefault("_predictor", predictor_of(model.predictor_config))
    return predictor.infer(model.name, payload, headers)


class RESTPredictor:
    """A predictor over REST.

    Args:
        config: Where it is.
        client: What sends requests; by default one that ``config`` describes.
    """

    def __init__(self, config: PredictorConfig, *, client: InferenceRESTClient | None = None) -> None:
        from modelreg.client.rest_inference import InferenceRESTClient, RESTConfig

        self._url = config.predictor_base_url
        self._client = client or InferenceRESTClient(
            RESTConfig(retries=config.predictor_request_retries, timeout=config.predictor_request_timeout_seconds)
        )

    def infer(
        self,
        name: str,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Return the answer to ``payload``."""
        if not isinstance(payload, (InferRequest, Mapping)):
            raise InvalidInput(f"a predictor takes an InferRequest or a dict, not {type(payload).__name__}")
        told: dict[str, str] = {}
        answer = self._client.infer(self._url, payload, name, _passed_on(headers), told)
        if response_headers is not None:
            response_headers.update(_worth_telling(told))
        return answer

    def is_ready(self, name: str) -> bool:
        """Return whether it can answer for a model."""
        return self._client.is_model_ready(self._url, name)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class GRPCPredictor:
    """A predictor over gRPC.

    Args:
        config: Where it is.
    """

    def __init__(self, config: PredictorConfig) -> None:
        from modelreg.client.grpc_inference import InferenceGRPCClient

        self._lock = threading.Lock()
        self._client: InferenceGRPCClient | None = None
        self._connect = partial(
            InferenceGRPCClient,
            config.predictor_host,
            use_ssl=config.predictor_use_ssl,
            timeout=config.predictor_request_timeout_seconds,
            retries=config.predictor_request_retries,
        )

    def infer(
        self,
        name: str,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,  # noqa: ARG002 - gRPC's answers have none worth telling
    ) -> Any:
        """Return the answer to ``payload``."""
        if not isinstance(payload, InferRequest):
            raise InvalidInput("a predictor over gRPC takes requests of the protocol V2")
        request = copy.copy(payload)
        request.model_name = name
        return self._connected().infer(request, headers=_passed_on(headers))

    def is_ready(self, name: str) -> bool:
        """Return whether it can answer for a model."""
        return self._connected().is_model_ready(name)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> InferenceGRPCClient:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client


def _passed_on(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (headers or {}).items() if name in _PASSED_ON}


# What says how this one answer was carried, not what it is.
_OF_THE_CONNECTION = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "date", "keep-alive", "server"),
        *("inference-header-content-length", "trailer", "transfer-encoding", "upgrade", "vary"),
    }
)


def _worth_telling(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION}
