"""Where files go that are uploaded: any storage that can be written, by its URI or by the predecessor's parameters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.utils import OCIParams, S3Params

if TYPE_CHECKING:
    from modelreg.storage import PushResult
    from modelreg.storage.backends import Backend
    from modelreg.storage.model import UploadedFile
    from modelreg.storage.uri import StorageURI
    from modelreg.storageconfig import StorageSettings


@attrs.frozen
class Staged:
    """What was read and hashed before a byte of it is sent.

    Attributes:
        files: Every file, sorted by path.
        digest: ``sha256:<hex>`` that whoever fetches it will find.
    """

    files: tuple[UploadedFile, ...]
    digest: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Destination(Protocol):
    """Where an upload goes."""

    @property
    def uri(self) -> str:
        """Where the files will be, without credentials."""
        ...

    def stage(self, source: Path) -> Staged:
        """Read and hash what is to be stored; nothing is sent."""
        ...

    def check(self, source: Path) -> None:
        """Refuse to store it among files that do not belong to it."""
        ...

    def store(self, source: Path, staged: Staged | None = None) -> PushResult:
        """Store it, and return what was stored; what is not as it was staged is refused."""
        ...


def destination(source: Path, params: Any) -> Destination:
    """Return where ``params`` say that a file or folder goes.

    Args:
        source: The file or folder.
        params: URI to store it under, :class:`~modelreg.utils.S3Params` or :class:`~modelreg.utils.OCIParams`.

    Raises:
        InvalidInput: It is none of these, or a setting cannot be meant.
    """
    from modelreg.storage import parse_uri
    from modelreg.storageconfig import StorageSettings

    settings = StorageSettings.from_env()
    if isinstance(params, OCIParams):
        params.check_tool()
        return ImageDestination(params, oci_settings(settings, params))
    if isinstance(params, S3Params):
        settings = params.settings(settings)
        params = params.uri_of(source, endpoint=settings.s3.endpoint, region=settings.s3.region)
    if not isinstance(params, str):
        raise InvalidInput(
            f"cannot upload to a {type(params).__name__}",
            next_step="give a URI, S3Params or OCIParams as upload_params",
        )
    return StorageDestination(parse_uri(params), settings)


def upload(source: Path, params: Any) -> PushResult:
    """Store a file or folder, and return what was stored.

    Args:
        source: The file or folder.
        params: Where, as :func:`destination` takes it.

    Raises:
        InvalidInput: The destination cannot be used, or the source changed meanwhile.
        StorageError: The storage failed, or cannot be written.
    """
    return destination(source, params).store(source)


@attrs.frozen
class StorageDestination:
    """A URI of a storage.

    Attributes:
        at: The URI.
        settings: How the storage is reached.
    """

    at: StorageURI
    settings: StorageSettings

    @property
    def uri(self) -> str:
        """The URI, without credentials."""
        return self.at.normalised

    def stage(self, source: Path) -> Staged:
        """Return what a file or folder holds now.

        Raises:
            InvalidInput: It cannot be read, or changed meanwhile.
            ObjectNotFound: It does not exist.
        """
        from modelreg.storage.uploading import stage

        concurrency = self.settings.transfer.concurrency
        files = stage(source, into_folder=self.at.is_folder, concurrency=concurrency)
        return _with_digest(files, is_file=self._is_file(source))

    def check(self, source: Path) -> None:
        """Refuse a folder that holds other files already: whoever fetches it would get them as well.

        Raises:
            InvalidInput: It holds some.
            StorageError: The storage failed.
        """
        from modelreg.storage.uploading import check_free

        with self._opened() as backend:
            check_free(backend, source)

    def store(self, source: Path, staged: Staged | None = None) -> PushResult:
        """Store a file or folder.

        Raises:
            InvalidInput: It is not what was staged any more.
            StorageError: The storage failed, or cannot be written.
        """
        from modelreg.storage import PushResult
        from modelreg.storage.uploading import upload as push_files

        with self._opened() as backend:
            files = push_files(backend, source, staged=None if staged is None else staged.files)
        stored = _with_digest(files, is_file=self._is_file(source))
        return PushResult(self.uri, stored.digest, stored.size, stored.files)

    def _is_file(self, source: Path) -> bool:
        return source.is_file() and not self.at.is_folder

    def _opened(self) -> Backend:
        from modelreg.storage import open_backend

        return open_backend(self.at, settings=self.settings)


@attrs.frozen
class ImageDestination:
    """An image in an OCI registry.

    Attributes:
        params: Which, and what it is made of.
        settings: How registries are reached.
    """

    params: OCIParams
    settings: StorageSettings

    @property
    def uri(self) -> str:
        """The image's URI."""
        return f"oci://{self.params.oci_ref}"

    def stage(self, source: Path) -> Staged:
        """Return what the image will hold: in one, a single file is below a folder as well, and so is the card.

        Raises:
            InvalidInput: It cannot be read, or changed meanwhile.
            ObjectNotFound: It does not exist.
        """
        from modelreg.storage.uploading import stage

        files = {file.path: file for file in stage(source, into_folder=True)}
        if self.params.modelcard is not None:
            files |= {card.path: card for card in stage(self.params.modelcard, into_folder=True)}
        return _with_digest(sorted(files.values(), key=lambda one: one.path), is_file=False)

    def check(self, source: Path) -> None:
        """Do nothing: an image is written whole, and holds nothing else."""

    def store(self, source: Path, staged: Staged | None = None) -> PushResult:
        """Make the image and push it.

        Raises:
            InvalidInput: It is not what was staged any more, or the image cannot be made.
            StorageError: A registry of images failed.
        """
        from modelreg.storage import PushResult
        from modelreg.storage.oci.modelcars import push_modelcar, save_with_tool

        params, tool = self.params, self.params.custom_oci_backend
        image: dict[str, Any] = {"base_image": params.base_image, "card": params.modelcard, "settings": self.settings}
        if tool is None:
            files = push_modelcar(source, params.oci_ref, **image)
        else:
            files = save_with_tool(tool, source, params.oci_ref, folder=params.dest_dir, **image)
        stored = _with_digest(files, is_file=False)
        if staged is not None and stored != staged:
            raise InvalidInput(f"{source} changed while it was pushed", next_step="push it again once it is complete")
        return PushResult(self.uri, stored.digest, stored.size, stored.files)


def oci_settings(settings: StorageSettings, params: OCIParams) -> StorageSettings:
    """Return ``settings`` with the credentials that ``params`` name.

    Raises:
        InvalidInput: The variable that is to hold them is not set.
    """
    login = settings.oci.logged_in(
        variable=params.oci_auth_env_var, username=params.oci_username, password=params.oci_password
    )
    return attrs.evolve(settings, oci=login)


def _with_digest(files: Iterable[UploadedFile], *, is_file: bool) -> Staged:
    from modelreg.cache.manifests import Entry, pushed_digest

    files = tuple(files)
    return Staged(files, pushed_digest([Entry(file.path, file.sha256, file.size) for file in files], is_file=is_file))
