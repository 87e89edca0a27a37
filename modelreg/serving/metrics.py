"""What is counted of the requests, over all worker processes, for Prometheus."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from modelreg.exceptions import MissingExtra
from modelreg.serving.admission import Levels
from modelreg.serving.shared_numbers import Numbers, SharedNumbers

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


class Metrics(Protocol):
    """What the data plane tells of the requests that it answers."""

    def observe(
        self,
        model: str,
        version: str | None,
        protocol: str,
        status: int,
        *,
        seconds: float,
        waited: float = 0.0,
        phases: Mapping[str, float] | None = None,
    ) -> None:
        """Count one request.

        Args:
            model: Name of the model; empty where there is no such model.
            version: Version of the model that answered.
            protocol: What the request came over, such as ``rest-v2`` or ``grpc``.
            status: HTTP status of the answer, over gRPC too.
            seconds: How long the answer took.
            waited: Seconds of these that it waited for its turn.
            phases: Seconds that each handler took, by its name.
        """

    def observe_batch(self, model: str, version: str | None, requests: int, rows: int) -> None:
        """Count one batch of that many requests and rows."""

    def levels(self) -> Levels:
        """Return where the numbers of running and of waiting requests are to be kept, in this order."""

    def render(self) -> tuple[bytes, str]:
        """Return the metrics of all workers in Prometheus' text format, and its content type."""


class NoMetrics:
    """Counts nothing."""

    def observe(
        self,
        model: str,
        version: str | None,
        protocol: str,
        status: int,
        *,
        seconds: float,
        waited: float = 0.0,
        phases: Mapping[str, float] | None = None,
    ) -> None:
        """Count nothing."""

    def observe_batch(self, model: str, version: str | None, requests: int, rows: int) -> None:
        """Count nothing."""

    def levels(self) -> Levels:
        """Return a place that nobody reads."""
        return [0.0, 0.0]

    def render(self) -> tuple[bytes, str]:
        """Return an empty text."""
        return b"", "text/plain; version=0.0.4; charset=utf-8"


# Upper bounds of the buckets, in seconds and in pieces.
_SECONDS = (*(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05), *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0))
_PIECES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

_MODEL = ("model_name", "model_version")
# name -> help, labels, and the bounds of its buckets, where it is a histogram. The four by phase have KServe's names.
_HISTOGRAMS: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "modelreg_request_seconds": ("Time in which requests were answered", (*_MODEL, "protocol"), _SECONDS),
    "modelreg_wait_seconds": ("Time that requests waited for their turn", _MODEL, _SECONDS),
    "request_preprocess_seconds": ("Time that preprocess took", _MODEL, _SECONDS),
    "request_predict_seconds": ("Time that predict took", _MODEL, _SECONDS),
    "request_postprocess_seconds": ("Time that postprocess took", _MODEL, _SECONDS),
    "request_explain_seconds": ("Time that explain took", _MODEL, _SECONDS),
    "modelreg_batch_rows": ("Rows of the batches that predict was given", _MODEL, _PIECES),
    "modelreg_batch_requests": ("Requests of the batches that predict was given", _MODEL, _PIECES),
}
_REQUESTS = "modelreg_requests"
_REQUESTS_LABELS = (*_MODEL, "protocol", "status")
_LEVELS = {
    "modelreg_requests_running": "Requests whose handlers run",
    "modelreg_requests_waiting": "Requests that wait for their turn, those whose batch runs included",
}
_PHASES = {phase: f"request_{phase}_seconds" for phase in ("preprocess", "predict", "postprocess", "explain")}


class PrometheusMetrics:
    """Counts requests for Prometheus, in memory that the worker processes of a server share.

    Args:
        numbers: The memory; its own, for one process, where ``None``.
        worker: Number of this process, from 0; it goes on with what a predecessor of the same number counted.
        others: Registry of ``prometheus_client`` whose metrics are rendered as well; the default one, where handlers
            put theirs, where ``None``. With several workers these are the worker's own that answers, so they are left
            out unless ``PROMETHEUS_MULTIPROC_DIR`` has ``prometheus_client`` share them.

    Raises:
        MissingExtra: ``prometheus_client`` is not installed.

    Example:
        >>> metrics = PrometheusMetrics()
        >>> metrics.observe("iris", "1", "rest-v2", 200, seconds=0.002, phases={"predict": 0.001})
        >>> b'modelreg_requests_total{model_name="iris",model_version="1",protocol="rest-v2",status="200"} 1.0' in (
        ...     metrics.render()[0]
        ... )
        True
    """

    def __init__(
        self, numbers: SharedNumbers | None = None, *, worker: int = 0, others: CollectorRegistry | None = None
    ) -> None:
        _check_installed()
        self._numbers = SharedNumbers() if numbers is None else numbers
        self._own = self._numbers.of_worker(worker)
        self._others = others
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str | None, str, int], tuple[Numbers, Numbers, Numbers]] = {}
        self._histograms: dict[tuple[str, ...], Numbers] = {}

    def observe(
        self,
        model: str,
        version: str | None,
        protocol: str,
        status: int,
        *,
        seconds: float,
        waited: float = 0.0,
        phases: Mapping[str, float] | None = None,
    ) -> None:
        """Count one request; see :meth:`Metrics.observe`."""
        # One lock for all of it: between threads, adding to a number is not one step.
        with self._lock:
            series = self._requests.get((model, version, protocol, status))
            if series is None:
                series = self._new_series(model, version, protocol, status)
            count, times, waits = series
            count[0] += 1.0
            times[bisect_left(_SECONDS, seconds)] += 1.0
            times[-1] += seconds
            waits[bisect_left(_SECONDS, waited)] += 1.0
            waits[-1] += waited
            if phases:
                for phase, took in phases.items():
                    self._add(_PHASES[phase], model, version, _SECONDS, took)

    def observe_batch(self, model: str, version: str | None, requests: int, rows: int) -> None:
        """Count one batch of that many requests and rows."""
        with self._lock:
            self._add("modelreg_batch_requests", model, version, _PIECES, requests)
            self._add("modelreg_batch_rows", model, version, _PIECES, rows)

    def levels(self) -> Levels:
        """Return where the numbers of running and of waiting requests are to be kept, in this order."""
        with self._lock:
            levels = self._own.series(tuple(_LEVELS), len(_LEVELS))
        # A predecessor of the same number may have left some.
        levels[0] = levels[1] = 0.0
        return levels

    def render(self) -> tuple[bytes, str]:
        """Return the metrics of all workers in Prometheus' text format, and its content type."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        registry = CollectorRegistry()
        registry.register(_Collected(self._numbers))
        return b"".join(
            [generate_latest(registry), *map(generate_latest, self._other_registries())]
        ), CONTENT_TYPE_PLAIN_0_0_4

    def _other_registries(self) -> list[CollectorRegistry]:
        from prometheus_client import REGISTRY, CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        if self._others is not None or self._numbers.workers == 1:
            return [self._others or REGISTRY]
        shared = CollectorRegistry()
        try:
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # the library has no types
        except ValueError:
            # The variable is not set, or names no folder.
            return []
        return [shared]

    def _add(self, name: str, model: str, version: str | None, bounds: tuple[float, ...], value: float) -> None:
        key = (name, model, version or "")
        histogram = self._histograms.get(key)
        if histogram is None:
            histogram = self._histograms[key] = self._own.series(key, len(bounds) + 2)
        histogram[bisect_left(bounds, value)] += 1.0
        histogram[-1] += value

    def _new_series(
        self, model: str, version: str | None, protocol: str, status: int
    ) -> tuple[Numbers, Numbers, Numbers]:
        of_model = (model, version or "")
        size = len(_SECONDS) + 2
        series = (
            self._own.series((_REQUESTS, *of_model, protocol, str(status)), 1),
            self._own.series(("modelreg_request_seconds", *of_model, protocol), size),
            self._own.series(("modelreg_wait_seconds", *of_model), size),
        )
        self._requests[model, version, protocol, status] = series
        return series


class _Collected:
    """Gives the sums over all workers to ``prometheus_client``, which writes them."""

    def __init__(self, numbers: SharedNumbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        sums = self._numbers.sums()
        requests = CounterMetricFamily(
            _REQUESTS, "Requests, by the HTTP status of their answer", labels=_REQUESTS_LABELS
        )
        for key, values in sums.items():
            if key[0] == _REQUESTS:
                requests.add_metric(key[1:], values[0])
        yield requests
        for (name, text), value in zip(_LEVELS.items(), sums.get(tuple(_LEVELS), [0.0, 0.0]), strict=True):
            yield GaugeMetricFamily(name, text, value=value)
        for name in _HISTOGRAMS:
            yield _histogram(name, sums)


def _histogram(name: str, sums: Mapping[tuple[str, ...], list[float]]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    text, labels, bounds = _HISTOGRAMS[name]
    family = HistogramMetricFamily(name, text, labels=labels)
    names = [_as_label(bound) for bound in (*bounds, math.inf)]
    for key, values in sums.items():
        if key[0] == name:
            buckets = [*zip(names, accumulate(values[:-1]), strict=True)]
            family.add_metric(key[1:], buckets, sum_value=values[-1])
    return family


def _as_label(bound: float) -> str:
    return "+Inf" if bound == math.inf else str(bound)


def _check_installed() -> None:
    from importlib.util import find_spec

    # Found, not imported: that takes long, and is needed by nobody before the first look at the metrics.
    if find_spec("prometheus_client") is None:
        raise MissingExtra("metrics need prometheus_client", next_step="pip install 'modelreg[serve]'")
