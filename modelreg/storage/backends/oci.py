"""OCI registries: images that hold a model, and artifacts that are its files."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from modelreg.exceptions import InvalidInput, InvalidURI, ModelRegError
from modelreg.storage.backends.base import Backend, Listed
from modelreg.storage.model import LocalFile, RemoteFile, UploadedFile
from modelreg.storage.oci.manifests import Manifest
from modelreg.storage.oci.pulling import find_image, listed, unpacked
from modelreg.storage.oci.pushing import ImagePusher
from modelreg.storage.oci.reference import Reference, is_digest, parse_reference
from modelreg.storage.oci.registry import OCIRegistry
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import TransferSettings

if TYPE_CHECKING:
    from modelreg.storage.transfer import Progress

T = TypeVar("T")


class OCIBackend(Backend):
    """One repository of an OCI registry.

    What is in an image is known only once its layers are here, so it can be fetched and not looked into.
    """

    writes_trees = True

    @functools.cached_property
    def registry(self) -> OCIRegistry:
        """What speaks to the registry, about the reference that the URI names."""
        return OCIRegistry(_reference(self.uri), settings=self.settings)

    @property
    def ranged(self) -> bool:  # type: ignore[override] # what other backends know beforehand, a registry shows
        """Whether blobs can be read by ranges."""
        return self.registry.ranged

    def write_tree(
        self,
        files: Sequence[LocalFile],
        *,
        settings: TransferSettings,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> tuple[UploadedFile, ...]:
        """Push ``files`` as an image, or as an artifact where the URI says so; the tag names them from then on.

        Raises:
            InvalidURI: The URI names a digest, which is for the content to decide, or a platform.
            InvalidInput: A file changed while it was read, or there are more than a manifest can name.
            StorageError: The registry failed, and kept failing.
            KeyboardInterrupt: The push was cancelled.
        """
        reference = self.registry.reference
        if reference.digest is not None:
            raise InvalidURI(f"cannot push to {self.uri.normalised}: a digest is no name", next_step="push to a tag")
        if "platform" in self.uri.options:
            raise InvalidURI(f"cannot push to {self.uri.normalised}: a model is for every platform")
        pusher = ImagePusher(self.registry, settings=settings, progress=progress, cancel=cancel)
        is_artifact = self.uri.options.get("artifact") == "true"
        push = pusher.push_artifact if is_artifact else pusher.push_image
        return push(files, reference.reference).files

    def unpacked_digest(self, file: RemoteFile) -> str | None:
        """Return the sha256 (hex) that an image's configuration, or an artifact's layer itself, has for a layer.

        Raises:
            StorageError: The configuration makes no sense, or the registry failed or could not be reached.
        """
        if file.pack is None or not file.pack.image:
            return super().unpacked_digest(file)
        return self._configured(file.pack.image)[file.location]

    @functools.cached_property
    def _configured(self) -> Callable[[str], Mapping[str, str]]:
        """What tells the digests of an image's layers before they were compressed, and keeps them."""
        return functools.lru_cache(maxsize=4)(lambda image: unpacked(self.registry, self._fixed_image(image, None)))

    def location(self, name: str) -> str:
        """Return the reference; files below it have none that is known before they are pushed."""
        del name
        return str(self.registry.reference)

    def filesystem(self) -> Any:
        """Refuse: there is no filesystem over a registry.

        Raises:
            InvalidInput: Always.
        """
        raise self._unseen("cannot be opened as a file or a filesystem")

    def filesystem_path(self) -> str:
        """Return the reference."""
        return str(self.registry.reference)

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        del uri
        return None

    def _listed(self, uri: StorageURI) -> list[Listed]:
        reference = _reference(uri)
        return listed(self._image(reference.reference, uri.options.get("platform")))

    def _level(self, uri: StorageURI) -> tuple[list[str], list[Listed]]:
        found = self._listed(uri)
        if any(one.pack is not None for one in found):
            raise self._unseen("cannot be listed")
        folders = {one.relative.partition("/")[0] for one in found if "/" in one.relative}
        return sorted(folders), [one for one in found if "/" not in one.relative]

    def _immutable(self, uri: StorageURI) -> bool:
        reference = _reference(uri)
        if reference.digest is None:
            return False
        # An index means another image on another machine, and a cache may be shared.
        return "platform" in uri.options or self._image(reference.digest, None).digest == reference.digest

    def _image(self, reference: str, platform: str | None) -> Manifest:
        if is_digest(reference):
            return self._fixed_image(reference, platform)
        return find_image(self.registry, reference, platform)

    @functools.cached_property
    def _fixed_image(self) -> Callable[[str, str | None], Manifest]:
        """What finds the image that a digest means, and keeps it: it can mean no other."""
        return functools.lru_cache(maxsize=4)(functools.partial(find_image, self.registry))

    def _stat(self, location: str) -> Listed | None:
        size = self.registry.blob_exists(location)
        return None if size is None else Listed(location, "", size, location, location.removeprefix("sha256:"))

    def _read(self, file: RemoteFile) -> bytes:
        return b"".join(self._stream(file, 0, None))

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[bytes]:
        return self.registry.read_blob(file.location, offset, length)

    def _named(self, location: str) -> str:
        return f"oci://{self.registry.reference.name}@{location}" if is_digest(location) else f"oci://{location}"

    def _asked(self, call: Callable[..., T], *args: Any, what: str) -> T:
        # The registry's client tries again by itself.
        return self._translated(call, *args, what=what)

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        # The registry's client has said it already.
        del error, what
        return None

    def _unseen(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"{self.uri.normalised} {what}: what is in an image is known once its layers are unpacked",
            next_step=f"modelreg.fetch({self.uri.normalised!r}) returns the folder of its files",
        )


def _reference(uri: StorageURI) -> Reference:
    return parse_reference(uri.normalised.removeprefix("oci://").partition("?")[0])
