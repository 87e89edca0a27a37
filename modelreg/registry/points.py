"""Writing the points of metrics into runs, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from modelreg.client.api import RegistryAPI
from modelreg.registry.exporting import point_of
from modelreg.types.artifacts import Metric
from modelreg.types.pager import Pager
from modelreg.wire.custom_properties import structure_double

_PAGE_SIZE = 1000

# (name, value, step, timestamp), the value as on the wire: unlike the number, the text "NaN" equals itself.
_Point = tuple[Any, ...]


class PointWriter:
    """Writes the points of one run after another's, leaving out those that are there.

    Args:
        api: The registry to write to.
    """

    def __init__(self, api: RegistryAPI) -> None:
        self._api = api
        self._run = ""
        # How often each point is there and was not asked for yet.
        self._there: Counter[_Point] = Counter()
        # What a batch tells points apart by: a second point of one name, step and time has to go alone.
        self._keys: set[_Point] = set()

    def write(self, run: str, metrics: Sequence[dict[str, Any]], *, is_new: bool) -> int:
        """Return how many points were written.

        Args:
            run: Id of the run.
            metrics: For each metric its ``name`` and ``points``, each a ``[value, step, timestamp in ms]``.
            is_new: Whether the run was empty before the first call for it.

        Raises:
            StoreError: If the registry fails; the same call again writes the rest.
        """
        if run != self._run:
            self._start(run, is_new=is_new)
        written = 0
        for series in metrics:
            name = series["name"]
            points = [point for point in map(tuple, series["points"]) if self._is_missing((name, *point))]
            self._write_series(run, name, points)
            written += len(points)
        return written

    def _start(self, run: str, *, is_new: bool) -> None:
        self._run = run
        self._there.clear()
        self._keys.clear()
        if not is_new:
            history = Pager(partial(self._api.get_experiment_run_metric_history, run)).page_size(_PAGE_SIZE)
            self._there.update((point.name, *point_of(point)) for point in history)
            self._keys.update((name, step, time) for name, _, step, time in self._there)

    def _is_missing(self, point: _Point) -> bool:
        if self._there[point] > 0:
            self._there[point] -= 1
            return False
        return True

    def _write_series(self, run: str, name: str, points: list[_Point]) -> None:
        """Write points of one metric in their order: the last one is the metric's value."""
        batch: list[list[Any]] = []
        for value, step, time in points:
            key = (name, step, time)
            if key not in self._keys and None not in (value, step, time):
                self._keys.add(key)
                batch.append([value, step, time])
                continue
            self._write_batch(run, name, batch)
            number = None if value is None else structure_double(value)
            self._api.upsert_experiment_run_artifact(run, Metric(name=name, value=number, step=step, timestamp=time))
            batch = []
        self._write_batch(run, name, batch)

    def _write_batch(self, run: str, name: str, points: list[list[Any]]) -> None:
        if not points:
            return
        if "batch" in self._api.server_capabilities().features:
            self._api.write_run_batch(run, metrics={name: points})
            return
        for value, step, time in points:
            metric = Metric(name=name, value=structure_double(value), step=step, timestamp=time)
            self._api.upsert_experiment_run_artifact(run, metric)
