"""Serve models over the Open Inference Protocol: models, where they are kept, and the server that answers for them.

Importing this package loads none of it: each name below is imported when it is first used. Serving needs the extra:
``pip install 'modelreg[serve]'``.

The names are those of KServe's Python runtime, and more::

    from modelreg.serving import InferRequest, InferResponse, Model, ModelServer

    class Doubler(Model):
        def predict(self, payload, headers=None):
            return payload.inputs[0].as_numpy() * 2

    ModelServer().start([Doubler("doubler")])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelreg.client.grpc_inference import InferenceGRPCClient
    from modelreg.client.rest_inference import InferenceRESTClient, RESTConfig
    from modelreg.serving import errors, logging, model_server
    from modelreg.serving.batching import BatchSettings
    from modelreg.serving.dataplane import DataPlane
    from modelreg.serving.grpc import KeepAlive
    from modelreg.serving.model import Model
    from modelreg.serving.repository import ModelRepository
    from modelreg.serving.server import ModelServer
    from modelreg.serving.transformer import PredictorConfig
    from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

__all__ = [
    "BatchSettings",
    "DataPlane",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceGRPCClient",
    "InferenceRESTClient",
    "KeepAlive",
    "Model",
    "ModelRepository",
    "ModelServer",
    "PredictorConfig",
    "RESTConfig",
    "RequestedOutput",
    "errors",
    "logging",
    "model_server",
]

# name -> module that holds it; a name that is a module itself has its own path
_EXPORTS = {
    "BatchSettings": "modelreg.serving.batching",
    "DataPlane": "modelreg.serving.dataplane",
    "InferInput": "modelreg.types.inference",
    "InferOutput": "modelreg.types.inference",
    "InferRequest": "modelreg.types.inference",
    "InferResponse": "modelreg.types.inference",
    "InferenceGRPCClient": "modelreg.client.grpc_inference",
    "InferenceRESTClient": "modelreg.client.rest_inference",
    "KeepAlive": "modelreg.serving.grpc",
    "Model": "modelreg.serving.model",
    "ModelRepository": "modelreg.serving.repository",
    "ModelServer": "modelreg.serving.server",
    "PredictorConfig": "modelreg.serving.transformer",
    "RESTConfig": "modelreg.client.rest_inference",
    "RequestedOutput": "modelreg.types.inference",
    "errors": "modelreg.serving.errors",
    "logging": "modelreg.serving.logging",
    "model_server": "modelreg.serving.model_server",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(_EXPORTS[name])
    except ModuleNotFoundError as error:
        from modelreg.exceptions import MissingExtra

        raise MissingExtra(f"serving needs {error.name}", next_step="pip install 'modelreg[serve]'") from error
    value = module if _EXPORTS[name] == f"{__name__}.{name}" else getattr(module, name)
    # Kept, so that the next use costs no look-up.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
