"""Experiments and their runs."""

from __future__ import annotations

from typing import ClassVar

import attrs
from attrs import field, setters

from modelreg.types.base import BaseResource, server_owned
from modelreg.types.states import ExperimentRunState, ExperimentRunStatus, ExperimentState


@attrs.define
class Experiment(BaseResource):
    """A question that runs try to answer.

    Attributes:
        name: Unique among experiments; fixed once created.
        owner: Name of the owner.
        state: ``LIVE`` or ``ARCHIVED``.
    """

    editable: ClassVar[tuple[str, ...]] = (*BaseResource.editable, "owner", "state")

    name: str = field(on_setattr=setters.frozen)
    owner: str | None = field(default=None, kw_only=True)
    state: ExperimentState | str | None = field(default=None, kw_only=True)


@attrs.define
class ExperimentRun(BaseResource):
    """One run of an experiment, parent of its metrics, parameters and artifacts.

    Attributes:
        name: Unique within the experiment; the registry makes one up where none is given. Fixed.
        experiment_id: Id of the experiment; fixed.
        start_time_since_epoch: Start of the run, in milliseconds since the epoch; fixed.
        end_time_since_epoch: End of the run, in milliseconds since the epoch.
        status: ``RUNNING``, ``SCHEDULED``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        state: ``LIVE`` or ``ARCHIVED``.
        owner: Name of the owner.
    """

    editable: ClassVar[tuple[str, ...]] = (
        *BaseResource.editable,
        *("end_time_since_epoch", "status", "state", "owner"),
    )

    name: str | None = field(default=None, on_setattr=setters.frozen)
    experiment_id: str | None = server_owned()
    start_time_since_epoch: int | None = server_owned()
    end_time_since_epoch: int | None = field(default=None, kw_only=True)
    status: ExperimentRunStatus | str | None = field(default=None, kw_only=True)
    state: ExperimentRunState | str | None = field(default=None, kw_only=True)
    owner: str | None = field(default=None, kw_only=True)
