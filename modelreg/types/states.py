"""Enumerations of the registry's contract.

Each is a ``str`` as well, so ``model.state == "LIVE"`` holds. A value that a newer server knows and this version does
not is read as a plain ``str``: nothing breaks and nothing is lost.
"""

from __future__ import annotations

from enum import Enum


class _Value(str, Enum):
    """An enumeration whose members print and compare as their value."""

    def __str__(self) -> str:
        return str(self.value)


class RegisteredModelState(_Value):
    """Whether a registered model is in use."""

    LIVE = "LIVE"
    ARCHIVED = "ARCHIVED"


class ModelVersionState(_Value):
    """Whether a model version is in use."""

    LIVE = "LIVE"
    ARCHIVED = "ARCHIVED"


class ArtifactState(_Value):
    """Whether the bytes behind an artifact exist."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    LIVE = "LIVE"
    MARKED_FOR_DELETION = "MARKED_FOR_DELETION"
    DELETED = "DELETED"
    ABANDONED = "ABANDONED"
    REFERENCE = "REFERENCE"


#: States of artifacts whose bytes are not there, or not for long.
GONE_STATES = frozenset({ArtifactState.DELETED, ArtifactState.ABANDONED, ArtifactState.MARKED_FOR_DELETION})


class ExperimentState(_Value):
    """Whether an experiment is in use."""

    LIVE = "LIVE"
    ARCHIVED = "ARCHIVED"


class ExperimentRunState(_Value):
    """Whether an experiment run is in use."""

    LIVE = "LIVE"
    ARCHIVED = "ARCHIVED"


class ExperimentRunStatus(_Value):
    """How far an experiment run has come: ``[SCHEDULED ->] RUNNING -> FINISHED | FAILED | KILLED``."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class InferenceServiceState(_Value):
    """Whether an inference service should be deployed."""

    DEPLOYED = "DEPLOYED"
    UNDEPLOYED = "UNDEPLOYED"


class ExecutionState(_Value):
    """How far a serving action has come."""

    UNKNOWN = "UNKNOWN"
    NEW = "NEW"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    CACHED = "CACHED"
    CANCELED = "CANCELED"


class ParameterType(_Value):
    """What a parameter's text stands for."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"


class ArtifactTypeQueryParam(_Value):
    """The artifact types that a listing can be limited to."""

    MODEL_ARTIFACT = "model-artifact"
    DOC_ARTIFACT = "doc-artifact"
    DATASET_ARTIFACT = "dataset-artifact"
    METRIC = "metric"
    PARAMETER = "parameter"


class OrderByField(_Value):
    """The fields that a listing can be ordered by."""

    CREATE_TIME = "CREATE_TIME"
    LAST_UPDATE_TIME = "LAST_UPDATE_TIME"
    ID = "ID"


class SortOrder(_Value):
    """The direction of a listing."""

    ASC = "ASC"
    DESC = "DESC"
