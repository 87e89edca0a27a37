"""What tracking needs of a registry, and of storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from modelreg.tracking.model import Batch, RunEnd, RunIdentity, RunSpec
from modelreg.types.points import MetricPoint

#: Stores a file or folder under a URI; returns what was stored, with ``uri`` and ``digest``.
Upload: TypeAlias = Callable[[Path, str], Any]


class Sink(Protocol):
    """A registry that takes what runs log. Every method raises the errors of :mod:`modelreg.exceptions`.

    What reaches it twice it keeps once: a run by its key, a point by name, step and timestamp, an artifact by name.
    """

    @property
    def address(self) -> str:
        """Address of the registry, without credentials."""
        ...

    def takes_batches(self) -> bool:
        """Return whether it stores a batch at once; smaller ones are sent where it does not."""
        ...

    def open_run(self, spec: RunSpec) -> RunIdentity:
        """Return the run that ``spec`` names, made where it does not exist."""
        ...

    def write(self, run: RunIdentity, batch: Batch, *, resend: bool) -> None:
        """Store the points, artifacts and tags of a batch.

        Args:
            run: The run.
            batch: What to store; its files are stored already.
            resend: Whether some of it may have been stored before.
        """
        ...

    def end_run(self, run: RunIdentity, end: RunEnd) -> None:
        """Record how the run ended."""
        ...

    def exists(self, run: RunIdentity) -> bool:
        """Return whether the registry still has the run."""
        ...

    def metric_history(self, run_id: str, name: str) -> list[MetricPoint]:
        """Return all points of a metric, in the order in which they were logged."""
        ...
