"""What versions and runs are made of: model files, documents, data sets, metrics and parameters."""

from __future__ import annotations

from typing import ClassVar

import attrs
from attrs import field, setters

from modelreg.types.base import BaseResource, server_owned
from modelreg.types.states import ArtifactState, ParameterType

#: The custom properties in which a model artifact tells the digest (``sha256:<hex>``) and the bytes of its files.
DIGEST_PROPERTY = "modelreg.digest"
SIZE_PROPERTY = "modelreg.size"


@attrs.define
class Artifact(BaseResource):
    """What all artifacts have.

    Attributes:
        name: Unique within the version or run; the registry makes one up where none is given. Fixed.
        state: Whether the bytes behind the artifact exist.
        experiment_id: Id of the experiment that produced it, if one did.
        experiment_run_id: Id of the run that produced it, if one did.
    """

    #: The contract's tag of this class.
    artifact_type: ClassVar[str] = ""
    editable: ClassVar[tuple[str, ...]] = (*BaseResource.editable, "state")

    name: str | None = field(default=None, on_setattr=setters.frozen)
    state: ArtifactState | str | None = field(default=None, kw_only=True)
    experiment_id: str | None = server_owned()
    experiment_run_id: str | None = server_owned()


@attrs.define
class ModelArtifact(Artifact):
    """A model's files.

    Attributes:
        uri: Where the files are.
        model_format_name: Name of the format, such as ``onnx``.
        model_format_version: Version of the format.
        storage_key: Name of the secret that opens the storage.
        storage_path: Path in that storage.
        service_account_name: Service account that holds the secret.
        model_source_kind: Kind of system the model came from, such as ``pipelines``.
        model_source_class: Class within the kind, such as ``pipelinerun``.
        model_source_group: Group within the class, such as a namespace.
        model_source_id: Id of the source within the group.
        model_source_name: Name of the source for people.
    """

    artifact_type: ClassVar[str] = "model-artifact"
    editable: ClassVar[tuple[str, ...]] = (
        *Artifact.editable,
        *("uri", "model_format_name", "model_format_version", "storage_key", "storage_path"),
        *("service_account_name", "model_source_kind", "model_source_class", "model_source_group"),
        *("model_source_id", "model_source_name"),
    )

    uri: str | None = None
    model_format_name: str | None = field(default=None, kw_only=True)
    model_format_version: str | None = field(default=None, kw_only=True)
    storage_key: str | None = field(default=None, kw_only=True)
    storage_path: str | None = field(default=None, kw_only=True)
    service_account_name: str | None = field(default=None, kw_only=True)
    model_source_kind: str | None = field(default=None, kw_only=True)
    model_source_class: str | None = field(default=None, kw_only=True)
    model_source_group: str | None = field(default=None, kw_only=True)
    model_source_id: str | None = field(default=None, kw_only=True)
    model_source_name: str | None = field(default=None, kw_only=True)


@attrs.define
class DocArtifact(Artifact):
    """A document.

    Attributes:
        uri: Where it is.
    """

    artifact_type: ClassVar[str] = "doc-artifact"
    editable: ClassVar[tuple[str, ...]] = (*Artifact.editable, "uri")

    uri: str | None = None


@attrs.define
class DataSet(Artifact):
    """A data set.

    Attributes:
        uri: Where it is.
        digest: Digest of its content.
        source_type: Kind of its source, such as ``s3`` or ``local``.
        source: Where it came from.
        schema: Its structure, as JSON or in words.
        profile: Its statistics, as JSON or in words.
    """

    artifact_type: ClassVar[str] = "dataset-artifact"
    editable: ClassVar[tuple[str, ...]] = (
        *Artifact.editable,
        *("uri", "digest", "source_type", "source", "schema", "profile"),
    )

    uri: str | None = None
    digest: str | None = field(default=None, kw_only=True)
    source_type: str | None = field(default=None, kw_only=True)
    source: str | None = field(default=None, kw_only=True)
    schema: str | None = field(default=None, kw_only=True)
    profile: str | None = field(default=None, kw_only=True)


@attrs.define
class Metric(Artifact):
    """One point of a metric, or its last one.

    Attributes:
        value: The number; NaN and infinities are numbers too.
        step: Step of the training it belongs to.
        timestamp: When it was measured, in milliseconds since the epoch.
    """

    artifact_type: ClassVar[str] = "metric"
    editable: ClassVar[tuple[str, ...]] = (*Artifact.editable, "value", "step", "timestamp")

    value: float | None = None
    step: int | None = field(default=None, kw_only=True)
    timestamp: int | None = field(default=None, kw_only=True)


@attrs.define
class Parameter(Artifact):
    """A setting of a run.

    Attributes:
        value: The setting, as text.
        parameter_type: What the text stands for.
    """

    artifact_type: ClassVar[str] = "parameter"
    editable: ClassVar[tuple[str, ...]] = (*Artifact.editable, "value", "parameter_type")

    value: str | None = None
    parameter_type: ParameterType | str | None = field(default=None, kw_only=True)


#: The class of each artifact, by the contract's tag.
ARTIFACT_CLASSES: dict[str, type[Artifact]] = {
    cls.artifact_type: cls for cls in (ModelArtifact, DocArtifact, DataSet, Metric, Parameter)
}
