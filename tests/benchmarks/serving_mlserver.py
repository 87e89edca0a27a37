"""The model of the serving benchmarks for MLServer, which imports models by the name of their module."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class RowSums(MLModel):
    """Adds up each row of its input."""

    async def load(self) -> bool:
        """Do nothing: there is nothing to load."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the sum of each row."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        sums = rows.reshape(len(rows), -1).sum(axis=1)
        outputs = [NumpyCodec.encode_output("sums", sums)]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)
