"""Operations on serving environments, inference services and serving actions."""

from __future__ import annotations

from functools import partial

from modelreg.client.operations import Operations, quoted
from modelreg.exceptions import NotFound
from modelreg.http.paging import iterate
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.options import ListOptions, Page
from modelreg.types.serving import InferenceService, ServeModel, ServingEnvironment


class ServingOperations(Operations):
    """Operations on serving environments, inference services and serving actions."""

    def find_serving_environment(
        self, *, name: str | None = None, external_id: str | None = None
    ) -> ServingEnvironment:
        """Return the serving environment of a name or an external id.

        Args:
            name: Its name.
            external_id: Its id in another system.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(ServingEnvironment, "serving_environment", name=name, externalId=external_id)

    def get_serving_environment(self, id: str) -> ServingEnvironment:
        """Return the serving environment of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(ServingEnvironment, f"serving_environments/{quoted(id)}")

    def get_serving_environments(self, options: ListOptions | None = None) -> Page[ServingEnvironment]:
        """Return a page of all serving environments.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(ServingEnvironment, "serving_environments", options)

    def create_serving_environment(self, environment: ServingEnvironment) -> ServingEnvironment:
        """Return the serving environment as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(
            ServingEnvironment,
            "serving_environments",
            environment,
            find=self.find_serving_environment,
        )

    def update_serving_environment(self, environment: ServingEnvironment) -> ServingEnvironment:
        """Return the serving environment after its editable fields were written.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return self._update(ServingEnvironment, "serving_environments", environment)

    def get_environment_inference_services(
        self,
        environment_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        external_id: str | None = None,
    ) -> Page[InferenceService]:
        """Return a page of the inference services of an environment.

        Args:
            environment_id: Whose.
            options: Filter, order and page.
            name: Only that of this name.
            external_id: Only that of this id in another system.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(
            InferenceService,
            f"serving_environments/{quoted(environment_id)}/inference_services",
            options,
            name=name,
            externalId=external_id,
        )

    def create_environment_inference_service(self, environment_id: str, service: InferenceService) -> InferenceService:
        """Return an inference service of an environment as the registry created it.

        Raises:
            NotFound: There is nothing of the id ``environment_id``.
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        path = f"serving_environments/{quoted(environment_id)}/inference_services"
        return self._create(
            InferenceService,
            path,
            service,
            find=self.find_inference_service,
            parent_resource_id=environment_id,
        )

    def find_inference_service(
        self, *, name: str | None = None, external_id: str | None = None, parent_resource_id: str | None = None
    ) -> InferenceService:
        """Return the inference service of a name or an external id.

        Args:
            name: Its name; needs the id of the serving environment as well.
            external_id: Its id in another system.
            parent_resource_id: Id of the serving environment.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(
            InferenceService,
            "inference_service",
            name=name,
            externalId=external_id,
            parentResourceId=parent_resource_id,
        )

    def get_inference_service(self, id: str) -> InferenceService:
        """Return the inference service of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(InferenceService, f"inference_services/{quoted(id)}")

    def get_inference_services(self, options: ListOptions | None = None) -> Page[InferenceService]:
        """Return a page of all inference services of all environments.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(InferenceService, "inference_services", options)

    def create_inference_service(self, service: InferenceService) -> InferenceService:
        """Return the inference service as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(
            InferenceService,
            "inference_services",
            service,
            find=self.find_inference_service,
            parent_resource_id=service.serving_environment_id,
        )

    def update_inference_service(self, service: InferenceService) -> InferenceService:
        """Return the inference service after its editable fields were written.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return self._update(InferenceService, "inference_services", service)

    def get_inference_service_model(self, service_id: str) -> RegisteredModel:
        """Return the model that an inference service answers for.

        Raises:
            NotFound: There is no such service.
            StoreError: The registry failed.
        """
        return self._get(RegisteredModel, f"inference_services/{quoted(service_id)}/model")

    def get_inference_service_version(self, service_id: str) -> ModelVersion:
        """Return the version that an inference service answers for: the newest where it names none.

        Raises:
            NotFound: There is no such service, or its model has no version.
            StoreError: The registry failed.
        """
        return self._get(ModelVersion, f"inference_services/{quoted(service_id)}/version")

    def get_inference_service_serves(
        self,
        service_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        external_id: str | None = None,
    ) -> Page[ServeModel]:
        """Return a page of the serving actions of an inference service.

        Args:
            service_id: Whose.
            options: Filter, order and page.
            name: Only that of this name.
            external_id: Only that of this id in another system.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(
            ServeModel,
            f"inference_services/{quoted(service_id)}/serves",
            options,
            name=name,
            externalId=external_id,
        )

    def create_inference_service_serve(self, service_id: str, serve: ServeModel) -> ServeModel:
        """Return a serving action of an inference service as the registry created it.

        Raises:
            NotFound: There is nothing of the id ``service_id``.
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        path = f"inference_services/{quoted(service_id)}/serves"
        return self._create(ServeModel, path, serve, find=partial(self._find_serve, service_id))

    def _find_serve(self, service_id: str, *, name: str | None = None, external_id: str | None = None) -> ServeModel:
        # The contract has no operation that finds one, and Kubeflow's server lists all whatever name it is given.
        read = partial(self.get_inference_service_serves, service_id, name=name, external_id=external_id)
        for serve in iterate(read):
            if name in {None, serve.name} and external_id in {None, serve.external_id}:
                return serve
        raise NotFound(f"inference service {service_id} has no such serving action")
