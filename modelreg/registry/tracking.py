"""The part of the registry that starts runs, and reads what they logged."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from modelreg.config import RegistrySettings, TrackingSettings
from modelreg.exceptions import NotFound
from modelreg.registry.experiments import ExperimentMethods
from modelreg.registry.part import text_id
from modelreg.tracking.results import LogPager, MetricRange, ResultList, metric_ranges
from modelreg.types.artifacts import ModelArtifact
from modelreg.types.points import MetricPoint

if TYPE_CHECKING:
    from pathlib import Path

    from modelreg.client.api import RegistryAPI
    from modelreg.registry.sink import RegistrySink
    from modelreg.tracking.engine import SyncReport
    from modelreg.tracking.results import RunSummary
    from modelreg.tracking.run import ExperimentRun
    from modelreg.tracking.tracker import Tracker
    from modelreg.types.experiments import ExperimentRun as ExperimentRunResource
    from modelreg.types.models import RegisteredModel


class TrackingMethods(ExperimentMethods):
    """What :class:`~modelreg.ModelRegistry` can do with runs that are being logged."""

    _tracker: Tracker | None = None
    _tracker_lock = threading.Lock()

    def start_experiment_run(
        self,
        experiment_name: str | None = None,
        experiment_id: str | None = None,
        run_name: str | None = None,
        run_id: str | None = None,
        *,
        owner: str | None = None,
        description: str | None = None,
        run_description: str | None = None,
        nested: bool = False,
        nested_tag: str = "kubeflow.parent_run_id",
    ) -> ExperimentRun:
        """Start a run, or go on with one, and return it: a context manager, or an object with ``finish()``.

        What it logs is kept in a journal on this machine and sent in the background: a registry that is slow or down
        does not stop it. One that is down at the start is asked again until it answers; the run has no id until then.

        Args:
            experiment_name: Name of the experiment; it is made where there is none of that name. By default a nested
                run is part of its parent's experiment, and another one of an experiment of its own.
            experiment_id: Id of the experiment, instead of its name.
            run_name: Name of the run; one of that name in the experiment is gone on with. Made up by default.
            run_id: Id of a run to go on with, instead of its name.
            owner: Owner of the experiment and the run, where they are made.
            description: Description of the experiment, where it is made.
            run_description: Description of the run, where it is made.
            nested: Whether the run belongs to the one that is active in this thread.
            nested_tag: Custom property of the run that holds its parent's id.

        Raises:
            InvalidInput: If an argument is wrong, or another run is active in this thread and ``nested`` is not given.
            NotFound: If there is no run or experiment of the id that is given.
            ExperimentRunError: If no journal can be kept on this machine.
            StoreError: If the registry refuses the run.

        Example:
            >>> import modelreg
            >>> with modelreg.ModelRegistry(author="ann") as registry:
            ...     with registry.start_experiment_run("fraud", run_name="first") as run:
            ...         run.log_param("lr", 0.1)
            ...         run.log_metric("loss", 0.5, step=1)
            ...     [point.value for point in registry.get_metric_history(run.info.id, "loss")]
            [0.5]
        """
        return self.tracker.start_run(
            experiment_name,
            experiment_id,
            run_name,
            run_id,
            owner=owner,
            description=description,
            run_description=run_description,
            nested=nested,
            nested_tag=nested_tag,
        )

    def active_experiment_run(self) -> ExperimentRun | None:
        """Return the innermost run that was started in this thread and has not ended, or ``None``."""
        return None if self._tracker is None else self._tracker.active_run()

    def sync_runs(self, timeout_s: float | None = None) -> SyncReport:
        """Send what earlier processes of this machine logged and could not send, and return what was sent.

        Any number of processes may do this at once; each record arrives once.

        Args:
            timeout_s: Seconds after which to stop; by default it goes on until everything is sent.

        Raises:
            StoreError: If the registry cannot be reached.
        """
        return self.tracker.sync(timeout_s)

    def search_runs(
        self, filter: str | None = None, order_by: str | None = None, *, limit: int | None = None
    ) -> ResultList[RunSummary]:
        """Return the runs that match, each with its parameters and the last value of its metrics.

        Args:
            filter: SQL-like filter on runs, such as ``status = "FINISHED" AND owner = "ann"``; conditions such as
                ``metrics.auc > 0.9`` and ``params.optimizer = "adam"`` may be joined to it by ``AND``.
            order_by: ``metrics.NAME``, ``params.NAME`` or a field of the run, with ``ASC`` or ``DESC`` after it, such
                as ``"metrics.auc DESC"``. Runs without a value come last.
            limit: How many to return at most.

        Raises:
            InvalidInput: If the filter or the order cannot be understood.
            StoreError: If the registry fails.
        """
        from modelreg.registry.searching import search_runs

        return search_runs(self.api, filter, order_by, limit)

    def get_experiment_run_logs(
        self,
        run_id: str | None = None,
        run_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> LogPager:
        """Return what a run logged: parameters, the last point of each metric, data sets, files and models.

        Args:
            run_id: Id of the run.
            run_name: Its name, instead of its id; needs the experiment's id or name as well.
            experiment_id: Id of the experiment.
            experiment_name: Its name, instead of its id.

        Returns:
            A pager: iterate over it, or take all of it by ``to_list()`` or ``to_pandas()``.

        Raises:
            InvalidInput: If the arguments name no run.
            NotFound: If there is no such run or experiment.
            StoreError: If the registry fails.
        """
        if run_id is None:
            run = self.get_experiment_run(None, run_name, experiment_id, experiment_name)
            if run is None:
                raise NotFound(f"no run {run_name!r} in experiment {experiment_name or experiment_id!r}")
            run_id = text_id(run)
        return LogPager(partial(self.api.get_experiment_run_artifacts, run_id))

    def get_metric_history(self, run_id: str, name: str) -> ResultList[MetricPoint]:
        """Return all points of a metric of a run, in the order in which they were logged.

        Raises:
            NotFound: If there is no such run.
            StoreError: If the registry fails.
        """
        return ResultList(self._sink.metric_history(run_id, name))

    @property
    def _sink(self) -> RegistrySink:
        from modelreg.registry.sink import RegistrySink

        return RegistrySink(self.api, "")

    def get_metric_points(self, run_id: str, *, after_id: str | None = None) -> Iterator[MetricPoint]:
        """Yield the points of all metrics of a run, in the order in which they were stored.

        Args:
            run_id: Id of the run.
            after_id: Id of a point: yield only those that came after it.

        Raises:
            NotFound: If there is no such run.
            StoreError: If the registry fails.
        """
        return self._sink.points(run_id, filter=None if after_id is None else f"id > {int(after_id)}")

    def get_metric_ranges(self, run_id: str) -> dict[str, MetricRange]:
        """Return the last, the least and the greatest value of each metric of a run, by its name.

        Raises:
            NotFound: If there is no such run.
            StoreError: If the registry fails.
        """
        return metric_ranges(self.get_metric_points(run_id))

    def summarise_runs(self, runs: Iterable[ExperimentRunResource]) -> ResultList[RunSummary]:
        """Return runs with their parameters and the last value of their metrics.

        Raises:
            StoreError: If the registry fails.
        """
        from modelreg.registry.searching import summaries

        return ResultList(summaries(self.api, runs))

    @property
    def tracker(self) -> Tracker:
        """What stands behind the runs of this registry."""
        with self._tracker_lock:
            if self._tracker is None:
                self._tracker = _make_tracker(cast("_Home", self), TrackingSettings.from_env())
            return self._tracker

    def close_tracking(self) -> None:
        """Finish the runs that are left, and wait a bounded time until the registry has everything."""
        if self._tracker is not None:
            self._tracker.close()


class _Home(Protocol):
    """What a tracker needs of the registry whose runs it logs."""

    @property
    def api(self) -> RegistryAPI: ...
    @property
    def url(self) -> str: ...
    @property
    def settings(self) -> RegistrySettings: ...
    def register_model(self, name: str, uri: str, version: str, *formats: str, **details: Any) -> RegisteredModel: ...


def _make_tracker(home: _Home, settings: TrackingSettings) -> Tracker:
    from modelreg.registry.sink import RegistrySink
    from modelreg.registry.storing import find_same, telling
    from modelreg.registry.uploading import destination, upload
    from modelreg.tracking.tracker import Tracker

    folder = home.settings.data_folder
    artifact_root = settings.artifact_uri or (folder / "artifacts").as_uri()

    def registered(name: str, version: str, source: Path, params: Any) -> ModelArtifact | None:
        place = destination(source, artifact_root if params is None else params)
        return find_same(home.api, name, version, source, place, is_fresh=params is None)

    def register(name: str, artifact: ModelArtifact, *, version: str, metadata: dict[str, Any]) -> RegisteredModel:
        with telling(artifact.uri or ""):
            return home.register_model(
                name,
                artifact.uri or "",
                version,
                artifact.model_format_name or "",
                artifact.model_format_version or "",
                metadata=metadata,
                artifact_metadata=artifact.custom_properties,
            )

    return Tracker(
        RegistrySink(home.api, home.url, connections=settings.connections),
        upload=upload,
        register=register,
        registered=registered,
        journals=folder / "journals",
        artifact_root=artifact_root,
        settings=settings,
    )
