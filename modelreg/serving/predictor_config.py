"""The place of ``kserve.predictor_config``; the class lives in :mod:`modelreg.serving.transformer`."""

from __future__ import annotations

from modelreg.serving.transformer import PredictorConfig

__all__ = ["PredictorConfig"]
