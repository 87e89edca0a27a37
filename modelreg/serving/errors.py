"""The errors of serving, under the names of KServe's ``kserve.errors``; they live in :mod:`modelreg.exceptions`."""

from __future__ import annotations

from modelreg.exceptions import (
    InferenceError,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ObjectNotFound,
    ServerNotReady,
    UnsupportedProtocol,
)

#: KServe's name for files of a model that are not there.
ModelMissingError = ObjectNotFound

__all__ = [
    "InferenceError",
    "InvalidInput",
    "ModelMissingError",
    "ModelNotFound",
    "ModelNotReady",
    "ServerNotReady",
    "UnsupportedProtocol",
]
