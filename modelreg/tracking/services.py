"""What a run asks of what made it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelreg.tracking.model import RunIdentity
from modelreg.tracking.results import ResultList
from modelreg.types.artifacts import ModelArtifact
from modelreg.types.points import MetricPoint

if TYPE_CHECKING:
    from modelreg.tracking.run import ExperimentRun


class RunServices(Protocol):
    """What a run asks of what made it."""

    @property
    def exit_timeout_s(self) -> float:
        """Seconds that the end of a run waits for the registry."""
        ...

    def identity(self, run: ExperimentRun) -> RunIdentity | None:
        """Return the run in the registry, once it is known."""
        ...

    def wait(self, run: ExperimentRun, timeout_s: float) -> bool:
        """Wait until the registry has everything that was logged; return whether it has."""
        ...

    def ended(self, run: ExperimentRun, timeout_s: float) -> bool:
        """Wait until the registry has everything of a run that has ended; return whether it has."""
        ...

    def upload(self, source: Path, run: ExperimentRun, kind: str, destination: Any) -> Any:
        """Store a file or folder of the run; return what was stored, with ``uri``, ``digest`` and ``size``."""
        ...

    def registered(self, name: str, version: str, source: Path, destination: Any) -> ModelArtifact | None:
        """Return the artifact of a version that has just these files; refuse one that has others."""
        ...

    def register(self, name: str, artifact: ModelArtifact, **details: Any) -> Any:
        """Make an artifact a version of the registered model ``name``."""
        ...

    def metric_history(self, run: ExperimentRun, name: str) -> ResultList[MetricPoint]:
        """Return all points of a metric from the registry."""
        ...
