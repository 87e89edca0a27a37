"""The names that users of Kubeflow's ``model_registry.types.contexts`` import."""

from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.states import ModelVersionState, RegisteredModelState

__all__ = ["ModelVersion", "ModelVersionState", "RegisteredModel", "RegisteredModelState"]
