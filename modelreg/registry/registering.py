"""The part of the registry that registers models: those that are stored already, and those that it stores first."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from modelreg.exceptions import UnsupportedType
from modelreg.registry.part import RegistryPart
from modelreg.registry.registration import IfExists, Registration, register
from modelreg.types.artifacts import ModelArtifact
from modelreg.types.base import CustomProperties, SupportedTypes
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.utils import OCIParams, S3Params, save_to_s3


class RegisteringMethods(RegistryPart):
    """How :class:`~modelreg.ModelRegistry` registers models."""

    def register_model(  # noqa: PLR0917 - the order in which the predecessor documents them
        self,
        name: str,
        uri: str,
        version: str,
        model_format_name: str,
        model_format_version: str,
        storage_key: str | None = None,
        storage_path: str | None = None,
        author: str | None = None,
        owner: str | None = None,
        version_description: str | None = None,
        metadata: Mapping[str, SupportedTypes] | None = None,
        *,
        service_account_name: str | None = None,
        model_source_kind: str | None = None,
        model_source_class: str | None = None,
        model_source_group: str | None = None,
        model_source_id: str | None = None,
        model_source_name: str | None = None,
        description: str | None = None,
        artifact_metadata: Mapping[str, SupportedTypes] | None = None,
        if_exists: IfExists = "error",
    ) -> RegisteredModel:
        """Return the model, once it has a new version whose files are at ``uri``.

        Model, version and artifact are written, or an error is raised after which the same call again writes what is
        missing. Of callers that register one version at the same time, one wins and the others get an error.

        Args:
            name: Name of the model; it is created where there is none.
            uri: Where the version's files are; nothing is moved or read.
            version: Name of the version, new to the model.
            model_format_name: Name of the format, such as ``onnx``.
            model_format_version: Version of the format.
            storage_key: Name of the secret that opens the storage.
            storage_path: Path in that storage.
            author: Who made the version; the registry's author by default.
            owner: Owner of the model where it is created; the registry's author by default.
            version_description: Free text about the version.
            metadata: Custom properties of the version.
            service_account_name: Service account that holds the secret.
            model_source_kind: Kind of system that the model came from.
            model_source_class: Class within the kind.
            model_source_group: Group within the class.
            model_source_id: Id of the source within the group.
            model_source_name: Name of the source for people.
            description: The old name of ``version_description``.
            artifact_metadata: Custom properties of the artifact.
            if_exists: What to do where the version exists with its artifact: ``"error"``, or ``"reuse"`` it as it is.

        Raises:
            InvalidInput: If an argument cannot be registered; nothing was sent.
            DuplicateError: If the model has that version, and ``if_exists`` is ``"error"``; nothing was changed.
            StoreError: If the registry fails.
        """
        wanted = self._registration(
            name,
            version,
            author=author,
            owner=owner,
            description=renamed_description(version_description, description),
            metadata=metadata,
            if_exists=if_exists,
            artifact=ModelArtifact(
                name=name,
                uri=uri,
                model_format_name=model_format_name,
                model_format_version=model_format_version,
                storage_key=storage_key,
                storage_path=storage_path,
                service_account_name=service_account_name,
                model_source_kind=model_source_kind,
                model_source_class=model_source_class,
                model_source_group=model_source_group,
                model_source_id=model_source_id,
                model_source_name=model_source_name,
                custom_properties=_properties(artifact_metadata),
            ),
        )
        return register(self.api, wanted)

    def upload_artifact_and_register_model(  # noqa: PLR0917 - the order in which the predecessor documents them
        self,
        name: str,
        model_files_path: str | os.PathLike[str],
        upload_params: S3Params | OCIParams | str,
        version: str,
        model_format_name: str,
        model_format_version: str,
        *,
        storage_path: str | None = None,
        storage_key: str | None = None,
        service_account_name: str | None = None,
        author: str | None = None,
        owner: str | None = None,
        version_description: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, SupportedTypes] | None = None,
        if_exists: IfExists = "error",
    ) -> RegisteredModel:
        """Return the model, once its files are stored and it has a new version of them.

        The files are read and hashed first. What was registered is never overwritten: a version that is complete, and a
        place where another artifact has other files, are refused before a byte is sent. Digest and size are recorded
        with the artifact, as the custom properties ``modelreg.digest`` and ``modelreg.size``, so that a fetch verifies
        what it gets. Where the registry fails after the files are stored, the error says where they are; the same call
        again registers them.

        Args:
            name: Name of the model; it is created where there is none.
            model_files_path: The file or folder to store.
            upload_params: Where to store it: a URI of any storage that can be written,
                :class:`~modelreg.utils.S3Params` or :class:`~modelreg.utils.OCIParams`.
            version: Name of the version, new to the model.
            model_format_name: Name of the format, such as ``onnx``.
            model_format_version: Version of the format.
            storage_path: Path in the storage, for whoever reads the artifact.
            storage_key: Name of the secret that opens the storage.
            service_account_name: Service account that holds the secret.
            author: Who made the version; the registry's author by default.
            owner: Owner of the model where it is created; the registry's author by default.
            version_description: Free text about the version.
            description: The old name of ``version_description``.
            metadata: Custom properties of the version.
            if_exists: What to do where the version exists with its artifact: ``"error"``, or ``"reuse"`` it as it is.

        Raises:
            InvalidInput: If an argument cannot be used, the files change while they are read, or other files are at
                the place; nothing was registered.
            DuplicateError: If the model has that version, and ``if_exists`` is ``"error"``, or another artifact has
                its files at the place.
            StorageError: If the storage fails; nothing was registered.
            StoreError: If the registry fails.

        Example:
            >>> import pathlib, tempfile
            >>> folder = pathlib.Path(tempfile.mkdtemp())
            >>> weights = folder / "weights.bin"
            >>> _ = weights.write_bytes(b"1234")
            >>> from modelreg import ModelRegistry
            >>> with ModelRegistry() as registry:
            ...     model = registry.upload_artifact_and_register_model(
            ...         "fraud", weights, (folder / "store" / "1.0.0.bin").as_uri(), "1.0.0", "raw", "1"
            ...     )
            ...     registry.get_model_artifact("fraud", "1.0.0").custom_properties["modelreg.size"]
            4
        """
        from modelreg.registry.storing import Storing, store_and_register
        from modelreg.registry.uploading import destination

        source = Path(model_files_path)
        artifact = ModelArtifact(
            name=name,
            uri=str(source),
            model_format_name=model_format_name,
            model_format_version=model_format_version,
            storage_key=storage_key,
            storage_path=storage_path,
            service_account_name=service_account_name,
        )
        wanted = self._registration(
            name,
            version,
            author=author,
            owner=owner,
            description=renamed_description(version_description, description),
            metadata=metadata,
            if_exists=if_exists,
            artifact=artifact,
        )
        storing = Storing(bring=lambda: source, destination=lambda path: destination(path, upload_params))
        return store_and_register(self.api, wanted, storing)

    #: Saves files to S3 and registers nothing: :func:`modelreg.utils.save_to_s3`.
    save_to_s3 = staticmethod(save_to_s3)

    def _registration(
        self,
        name: str,
        version: str,
        *,
        author: str | None,
        owner: str | None,
        description: str | None,
        metadata: Mapping[str, SupportedTypes] | None,
        if_exists: IfExists,
        artifact: ModelArtifact,
    ) -> Registration:
        return Registration(
            model=RegisteredModel(name, owner=owner or self.author),
            version=ModelVersion(
                version,
                author=author or self.author,
                description=description,
                custom_properties=_properties(metadata),
            ),
            artifact=artifact,
            if_exists=if_exists,
        )


def _properties(metadata: Mapping[str, SupportedTypes] | None) -> CustomProperties:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise UnsupportedType(f"metadata is a {type(metadata).__name__}", next_step="give a dict of custom properties")
    return dict(metadata or {})


def renamed_description(version_description: str | None, description: str | None) -> str | None:
    """Return the description that was given, under either name; the old one warns the caller of the method."""
    if description is None:
        return version_description
    # The stack up to the caller: this function, and the method.
    warnings.warn("description is now version_description", DeprecationWarning, stacklevel=3)
    return description if version_description is None else version_description
