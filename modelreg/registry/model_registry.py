"""``ModelRegistry``, the registry as users hold it."""

from __future__ import annotations

import logging
import os
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from modelreg.config import RegistrySettings
from modelreg.connecting import ServerOptions, connect_to
from modelreg.exceptions import InvalidInput, NotFound
from modelreg.registry.aliases import AliasMethods
from modelreg.registry.hub import HubMethods
from modelreg.registry.lineage import LineageMethods
from modelreg.registry.part import or_none, text_id
from modelreg.registry.resources import ResourceMethods
from modelreg.registry.serving import ServingMethods
from modelreg.registry.tracking import TrackingMethods
from modelreg.types.artifacts import Artifact, ModelArtifact
from modelreg.types.models import ModelVersion, RegisteredModel
from modelreg.types.options import ListOptions, Page
from modelreg.types.pager import Pager
from modelreg.types.states import ArtifactTypeQueryParam

if TYPE_CHECKING:
    from typing_extensions import Self


class ModelRegistry(HubMethods, ResourceMethods, TrackingMethods, ServingMethods, AliasMethods, LineageMethods):
    """A registry of models: Kubeflow's at an ``http(s)://`` address, or one of modelreg's own in a database.

    It may be used from any number of threads, inside a running event loop and after a fork, and closed when it is no
    longer needed (it is a context manager, too).

    Args:
        server_address: ``http(s)://`` address of a registry server, ``sqlite:///path`` or ``postgresql://...`` for a
            database that this process opens itself. ``None`` for ``MODELREG_REGISTRY_URL``, else a database in the
            user's data folder: there is nothing to start.
        port: Port of the server, where the address has none; by default 443 for https and 8080 for http.
        author: Author of what is registered without one; ``None`` for the name one is logged in with.
        is_secure: Whether to speak TLS, where the address has no scheme (then by default yes). ``False`` allows a
            token over plain http to another machine.
        user_token: Bearer token; or the path of a file with it, as a ``Path``; or a function that returns it.
        user_token_envvar: Environment variable that holds the path of a file with the token; by default
            ``KF_PIPELINES_SA_TOKEN_PATH``, else the service account's file in a Kubernetes pod. The file is read
            again when it changes.
        custom_ca: Path of a file with the certificates of the authorities to trust.
        custom_ca_envvar: Environment variable that holds that path.
        log_level: Level of the ``modelreg`` logger; ``None`` leaves it as it is.
        async_runner: Accepted so that code written for Kubeflow's client runs; nothing needs it.
        connect: Whether to check at once that the registry answers; ``False`` sends nothing before the first call.
        timeout: Seconds for a connection and for each silence of the server, as one number or two.
        settings: What the environment says; read from it by default.

    Raises:
        InvalidInput: If the arguments contradict each other.
        StoreError: If the registry does not answer, or its database cannot be opened.

    Example:
        >>> with ModelRegistry(author="ann") as registry:
        ...     model = registry.register_model("fraud", "s3://models/fraud/1", "1.0.0", "onnx", "1")
        ...     registry.get_model_artifact("fraud", "1.0.0").uri
        's3://models/fraud/1'
    """

    def __init__(
        self,
        server_address: str | None = None,
        port: int | None = None,
        *,
        author: str | None = None,
        is_secure: bool | None = None,
        user_token: str | os.PathLike[str] | Callable[[], str] | None = None,
        user_token_envvar: str | None = None,
        custom_ca: str | None = None,
        custom_ca_envvar: str | None = None,
        log_level: int | None = None,
        async_runner: Callable[..., Any] | None = None,
        connect: bool = True,
        timeout: float | tuple[float, float] | None = None,
        settings: RegistrySettings | None = None,
    ) -> None:
        if async_runner is not None:
            warnings.warn(
                "async_runner is not needed: modelreg runs no event loop of its own", DeprecationWarning, stacklevel=2
            )
        if log_level is not None:
            logging.getLogger("modelreg").setLevel(log_level)
        options = ServerOptions(
            port=port,
            is_secure=is_secure,
            user_token=user_token,
            user_token_envvar=user_token_envvar,
            custom_ca=custom_ca,
            custom_ca_envvar=custom_ca_envvar,
            timeout=timeout,
        )
        self._settings = settings or RegistrySettings.from_env()
        self._connection = connect_to(server_address, options, settings=self._settings)
        super().__init__(self._connection.api, author=author)
        # One that nobody closes is closed when it goes out of use, or with the interpreter.
        self._give_back = weakref.finalize(self, self._connection.close)
        if connect and self._connection.is_remote:
            self.api.get_registered_models(ListOptions(page_size=1))

    @property
    def url(self) -> str:
        """The registry's address, without credentials."""
        return self._connection.url

    @property
    def settings(self) -> RegistrySettings:
        """What the environment said when the registry was opened."""
        return self._settings

    def close(self) -> None:
        """Finish the runs that are left and give back connections and files; the registry cannot be used after it."""
        self.close_tracking()
        self._give_back()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: connections and journals belong to one process."""
        raise TypeError(f"{self!r} cannot be pickled: make one in each process, from its address")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ModelRegistry({self.url!r})"

    def get_registered_model(self, name: str) -> RegisteredModel | None:
        """Return the model of that name, or ``None``.

        Raises:
            StoreError: If the registry fails.
        """
        return or_none(self.api.find_registered_model, name=name)

    def get_model_version(self, name: str, version: str) -> ModelVersion | None:
        """Return a version of a model, or ``None`` where the model does not have it.

        Args:
            name: Name of the model.
            version: Name of the version.

        Raises:
            NotFound: If there is no such model.
            StoreError: If the registry fails.
        """
        return or_none(self.api.find_model_version, name=version, parent_resource_id=self._model_id(name))

    def get_model_artifact(self, name: str, version: str) -> ModelArtifact | None:
        """Return the artifact that a version was registered with, or ``None`` where it has none.

        Args:
            name: Name of the model.
            version: Name of the version.

        Raises:
            NotFound: If there is no such model or version.
            StoreError: If the registry fails.
        """
        return or_none(self.api.find_model_artifact, name=name, parent_resource_id=self._version_id(name, version))

    def get_registered_models(self) -> Pager[RegisteredModel]:
        """Return a pager over all models.

        Raises:
            StoreError: While it is read, if the registry fails.
        """
        return Pager(self.api.get_registered_models)

    def get_model_versions(self, name: str) -> Pager[ModelVersion]:
        """Return a pager over the versions of a model.

        Raises:
            NotFound: If there is no such model.
            StoreError: If the registry fails.
        """
        return Pager(partial(self.api.get_registered_model_versions, self._model_id(name)))

    def get_model_artifacts(self, name: str | None = None, version: str | None = None) -> Pager[ModelArtifact]:
        """Return a pager over the model artifacts of a version, or over all where none is named.

        Args:
            name: Name of the model.
            version: Name of the version.

        Raises:
            InvalidInput: If one of the two is given alone.
            NotFound: If there is no such model or version.
            StoreError: If the registry fails.
        """
        if name is None and version is None:
            return Pager(self.api.get_model_artifacts)
        read = self._version_artifacts(name, version, ArtifactTypeQueryParam.MODEL_ARTIFACT)

        def read_model_artifacts(options: ListOptions) -> Page[ModelArtifact]:
            page = read(options)
            return Page([item for item in page.items if isinstance(item, ModelArtifact)], page.next_page_token)

        return Pager(read_model_artifacts)

    def get_artifacts(
        self,
        name: str | None = None,
        version: str | None = None,
        *,
        filter: str | None = None,
        artifact_type: ArtifactTypeQueryParam | str | None = None,
    ) -> Pager[Artifact]:
        """Return a pager over the artifacts of a version, or over all where none is named.

        Args:
            name: Name of the model.
            version: Name of the version.
            filter: SQL-like filter, such as ``uri LIKE "s3://%"``.
            artifact_type: Type to limit the listing to, such as ``"doc-artifact"``.

        Raises:
            InvalidInput: If one of ``name`` and ``version`` is given alone, or the type is unknown.
            NotFound: If there is no such model or version.
            StoreError: If the registry fails.
        """
        kind = None if artifact_type is None else _artifact_type(artifact_type)
        if name is None and version is None:
            pager = Pager(partial(self.api.get_artifacts, artifact_type=kind))
        else:
            pager = Pager(self._version_artifacts(name, version, kind))
        return pager if filter is None else pager.filter(filter)

    def _version_artifacts(
        self, name: str | None, version: str | None, artifact_type: ArtifactTypeQueryParam | None
    ) -> Callable[[ListOptions], Page[Artifact]]:
        if name is None or version is None:
            raise InvalidInput("a version is named by name= and version= together")
        parent = self._version_id(name, version)
        return partial(self.api.get_model_version_artifacts, parent, artifact_type=artifact_type)

    def _model_id(self, name: str) -> str:
        model = self.get_registered_model(name)
        if model is None:
            raise NotFound(f"no model {name!r}", next_step="get_registered_models() lists those there are")
        return text_id(model)

    def _version_id(self, name: str, version: str) -> str:
        found = self.get_model_version(name, version)
        if found is None:
            raise NotFound(
                f"model {name!r} has no version {version!r}",
                next_step=f"get_model_versions({name!r}) lists its versions",
            )
        return text_id(found)


def _artifact_type(text: str) -> ArtifactTypeQueryParam:
    try:
        return ArtifactTypeQueryParam(text)
    except ValueError as error:
        known = ", ".join(ArtifactTypeQueryParam)
        raise InvalidInput(f"artifact type {text!r} is unknown", next_step=f"it is one of {known}") from error
