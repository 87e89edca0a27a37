"""The place of ``kserve.protocol.infer_type``.

The types live in :mod:`modelreg.types.inference`, the functions in :mod:`modelreg.wire.kserve_forms`.
"""

from __future__ import annotations

from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput
from modelreg.wire.kserve_forms import (
    deserialize_bytes_tensor,
    get_content,
    serialize_byte_tensor,
    to_grpc_parameters,
    to_http_parameters,
)

__all__ = [
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "RequestedOutput",
    "deserialize_bytes_tensor",
    "get_content",
    "serialize_byte_tensor",
    "to_grpc_parameters",
    "to_http_parameters",
]
