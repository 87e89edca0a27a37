"""Starts runs, and keeps what stands behind them: journals, the thread that commits them and the thread that sends."""

from __future__ import annotations

import atexit
import logging
import os
import re
import secrets
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from modelreg.config import TrackingSettings
from modelreg.exceptions import ExperimentRunError, InvalidInput
from modelreg.tracking import lines
from modelreg.tracking.engine import Engine, SyncReport
from modelreg.tracking.journal import Journal
from modelreg.tracking.model import ParentRun, RunIdentity, RunSpec
from modelreg.tracking.results import ResultList
from modelreg.tracking.run import ExperimentRun
from modelreg.tracking.runlog import RunLog
from modelreg.tracking.sender import RunSender
from modelreg.tracking.sink import Sink
from modelreg.tracking.values import as_name
from modelreg.types.artifacts import ModelArtifact
from modelreg.types.points import MetricPoint

logger = logging.getLogger(__name__)

#: The runs that are active in this context, outermost first, and the thread that they belong to.
_Active = tuple[int, tuple[ExperimentRun, ...]]


# What a URI's path may hold as it is, on every storage.
_UNPLAIN = re.compile(r"[^\w.\-]")


def _nothing_registered(*_: Any) -> None:
    """Know of no version."""


class Tracker:
    """Starts the runs of one registry, and finishes those that are left when the interpreter exits.

    Nothing happens before the first run: no thread, no folder, no request.

    Args:
        sink: The registry.
        upload: Stores files.
        register: Makes an artifact a version of a registered model.
        registered: Returns the artifact of a version that has just the files that are to be uploaded for it; refuses a
            version that has others.
        journals: Folder of all journals.
        artifact_root: URI under which files of runs are stored.
        settings: How runs are logged.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        upload: Callable[[Path, Any], Any],
        register: Callable[..., Any],
        registered: Callable[[str, str, Path, Any], ModelArtifact | None] = _nothing_registered,
        journals: Path,
        artifact_root: str,
        settings: TrackingSettings | None = None,
    ) -> None:
        self._sink = sink
        self._upload = upload
        self._register = register
        self._registered = registered
        self._journals = journals
        self._artifact_root = artifact_root.rstrip("/")
        self._settings = settings or TrackingSettings()
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._watched = False
        self._runs: dict[str, tuple[ExperimentRun, RunSender, Journal]] = {}
        # One per registry, so that runs of two registries do not nest in each other.
        self._active: ContextVar[_Active] = ContextVar("modelreg_active_runs")

    @property
    def sink(self) -> Sink:
        """The registry."""
        return self._sink

    @property
    def exit_timeout_s(self) -> float:
        """Seconds that the end of a run waits for the registry."""
        return self._settings.exit_timeout_s

    def start_run(
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
        """Return a run that has started; the arguments are those of ``ModelRegistry.start_experiment_run``.

        Raises:
            InvalidInput: If an argument is wrong, or another run is active and ``nested`` is not given.
            ExperimentRunError: If no journal can be kept.
            StoreError: If the registry refuses the run; one that does not answer is waited for in the background.
        """
        for argument, name in (("experiment_name", experiment_name), ("run_name", run_name)):
            if name is not None:
                as_name(argument, name)
        parent = self._parent(nested=nested)
        key = uuid.uuid4().hex
        if run_id is None and experiment_id is None and experiment_name is None:
            experiment_id, experiment_name = self._experiment_of(parent, key)
        spec = RunSpec(
            key=key,
            registry=self._sink.address,
            started_ms=int(time.time() * 1000),
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            run_id=run_id,
            run_name=run_name if run_id or run_name else f"run-{key[:8]}",
            owner=owner,
            description=description,
            run_description=run_description,
            parent=None if parent is None else ParentRun(tag=nested_tag, id=parent.info.id, key=parent.key),
        )
        run = self._begin(spec)
        self._push(run)
        return run

    def active_run(self) -> ExperimentRun | None:
        """Return the innermost run that was started in this context and has not ended."""
        active = self._active_runs()
        return active[-1] if active else None

    def sync(self, timeout_s: float | None = None) -> SyncReport:
        """Send what earlier processes left, and return what was sent.

        Args:
            timeout_s: Seconds after which to stop; ``None`` goes on until everything is sent.

        Raises:
            StoreError: If the registry cannot be reached, or takes nothing now.
        """
        return self._running_engine().sync(timeout_s)

    def waiting(self) -> list[Path]:
        """Return the journals that hold something the registry does not have, of all processes of this machine."""
        return Engine.waiting_journals(self._journals, self._sink.address)

    def close(self) -> None:
        """Finish the runs that are left, wait a bounded time for the registry, and stop the threads."""
        deadline = time.monotonic() + self.exit_timeout_s
        for run, _, _ in list(self._runs.values()):
            failure = getattr(sys, "last_type", None)
            status = "KILLED" if failure is None or not issubclass(failure, Exception) else "FAILED"
            run.finish(status, exception=failure, timeout_s=max(0.0, deadline - time.monotonic()))
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop(max(0.1, deadline - time.monotonic()))
        self._runs.clear()
        atexit.unregister(self.close)
        self._watched = False

    # What runs ask for: RunServices.

    def identity(self, run: ExperimentRun) -> RunIdentity | None:
        """Return the run in the registry, once it is known."""
        entry = self._runs.get(run.key)
        return run.remembered if entry is None else entry[1].identity or run.remembered

    def wait(self, run: ExperimentRun, timeout_s: float) -> bool:
        """Wait until the registry has everything that was logged; return whether it has."""
        entry = self._runs.get(run.key)
        if entry is None or run.log.position is None:
            return True
        _, sender, journal = entry
        return self._running_engine().flush(sender, journal.position, timeout_s)

    def ended(self, run: ExperimentRun, timeout_s: float) -> bool:
        """Wait until the registry has everything of a run that has ended; return whether it has."""
        entry = self._runs.get(run.key)
        if entry is None:
            return True
        _, sender, journal = entry
        complete = self._running_engine().finish(sender, journal, timeout_s)
        run.remembered = sender.identity or run.remembered
        if complete:
            # One that is not complete can still be waited for, by flush().
            self._runs.pop(run.key, None)
        return complete

    def upload(self, source: Path, run: ExperimentRun, kind: str, destination: Any) -> Any:
        """Store a file or folder of the run; return what was stored, with ``uri``, ``digest`` and ``size``."""
        return self._upload(source, destination or self._place(source, run, kind))

    def registered(self, name: str, version: str, source: Path, destination: Any) -> ModelArtifact | None:
        """Return the artifact of a version that has just these files; refuse one that has others."""
        return self._registered(name, version, source, destination or None)

    def register(self, name: str, artifact: ModelArtifact, **details: Any) -> Any:
        """Make an artifact a version of the registered model ``name``."""
        return self._register(name, artifact, **details)

    def metric_history(self, run: ExperimentRun, name: str) -> ResultList[MetricPoint]:
        """Return all points of a metric from the registry.

        Raises:
            ExperimentRunError: If the registry has not taken everything in time.
        """
        if not self.wait(run, self.exit_timeout_s) or run.info.id is None:
            raise ExperimentRunError(
                f"the registry does not have all of run {run.info.name!r} yet",
                next_step="try again when it answers; nothing is lost",
            )
        return ResultList(self._sink.metric_history(run.info.id, name))

    # The inside.

    def _place(self, source: Path, run: ExperimentRun, kind: str) -> str:
        """Return a URI at which nothing is: what was stored before under the same name may be registered by now."""
        name = _UNPLAIN.sub("_", source.resolve().name)
        return f"{self._artifact_root}/{run.key}/{kind}/{secrets.token_hex(6)}/{name}"

    def _begin(self, spec: RunSpec) -> ExperimentRun:
        engine = self._running_engine()
        log = RunLog(
            lambda: self._open_journal(run),
            run_name=spec.run_name or spec.run_id or "",
            max_value_bytes=self._settings.max_value_bytes,
        )
        run = ExperimentRun(spec, log, self)
        log.open()
        _, sender, journal = self._runs[spec.key]
        engine.wait_until_open(sender, self._settings.start_timeout_s)
        if sender.refusal is not None:
            del self._runs[spec.key]
            log.close(["detach"])
            engine.forget(sender, journal)
            raise sender.refusal
        return run

    def _open_journal(self, run: ExperimentRun) -> Journal:
        """Return the journal of ``run`` in this process: the run's own, or that of a forked child."""
        spec = run.spec if run.is_in_its_process else run.spec.for_child(run.remembered)
        sender, journal = self._running_engine().open(run.key, lines.encode(["begin", spec.to_json()]))
        self._runs[run.key] = run, sender, journal
        return journal

    def _parent(self, *, nested: bool) -> ExperimentRun | None:
        parent = self.active_run()
        if parent is not None and not nested:
            raise InvalidInput(
                f"run {parent.info.name!r} is active", next_step="finish it, or give nested=True for a run within it"
            )
        return parent

    @staticmethod
    def _experiment_of(parent: ExperimentRun | None, key: str) -> tuple[str | None, str | None]:
        """Return the experiment of a run that names none: its parent's, or one of its own."""
        if parent is None:
            return None, f"experiment-{key[:8]}"
        return parent.info.experiment_id, parent.spec.experiment_name

    def _active_runs(self) -> tuple[ExperimentRun, ...]:
        thread, runs = self._active.get((0, ()))
        # Some interpreters hand a new thread the context of the one that started it.
        if thread != threading.get_ident():
            return ()
        while runs and runs[-1].has_ended:
            runs = runs[:-1]
        return runs

    def _push(self, run: ExperimentRun) -> None:
        self._active.set((threading.get_ident(), (*self._active_runs(), run)))

    def _running_engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = Engine(
                    self._sink,
                    upload=self._upload,
                    journals=self._journals,
                    artifact_root=self._artifact_root,
                    settings=self._settings,
                )
                self._engine.start()
                self._watch()
            return self._engine

    def _watch(self) -> None:
        """Have the interpreter's exit and forks noticed; what is not needed any more is not kept alive by it."""
        if self._watched:
            return
        self._watched = True
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)

            def in_child() -> None:
                if (method := forked()) is not None:
                    method()

            os.register_at_fork(after_in_child=in_child)

    def _forked(self) -> None:
        """In a forked child: leave everything to the parent, whose locks and threads did not come along."""
        self._lock = threading.Lock()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.abandon()
        for run, sender, journal in self._runs.values():
            journal.abandon()
            run.remembered = sender.identity or run.remembered
            run.log.forked()
        self._runs = {}
