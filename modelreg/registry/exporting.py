"""Everything that a registry holds, as a stream of records.

A record is a JSON object; a file of them has one a line. The first says what the file is, the last how many of each
kind there were, so that a file that was cut off can be told::

    {"kind": "export", "format": 1, "source": "http://registry:8080"}
    {"kind": "registered_model", "object": {"id": "1", "name": "fraud", ...}}
    {"kind": "model_version", "object": {"id": "2", "registeredModelId": "1", ...}}
    {"kind": "artifact", "parent": {"model_version": "2"}, "object": {"artifactType": "model-artifact", ...}}
    {"kind": "metric_points", "run": "7", "metrics": [{"name": "loss", "points": [[0.5, 1, 1700000000000], ...]}]}
    {"kind": "end", "counts": {"registered_model": 1, ...}}

Objects are the contract's; ids are those of the registry they come from. What an object refers to comes before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from modelreg.client.api import RegistryAPI
from modelreg.registry.part import text_id
from modelreg.types.artifacts import Metric
from modelreg.types.base import BaseResource
from modelreg.types.options import ListOptions, Page
from modelreg.types.pager import Pager
from modelreg.wire.custom_properties import unstructure_double
from modelreg.wire.registry_json import unstructure

#: The version of the records' format; a reader refuses a greater one.
FORMAT = 1

Record = dict[str, Any]

_PAGE_SIZE = 500


def export_records(api: RegistryAPI, *, source: str) -> Iterator[Record]:
    """Yield a record for each thing that the registry holds, page by page.

    Args:
        api: The registry.
        source: Its address without credentials, for people to read.

    Raises:
        StoreError: While they are read, if the registry fails.
    """
    counts: Counter[str] = Counter()
    yield {"kind": "export", "format": FORMAT, "source": source}
    for record in _records(api):
        counts[record["kind"]] += 1
        yield record
    yield {"kind": "end", "counts": dict(counts)}


def _records(api: RegistryAPI) -> Iterator[Record]:
    seen: set[str] = set()
    # Runs before the models that they made: versions name their runs.
    yield from _experiments(api, seen)
    yield from _models(api, seen)
    yield from _serving(api)
    for artifact in _all(api.get_artifacts):
        if artifact.id not in seen:
            yield _record("artifact", artifact, parent={})


def _models(api: RegistryAPI, seen: set[str]) -> Iterator[Record]:
    for model in _all(api.get_registered_models):
        yield _record("registered_model", model)
        for version in _all(partial(api.get_registered_model_versions, text_id(model))):
            yield _record("model_version", version)
            for artifact in _all(partial(api.get_model_version_artifacts, text_id(version))):
                seen.add(text_id(artifact))
                yield _record("artifact", artifact, parent={"model_version": version.id})


def _experiments(api: RegistryAPI, seen: set[str]) -> Iterator[Record]:
    for experiment in _all(api.get_experiments):
        yield _record("experiment", experiment)
        for run in _all(partial(api.get_experiment_experiment_runs, text_id(experiment))):
            yield _record("experiment_run", run)
            yield from _metric_points(api, text_id(run))
            # After the points: a metric's artifact holds the last one, and what is said about the metric.
            for artifact in _all(partial(api.get_experiment_run_artifacts, text_id(run))):
                seen.add(text_id(artifact))
                yield _record("artifact", artifact, parent={"experiment_run": run.id})


def _metric_points(api: RegistryAPI, run_id: str) -> Iterator[Record]:
    pager = Pager(partial(api.get_experiment_run_metric_history, run_id)).page_size(_PAGE_SIZE)
    while points := pager.next_page():
        series: dict[str, list[list[Any]]] = {}
        for point in points:
            series.setdefault(str(point.name), []).append(point_of(point))
        metrics = [{"name": name, "points": values} for name, values in series.items()]
        yield {"kind": "metric_points", "run": run_id, "metrics": metrics}


def point_of(metric: Metric) -> list[Any]:
    """Return a point as the records have it: value as on the wire, step, milliseconds since the epoch."""
    value = None if metric.value is None else unstructure_double(metric.value)
    return [value, metric.step, metric.timestamp]


def _serving(api: RegistryAPI) -> Iterator[Record]:
    for environment in _all(api.get_serving_environments):
        yield _record("serving_environment", environment)
        for service in _all(partial(api.get_environment_inference_services, text_id(environment))):
            yield _record("inference_service", service)
            for serve in _all(partial(api.get_inference_service_serves, text_id(service))):
                yield _record("serve_model", serve, parent={"inference_service": service.id})


def _all(read: Callable[[ListOptions], Page[Any]]) -> Iterator[Any]:
    return iter(Pager(read).page_size(_PAGE_SIZE))


def _record(kind: str, resource: BaseResource, **rest: Any) -> Record:
    return {"kind": kind, **rest, "object": unstructure(resource)}
