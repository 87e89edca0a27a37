"""``ExperimentRun``, a run as users hold it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.tracking.model import RunIdentity, RunSpec
from modelreg.tracking.results import ResultList
from modelreg.tracking.runlog import LogType, RunLog
from modelreg.tracking.services import RunServices
from modelreg.tracking.system_metrics import SystemSampler
from modelreg.tracking.values import (
    as_name,
    as_number,
    as_optional_text,
    as_parameter,
    as_path,
    as_properties,
    as_property,
    as_public,
    as_text,
)
from modelreg.types.artifacts import Artifact, DataSet, DocArtifact, ModelArtifact, Parameter
from modelreg.types.base import CustomProperties, SupportedTypes
from modelreg.types.points import MetricPoint

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

_ENDS = ("FINISHED", "FAILED", "KILLED")
#: The custom property of a failed or killed run that holds the type of the exception.
EXCEPTION_PROPERTY = "modelreg.exception"


class RunInfo:
    """Which run it is.

    A run that started while the registry was down has no ids before the registry has answered; its name it has.
    """

    def __init__(self, spec: RunSpec, identity: Callable[[], RunIdentity | None]) -> None:
        self._spec = spec
        self._identity = identity

    @property
    def id(self) -> str | None:
        """Id of the run; ``None`` while the registry has not answered."""
        identity = self._identity()
        return self._spec.run_id if identity is None else identity.id

    @property
    def name(self) -> str:
        """Name of the run."""
        identity = self._identity()
        return (self._spec.run_name or "") if identity is None else identity.name

    @property
    def experiment_id(self) -> str | None:
        """Id of the experiment; ``None`` while the registry has not answered."""
        identity = self._identity()
        return self._spec.experiment_id if identity is None else identity.experiment_id

    def __repr__(self) -> str:
        return f"RunInfo(id={self.id!r}, name={self.name!r}, experiment_id={self.experiment_id!r})"


class ExperimentRun:
    """A run that is being logged: a context manager, or an object that :meth:`finish` ends.

    Every ``log_*`` call writes to a journal on this machine and returns; a thread sends the journal to the registry.
    A registry that is slow or down therefore neither stops the run nor slows it, and what was logged survives the death
    of the process: ``modelreg runs sync``, or the next run on the machine, sends the rest.

    Runs are made by :meth:`modelreg.ModelRegistry.start_experiment_run`. Any number of threads may log to one. A forked
    child may go on logging to it as well; the run ends where it was started.
    """

    def __init__(self, spec: RunSpec, log: RunLog, services: RunServices) -> None:
        #: Which run it is: ``id``, ``name``, ``experiment_id``.
        self.info = RunInfo(spec, lambda: services.identity(self))
        #: The run in the registry, for when its journal is gone from this process: after its end, or a fork.
        self.remembered: RunIdentity | None = None
        self._spec = spec
        self._log = log
        self._services = services
        self._process = os.getpid()
        self._sampler: SystemSampler | None = None
        # Bound here, it costs a call less each time.
        self._metric = log.metric

    @property
    def key(self) -> str:
        """Text of its own for each run, from the start on; the external id of a run that began here."""
        return self._spec.key

    @property
    def spec(self) -> RunSpec:
        """What the run was started with."""
        return self._spec

    @property
    def log(self) -> RunLog:
        """What was logged."""
        return self._log

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended: nothing can be logged to it any more."""
        return self._log.ended

    def log_metric(
        self, key: str, value: Any, step: int = 0, timestamp: int | None = None, *, description: str | None = None
    ) -> None:
        """Log one point of a metric; every step is kept.

        Args:
            key: Name of the metric.
            value: The number, of Python's own type or any library's; NaN and infinities are kept.
            step: Step of the training that it belongs to.
            timestamp: When it was measured, in milliseconds since the epoch; now by default. A point is its name, step
                and time: points that repeat a step without a time of their own are told apart by a millisecond.
            description: Free text about the metric.

        Raises:
            InvalidInput: If an argument is of the wrong type, or the name is empty; nothing was logged.
            ExperimentRunError: If the run has ended.
        """
        self._metric(key, value, step, timestamp, description)

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0, timestamp: int | None = None) -> None:
        """Log one point of each of several metrics.

        Args:
            metrics: Numbers by name.
            step: Step of the training that they belong to.
            timestamp: When they were measured, in milliseconds since the epoch; now by default.

        Raises:
            InvalidInput: If an argument is of the wrong type, or a name is empty.
            ExperimentRunError: If the run has ended.
        """
        if not isinstance(metrics, Mapping):
            raise InvalidInput(f"metrics is a {type(metrics).__name__}, not a mapping of numbers by name")
        for key, value in metrics.items():
            self._metric(key, value, step, timestamp)

    def log_param(self, key: str, value: Any, *, description: str | None = None) -> None:
        """Log a parameter; one of the same name is replaced.

        Args:
            key: Name of the parameter.
            value: Text, number, truth value; a mapping or list is kept as JSON, anything else as its ``str``. What is
                too long for the registry is stored as a file, and the parameter holds its URI.
            description: Free text about the parameter.

        Raises:
            InvalidInput: If the name is no text, or empty, or the value has no text; nothing was logged.
            ExperimentRunError: If the run has ended.
        """
        text, kind = as_parameter(value)
        description = as_optional_text("description", description)
        self._log.artifact(
            "params", Parameter(name=as_name("key", key), value=text, parameter_type=kind, description=description)
        )

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log several parameters.

        Raises:
            InvalidInput: If a name is no text, or empty.
            ExperimentRunError: If the run has ended.
        """
        if not isinstance(params, Mapping):
            raise InvalidInput(f"params is a {type(params).__name__}, not a mapping of values by name")
        for key, value in params.items():
            self.log_param(key, value)

    def set_tag(self, key: str, value: SupportedTypes) -> None:
        """Set a custom property of the run.

        Args:
            key: Name of the property.
            value: Text, number or truth value.

        Raises:
            InvalidInput: If the name is no text, or empty, or the value of another type; nothing was logged.
            ExperimentRunError: If the run has ended.
        """
        self._log.tag(as_name("key", key), as_property("value", value))

    def log_dataset(  # noqa: PLR0917 - the order in which the predecessor documents them
        self,
        name: str | None = None,
        uri: str | None = None,
        source_type: str | None = None,
        source: str | None = None,
        schema: str | Mapping[str, Any] | None = None,
        profile: str | Mapping[str, Any] | None = None,
        *,
        description: str | None = None,
        file_path: str | os.PathLike[str] | None = None,
        s3_auth: Any = None,
        digest: str | None = None,
    ) -> DataSet:
        """Log a data set, and return it.

        Args:
            name: Name of the data set; the last part of its URI or path by default.
            uri: Where it is; credentials in it are left out.
            source_type: Kind of its source, such as ``s3`` or ``local``.
            source: Where it came from; credentials in it are left out.
            schema: Its structure; a mapping is kept as JSON.
            profile: Its statistics; a mapping is kept as JSON.
            description: Free text.
            file_path: File or folder to upload; the data set's URI is then where it was put.
            s3_auth: :class:`~modelreg.utils.S3Params` that say where to upload it; the artifact store by default.
            digest: Digest of its content; computed for what is uploaded.

        Raises:
            InvalidInput: If neither ``uri`` nor ``file_path`` is given, or an argument is of the wrong type.
            StorageError: If the upload fails.
            ExperimentRunError: If the run has ended.
        """
        if not uri and not file_path:
            raise InvalidInput("log_dataset needs uri or file_path")
        uri, source = as_public("uri", uri), as_public("source", source)
        path = as_path("file_path", file_path) if file_path else None
        if name is None:
            name = _last_part(path) if path is not None else str(uri).rstrip("/").rpartition("/")[2]
        dataset = DataSet(
            name=as_name("name", name),
            uri=uri,
            digest=as_optional_text("digest", digest),
            source_type=as_optional_text("source_type", source_type),
            source=source,
            schema=as_text("schema", schema),
            profile=as_text("profile", profile),
            description=as_optional_text("description", description),
        )
        if path is not None:
            stored = self._upload(path, "datasets", s3_auth)
            dataset = attrs.evolve(dataset, uri=stored.uri, digest=digest or stored.digest)
        self._log.artifact("datasets", dataset)
        return dataset

    def log_artifact(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        uri: str | None = None,
        description: str | None = None,
    ) -> DocArtifact:
        """Upload a file or folder, log where it is, and return that.

        Args:
            path: The file or folder.
            name: Name of the artifact; the path's last part by default.
            uri: Where to put it; the artifact store by default.
            description: Free text.

        Raises:
            InvalidInput: If there is nothing at ``path``, or an argument is of the wrong type; nothing was stored.
            StorageError: If the upload fails.
            ExperimentRunError: If the run has ended.
        """
        source = as_path("path", path)
        name = as_name("name", _last_part(source) if name is None else name)
        description = as_optional_text("description", description)
        stored = self._upload(source, "artifacts", uri)
        artifact = DocArtifact(name=name, uri=stored.uri, description=description, custom_properties=_stored(stored))
        self._log.artifact("artifacts", artifact)
        return artifact

    def log_model(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        uri: str | None = None,
        model_format_name: str | None = None,
        model_format_version: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, SupportedTypes] | None = None,
        register_as: str | None = None,
        version: str | None = None,
    ) -> ModelArtifact:
        """Upload a model, log where it is, and return that; make it a version of a registered model where asked to.

        Args:
            path: The model's file or folder.
            name: Name of the artifact; the path's last part by default.
            uri: Where to put it; the artifact store by default.
            model_format_name: Name of the format, such as ``onnx``.
            model_format_version: Version of the format.
            description: Free text.
            metadata: Custom properties of the artifact, and of the version.
            register_as: Name of the registered model to make a version of; the run's id is recorded with it.
            version: Name of that version; the run's name by default.

        Raises:
            InvalidInput: If there is nothing at ``path``, or an argument is of the wrong type; nothing was stored.
            DuplicateError: If there is such a version, of other files; nothing was stored.
            StorageError: If the upload fails.
            StoreError: If the model cannot be registered; the error says where its files are.
            ExperimentRunError: If the run has ended.
        """
        source = as_path("path", path)
        properties: CustomProperties = {**as_properties("metadata", metadata)}
        artifact = ModelArtifact(
            name=as_name("name", _last_part(source) if name is None else name),
            model_format_name=as_optional_text("model_format_name", model_format_name),
            model_format_version=as_optional_text("model_format_version", model_format_version),
            description=as_optional_text("description", description),
        )
        if register_as is None:
            artifact = self._with_files(artifact, self._upload(source, "models", uri), properties)
            self._log.artifact("artifacts", artifact)
            return artifact
        model = as_name("register_as", register_as)
        version = as_name("version", self.info.name if version is None else version)
        return self._registered(artifact, source, uri, model=model, version=version, properties=properties)

    def log_system_metrics(self, interval_s: float = 10.0) -> None:
        """Log what this process uses of processor, memory and GPU, every ``interval_s`` seconds until the run ends.

        The metrics are ``system/cpu_percent`` (of one core), ``system/memory_rss_bytes`` and, where there is a GPU that
        pynvml knows, ``system/gpu_0_utilization_percent`` and the like. psutil is used where it is installed.

        Args:
            interval_s: Seconds between samples.

        Raises:
            InvalidInput: If the interval is not positive.
            ExperimentRunError: If the run has ended.
        """
        if not as_number("interval_s", interval_s) > 0:
            raise InvalidInput(f"interval_s is {interval_s!r}, not a positive number of seconds")
        self._log.check_open()
        if self._sampler is not None:
            self._sampler.stop()
        step = iter(range(1 << 62))

        def log(samples: Mapping[str, float]) -> None:
            if not self.has_ended:
                self.log_metrics(samples, step=next(step))

        self._sampler = SystemSampler(log, interval_s=interval_s)

    def get_log(self, type: LogType, key: str) -> Artifact:
        """Return the last that was logged under a name, sent or not.

        Args:
            type: ``params``, ``metrics``, ``datasets`` or ``artifacts`` (files and models).
            key: The name.

        Raises:
            InvalidInput: If there is no such type.
            KeyError: If nothing was logged under that name.
        """
        return self._log.get(type, key)

    def get_logs(self) -> list[Artifact]:
        """Return the last of everything that was logged: parameters, metrics, data sets, files and models."""
        return self._log.all()

    def metric_history(self, name: str) -> ResultList[MetricPoint]:
        """Return all points of a metric, in the order in which they were logged; what is not sent yet is sent first.

        Raises:
            StoreError: If the registry cannot be reached, or has not taken everything in time.
        """
        return self._services.metric_history(self, as_name("name", name))

    def flush(self, timeout_s: float | None = None) -> bool:
        """Make everything durable on this machine, and wait until the registry has it; return whether it has.

        Args:
            timeout_s: Seconds to wait; what the end of a run waits by default.
        """
        self._log.commit()
        return self._services.wait(self, self._services.exit_timeout_s if timeout_s is None else timeout_s)

    def finish(
        self, status: str = "FINISHED", *, timeout_s: float | None = None, exception: type[BaseException] | None = None
    ) -> bool:
        """End the run; return whether the registry has all of it. A run that has ended stays as it is.

        What the registry does not take in time is sent by the next run on the machine, or by ``modelreg runs sync``.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.
            timeout_s: Seconds to wait for the registry; ``MODELREG_TRACKING_EXIT_TIMEOUT_S`` by default.
            exception: What ended it, if something did; its name becomes a property of the run.

        Raises:
            InvalidInput: If the status is another one.
        """
        if str(status) not in _ENDS:
            raise InvalidInput(f"status is {str(status)!r}, not one of {', '.join(_ENDS)}")
        if self.has_ended:
            return True
        # A sampler's thread does not live on in a forked child.
        if self._sampler is not None and self.is_in_its_process:
            self._sampler.stop()
        properties = {} if exception is None else {EXCEPTION_PROPERTY: _type_name(exception)}
        if self.is_in_its_process:
            self._log.close(["end", str(status), int(time.time() * 1000), properties])
        else:
            self._log.close(["detach"])
        return self._services.ended(self, self._services.exit_timeout_s if timeout_s is None else timeout_s)

    @property
    def is_in_its_process(self) -> bool:
        """Whether this is the process that started the run, not a forked child."""
        return self._process == os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED", exception=kind)

    def __repr__(self) -> str:
        return f"ExperimentRun({self.info!r})"

    def _upload(self, source: Path, kind: str, destination: Any) -> Any:
        # Bytes that no record could follow would be nobody's.
        self._log.check_open()
        return self._services.upload(source, self, kind, destination)

    def _registered(
        self,
        artifact: ModelArtifact,
        source: Path,
        destination: Any,
        *,
        model: str,
        version: str,
        properties: CustomProperties,
    ) -> ModelArtifact:
        """Upload a model, log it and make it a version; one that is there with the same files stays as it is."""
        self._log.check_open()
        there = self._services.registered(model, version, source, destination)
        if there is not None:
            artifact = attrs.evolve(
                artifact, uri=there.uri, custom_properties={**properties, **(there.custom_properties or {})}
            )
            self._log.artifact("artifacts", artifact)
            return artifact
        artifact = self._with_files(artifact, self._upload(source, "models", destination), properties)
        self._log.artifact("artifacts", artifact)
        # The version names the run by its id, so the registry has to know the run by now.
        self.flush()
        names_of_run = {"experiment_run_id": self.info.id or self.key, "experiment_run_name": self.info.name}
        self._services.register(model, artifact, version=version, metadata={**properties, **names_of_run})
        return artifact

    @staticmethod
    def _with_files(artifact: ModelArtifact, stored: Any, properties: CustomProperties) -> ModelArtifact:
        return attrs.evolve(artifact, uri=stored.uri, custom_properties={**properties, **_stored(stored)})


def _last_part(path: Path) -> str:
    """Return the name of a file or folder, however it was spelled: ``.`` has one as well."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def _stored(stored: Any) -> CustomProperties:
    # The registry's integers have 32 bits.
    size = stored.size if stored.size < 2**31 else float(stored.size)
    return {"modelreg.digest": stored.digest, "modelreg.size": size}


def _type_name(exception: type[BaseException]) -> str:
    name = exception.__qualname__
    return name if exception.__module__ == "builtins" else f"{exception.__module__}.{name}"
