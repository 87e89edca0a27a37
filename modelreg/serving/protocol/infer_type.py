"""The place of ``kserve.protocol.infer_type``; the types live in :mod:`modelreg.types.inference`."""

from __future__ import annotations

from modelreg.types.inference import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

__all__ = ["InferInput", "InferOutput", "InferRequest", "InferResponse", "RequestedOutput"]
