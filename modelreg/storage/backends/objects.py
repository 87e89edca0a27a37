"""Object storages whose bytes obstore moves: what S3, Google Cloud Storage and Azure have in common."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from modelreg.exceptions import InvalidInput, ModelRegError, ObjectChanged
from modelreg.storage.backends import errors
from modelreg.storage.backends.base import Backend, Listed, reject_version, relative_to, without_folder_markers
from modelreg.storage.model import RemoteFile
from modelreg.storage.plain_http import PlainReader
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import StorageSettings

# How much of a range is held at once: large enough to cost few calls, small enough to stay in the processor's cache.
_CHUNK_BYTES = 1 << 20
_LIST_CHUNK = 1000
# How long a signed URL is good for; each request has one of its own.
_SIGNATURE_LIVES = timedelta(minutes=15)
#: Name of the metadata that holds an object's sha256, in hex.
DIGEST_METADATA = "sha256"


class ObjectStoreBackend(Backend):
    """An object storage: keys without folders, an entity tag for every object."""

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        super().__init__(uri, settings=settings)
        # Answers whose content nobody has read yet, by location.
        self._begun: dict[str, Any] = {}
        self._plain: PlainReader | None = None

    @abc.abstractmethod
    def _make_store(self, retry: Any) -> Any:
        """Return obstore's store of the bucket, which tries again as ``retry`` says."""

    def close(self) -> None:
        """Let go of connections."""
        if self._plain is not None:
            self._plain.close()

    def release(self, buffer: Any) -> None:
        """Take back a buffer that was read over plain http."""
        if self._plain is not None:
            self._plain.buffers.give_back(buffer)

    @functools.cached_property
    def _store(self) -> Any:
        # Reads are tried again by the engine, which goes on where a read broke off.
        return self._make_store({"max_retries": 0})

    @functools.cached_property
    def _write_store(self) -> Any:
        # A part of a large upload can only be tried again by who holds its bytes.
        return self._make_store({"max_retries": self.settings.transfer.attempts - 1})

    def client_options(self, *, endpoint: str | None, verify_tls: bool = True, ca_bundle: str | None = None) -> Any:
        """Return obstore's options of an HTTP client.

        Raises:
            InvalidInput: The file of certificates cannot be read.
        """
        transfer = self.settings.transfer
        options: dict[str, Any] = {
            "connect_timeout": timedelta(seconds=transfer.connect_timeout_s),
            "read_timeout": timedelta(seconds=transfer.stall_timeout_s),
            # Bounds a whole request, which may be a large part on a slow line; stalls are seen by the one above.
            "timeout": timedelta(days=1),
            "allow_http": endpoint is not None and endpoint.startswith("http://"),
        }
        if not verify_tls:
            options["allow_invalid_certificates"] = True
        bundle = ca_bundle or self.settings.ca_bundle
        if bundle:
            try:
                options["root_certificate"] = Path(bundle).read_bytes()
            except OSError as error:
                raise InvalidInput(f"the file of certificates {bundle} cannot be read: {error}") from error
        if self.settings.proxy:
            options["proxy_url"] = self.settings.proxy
        return options

    def location(self, name: str) -> str:
        """Return the key of the file ``name`` below the URI."""
        return "/".join(part for part in (self.uri.path.rstrip("/") if name else self.uri.path, name) if part)

    def filesystem_path(self) -> str:
        """Return ``bucket/key``."""
        return f"{self.uri.bucket}/{self.uri.path}".rstrip("/")

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        if not uri.path or uri.path.endswith("/"):
            return None
        return self._head(uri.path, uri.options.get("version"), relative=uri.path.rpartition("/")[2])

    def _stat(self, location: str) -> Listed | None:
        return self._head(location, self.uri.options.get("version"), relative=location)

    def _open_file(self, uri: StorageURI) -> Listed | None:
        """Return what the storage says of the file as it begins to send it, which spares the question before."""
        if not uri.path or uri.path.endswith("/"):
            return None
        version = uri.options.get("version")
        got = self._answer(uri.path, {} if version is None else {"version": version})
        if got is None:
            return None
        found = _listed(got.meta, uri.path.rpartition("/")[2], version)
        if got.meta["size"] <= self.settings.transfer.small_bytes:
            self._begun[found.location] = got
        return found

    def _head(self, key: str, version: str | None, *, relative: str) -> Listed | None:
        options: Any = {"head": True} if version is None else {"head": True, "version": version}
        found = self._answer(key, options)
        if found is None:
            return None
        return attrs.evolve(_listed(found.meta, relative, version), recorded=found.attributes.get(DIGEST_METADATA))

    def _answer(self, key: str, options: Any) -> Any:
        """Return the answer about an object, ``None`` if there is none."""
        import obstore

        try:
            return obstore.get(self._store, key, options=options)
        except FileNotFoundError as error:
            if self._is_bucket_missing(error):
                raise
            return None

    def _is_bucket_missing(self, error: Exception) -> bool:
        return "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error)

    def _listed(self, uri: StorageURI) -> list[Listed]:
        reject_version(uri)
        prefix = uri.path.rstrip("/")
        found = []
        for chunk in self._store.list(prefix=prefix or None, chunk_size=_LIST_CHUNK):
            for meta in chunk:
                relative = relative_to(meta["path"], prefix)
                if relative:
                    found.append(_listed(meta, relative, None))
        return self._without_empty_folders(without_folder_markers(found))

    def _level(self, uri: StorageURI) -> tuple[list[str], list[Listed]]:
        reject_version(uri)
        prefix = uri.path.rstrip("/")
        found = self._store.list_with_delimiter(prefix=prefix or None)
        folders = [name for path in found["common_prefixes"] if (name := relative_to(path.rstrip("/"), prefix))]
        named = [(relative_to(meta["path"], prefix), meta) for meta in found["objects"]]
        return folders, [_listed(meta, name, None) for name, meta in named if name]

    def _without_empty_folders(self, files: list[Listed]) -> list[Listed]:
        """Return ``files`` without empty objects that stand for empty folders.

        Listings of obstore say ``a`` for both an empty object ``a`` and a folder's marker ``a/``; only the former is
        there when it is asked for by that name.
        """
        empty = [one for one in files if one.size == 0]
        if not empty:
            return files
        with ThreadPoolExecutor(min(len(empty), self.settings.transfer.concurrency)) as pool:
            found = pool.map(lambda one: self._head(one.location, None, relative=one.relative), empty)
            markers = {one.location for one, there in zip(empty, found, strict=True) if there is None}
        return [one for one in files if one.location not in markers]

    def _get(self, file: RemoteFile, wanted: tuple[int, int] | None = None) -> Any:
        import obstore

        options: Any = {}
        kind, _, value = file.identity.partition(":")
        if kind == "etag":
            options["if_match"] = value
        elif kind in {"version", "generation"}:
            options["version"] = value
        if wanted is not None:
            options["range"] = wanted
        try:
            got = obstore.get(self._store, file.location, options=options)
        except obstore.exceptions.PreconditionError as error:
            raise ObjectChanged(f"{self._named(file.location)} changed while it was read") from error
        # Not every server minds the condition: what it says of its answer must fit as well.
        tag = got.meta["e_tag"]
        if kind == "etag" and tag and tag.strip('"') != value.strip('"'):
            raise ObjectChanged(f"{self._named(file.location)} changed while it was read")
        return got

    def _read(self, file: RemoteFile) -> Any:
        begun = self._begun.pop(file.location, None)
        if begun is not None:
            return begun.bytes()
        # An empty object has no range to ask for, and nothing to read: its listing has said it all.
        return self._get(file).bytes() if file.size else b""

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[Any]:
        if length is not None and (pieces := self._read_plainly(file, offset, length)) is not None:
            return pieces
        wanted = None if length is None else (offset, offset + length)
        return iter(self._get(file, wanted).stream(_CHUNK_BYTES))

    def _read_plainly(self, file: RemoteFile, offset: int, length: int) -> Iterator[memoryview] | None:
        """Return a range of ``file`` as it comes over plain http, ``None`` where obstore is to read it.

        obstore makes new bytes for each piece, zeroes them and copies into them what it received.
        """
        plain = self._plain
        kind, _, tag = file.identity.partition(":")
        if plain is None or kind != "etag":
            return None
        url = self._signed(file.location)
        pieces = plain.ranged(url, offset=offset, length=length, size=file.size, tag=tag)
        if pieces is None:
            # Whatever that answer means: obstore is asked the same, and its errors are understood.
            plain.close()
            self._plain = None
        return pieces

    def _signed(self, key: str) -> str:
        """Return a URL by which anyone may read the object ``key`` for a while."""
        import obstore

        return str(obstore.sign(self._store, "GET", key, _SIGNATURE_LIVES))

    def _write(self, location: str, source: BinaryIO, size: int, sha256: str | None) -> None:
        import obstore

        transfer = self.settings.transfer
        whole_bytes = transfer.part_bytes if transfer.multipart_bytes is None else transfer.multipart_bytes
        obstore.put(
            self._write_store,
            location,
            source,
            attributes={DIGEST_METADATA: sha256} if sha256 is not None else None,
            # One request for what fits in one part: no half-made upload can stay behind.
            use_multipart=size > whole_bytes,
            chunk_size=max(transfer.part_bytes, -(-size // _MOST_PARTS)),
            max_concurrency=transfer.concurrency,
        )

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        import obstore

        if isinstance(error, obstore.exceptions.InvalidPathError):
            return errors.unsafe_key(what, error)
        if isinstance(error, (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)):
            return errors.from_status(403, what, errors.quoted(error))
        if isinstance(error, obstore.exceptions.PreconditionError):
            return errors.from_status(412, what)
        if isinstance(error, OSError):
            return errors.from_os_error(error, what)
        if isinstance(error, obstore.exceptions.BaseError):
            return errors.unsafe_key(what, error) if _is_path_error(error) else errors.from_text(error, what)
        return None


# What every object storage allows in one upload.
_MOST_PARTS = 10_000


def _is_path_error(error: Exception) -> bool:
    text = str(error)
    return "parsing path" in text or "InvalidPath" in text or "Encountered illegal character" in text


def _listed(meta: Any, relative: str, version: str | None) -> Listed:
    if version is not None:
        identity = f"version:{version}"
    elif meta["e_tag"]:
        identity = f"etag:{meta['e_tag']}"
    else:
        identity = f"mtime:{meta['last_modified'].isoformat()}:{meta['size']}"
    return Listed(location=meta["path"], relative=relative, size=meta["size"], identity=identity)
