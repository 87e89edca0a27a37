"""The part of the registry that reads experiments and their runs."""

from __future__ import annotations

from functools import partial

from modelreg.exceptions import InvalidInput, NotFound
from modelreg.registry.part import RegistryPart, or_none, text_id
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.pager import Pager


class ExperimentMethods(RegistryPart):
    """What :class:`~modelreg.ModelRegistry` can do with experiments and runs that exist."""

    def get_experiments(self) -> Pager[Experiment]:
        """Return a pager over all experiments.

        Raises:
            StoreError: While it is read, if the registry fails.
        """
        return Pager(self.api.get_experiments)

    def get_experiment(self, name: str) -> Experiment | None:
        """Return the experiment of that name, or ``None``.

        Raises:
            StoreError: If the registry fails.
        """
        return or_none(self.api.find_experiment, name=name)

    def get_experiment_runs(
        self, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> Pager[ExperimentRun]:
        """Return a pager over the runs of one experiment, or over all runs where none is named.

        Args:
            experiment_id: Id of the experiment.
            experiment_name: Its name, instead of its id.

        Raises:
            NotFound: If there is no experiment of that name.
            StoreError: If the registry fails.
        """
        if experiment_id is None and experiment_name is None:
            return Pager(self.api.get_experiment_runs)
        return Pager(
            partial(self.api.get_experiment_experiment_runs, self._experiment_id(experiment_id, experiment_name))
        )

    def get_experiment_run(
        self,
        run_id: str | None = None,
        run_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> ExperimentRun | None:
        """Return a run, or ``None`` where there is none.

        Args:
            run_id: Id of the run.
            run_name: Its name, instead of its id; needs the experiment's id or name as well.
            experiment_id: Id of the experiment.
            experiment_name: Its name, instead of its id.

        Raises:
            InvalidInput: If the arguments name no run.
            NotFound: If there is no experiment of that name.
            StoreError: If the registry fails.
        """
        if run_id is not None:
            return or_none(self.api.get_experiment_run, run_id)
        if run_name is None:
            raise InvalidInput("no run is named", next_step="give run_id=, or run_name= and experiment_name=")
        parent = self._experiment_id(experiment_id, experiment_name)
        return or_none(self.api.find_experiment_run, name=run_name, parent_resource_id=parent)

    def _experiment_id(self, experiment_id: str | None, experiment_name: str | None) -> str:
        if experiment_id is not None:
            return experiment_id
        if experiment_name is None:
            raise InvalidInput("no experiment is named", next_step="give experiment_id= or experiment_name=")
        experiment = self.get_experiment(experiment_name)
        if experiment is None:
            raise NotFound(f"no experiment {experiment_name!r}", next_step="get_experiments() lists those there are")
        return text_id(experiment)
