"""What one run logged: each call becomes a record of the journal, and the last of each name stays at hand."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from modelreg.exceptions import ExperimentRunError, InvalidInput
from modelreg.tracking import lines
from modelreg.tracking.journal import Journal, Position
from modelreg.tracking.values import as_integer, as_name, as_number, as_optional_text
from modelreg.types.artifacts import Artifact, Metric
from modelreg.wire.registry_json import unstructure_create

#: The kinds that :meth:`RunLog.get` knows.
LogType: TypeAlias = Literal["params", "metrics", "datasets", "artifacts"]

_INT64 = 2**63
# The words that Python's JSON has for these.
_NOT_FINITE = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}


class _Series:
    """The last point of a metric, and what tells its points apart."""

    __slots__ = ("head", "last_time", "max_step", "step", "timestamp", "value")

    def __init__(self, name: str) -> None:
        self.head = lines.encode(["m", name])[:-1] + b","
        self.max_step = -_INT64 - 1
        self.last_time = 0
        self.value = 0.0
        self.step = 0
        self.timestamp = 0


class RunLog:
    """What one run logged; any number of threads may log.

    Args:
        reopen: Returns the journal: once at the start, and again in a forked child.
        run_name: Name of the run, for messages.
        max_value_bytes: Bytes of text that the registry keeps in one field; longer values become files.
    """

    def __init__(self, reopen: Callable[[], Journal], *, run_name: str, max_value_bytes: int) -> None:
        self._reopen = reopen
        self._run_name = run_name
        self._max_value_bytes = max_value_bytes
        self._lock = threading.Lock()
        self._journal: Journal | None = None
        self._ended = False
        self._metrics: dict[str, _Series] = {}
        self._artifacts: dict[LogType, dict[str, Artifact]] = {"params": {}, "datasets": {}, "artifacts": {}}

    @property
    def ended(self) -> bool:
        """Whether nothing more can be logged."""
        return self._ended

    @property
    def position(self) -> Position | None:
        """Where the journal's next record goes; ``None`` in a forked child that has logged nothing."""
        return None if self._journal is None else self._journal.position

    def metric(self, key: str, value: Any, step: int, timestamp: int | None, description: str | None = None) -> None:
        """Log one point.

        Raises:
            InvalidInput: An argument is of the wrong type, or empty.
            ExperimentRunError: The run has ended.
        """
        # The common types first: this call is made millions of times.
        number = value if type(value) is float else as_number("value", value)
        if type(step) is not int or not -_INT64 <= step < _INT64:
            step = as_integer("step", step)
        if timestamp is not None:
            timestamp = as_integer("timestamp", timestamp)
        if description is not None:
            as_optional_text("description", description)
        text = repr(number)
        with self._lock:
            series = self._metrics.get(key) if type(key) is str else None
            if series is None:
                series = self._begin_series(key)
            if timestamp is None:
                timestamp = int(time.time() * 1000)
                # A point is its name, step and time: one that repeats a step gets a time of its own, or it would be
                # taken for the point before it.
                if step <= series.max_step and timestamp <= series.last_time:
                    timestamp = series.last_time + 1
            series.max_step = max(series.max_step, step)
            series.last_time = max(series.last_time, timestamp)
            if description is None:
                self._append(b"%b%b,%d,%d]" % (series.head, _NOT_FINITE.get(text) or text.encode(), step, timestamp))
            else:
                described = Metric(name=key, value=number, step=step, timestamp=timestamp, description=description)
                self._append(lines.encode(["artifact", unstructure_create(described)]))
            series.value, series.step, series.timestamp = number, step, timestamp

    def artifact(self, kind: LogType, artifact: Artifact) -> None:
        """Log a parameter, data set, file or model; a text too long for the registry becomes a file.

        Raises:
            ExperimentRunError: The run has ended.
        """
        body = unstructure_create(artifact)
        long = [name for name, value in body.items() if self._is_long(value)]
        with self._lock:
            if long:
                files = {name: self._store(body.pop(name)) for name in long}
                self._append(lines.encode(["files", body, files]))
            else:
                self._append(lines.encode(["artifact", body]))
            self._artifacts[kind][str(artifact.name)] = artifact

    def tag(self, key: str, value: Any) -> None:
        """Log a custom property of the run.

        Raises:
            ExperimentRunError: The run has ended.
        """
        with self._lock:
            self._append(lines.encode(["tag", key, value]))

    def check_open(self) -> None:
        """Do nothing, if something can be logged.

        Raises:
            ExperimentRunError: The run has ended.
        """
        if self._ended:
            raise ExperimentRunError(
                f"run {self._run_name!r} has ended", next_step="start_experiment_run(run_id=...) goes on with it"
            )

    def close(self, last: list[Any]) -> Position | None:
        """Log the run's last record, which says how it ended; return the end of the journal.

        Args:
            last: The record; a forked child that has logged nothing has no journal to write it to.
        """
        with self._lock:
            self._ended = True
            if self._journal is None:
                return None
            self._journal.append(lines.encode(last))
            self._journal.close()
            return self._journal.position

    def open(self) -> None:
        """Open the journal."""
        with self._lock:
            self._journal = self._reopen()

    def commit(self) -> None:
        """Make everything so far durable."""
        if self._journal is not None and not self._ended:
            self._journal.commit()

    def forked(self) -> None:
        """Leave the journal to the parent process: the child gets one of its own, once it logs something."""
        self._lock = threading.Lock()
        self._journal = None

    def get(self, kind: LogType, key: str) -> Artifact:
        """Return the last that was logged under a name.

        Raises:
            InvalidInput: There is no such kind.
            KeyError: Nothing was logged under that name.
        """
        if kind == "metrics":
            return self._metric(key, self._metrics[key])
        if kind not in self._artifacts:
            raise InvalidInput(f"no logs of type {kind!r}", next_step="params, metrics, datasets or artifacts")
        return self._artifacts[kind][key]

    def all(self) -> list[Artifact]:
        """Return the last of everything: parameters, metrics, data sets, files and models."""
        metrics: list[Artifact] = [self._metric(name, series) for name, series in list(self._metrics.items())]
        others = {kind: list(artifacts.values()) for kind, artifacts in self._artifacts.items()}
        return [*others["params"], *metrics, *others["datasets"], *others["artifacts"]]

    @staticmethod
    def _metric(name: str, series: _Series) -> Metric:
        return Metric(name=name, value=series.value, step=series.step, timestamp=series.timestamp)

    def _begin_series(self, key: Any) -> _Series:
        name = as_name("key", key)
        return self._metrics.setdefault(name, _Series(name))

    def _append(self, body: bytes) -> None:
        if self._ended:
            self.check_open()
        if self._journal is None:
            self._journal = self._reopen()
        self._journal.append(body)

    def _is_long(self, value: Any) -> bool:
        # Four bytes a character at most: most texts need no encoding to be told short.
        return (
            isinstance(value, str)
            and len(value) > self._max_value_bytes // 4
            and len(value.encode("utf-8", "surrogatepass")) > self._max_value_bytes
        )

    def _store(self, text: str) -> str:
        """Return the name of the file beside the journal that holds ``text``."""
        if self._journal is None:
            self._journal = self._reopen()
        data = text.encode("utf-8", "surrogatepass")
        name = f"{hashlib.sha256(data).hexdigest()}.txt"
        try:
            (self._journal.folder / name).write_bytes(data)
        except OSError as error:
            raise ExperimentRunError(
                f"cannot keep a value of {len(data)} bytes beside the journal: {error.strerror or error}",
                next_step="free some space on the disk and log it again",
            ) from error
        return name
