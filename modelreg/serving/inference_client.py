"""The place of ``kserve.inference_client``; the clients live in :mod:`modelreg.client`."""

from __future__ import annotations

from typing import Literal

from modelreg.client.grpc_inference import InferenceGRPCClient
from modelreg.client.inference_transport import RESTConfig
from modelreg.client.rest_inference import InferenceRESTClient

__all__ = ["USE_CLIENT_DEFAULT", "InferenceGRPCClient", "InferenceRESTClient", "RESTConfig"]

#: As a timeout: that of the client's :class:`RESTConfig`.
USE_CLIENT_DEFAULT: Literal["default"] = "default"
