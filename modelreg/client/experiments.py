"""Operations on experiments, their runs and what runs logged."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from modelreg.client.artifacts import A, ArtifactOperations
from modelreg.client.operations import CONTRACT, list_parameters, quoted, understood
from modelreg.types.artifacts import Artifact, Metric
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.options import ListOptions, Page
from modelreg.types.points import MetricPoint
from modelreg.types.states import ArtifactTypeQueryParam
from modelreg.wire.points_json import structure_points


class ExperimentOperations(ArtifactOperations):
    """Operations on experiments, their runs and what runs logged."""

    def find_experiment(self, *, name: str | None = None, external_id: str | None = None) -> Experiment:
        """Return the experiment of a name or an external id.

        Args:
            name: Its name.
            external_id: Its id in another system.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(Experiment, "experiment", name=name, externalId=external_id)

    def get_experiment(self, id: str) -> Experiment:
        """Return the experiment of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(Experiment, f"experiments/{quoted(id)}")

    def get_experiments(self, options: ListOptions | None = None) -> Page[Experiment]:
        """Return a page of all experiments.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(Experiment, "experiments", options)

    def create_experiment(self, experiment: Experiment) -> Experiment:
        """Return the experiment as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(Experiment, "experiments", experiment, find=self.find_experiment)

    def update_experiment(self, experiment: Experiment, *, only: Collection[str] | None = None) -> Experiment:
        """Return the experiment after its editable fields were written.

        Args:
            experiment: The experiment.
            only: Names of the fields to write, where others may have changed in the registry.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return self._update(Experiment, "experiments", experiment, only)

    def get_experiment_experiment_runs(
        self,
        experiment_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        external_id: str | None = None,
    ) -> Page[ExperimentRun]:
        """Return a page of the runs of an experiment.

        Args:
            experiment_id: Whose.
            options: Filter, order and page.
            name: Only that of this name.
            external_id: Only that of this id in another system.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(
            ExperimentRun,
            f"experiments/{quoted(experiment_id)}/experiment_runs",
            options,
            name=name,
            externalId=external_id,
        )

    def create_experiment_experiment_run(self, experiment_id: str, run: ExperimentRun) -> ExperimentRun:
        """Return a run of an experiment as the registry created it.

        Raises:
            NotFound: There is nothing of the id ``experiment_id``.
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        path = f"experiments/{quoted(experiment_id)}/experiment_runs"
        return self._create(
            ExperimentRun,
            path,
            run,
            find=self.find_experiment_run,
            parent_resource_id=experiment_id,
        )

    def find_experiment_run(
        self, *, name: str | None = None, external_id: str | None = None, parent_resource_id: str | None = None
    ) -> ExperimentRun:
        """Return the run of a name or an external id.

        Args:
            name: Its name; needs the id of the experiment as well.
            external_id: Its id in another system.
            parent_resource_id: Id of the experiment.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(
            ExperimentRun, "experiment_run", name=name, externalId=external_id, parentResourceId=parent_resource_id
        )

    def get_experiment_run(self, id: str) -> ExperimentRun:
        """Return the run of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(ExperimentRun, f"experiment_runs/{quoted(id)}")

    def get_experiment_runs(self, options: ListOptions | None = None) -> Page[ExperimentRun]:
        """Return a page of all runs of all experiments.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(ExperimentRun, "experiment_runs", options)

    def create_experiment_run(self, run: ExperimentRun) -> ExperimentRun:
        """Return the run as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(
            ExperimentRun,
            "experiment_runs",
            run,
            find=self.find_experiment_run,
            parent_resource_id=run.experiment_id,
        )

    def update_experiment_run(self, run: ExperimentRun, *, only: Collection[str] | None = None) -> ExperimentRun:
        """Return the run after its editable fields were written.

        Args:
            run: The run.
            only: Names of the fields to write, where others may have changed in the registry.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return self._update(ExperimentRun, "experiment_runs", run, only)

    def get_experiment_run_artifacts(
        self,
        run_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        external_id: str | None = None,
        artifact_type: ArtifactTypeQueryParam | str | None = None,
    ) -> Page[Artifact]:
        """Return a page of what a run logged: its artifacts, parameters and the last point of each metric.

        Args:
            run_id: Whose.
            options: Filter, order and page.
            name: Only that of this name.
            external_id: Only that of this id in another system.
            artifact_type: Only those of this type.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(
            Artifact,
            f"experiment_runs/{quoted(run_id)}/artifacts",
            options,
            name=name,
            externalId=external_id,
            artifactType=artifact_type,
        )

    def upsert_experiment_run_artifact(self, run_id: str, artifact: A) -> A:
        """Return an artifact of a run as the registry has it: changed where it has an id, else created.

        A metric or a parameter of a name that is there becomes its newest value.

        Raises:
            NotFound: There is nothing of the id ``run_id``.
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        path = f"experiment_runs/{quoted(run_id)}/artifacts"
        return self._upsert(path, artifact, parent_id=run_id)

    def get_experiment_run_metric_history(
        self,
        run_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        step_ids: str | None = None,
    ) -> Page[Metric]:
        """Return a page of the points of metrics of a run, in the order in which they were stored.

        Args:
            run_id: The run.
            options: Filter, order and page.
            name: Only those of the metric of this name.
            step_ids: Only those of these steps, joined by commas.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(
            Metric, f"experiment_runs/{quoted(run_id)}/metric_history", options, name=name, stepIds=step_ids
        )

    def get_experiment_runs_metric_history(
        self,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        step_ids: str | None = None,
    ) -> Page[Metric]:
        """Return a page of the points of metrics of all runs, in the order in which they were stored.

        Args:
            options: Filter, order and page.
            name: Only those of the metric of this name.
            step_ids: Only those of these steps, joined by commas.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(Metric, "experiment_runs/metric_history", options, name=name, stepIds=step_ids)

    def get_metric_points(
        self,
        run_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        step_ids: str | None = None,
    ) -> Page[MetricPoint]:
        """Return what :meth:`get_experiment_run_metric_history` does, as slim points that are read fast.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        parameters = list_parameters(options, name=name, stepIds=step_ids)
        path = f"{CONTRACT}/experiment_runs/{quoted(run_id)}/metric_history"
        answer: Any = self._session.get(path, parameters)
        return understood(lambda: structure_points(answer))
