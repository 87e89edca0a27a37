"""The part of the registry that says where models are served."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from modelreg.exceptions import NotFound
from modelreg.registry.part import RegistryPart, or_none, text_id
from modelreg.types.base import SupportedTypes
from modelreg.types.pager import Pager
from modelreg.types.serving import InferenceService, ServingEnvironment
from modelreg.types.states import InferenceServiceState


class ServingMethods(RegistryPart):
    """What :class:`~modelreg.ModelRegistry` can do with serving environments and inference services."""

    def create_serving_environment(
        self,
        name: str,
        *,
        description: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, SupportedTypes] | None = None,
    ) -> ServingEnvironment:
        """Return a new serving environment.

        Args:
            name: Its name, such as a cluster's namespace.
            description: Free text.
            external_id: Its id in another system.
            metadata: Custom properties.

        Raises:
            DuplicateError: If there is one of that name.
            StoreError: If the registry fails.
        """
        environment = ServingEnvironment(
            name, description=description, external_id=external_id, custom_properties=dict(metadata or {})
        )
        return self.api.create_serving_environment(environment)

    def get_serving_environment(self, name: str) -> ServingEnvironment | None:
        """Return the serving environment of that name, or ``None``.

        Raises:
            StoreError: If the registry fails.
        """
        return or_none(self.api.find_serving_environment, name=name)

    def get_serving_environments(self) -> Pager[ServingEnvironment]:
        """Return a pager over all serving environments.

        Raises:
            StoreError: While it is read, if the registry fails.
        """
        return Pager(self.api.get_serving_environments)

    def create_inference_service(
        self,
        name: str,
        *,
        environment: str,
        model: str,
        version: str | None = None,
        runtime: str | None = None,
        desired_state: InferenceServiceState | str = InferenceServiceState.DEPLOYED,
        description: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, SupportedTypes] | None = None,
    ) -> InferenceService:
        """Return a new inference service: a model that a serving environment should answer for.

        Args:
            name: Its name, unique within the environment.
            environment: Name of the serving environment.
            model: Name of the registered model.
            version: The version to serve; ``None`` for the newest at any time.
            runtime: Name of the model runtime.
            desired_state: Whether it should be deployed.
            description: Free text.
            external_id: Its id in another system.
            metadata: Custom properties.

        Raises:
            NotFound: If the environment, the model or the version does not exist.
            DuplicateError: If the environment has one of that name.
            StoreError: If the registry fails.
        """
        model_id = text_id(self.api.find_registered_model(name=model))
        version_id = None
        if version is not None:
            version_id = text_id(self.api.find_model_version(name=version, parent_resource_id=model_id))
        service = InferenceService(
            name,
            registered_model_id=model_id,
            serving_environment_id=self._environment_id(environment),
            model_version_id=version_id,
            runtime=runtime,
            desired_state=desired_state,
            description=description,
            external_id=external_id,
            custom_properties=dict(metadata or {}),
        )
        return self.api.create_inference_service(service)

    def get_inference_service(self, name: str, environment: str) -> InferenceService | None:
        """Return the inference service of that name in the serving environment of that name, or ``None``.

        Raises:
            NotFound: If there is no such environment.
            StoreError: If the registry fails.
        """
        parent = self._environment_id(environment)
        return or_none(self.api.find_inference_service, name=name, parent_resource_id=parent)

    def get_inference_services(self, environment: str | None = None) -> Pager[InferenceService]:
        """Return a pager over the inference services of one environment, or over all where none is named.

        Raises:
            NotFound: If there is no such environment.
            StoreError: If the registry fails.
        """
        if environment is None:
            return Pager(self.api.get_inference_services)
        return Pager(partial(self.api.get_environment_inference_services, self._environment_id(environment)))

    def _environment_id(self, name: str) -> str:
        environment = self.get_serving_environment(name)
        if environment is None:
            raise NotFound(
                f"no serving environment {name!r}", next_step="get_serving_environments() lists those there are"
            )
        return text_id(environment)
