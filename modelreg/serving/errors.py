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
#: KServe's name for what :meth:`~modelreg.serving.ModelServer.start` raises where a model could not be loaded.
NoModelReady = ModelNotReady
#: KServe's name for a server that cannot answer whether it lives; one that cannot does not answer.
ServerNotLive = ServerNotReady

__all__ = [
    "InferenceError",
    "InvalidInput",
    "ModelMissingError",
    "ModelNotFound",
    "ModelNotReady",
    "NoModelReady",
    "ServerNotLive",
    "ServerNotReady",
    "UnsupportedProtocol",
]
