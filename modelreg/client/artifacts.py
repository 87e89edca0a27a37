"""Operations on artifacts, and on those of versions."""

from __future__ import annotations

from typing import TypeVar, cast

from modelreg.client.operations import CONTRACT, Operations, finder, quoted, read_resource
from modelreg.types.artifacts import Artifact, Metric, ModelArtifact, Parameter
from modelreg.types.options import ListOptions, Page
from modelreg.types.states import ArtifactTypeQueryParam
from modelreg.wire.registry_json import unstructure_upsert

A = TypeVar("A", bound=Artifact)


class ArtifactOperations(Operations):
    """Operations on artifacts, and on those of versions."""

    def find_artifact(
        self, *, name: str | None = None, external_id: str | None = None, parent_resource_id: str | None = None
    ) -> Artifact:
        """Return the artifact of a name or an external id.

        Args:
            name: Its name; needs the id of the version or run as well.
            external_id: Its id in another system.
            parent_resource_id: Id of the version or run.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(Artifact, "artifact", name=name, externalId=external_id, parentResourceId=parent_resource_id)

    def get_artifact(self, id: str) -> Artifact:
        """Return the artifact of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(Artifact, f"artifacts/{quoted(id)}")

    def get_artifacts(
        self, options: ListOptions | None = None, *, artifact_type: ArtifactTypeQueryParam | str | None = None
    ) -> Page[Artifact]:
        """Return a page of all artifacts, or of those of one type.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(Artifact, "artifacts", options, artifactType=artifact_type)

    def create_artifact(self, artifact: Artifact) -> Artifact:
        """Return the artifact as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(Artifact, "artifacts", artifact, find=self.find_artifact, parent_resource_id=None)

    def update_artifact(self, artifact: A) -> A:
        """Return the artifact after its editable fields were written.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return cast("A", self._update(Artifact, "artifacts", artifact))

    def find_model_artifact(
        self, *, name: str | None = None, external_id: str | None = None, parent_resource_id: str | None = None
    ) -> ModelArtifact:
        """Return the model artifact of a name or an external id.

        Args:
            name: Its name; needs the id of the version or run as well.
            external_id: Its id in another system.
            parent_resource_id: Id of the version or run.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._find(
            ModelArtifact, "model_artifact", name=name, externalId=external_id, parentResourceId=parent_resource_id
        )

    def get_model_artifact(self, id: str) -> ModelArtifact:
        """Return the model artifact of that id.

        Raises:
            NotFound: There is none.
            StoreError: The registry failed.
        """
        return self._get(ModelArtifact, f"model_artifacts/{quoted(id)}")

    def get_model_artifacts(self, options: ListOptions | None = None) -> Page[ModelArtifact]:
        """Return a page of all model artifacts.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(ModelArtifact, "model_artifacts", options)

    def create_model_artifact(self, artifact: ModelArtifact) -> ModelArtifact:
        """Return the model artifact as the registry created it.

        Raises:
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        return self._create(
            ModelArtifact, "model_artifacts", artifact, find=self.find_model_artifact, parent_resource_id=None
        )

    def update_model_artifact(self, artifact: ModelArtifact) -> ModelArtifact:
        """Return the model artifact after its editable fields were written.

        Raises:
            MissingMetadata: It has no id.
            NotFound: There is none of its id.
            StoreError: The registry failed.
        """
        return self._update(ModelArtifact, "model_artifacts", artifact)

    def get_model_version_artifacts(
        self,
        version_id: str,
        options: ListOptions | None = None,
        *,
        name: str | None = None,
        external_id: str | None = None,
        artifact_type: ArtifactTypeQueryParam | str | None = None,
    ) -> Page[Artifact]:
        """Return a page of the artifacts of a version.

        Args:
            version_id: Whose.
            options: Filter, order and page.
            name: Only that of this name.
            external_id: Only that of this id in another system.
            artifact_type: Only those of this type.

        Raises:
            StoreError: The registry failed, or refuses the options.
        """
        return self._list(
            Artifact,
            f"model_versions/{quoted(version_id)}/artifacts",
            options,
            name=name,
            externalId=external_id,
            artifactType=artifact_type,
        )

    def upsert_model_version_artifact(self, version_id: str, artifact: A) -> A:
        """Return an artifact of a version as the registry has it: changed where it has an id, else created.

        A metric or a parameter of a name that is there becomes its newest value.

        Raises:
            NotFound: There is nothing of the id ``version_id``.
            DuplicateError: Its name or its external id is taken.
            StoreError: The registry failed.
        """
        path = f"model_versions/{quoted(version_id)}/artifacts"
        return self._upsert(path, artifact, parent_id=version_id)

    def _upsert(self, path: str, artifact: A, *, parent_id: str) -> A:
        body = unstructure_upsert(artifact)
        if artifact.id is not None or isinstance(artifact, Parameter):
            # Done twice it is the same.
            return cast("A", read_resource(Artifact, self._session.post(f"{CONTRACT}/{path}", body, repeatable=True)))
        # A metric that is posted twice has two points: a lost answer stays lost.
        find = (
            None if isinstance(artifact, Metric) else finder(self.find_artifact, artifact, parent_resource_id=parent_id)
        )
        return cast("A", self._post(Artifact, path, body, find=find))
