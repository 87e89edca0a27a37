"""The place of ``kserve.model_repository``; the class lives in :mod:`modelreg.serving.repository`."""

from __future__ import annotations

from modelreg.serving.repository import ModelRepository

#: Where KServe puts the files of a model in a container.
MODEL_MOUNT_DIRS = "/mnt/models"

__all__ = ["MODEL_MOUNT_DIRS", "ModelRepository"]
