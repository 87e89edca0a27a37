"""The distribution client: one repository of one OCI registry, its manifests and its blobs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from modelreg.exceptions import DigestMismatch, ObjectChanged, ObjectNotFound, StorageError, StorageRefused
from modelreg.storage.oci.blob_uploads import BlobUpload, location_of
from modelreg.storage.oci.manifests import MANIFEST_TYPES, MOST_MANIFEST_BYTES, Manifest, checked_manifest, digest_of
from modelreg.storage.oci.reference import Reference, is_digest
from modelreg.storage.oci.transport import Transport, read_limited
from modelreg.storageconfig import StorageSettings

if TYPE_CHECKING:
    from typing_extensions import Self

_CHUNK_BYTES = 1 << 20
#: Bytes that a blob which is read into memory may have, such as an image's configuration.
MOST_SMALL_BLOB_BYTES = 8 << 20


class OCIRegistry:
    """One repository of a registry.

    Safe to be used by several threads at once. Failures that may pass are tried again, but for what is streamed: who
    reads a stream knows how far it came, and asks for the rest. Use it as a context manager, or call :meth:`close`.

    Args:
        reference: What is to be read or written; requests go to its registry and its repository.
        settings: How registries are reached.
    """

    def __init__(self, reference: Reference, *, settings: StorageSettings) -> None:
        self.reference = reference
        self.settings = settings
        #: Blobs can be read by ranges; a registry that ignores one shows that they cannot.
        self.ranged = True
        self._transport = Transport(reference, settings=settings)

    def manifest(self, reference: str = "") -> Manifest:
        """Return a manifest, or an index of them.

        Args:
            reference: A tag, or ``sha256:<hex>``; by default what the registry was opened for.

        Raises:
            ObjectNotFound: It does not exist.
            DigestMismatch: It is not what its digest says.
            AccessDenied: The credentials do not allow it.
            StorageError: The registry failed or could not be reached, or what it answered is no manifest.
        """
        reference = reference or self.reference.reference
        what = self._named(reference)

        def ask() -> Manifest:
            accept = {"Accept": ", ".join(MANIFEST_TYPES)}
            with self._transport.request("GET", f"manifests/{reference}", headers=accept, what=what) as answer:
                body = read_limited(answer, MOST_MANIFEST_BYTES, what)
                said = answer.headers.get("Docker-Content-Digest", "")
                digest = reference if is_digest(reference) else said
                return checked_manifest(
                    body,
                    answer.headers.get("Content-Type", ""),
                    digest=digest if is_digest(digest) else None,
                    what=what,
                )

        return self._transport.tried(ask, what)

    def manifest_exists(self, reference: str = "") -> str | None:
        """Return the digest of a manifest, ``None`` if there is no such manifest.

        Args:
            reference: A tag, or ``sha256:<hex>``; by default what the registry was opened for.

        Raises:
            AccessDenied: The credentials do not allow it.
            StorageError: The registry failed or could not be reached.
        """
        reference = reference or self.reference.reference
        what = self._named(reference)

        def ask() -> str | None:
            accept = {"Accept": ", ".join(MANIFEST_TYPES)}
            try:
                with self._transport.request("HEAD", f"manifests/{reference}", headers=accept, what=what) as answer:
                    return str(answer.headers.get("Docker-Content-Digest", ""))
            except ObjectNotFound:
                return None

        digest = self._transport.tried(ask, what)
        # The header is optional; who leaves it out is asked for the manifest itself.
        return digest if digest is None or is_digest(digest) else self.manifest(reference).digest

    def blob_exists(self, digest: str) -> int | None:
        """Return the size in bytes of a blob, ``None`` if there is no such blob.

        Args:
            digest: ``sha256:<hex>``.

        Raises:
            AccessDenied: The credentials do not allow it.
            StorageError: The registry failed or could not be reached, or does not tell the size.
        """
        what = self._named(digest)

        def ask() -> int | None:
            try:
                with self._transport.request("HEAD", f"blobs/{_checked(digest)}", what=what) as answer:
                    length = answer.headers.get("Content-Length", "")
            except ObjectNotFound:
                return None
            if not length.isdigit():
                raise StorageRefused(f"the registry does not tell the size of {what}", status=200)
            return int(length)

        return self._transport.tried(ask, what)

    def blob(self, digest: str, *, most: int = MOST_SMALL_BLOB_BYTES) -> bytes:
        """Return a small blob.

        Args:
            digest: ``sha256:<hex>``.
            most: Bytes that it may have.

        Raises:
            ObjectNotFound: It does not exist.
            DigestMismatch: It is not what its digest says.
            StorageError: It is longer, or the registry failed or could not be reached.
        """
        what = self._named(digest)

        def ask() -> bytes:
            with self._transport.request("GET", f"blobs/{_checked(digest)}", what=what) as answer:
                return read_limited(answer, most, what)

        body = self._transport.tried(ask, what)
        if digest_of(body) != digest:
            raise _mismatch(what, digest, digest_of(body))
        return body

    def read_blob(self, digest: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a blob; the digest of one that is read whole is checked at its end.

        Args:
            digest: ``sha256:<hex>``.
            offset: Where to begin, in bytes.
            length: Bytes to read; ``None``: to the end.

        Raises:
            ObjectNotFound: It does not exist.
            ObjectChanged: A range was asked for, and the registry serves none; :attr:`ranged` is false from now on.
            DigestMismatch: It was read whole and is not what its digest says; what was yielded must not be used.
            StorageError: The registry failed or could not be reached.
        """
        what = self._named(digest)
        whole = offset == 0 and length is None
        headers = {} if whole else {"Range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}
        hashed = hashlib.sha256()
        with (
            self._transport.translated(what),
            self._transport.request("GET", f"blobs/{_checked(digest)}", headers=headers, what=what) as got,
        ):
            if not whole:
                self._check_range(got, offset, length, what)
            while chunk := got.raw.read(_CHUNK_BYTES, decode_content=False):
                if whole:
                    hashed.update(chunk)
                yield chunk
        if whole and f"sha256:{hashed.hexdigest()}" != digest:
            raise _mismatch(what, digest, f"sha256:{hashed.hexdigest()}")

    def upload_blob(self, source: BinaryIO, digest: str, size: int) -> None:
        """Store a blob, unless the repository holds it already; it is there only once the registry has checked it.

        What the registry kept of a try that was cut off is not sent again.

        Args:
            source: Its bytes, from where it stands on; it must be seekable.
            digest: ``sha256:<hex>`` of them.
            size: How many there are.

        Raises:
            AccessDenied: The credentials do not allow it.
            InvalidInput: ``source`` ends early.
            StorageError: The registry failed or could not be reached.
        """
        if self.blob_exists(digest) is not None:
            return
        what = self._named(digest)
        upload = BlobUpload(self._transport, source, digest=digest, size=size, what=what)
        self._transport.tried(upload.send, what)

    def mount_blob(self, digest: str, from_repository: str) -> bool:
        """Make a blob of another repository of this registry one of this; return whether that was done.

        Args:
            digest: ``sha256:<hex>``.
            from_repository: Name of the repository that holds it.

        Raises:
            AccessDenied: The credentials do not allow to write here.
            StorageError: The registry failed or could not be reached.
        """
        what = self._named(digest)

        def ask() -> bool:
            path = f"blobs/uploads/?mount={_checked(digest)}&from={from_repository}"
            scopes = (*self._transport.scopes("POST"), f"repository:{from_repository}:pull")
            with self._transport.request("POST", path, scopes=scopes, what=what) as answer:
                if answer.status_code == 201:
                    return True
                location = location_of(answer, what)
            # It has begun an upload instead, which nobody will go on with; registries forget those anyway.
            with contextlib.suppress(StorageError), self._transport.request("DELETE", location, what=what):
                pass
            return False

        return self._transport.tried(ask, what)

    def put_manifest(self, reference: str, media_type: str, body: bytes) -> str:
        """Store a manifest and return its digest.

        Args:
            reference: The tag that is to mean it from now on, or its own digest.
            media_type: What it is.
            body: Its bytes.

        Raises:
            AccessDenied: The credentials do not allow it.
            DigestMismatch: The registry stored something else.
            StorageError: The registry refused it, failed or could not be reached.
        """
        what = self._named(reference)
        digest = digest_of(body)

        def ask() -> None:
            headers = {"Content-Type": media_type}
            with self._transport.request(
                "PUT", f"manifests/{reference}", headers=headers, body=lambda: body, what=what
            ) as answer:
                stored = answer.headers.get("Docker-Content-Digest", digest)
            if stored != digest:
                raise _mismatch(f"the manifest that was stored as {what}", digest, stored)

        self._transport.tried(ask, what)
        return digest

    def close(self) -> None:
        """Do nothing: connections are kept for the next one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.reference)!r})"

    def _check_range(self, answer: Any, offset: int, length: int | None, what: str) -> None:
        expected = f"bytes {offset}-{'' if length is None else offset + length - 1}"
        if answer.status_code == 206 and answer.headers.get("Content-Range", "").lower().startswith(expected):
            return
        self.ranged = False
        raise ObjectChanged(f"{what} did not come as the range that was asked for")

    def _named(self, reference: str) -> str:
        return f"oci://{self.reference.name}{'@' if is_digest(reference) else ':'}{reference}"


def _checked(digest: str) -> str:
    """Return ``digest``.

    Raises:
        StorageError: It is none that can be checked.
    """
    if not is_digest(digest):
        raise StorageRefused(f"the digest {digest!r} cannot be checked: it is no sha256", status=400)
    return digest


def _mismatch(what: str, expected: str, actual: str) -> DigestMismatch:
    return DigestMismatch(f"{what} is not what its digest says", expected=expected, actual=actual)
