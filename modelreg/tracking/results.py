"""What reading runs gives: lists of attrs objects that pandas understands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from attrs import field

from modelreg.exceptions import MissingExtra
from modelreg.types.artifacts import Artifact
from modelreg.types.experiments import ExperimentRun
from modelreg.types.pager import Pager
from modelreg.types.points import MetricPoint

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class ResultList(list[T]):
    """A list of attrs objects that becomes a data frame where pandas is installed."""

    def rows(self) -> list[dict[str, Any]]:
        """Return each object as one flat mapping; what it maps is put under ``name.key``."""
        return [_flat(item) for item in self]

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a row per object.

        Raises:
            MissingExtra: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtra("pandas is not installed", next_step="pip install pandas") from error
        return pd.DataFrame(self.rows())


class LogPager(Pager[Artifact]):
    """A pager over what a run logged, which can be taken as a whole."""

    def to_list(self) -> ResultList[Artifact]:
        """Return everything, as a list.

        Raises:
            StoreError: If the registry fails.
        """
        return ResultList(self.restart())

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a row for everything.

        Raises:
            MissingExtra: If pandas is not installed.
            StoreError: If the registry fails.
        """
        return self.to_list().to_pandas()


@attrs.frozen(kw_only=True)
class RunSummary:
    """A run with what it logged: the last value of each metric, the parameters, the tags.

    Attributes:
        run: The run.
        metrics: Last value of each metric.
        params: Text of each parameter.
    """

    run: ExperimentRun
    metrics: dict[str, float] = field(factory=dict)
    params: dict[str, str] = field(factory=dict)

    @property
    def id(self) -> str | None:
        """Id of the run."""
        return self.run.id

    @property
    def name(self) -> str | None:
        """Name of the run."""
        return self.run.name

    @property
    def status(self) -> str | None:
        """Status of the run."""
        return None if self.run.status is None else str(self.run.status)

    @property
    def tags(self) -> Mapping[str, Any]:
        """Custom properties of the run."""
        return self.run.custom_properties


@attrs.define
class MetricRange:
    """What the points of a metric amount to; NaN is neither the least nor the greatest.

    Attributes:
        last: The value that was logged last.
        min: The least.
        max: The greatest.
        count: How many points there are.
    """

    last: float | None = None
    min: float | None = None
    max: float | None = None
    count: int = 0

    def add(self, value: float) -> None:
        """Take in the next point."""
        self.last = value
        self.count += 1
        if not math.isnan(value):
            self.min = value if self.min is None else min(self.min, value)
            self.max = value if self.max is None else max(self.max, value)


def metric_ranges(points: Iterable[MetricPoint]) -> dict[str, MetricRange]:
    """Return the range of each metric that has points, by its name.

    Example:
        >>> metric_ranges([MetricPoint("loss", 1.0), MetricPoint("loss", 0.5)])
        {'loss': MetricRange(last=0.5, min=0.5, max=1.0, count=2)}
    """
    ranges: dict[str, MetricRange] = {}
    for point in points:
        ranges.setdefault(point.name, MetricRange()).add(point.value)
    return ranges


def _flat(item: Any) -> dict[str, Any]:
    if isinstance(item, RunSummary):
        row = _flat(item.run)
        row |= {f"metrics.{name}": value for name, value in item.metrics.items()}
        return row | {f"params.{name}": value for name, value in item.params.items()}
    row = {}
    for attribute in attrs.fields(type(item)):
        value = getattr(item, attribute.name)
        if isinstance(value, Mapping):
            row |= {f"tags.{key}": inner for key, inner in value.items()}
        else:
            row[attribute.name] = value
    return row
