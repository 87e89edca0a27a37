"""What is counted of the requests, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from typing import Protocol


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

    def observe_batch(self, model: str, version: str | None, *, requests: int, rows: int) -> None:
        """Count one batch of that many requests and rows."""

    def levels(self) -> MutableSequence[float]:
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

    def observe_batch(self, model: str, version: str | None, *, requests: int, rows: int) -> None:
        """Count nothing."""

    def levels(self) -> MutableSequence[float]:
        """Return a place that nobody reads."""
        return [0.0, 0.0]

    def render(self) -> tuple[bytes, str]:
        """Return an empty text."""
        return b"", "text/plain; version=0.0.4; charset=utf-8"
