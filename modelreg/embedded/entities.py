"""What the registry holds, declared once: every kind of resource, its fields and where it belongs.

Validation, SQL, routes and the OpenAPI document are all driven from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

import attrs

from modelreg.embedded.fields import (
    MAX_NAME,
    Choice,
    Double,
    FieldType,
    Millis,
    Properties,
    Reference,
    Text,
    Texts,
    Whole,
)


class Family(IntEnum):
    """Kinds that share one space of external ids."""

    CONTEXT = 1
    ARTIFACT = 2
    EXECUTION = 3


@attrs.frozen
class Field:
    """One field of a resource.

    Attributes:
        name: As it travels.
        type: What it holds.
        about: What it means, for the OpenAPI document.
        editable: Whether a PATCH may change it.
        required: Whether a create must have it, not empty.
        default: What a create without it stores; ``None`` leaves it out.
        owner_only: Whether only what is put under a version or run may have it.
    """

    name: str
    type: FieldType
    about: str
    editable: bool = attrs.field(default=True, kw_only=True)
    required: bool = attrs.field(default=False, kw_only=True)
    default: str | None = attrs.field(default=None, kw_only=True)
    owner_only: bool = attrs.field(default=False, kw_only=True)


def _by_name(fields: Iterable[Field]) -> Mapping[str, Field]:
    return {field.name: field for field in fields}


@attrs.frozen(kw_only=True, eq=False)
class Kind:
    """One kind of resource; there is one object for each.

    Attributes:
        code: Its number in the database; never changed.
        schema: Its name in the contract.
        label: Its name in messages.
        family: The kinds that it shares external ids with.
        fields: All that a client may send, by name.
        parent_field: The field that names its parent, if it always has one.
        artifact_type: The tag of an artifact.
        generated_name: Whether one without a name gets one.
        upserted_by_name: Whether posting a name again changes what has it, as Kubeflow does for metrics and parameters.
        references: The fields that must name a resource which is there, and the schema of its kind.
    """

    code: int
    schema: str
    label: str
    family: Family = Family.CONTEXT
    fields: Mapping[str, Field] = attrs.field(converter=_by_name)
    parent_field: str | None = None
    artifact_type: str | None = None
    generated_name: bool = False
    upserted_by_name: bool = False

    references: dict[str, str] = attrs.field(init=False)

    @references.default
    def _find_references(self) -> dict[str, str]:
        found = ((name, field.type) for name, field in self.fields.items())
        return {name: held.kind for name, held in found if isinstance(held, Reference) and held.kind is not None}

    @property
    def top_level(self) -> bool:
        """Whether names are unique in the whole registry."""
        return self.family is Family.CONTEXT and self.parent_field is None


LIFE = Choice(("LIVE", "ARCHIVED"))
ARTIFACT_STATE = Choice(("UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE"))
RUN_STATUS = Choice(("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"))
DEPLOYMENT = Choice(("DEPLOYED", "UNDEPLOYED"))
EXECUTION_STATE = Choice(("UNKNOWN", "NEW", "RUNNING", "COMPLETE", "FAILED", "CACHED", "CANCELED"))
PARAMETER_TYPE = Choice(("string", "number", "boolean", "object"))

_TEXT = Text()
_STATE = Field("state", LIFE, "Whether it is in use.", default="LIVE")
_OWNER = Field("owner", _TEXT, "Who answers for it.")
_URI = Field("uri", _TEXT, "Where its bytes are; empty where there are none.")


def _base(*, name_required: bool) -> tuple[Field, ...]:
    return (
        Field("name", Text(MAX_NAME), "Its name; fixed once given.", editable=False, required=name_required),
        Field("description", _TEXT, "What it is, for people."),
        Field("externalId", Text(MAX_NAME), "Its id in another system; unique."),
        Field("customProperties", Properties(), "The user's own properties."),
    )


def _reference(name: str, schema: str, about: str, *, required: bool = True, editable: bool = False) -> Field:
    return Field(name, Reference(schema), about, required=required, editable=editable)


def _artifact(code: int, schema: str, label: str, tag: str, *fields: Field, upserted_by_name: bool = False) -> Kind:
    return Kind(
        code=code,
        schema=schema,
        label=label,
        family=Family.ARTIFACT,
        artifact_type=tag,
        generated_name=True,
        upserted_by_name=upserted_by_name,
        fields=(
            *_base(name_required=False),
            Field("state", ARTIFACT_STATE, "Whether its bytes exist."),
            Field("experimentId", Reference(), "The experiment that produced it.", editable=False, owner_only=True),
            Field("experimentRunId", Reference(), "The run that produced it.", editable=False, owner_only=True),
            *fields,
        ),
    )


REGISTERED_MODEL = Kind(
    code=1,
    schema="RegisteredModel",
    label="registered model",
    fields=(
        *_base(name_required=True),
        _OWNER,
        _STATE,
        Field("readme", _TEXT, "Documentation in Markdown."),
        Field("maturity", _TEXT, "How ready it is, in words."),
        Field("language", Texts(), "Languages that it speaks, as ISO 639 codes."),
        Field("tasks", Texts(), "What it is made for."),
        Field("provider", _TEXT, "Who made it."),
        Field("logo", _TEXT, "URL of its logo."),
        Field("license", _TEXT, "Short name of its licence."),
        Field("licenseLink", _TEXT, "URL of its licence's text."),
        Field("libraryName", _TEXT, "The library that loads it."),
    ),
)
MODEL_VERSION = Kind(
    code=2,
    schema="ModelVersion",
    label="model version",
    parent_field="registeredModelId",
    fields=(
        *_base(name_required=True),
        _reference("registeredModelId", "RegisteredModel", "The model that it is a version of."),
        _STATE,
        Field("author", _TEXT, "Who made it."),
    ),
)
EXPERIMENT = Kind(
    code=3,
    schema="Experiment",
    label="experiment",
    fields=(*_base(name_required=True), _OWNER, _STATE),
)
EXPERIMENT_RUN = Kind(
    code=4,
    schema="ExperimentRun",
    label="experiment run",
    parent_field="experimentId",
    generated_name=True,
    fields=(
        *_base(name_required=False),
        _reference("experimentId", "Experiment", "The experiment that it is a run of."),
        Field("startTimeSinceEpoch", Millis(), "When it started, in milliseconds since the epoch.", editable=False),
        Field("endTimeSinceEpoch", Millis(), "When it ended, in milliseconds since the epoch."),
        Field("status", RUN_STATUS, "How far it has come.", default="RUNNING"),
        _STATE,
        _OWNER,
    ),
)
SERVING_ENVIRONMENT = Kind(
    code=5,
    schema="ServingEnvironment",
    label="serving environment",
    fields=_base(name_required=True),
)
INFERENCE_SERVICE = Kind(
    code=6,
    schema="InferenceService",
    label="inference service",
    parent_field="servingEnvironmentId",
    generated_name=True,
    fields=(
        *_base(name_required=False),
        _reference("registeredModelId", "RegisteredModel", "The model to serve."),
        _reference("servingEnvironmentId", "ServingEnvironment", "Where to serve it."),
        _reference(
            "modelVersionId",
            "ModelVersion",
            "The version to serve; the newest where there is none.",
            required=False,
            editable=True,
        ),
        Field("runtime", _TEXT, "The runtime that serves it."),
        Field("desiredState", DEPLOYMENT, "Whether it should be served.", default="DEPLOYED"),
    ),
)
SERVE_MODEL = Kind(
    code=7,
    schema="ServeModel",
    label="serve model",
    family=Family.EXECUTION,
    generated_name=True,
    fields=(
        *_base(name_required=False),
        _reference("modelVersionId", "ModelVersion", "The version that was served."),
        Field("lastKnownState", EXECUTION_STATE, "How far it has come.", default="UNKNOWN"),
    ),
)
MODEL_ARTIFACT = _artifact(
    8,
    "ModelArtifact",
    "model artifact",
    "model-artifact",
    _URI,
    Field("modelFormatName", _TEXT, "Name of its format."),
    Field("modelFormatVersion", _TEXT, "Version of its format."),
    Field("storageKey", _TEXT, "Name of the secret that opens its storage."),
    Field("storagePath", _TEXT, "Its path in that storage."),
    Field("serviceAccountName", _TEXT, "The service account that holds the secret."),
    Field("modelSourceKind", _TEXT, "Kind of system that it came from."),
    Field("modelSourceClass", _TEXT, "Class within that kind."),
    Field("modelSourceGroup", _TEXT, "Group within that class."),
    Field("modelSourceId", _TEXT, "Its id within that group."),
    Field("modelSourceName", _TEXT, "Name of its source, for people."),
)
DOC_ARTIFACT = _artifact(9, "DocArtifact", "document", "doc-artifact", _URI)
DATA_SET = _artifact(
    10,
    "DataSet",
    "data set",
    "dataset-artifact",
    _URI,
    Field("digest", _TEXT, "Digest of its content."),
    Field("sourceType", _TEXT, "Kind of its source."),
    Field("source", _TEXT, "Where it came from."),
    Field("schema", _TEXT, "Its structure."),
    Field("profile", _TEXT, "Its statistics."),
)
METRIC = _artifact(
    11,
    "Metric",
    "metric",
    "metric",
    Field("value", Double(), "The number."),
    Field("step", Whole(), "The step that it was measured at."),
    Field("timestamp", Millis(), "When it was measured, in milliseconds since the epoch."),
    upserted_by_name=True,
)
PARAMETER = _artifact(
    12,
    "Parameter",
    "parameter",
    "parameter",
    Field("value", _TEXT, "The setting."),
    Field("parameterType", PARAMETER_TYPE, "What its text stands for."),
    upserted_by_name=True,
)

ARTIFACTS = (MODEL_ARTIFACT, DOC_ARTIFACT, DATA_SET, METRIC, PARAMETER)
KINDS = (
    *(REGISTERED_MODEL, MODEL_VERSION, EXPERIMENT, EXPERIMENT_RUN),
    *(SERVING_ENVIRONMENT, INFERENCE_SERVICE, SERVE_MODEL),
    *ARTIFACTS,
)
BY_CODE = {kind.code: kind for kind in KINDS}
BY_SCHEMA = {kind.schema: kind for kind in KINDS}
BY_ARTIFACT_TYPE = {kind.artifact_type: kind for kind in ARTIFACTS}


@attrs.frozen(kw_only=True, eq=False)
class Collection:
    """The resources behind one path.

    Attributes:
        path: The path's name, in the plural.
        singular: The name in the singular, which finds one by its name.
        kinds: What it holds.
        label: The name of one in messages.
        id_label: The path variable's name, for the OpenAPI document.
    """

    path: str
    singular: str
    kinds: tuple[Kind, ...]
    label: str
    id_label: str


def _collection(kind: Kind, path: str, singular: str, id_label: str) -> Collection:
    return Collection(path=path, singular=singular, kinds=(kind,), label=kind.label, id_label=id_label)


REGISTERED_MODELS = _collection(REGISTERED_MODEL, "registered_models", "registered_model", "registeredmodelId")
MODEL_VERSIONS = _collection(MODEL_VERSION, "model_versions", "model_version", "modelversionId")
EXPERIMENTS = _collection(EXPERIMENT, "experiments", "experiment", "experimentId")
EXPERIMENT_RUNS = _collection(EXPERIMENT_RUN, "experiment_runs", "experiment_run", "experimentrunId")
SERVING_ENVIRONMENTS = _collection(
    SERVING_ENVIRONMENT, "serving_environments", "serving_environment", "servingenvironmentId"
)
INFERENCE_SERVICES = _collection(INFERENCE_SERVICE, "inference_services", "inference_service", "inferenceserviceId")
SERVE_MODELS = _collection(SERVE_MODEL, "serve_models", "serve_model", "servemodelId")
MODEL_ARTIFACTS = _collection(MODEL_ARTIFACT, "model_artifacts", "model_artifact", "modelartifactId")
ALL_ARTIFACTS = Collection(path="artifacts", singular="artifact", kinds=ARTIFACTS, label="artifact", id_label="id")

#: What can be asked for and changed by id.
COLLECTIONS = (
    *(REGISTERED_MODELS, MODEL_VERSIONS, EXPERIMENTS, EXPERIMENT_RUNS),
    *(SERVING_ENVIRONMENTS, INFERENCE_SERVICES, MODEL_ARTIFACTS, ALL_ARTIFACTS),
)
