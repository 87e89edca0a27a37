"""Where runs are sent: a registry, by its batches where it takes them, else by one request per record.

The contract has no batches and no identity of a point: one that is posted twice is stored twice. There a batch that may
have been stored in part, because an answer was lost, is compared with the history first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import DuplicateError, InvalidInput, NotFound
from modelreg.registry.part import or_none, text_id
from modelreg.tracking.model import Batch, Point, RunEnd, RunIdentity, RunSpec
from modelreg.types.artifacts import Artifact, Metric
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.options import ListOptions
from modelreg.types.pager import Pager
from modelreg.types.points import MetricPoint
from modelreg.types.states import ExperimentRunState
from modelreg.wire.registry_json import structure_artifact

#: Points of a metric that are read at once.
HISTORY_PAGE = 5_000
# Steps that one look into the history asks for: their numbers are in the URL.
_STEPS_PER_LOOK = 100


class RegistrySink:
    """Takes what runs log into a registry.

    Args:
        api: The registry.
        address: Its address, without credentials.
        connections: Requests at once to a registry without batches; the points of one metric keep their order.
    """

    def __init__(self, api: RegistryAPI, address: str, *, connections: int = 8) -> None:
        self._api = api
        self._address = address
        self._connections = connections
        self._experiments: dict[str, str] = {}

    @property
    def address(self) -> str:
        """Address of the registry, without credentials."""
        return self._address

    def takes_batches(self) -> bool:
        """Return whether the registry stores a batch in one request.

        Raises:
            StoreError: The registry failed.
        """
        return "batch" in self._api.server_capabilities().features

    def open_run(self, spec: RunSpec) -> RunIdentity:
        """Return the run that ``spec`` names, made where it does not exist.

        Raises:
            NotFound: There is no run or experiment of the id that is given.
            InvalidInput: The run belongs to another experiment than the one that is given.
            StoreError: The registry failed.
        """
        run = self._resumed(spec) if spec.run_id is not None else self._made(spec)
        return RunIdentity(id=text_id(run), name=run.name or "", experiment_id=run.experiment_id or "")

    def write(self, run: RunIdentity, batch: Batch, *, resend: bool) -> None:
        """Store the points, artifacts and tags of a batch.

        Raises:
            StoreError: The registry failed; some of the batch may be stored.
        """
        artifacts = [structure_artifact(artifact) for artifact in batch.artifacts]
        if batch.metrics or artifacts:
            if self.takes_batches():
                self._api.write_run_batch(run.id, metrics=batch.metrics, artifacts=artifacts)
            else:
                self._write_singly(run, batch.metrics, artifacts, resend=resend)
        if batch.tags:
            self._update(run, lambda stored: stored.custom_properties.update(batch.tags))

    def end_run(self, run: RunIdentity, end: RunEnd) -> None:
        """Record how the run ended.

        Raises:
            StoreError: The registry failed.
        """

        def set_end(stored: ExperimentRun) -> None:
            stored.status = end.status
            stored.end_time_since_epoch = end.ended_ms
            stored.custom_properties.update(end.properties)

        self._update(run, set_end)

    def exists(self, run: RunIdentity) -> bool:
        """Return whether the registry still has the run.

        Raises:
            StoreError: The registry failed.
        """
        return or_none(self._api.get_experiment_run, run.id) is not None

    def metric_history(self, run_id: str, name: str) -> list[MetricPoint]:
        """Return all points of a metric, in the order in which they were logged.

        Raises:
            NotFound: There is no such run.
            StoreError: The registry failed.
        """
        found: list[MetricPoint] = []
        pager = self.points(run_id, name=name)
        while page := pager.next_page():
            found += page
        return found

    def points(
        self, run_id: str, *, name: str | None = None, step_ids: str | None = None, filter: str | None = None
    ) -> Pager[MetricPoint]:
        """Return a pager over points of a run, in the order in which they were stored.

        Args:
            run_id: Id of the run.
            name: Only those of this metric.
            step_ids: Only those of these steps, joined by commas.
            filter: Only those that match, such as ``id > 7``.

        Raises:
            NotFound: While it is read, if there is no such run.
            StoreError: While it is read, if the registry failed.
        """
        read = partial(self._api.get_metric_points, run_id, name=name, step_ids=step_ids)
        return Pager(read, ListOptions(page_size=HISTORY_PAGE, filter_query=filter))

    def _resumed(self, spec: RunSpec) -> ExperimentRun:
        run = self._api.get_experiment_run(str(spec.run_id))
        experiment = spec.experiment_id or (self._experiment(spec) if spec.experiment_name else run.experiment_id)
        if run.experiment_id != experiment:
            raise InvalidInput(
                f"run {spec.run_id} belongs to experiment {run.experiment_id}, not {experiment}",
                next_step="leave the experiment out, or name the run's own",
            )
        return self._running(run, spec)

    def _made(self, spec: RunSpec) -> ExperimentRun:
        # Creating first costs one request for a new run, and answers at once whether it was there.
        try:
            return self._create(spec, self._experiment(spec))
        except NotFound:
            if spec.experiment_name is None:
                raise
            # It was deleted after this process had seen it.
            self._experiments.pop(spec.experiment_name, None)
            return self._create(spec, self._experiment(spec))

    def _create(self, spec: RunSpec, experiment_id: str) -> ExperimentRun:
        run = ExperimentRun(
            name=spec.run_name,
            experiment_id=experiment_id,
            external_id=spec.key,
            owner=spec.owner,
            description=spec.run_description,
            start_time_since_epoch=spec.started_ms,
            status="RUNNING",
            state=ExperimentRunState.LIVE,
            custom_properties=self._parent_tag(spec),
        )
        try:
            return self._api.create_experiment_run(run)
        except DuplicateError:
            # Another process made it, or this one and the answer was lost, or the user goes on with it.
            found = self._api.find_experiment_run(name=spec.run_name, parent_resource_id=experiment_id)
            return self._running(found, spec)

    def _running(self, run: ExperimentRun, spec: RunSpec) -> ExperimentRun:
        """Return a run that goes on; one that had ended runs again."""
        if spec.owns and run.status != "RUNNING":
            run.status = "RUNNING"
            return self._api.update_experiment_run(run)
        return run

    def _parent_tag(self, spec: RunSpec) -> dict[str, Any]:
        if spec.parent is None:
            return {}
        parent_id = spec.parent.id
        if parent_id is None:
            parent = or_none(self._api.find_experiment_run, external_id=spec.parent.key)
            parent_id = spec.parent.key if parent is None else parent.id
        return {spec.parent.tag: parent_id}

    def _experiment(self, spec: RunSpec) -> str:
        """Return the id of the experiment, made where there is none of its name."""
        if spec.experiment_id is not None:
            return spec.experiment_id
        name = spec.experiment_name or "Default"
        if name not in self._experiments:
            wanted = Experiment(name=name, owner=spec.owner, description=spec.description)
            self._experiments[name] = text_id(self._get_or_create_experiment(wanted))
        return self._experiments[name]

    def _get_or_create_experiment(self, wanted: Experiment) -> Experiment:
        found = or_none(self._api.find_experiment, name=wanted.name)
        if found is not None:
            return found
        try:
            return self._api.create_experiment(wanted)
        except DuplicateError:
            return self._api.find_experiment(name=wanted.name)

    def _update(self, run: RunIdentity, change: Callable[[ExperimentRun], object]) -> None:
        # Read first and sent whole: Kubeflow's server resets a state that a PATCH leaves out.
        stored = self._api.get_experiment_run(run.id)
        change(stored)
        self._api.update_experiment_run(stored)

    def _write_singly(
        self, run: RunIdentity, metrics: dict[str, list[Point]], artifacts: list[Artifact], *, resend: bool
    ) -> None:
        """Post each record on its own, over several connections; what one metric logs goes over one of them."""
        series: dict[str, list[Artifact]] = {
            name: [Metric(name=name, value=value, step=step, timestamp=time) for value, step, time in points]
            for name, points in metrics.items()
        }
        for artifact in artifacts:
            series.setdefault(str(artifact.name), []).append(artifact)
        lanes = _lanes(list(series.values()), self._connections)
        _run_together([partial(self._post_all, run, lane, resend=resend) for lane in lanes])

    def _post_all(
        self, run: RunIdentity, lane: list[list[Artifact]], stopped: Callable[[], bool], *, resend: bool
    ) -> None:
        for series in lane:
            known = self._known_points(run, series) if resend else frozenset()
            for artifact in series:
                if stopped():
                    return
                if not (isinstance(artifact, Metric) and (artifact.step, artifact.timestamp) in known):
                    self._api.upsert_experiment_run_artifact(run.id, artifact)

    def _known_points(self, run: RunIdentity, series: list[Artifact]) -> frozenset[tuple[int | None, int | None]]:
        """Return step and time of those points of one metric that the registry has."""
        points = [point for point in series if isinstance(point, Metric)]
        steps = sorted({point.step for point in points if point.step is not None})
        known: set[tuple[int | None, int | None]] = set()
        for first in range(0, len(steps), _STEPS_PER_LOOK):
            step_ids = ",".join(map(str, steps[first : first + _STEPS_PER_LOOK]))
            found = self.points(run.id, name=points[0].name, step_ids=step_ids)
            known.update((point.step, point.timestamp) for point in found)
        return frozenset(known)


@attrs.define
class _Failure:
    """The first error of several threads; the others stop at the next record."""

    error: BaseException | None = None

    def happened(self) -> bool:
        """Return whether there was one."""
        return self.error is not None


def _run_together(tasks: list[Callable[[Callable[[], bool]], None]]) -> None:
    """Run ``tasks`` in a thread each, and raise the first error of one of them."""
    failure = _Failure()

    def run(task: Callable[[Callable[[], bool]], None]) -> None:
        try:
            task(failure.happened)
        except BaseException as error:  # noqa: BLE001 - carried to the calling thread, which raises it
            failure.error = failure.error or error

    threads = []
    for task in tasks[1:]:
        thread = threading.Thread(target=run, args=(task,), name="modelreg-sender", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # An interpreter that is shutting down starts no threads: one after the other, then.
            run(task)
        else:
            threads.append(thread)
    for task in tasks[:1]:
        run(task)
    for thread in threads:
        thread.join()
    if failure.error is not None:
        raise failure.error


def _lanes(series: Iterable[list[Artifact]], count: int) -> list[list[list[Artifact]]]:
    """Return ``series`` spread over at most ``count`` lanes of about the same length."""
    lanes: list[list[list[Artifact]]] = [[] for _ in range(count)]
    lengths = [0] * count
    for each in sorted(series, key=len, reverse=True):
        shortest = lengths.index(min(lengths))
        lanes[shortest].append(each)
        lengths[shortest] += len(each)
    return [lane for lane in lanes if lane]
