"""The registry inside the process, as a user calls it: the six requests, and their growth with the number of models."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Contender, Report, interleave, markdown_table, milliseconds, per_second, repeated
from modelreg import ModelRegistry
from modelreg.types import ListOptions, Metric, RegisteredModel
from registry_requests import FILTER, MODELS, POINTS, REQUESTS

#: Models that the growth is measured at.
SIZES = (1_000, 10_000, 100_000)
GROWING = {"by_name": 200, "filtered": 20, "walk": 1}
TITLES = {name: title for name, (title, _) in REQUESTS.items()} | {"walk": "walk over all models, 1,000 a page"}


class Calls:
    """The calls on one registry.

    Args:
        registry: An empty registry; what the calls need is created at once.
        models: How many models it is to hold.
        points: How many points the run's metric is to have.
    """

    def __init__(self, registry: ModelRegistry, *, models: int, points: int = 0) -> None:
        self._registry = registry
        self._models = models
        self._new = itertools.count(models)
        self._turn = itertools.count()
        self._steps = itertools.count(points)
        for number in range(models):
            registry.api.create_registered_model(model(number))
        self._run = self._make_run(points) if points else ""

    def _make_run(self, points: int) -> str:
        from modelreg.types import Experiment, ExperimentRun

        experiment = self._registry.api.create_experiment(Experiment("bench"))
        run = self._registry.api.create_experiment_run(ExperimentRun("bench", experiment_id=experiment.id))
        for step in range(points):
            self._registry.api.upsert_experiment_run_artifact(run.id or "", metric("loss", step))
        return run.id or ""

    def __getitem__(self, name: str) -> Callable[[], Any]:
        """Return the function that makes call ``name``."""
        call: Callable[[], Any] = getattr(self, f"_{name}")
        return call

    def _create(self) -> None:
        self._registry.api.create_registered_model(model(next(self._new)))

    def _point(self) -> None:
        self._registry.api.upsert_experiment_run_artifact(self._run, metric("auc", next(self._steps)))

    def _by_name(self) -> None:
        # 7919 is prime: each turn looks up another model.
        self._registry.get_registered_model(model(next(self._turn) * 7919 % self._models).name)

    def _page(self) -> None:
        self._registry.api.get_registered_models(ListOptions(page_size=100))

    def _filtered(self) -> None:
        page = self._registry.api.get_registered_models(ListOptions(page_size=100, filter_query=FILTER))
        if len(page.items) < min(100, self._models // 20):
            raise RuntimeError(f"the filtered page has {len(page.items)} models")

    def _history(self) -> None:
        options = ListOptions(page_size=POINTS)
        page = self._registry.api.get_experiment_run_metric_history(self._run, options, name="loss")
        if len(page.items) != POINTS:
            raise RuntimeError(f"the history has {len(page.items)} points")

    def _walk(self) -> None:
        seen = sum(1 for _ in self._registry.get_registered_models().page_size(1000))
        if seen != self._models:
            raise RuntimeError(f"walked over {seen} models instead of {self._models}")


def model(number: int) -> RegisteredModel:
    """Return model ``number``."""
    properties = {"accuracy": number % 1000 / 1000, "stage": "dev" if number % 4 else "prod"}
    return RegisteredModel(f"model-{number:06}", owner=f"team-{number % 10}", custom_properties=properties)


def metric(name: str, step: int) -> Metric:
    """Return the point of metric ``name`` at ``step``."""
    return Metric(value=step / POINTS, name=name, step=step, timestamp=step + 1)


def main() -> None:
    """Measure and publish both tables."""
    report = Report.from_arguments("registry-embedded", script=__file__, packages=("modelreg",))
    with tempfile.TemporaryDirectory() as folder:
        six = six_requests(Path(folder) / "six.db", report.rounds)
        growth = growth_table(Path(folder), report.rounds)
    report.publish(f"{six}\n\nGrowth with the number of models, ms a call:\n\n{growth}")


def six_requests(database: Path, rounds: int) -> str:
    """Return the table of the six requests."""
    with ModelRegistry(f"sqlite:///{database}") as registry:
        calls = Calls(registry, models=MODELS, points=POINTS)
        contenders = [Contender(name, repeated(calls[name], count)) for name, (_, count) in REQUESTS.items()]
        seconds = [timing.median() / REQUESTS[timing.name][1] for timing in interleave(contenders, rounds=rounds)]
    rows = [(TITLES[name], milliseconds(s), per_second(s)) for name, s in zip(REQUESTS, seconds, strict=True)]
    return markdown_table(("call, in-process, SQLite", "ms", "/s"), rows)


def growth_table(folder: Path, rounds: int) -> str:
    """Return the table of what a call costs with more and more models."""
    columns: list[list[str]] = []
    for size in SIZES:
        with ModelRegistry(f"sqlite:///{folder / f'{size}.db'}") as registry:
            calls = Calls(registry, models=size)
            contenders = [Contender(name, repeated(calls[name], count)) for name, count in GROWING.items()]
            timings = interleave(contenders, rounds=rounds)
        columns.append([milliseconds(timing.median() / GROWING[timing.name]) for timing in timings])
    rows = [(TITLES[name], *cells) for name, *cells in zip(GROWING, *columns, strict=True)]
    return markdown_table(("call, in-process, SQLite", *(f"{size:,} models" for size in SIZES)), rows)


if __name__ == "__main__":
    main()
