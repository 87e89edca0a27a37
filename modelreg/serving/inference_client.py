"""The place of ``kserve.inference_client``; the clients live in :mod:`modelreg.client`."""

from __future__ import annotations

from modelreg.client.grpc_inference import InferenceGRPCClient
from modelreg.client.inference_transport import RESTConfig
from modelreg.client.rest_inference import InferenceRESTClient

__all__ = ["InferenceGRPCClient", "InferenceRESTClient", "RESTConfig"]
