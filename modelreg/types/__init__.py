"""What users hold: the resources of the registry, their states, and how to list them.

The names are those of Kubeflow's ``model_registry.types``, and more.
"""

from modelreg.types.aliases import Alias, AliasChange
from modelreg.types.artifacts import Artifact, DataSet, DocArtifact, Metric, ModelArtifact, Parameter
from modelreg.types.base import (
    BaseResource,
    BaseResourceModel,
    CustomProperties,
    MetadataValue,
    ProtoValue,
    StructValue,
    SupportedTypes,
    UnknownValue,
)
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.lineage import Deployment, Lineage, RunOrigin, StoredFiles, VersionLineage
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.options import ListOptions, Page
from modelreg.types.pager import Pager
from modelreg.types.points import MetricPoint
from modelreg.types.serving import InferenceService, ServeModel, ServingEnvironment
from modelreg.types.states import (
    ArtifactState,
    ArtifactTypeQueryParam,
    ExecutionState,
    ExperimentRunState,
    ExperimentRunStatus,
    ExperimentState,
    InferenceServiceState,
    ModelVersionState,
    OrderByField,
    ParameterType,
    RegisteredModelState,
    SortOrder,
)

__all__ = [
    "Alias",
    "AliasChange",
    "Artifact",
    "ArtifactState",
    "ArtifactTypeQueryParam",
    "BaseResource",
    "BaseResourceModel",
    "CustomProperties",
    "DataSet",
    "Deployment",
    "DocArtifact",
    "ExecutionState",
    "Experiment",
    "ExperimentRun",
    "ExperimentRunState",
    "ExperimentRunStatus",
    "ExperimentState",
    "InferenceService",
    "InferenceServiceState",
    "Lineage",
    "ListOptions",
    "MetadataValue",
    "Metric",
    "MetricPoint",
    "ModelArtifact",
    "ModelVersion",
    "ModelVersionState",
    "OrderByField",
    "Page",
    "Pager",
    "Parameter",
    "ParameterType",
    "ProtoValue",
    "RegisteredModel",
    "RegisteredModelState",
    "RunOrigin",
    "ServeModel",
    "ServingEnvironment",
    "SortOrder",
    "StoredFiles",
    "StructValue",
    "SupportedTypes",
    "UnknownValue",
    "VersionLineage",
]
