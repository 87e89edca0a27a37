"""Operations on registered models and their versions."""

from __future__ import annotations

from collections.abc import Collection

from modelreg.client.operations import Operations, quoted
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.options import ListOptions, Page


class ModelOperations(Operations):
    """Operations on registered models and their versions."""

    def find_registered_model(self, *, name: str | None = None, external_id: str | None = None) -> RegisteredModel:
        """Return the model of a name or an external id.

        Args:
            name: Its name.
            external_id: Its id in another system.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(RegisteredModel, "registered_model", name=name, externalId=external_id)

    def get_registered_model(self, id: str) -> RegisteredModel:
        """Return the model of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(RegisteredModel, f"registered_models/{quoted(id)}")

    def get_registered_models(self, options: ListOptions | None = None) -> Page[RegisteredModel]:
        """Return a page of all models.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(RegisteredModel, "registered_models", options)

    def create_registered_model(self, model: RegisteredModel) -> RegisteredModel:
        """Return the model as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(RegisteredModel, "registered_models", model, find=self.find_registered_model)

    def update_registered_model(
        self, model: RegisteredModel, *, only: Collection[str] | None = None
    ) -> RegisteredModel:
        """Return the model after its editable fields were written.

        Args:
            model: The model.
            only: Names of the fields to write, where others may have changed in the registry.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return self._update(RegisteredModel, "registered_models", model, only)

    def get_registered_model_versions(
        self,
        model_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        external_id: str | None = None,
    ) -> Page[ModelVersion]:
        """Return a page of the versions of a model.

        Args:
            model_id: Whose.
            options: Filter, order and page.
            name: Only that of this name.
            external_id: Only that of this id in another system.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(
            ModelVersion,
            f"registered_models/{quoted(model_id)}/versions",
            options,
            name=name,
            externalId=external_id,
        )

    def create_registered_model_version(self, model_id: str, version: ModelVersion) -> ModelVersion:
        """Return a version of a model as the registry created it.

        Raises:
            NotFound: There is nothing of the id ``model_id``.
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        path = f"registered_models/{quoted(model_id)}/versions"
        return self._create(
            ModelVersion,
            path,
            version,
            find=self.find_model_version,
            parent_resource_id=model_id,
        )

    def find_model_version(
        self, *, name: str | None = None, external_id: str | None = None, parent_resource_id: str | None = None
    ) -> ModelVersion:
        """Return the version of a name or an external id.

        Args:
            name: Its name; needs the id of the model as well.
            external_id: Its id in another system.
            parent_resource_id: Id of the model.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(
            ModelVersion, "model_version", name=name, externalId=external_id, parentResourceId=parent_resource_id
        )

    def get_model_version(self, id: str) -> ModelVersion:
        """Return the version of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(ModelVersion, f"model_versions/{quoted(id)}")

    def get_model_versions(self, options: ListOptions | None = None) -> Page[ModelVersion]:
        """Return a page of all versions of all models.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(ModelVersion, "model_versions", options)

    def create_model_version(self, version: ModelVersion) -> ModelVersion:
        """Return the version as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(
            ModelVersion,
            "model_versions",
            version,
            find=self.find_model_version,
            parent_resource_id=version.registered_model_id,
        )

    def update_model_version(self, version: ModelVersion, *, only: Collection[str] | None = None) -> ModelVersion:
        """Return the version after its editable fields were written.

        Args:
            version: The version.
            only: Names of the fields to write, where others may have changed in the registry.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return self._update(ModelVersion, "model_versions", version, only)
