"""Points of metrics, as a history gives them by the hundred thousand."""

from __future__ import annotations

import attrs


@attrs.define
class MetricPoint:
    """One point of a metric.

    Slim, so that long histories are read fast: a :class:`~modelreg.types.Metric` has all the fields of a resource.

    Attributes:
        name: Name of the metric.
        value: The number; NaN and infinities are numbers too.
        step: Step of the training that it belongs to.
        timestamp: When it was measured, in milliseconds since the epoch.
        id: Id of the point, which grows in the order in which points were stored.
    """

    name: str
    value: float
    step: int | None = None
    timestamp: int | None = None
    id: str | None = None
