"""Images in a folder, in the layout that the image specification gives them: what skopeo calls ``oci:``."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from modelreg.exceptions import DigestMismatch, InvalidInput, ObjectNotFound, StorageError
from modelreg.storage.oci.images import Document, canonical
from modelreg.storage.oci.manifests import OCI_MANIFEST, Manifest, checked_manifest, digest_of
from modelreg.storage.oci.reference import is_digest

_CHUNK_BYTES = 1 << 20
_TAG = "org.opencontainers.image.ref.name"
_VERSION = b'{"imageLayoutVersion":"1.0.0"}'


class ImageLayout:
    """A folder of images, read and written as a registry's repository is.

    Args:
        folder: Where it is; an empty or missing folder becomes one without images.

    Raises:
        InvalidInput: The folder holds something else.

    Example:
        >>> layout = ImageLayout(Path(tempfile.mkdtemp()))
        >>> layout.entries()
        []
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs = folder / "blobs" / "sha256"
        if not (folder / "oci-layout").exists():
            if folder.is_dir() and any(folder.iterdir()):
                raise InvalidInput(f"{folder} holds files, but no image layout: there is no file 'oci-layout' in it")
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._write(folder / "oci-layout", _VERSION)
            self.set_entries([])

    def entries(self) -> list[Document]:
        """Return the descriptors of the images in it, as its index lists them.

        Raises:
            StorageError: The index is missing or malformed.
        """
        try:
            index = json.loads((self._folder / "index.json").read_bytes())
            return [{**entry, "digest": str(entry["digest"])} for entry in index["manifests"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"the image layout in {self._folder} has no index that can be read: {error}") from error

    def set_entries(self, entries: Sequence[Document]) -> None:
        """Make ``entries`` what its index lists."""
        self._write(self._folder / "index.json", canonical({"schemaVersion": 2, "manifests": list(entries)}))

    def manifest(self, reference: str) -> Manifest:
        """Return the manifest that is known by a tag or a digest.

        Raises:
            ObjectNotFound: It does not exist.
            DigestMismatch: It is not what its digest says.
            StorageError: It cannot be read as a manifest.
        """
        digest = reference if is_digest(reference) else self._tagged(reference)
        # OCI's manifests need not say what they are; what only another index lists is an image.
        listed = (entry.get("mediaType", "") for entry in self.entries() if entry.get("digest") == digest)
        return checked_manifest(
            self._path(digest).read_bytes(), next(listed, OCI_MANIFEST), digest=digest, what=f"{self._folder}@{digest}"
        )

    def blob(self, digest: str, *, most: int) -> bytes:
        """Return a blob of ``most`` bytes at most.

        Raises:
            ObjectNotFound: It does not exist.
            DigestMismatch: It is not what its digest says.
            StorageError: It is longer.
        """
        path = self._path(digest)
        if path.stat().st_size > most:
            raise StorageError(f"{path} is longer than {most} bytes")
        return b"".join(self.read_blob(digest))

    def read_blob(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes of a blob, and verify them at its end.

        Raises:
            ObjectNotFound: It does not exist.
            DigestMismatch: It is not what its digest says; what was yielded must not be used.
        """
        sha256 = hashlib.sha256()
        with self._path(digest).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                sha256.update(chunk)
                yield chunk
        _check(digest, sha256)

    def blob_exists(self, digest: str) -> int | None:
        """Return the size in bytes of a blob, ``None`` if it is not there."""
        try:
            return self._path(digest).stat().st_size
        except ObjectNotFound:
            return None

    def upload_blob(self, source: BinaryIO, digest: str, size: int) -> None:
        """Store a blob, unless it is there; it appears only once its digest was checked.

        Raises:
            DigestMismatch: ``source`` does not hold it.
        """
        if self.blob_exists(digest) == size:
            return
        sha256 = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self._blobs, delete=False) as copy:
            try:
                while chunk := source.read(_CHUNK_BYTES):
                    sha256.update(chunk)
                    copy.write(chunk)
                _check(digest, sha256)
            except BaseException:
                copy.close()
                os.unlink(copy.name)  # noqa: PTH108 - tempfile speaks text
                raise
        os.replace(copy.name, self._blobs / digest.partition(":")[2])  # noqa: PTH105 - tempfile speaks text

    def mount_blob(self, digest: str, from_repository: str) -> bool:
        """Return that there are no other repositories."""
        del digest, from_repository
        return False

    def put_manifest(self, reference: str, media_type: str, body: bytes) -> str:
        """Store a manifest under a tag or its digest; return the digest."""
        digest = digest_of(body)
        self._write(self._blobs / digest.partition(":")[2], body)
        if not is_digest(reference):
            entry = {"mediaType": media_type, "digest": digest, "size": len(body), "annotations": {_TAG: reference}}
            self.set_entries([*(one for one in self.entries() if _tag_of(one) != reference), entry])
        return digest

    def _tagged(self, tag: str) -> str:
        for entry in self.entries():
            if _tag_of(entry) == tag:
                return str(entry["digest"])
        raise ObjectNotFound(f"there is no image {tag!r} in {self._folder}")

    def _path(self, digest: str) -> Path:
        path = self._blobs / digest.partition(":")[2]
        if not is_digest(digest) or not path.is_file():
            raise ObjectNotFound(f"there is no blob {digest} in {self._folder}")
        return path

    def _write(self, path: Path, content: bytes) -> None:
        """Have ``content`` at ``path``, whole or not at all."""
        beside = path.with_name(f"{path.name}.new")
        beside.write_bytes(content)
        beside.replace(path)


def _tag_of(entry: Document) -> Any:
    return (entry.get("annotations") or {}).get(_TAG)


def _check(digest: str, sha256: hashlib._Hash) -> None:
    actual = f"sha256:{sha256.hexdigest()}"
    if actual != digest:
        raise DigestMismatch("a blob is not what its digest says", expected=digest, actual=actual)
