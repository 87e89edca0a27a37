"""The part of the registry that treats resources of every type alike: update, archive, restore, delete, find."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import attrs

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import InvalidInput
from modelreg.registry.part import RegistryPart, or_none, text_id
from modelreg.types.artifacts import Artifact, ModelArtifact
from modelreg.types.base import BaseResource
from modelreg.types.experiments import Experiment, ExperimentRun
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.serving import InferenceService, ServeModel, ServingEnvironment

R = TypeVar("R", bound=BaseResource)
Archivable = TypeVar("Archivable", RegisteredModel, ModelVersion, Experiment, ExperimentRun)

_UPDATE: dict[type[BaseResource], Callable[..., Any]] = {
    RegisteredModel: RegistryAPI.update_registered_model,
    ModelVersion: RegistryAPI.update_model_version,
    Artifact: RegistryAPI.update_artifact,
    Experiment: RegistryAPI.update_experiment,
    ExperimentRun: RegistryAPI.update_experiment_run,
    ServingEnvironment: RegistryAPI.update_serving_environment,
    InferenceService: RegistryAPI.update_inference_service,
}
_FIND: dict[type[BaseResource], Callable[..., Any]] = {
    RegisteredModel: RegistryAPI.find_registered_model,
    ModelVersion: RegistryAPI.find_model_version,
    ModelArtifact: RegistryAPI.find_model_artifact,
    Artifact: RegistryAPI.find_artifact,
    Experiment: RegistryAPI.find_experiment,
    ExperimentRun: RegistryAPI.find_experiment_run,
    ServingEnvironment: RegistryAPI.find_serving_environment,
    InferenceService: RegistryAPI.find_inference_service,
}
_DELETE: dict[type[BaseResource], Callable[..., Any]] = {
    RegisteredModel: RegistryAPI.delete_registered_model,
    ModelVersion: RegistryAPI.delete_model_version,
    Artifact: RegistryAPI.delete_artifact,
    Experiment: RegistryAPI.delete_experiment,
    ExperimentRun: RegistryAPI.delete_experiment_run,
    ServingEnvironment: RegistryAPI.delete_serving_environment,
    InferenceService: RegistryAPI.delete_inference_service,
    ServeModel: RegistryAPI.delete_serve_model,
}


class ResourceMethods(RegistryPart):
    """What :class:`~modelreg.ModelRegistry` can do with resources of any type."""

    def update(self, model: R) -> R:
        """Return the resource as the registry has it after its editable fields were written.

        Args:
            model: A resource that was read from the registry and then changed.

        Raises:
            InvalidInput: If it is no resource that can be changed.
            MissingMetadata: If it has no id.
            NotFound: If the registry does not have it.
            StoreError: If the registry fails.
        """
        write = _operation(_UPDATE, type(model), "updated")
        text_id(model)
        updated: R = write(self.api, model)
        return updated

    def archive(self, resource: Archivable) -> Archivable:
        """Return the model, version, experiment or run after it was archived; nothing else of it is changed.

        Raises:
            InvalidInput: If it is nothing that can be archived.
            MissingMetadata: If it has no id.
            NotFound: If the registry does not have it.
            StoreError: If the registry fails.
        """
        return self._set_state(resource, "ARCHIVED")

    def restore(self, resource: Archivable) -> Archivable:
        """Return the model, version, experiment or run after it was brought back from the archive.

        Raises:
            InvalidInput: If it is nothing that can be archived.
            MissingMetadata: If it has no id.
            NotFound: If the registry does not have it.
            StoreError: If the registry fails.
        """
        return self._set_state(resource, "LIVE")

    def delete(self, resource: BaseResource) -> None:
        """Delete a resource with everything that belongs to it, for good; files that it points to stay.

        Only modelreg's own registry can do this. Kubeflow's keeps everything: archive it there.

        Raises:
            InvalidInput: If it is no resource.
            MissingMetadata: If it has no id.
            NotFound: If the registry does not have it.
            StoreError: If the registry fails, or cannot delete.
        """
        _operation(_DELETE, type(resource), "deleted")(self.api, text_id(resource))

    def find_by_external_id(self, cls: type[R], external_id: str) -> R | None:
        """Return the resource of a type that has an id of another system, or ``None``.

        Args:
            cls: The type, such as :class:`~modelreg.types.RegisteredModel`.
            external_id: The id.

        Raises:
            InvalidInput: If resources of that type cannot be found so.
            StoreError: If the registry fails.

        Example:
            >>> from modelreg.testing import in_process_registry
            >>> with in_process_registry() as registry:
            ...     registry.find_by_external_id(RegisteredModel, "card-42") is None
            True
        """
        found: R | None = or_none(partial(_operation(_FIND, cls, "found"), self.api), external_id=external_id)
        return found

    def _set_state(self, resource: Archivable, state: str) -> Archivable:
        if not isinstance(resource, RegisteredModel | ModelVersion | Experiment | ExperimentRun):
            raise InvalidInput(f"a {type(resource).__name__} cannot be archived")
        if isinstance(resource, ExperimentRun):
            # Kubeflow's server takes a status that is left out for RUNNING, so it is written as it is there now.
            resource = self.api.get_experiment_run(text_id(resource))
        changed = attrs.evolve(resource, state=state)
        # Nothing else: this copy may be older than what the registry has.
        archived: Archivable = _UPDATE[type(resource)](self.api, changed, only=("state", "status"))
        return archived


def _operation(table: dict[type[BaseResource], Callable[..., Any]], cls: type, what: str) -> Callable[..., Any]:
    """Return the operation for ``cls``, or that for its base class."""
    if not isinstance(cls, type):
        raise InvalidInput(f"{cls!r} is no type of resources", next_step="give a class such as RegisteredModel")
    for base in cls.__mro__:
        if base in table:
            return table[base]
    raise InvalidInput(f"a {cls.__name__} cannot be {what}")
