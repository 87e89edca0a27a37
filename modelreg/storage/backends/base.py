"""What every backend does: implementers write the underscore methods, callers get their errors in one tree."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar

import attrs

from modelreg.exceptions import InvalidURI, ModelRegError, ObjectNotFound, ReadOnlyStorage, StorageError
from modelreg.storage.model import LocalFile, Pack, RemoteFile, RemoteLevel, RemoteTree, UploadedFile
from modelreg.storage.names import check_tree, safe_relative_path
from modelreg.storage.patterns import Patterns, selects
from modelreg.storage.retrying import Attempts
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import StorageSettings, TransferSettings

if TYPE_CHECKING:
    from typing_extensions import Self

    from modelreg.storage.transfer import Progress

T = TypeVar("T")


class OpenBackend(Protocol):
    """What the table of schemes holds: a callable that makes the backend of a URI."""

    def __call__(self, uri: StorageURI, *, settings: StorageSettings) -> Backend:
        """Return a backend for ``uri`` and everything beside it."""
        ...


@attrs.frozen
class Listed:
    """One file as a storage lists it, before its name is trusted.

    Attributes:
        location: What the backend reads it by.
        relative: Its name below what was listed.
        size: Bytes, if known.
        identity: Changes when the content does.
        sha256: Hex digest, where the storage vouches for one.
        recorded: Hex digest that whoever wrote the file noted beside it; nobody has compared it with the content.
        pack: What it holds, where it stands for other files; patterns are for those.
    """

    location: str
    relative: str
    size: int | None
    identity: str = ""
    sha256: str | None = None
    recorded: str | None = None
    pack: Pack | None = None


class Backend(abc.ABC):
    """A storage, as far as one URI and what lies below it.

    Safe to be used by several threads at once. Use it as a context manager, or call :meth:`close`.

    Args:
        uri: Where it looks.
        settings: How it is reached.
    """

    #: Files can be read by ranges, several at once.
    ranged: bool = True
    #: A read that brings nothing ends by itself, within the settings' time: no other thread need watch it.
    keeps_deadlines: bool = False
    #: Requests that may be under way at once; ``None`` leaves it to the transfer's settings.
    concurrency: int | None = None
    #: :meth:`write` notes a file's sha256 beside it, and :meth:`recorded` tells it.
    records_digests: bool = False
    #: What is pushed becomes one thing, such as an image: :meth:`write_tree` stores all of its files at once.
    writes_trees: bool = False

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        self.uri = uri
        self.settings = settings

    def snapshot(
        self,
        uri: StorageURI | None = None,
        *,
        allow_patterns: Patterns = None,
        ignore_patterns: Patterns = None,
        to_read: bool = False,
    ) -> RemoteTree:
        """Return what lies under the URI now: one file, or every selected file of the folder.

        Args:
            uri: Another URI of the same storage; by default the one that the backend was opened for.
            allow_patterns: Shell patterns of relative paths to keep; ``None`` keeps all.
            ignore_patterns: Shell patterns to leave out; they win.
            to_read: The content will be read: a storage that tells of a file as it sends it may send it now.

        Raises:
            ObjectNotFound: Nothing is there, or the patterns select nothing of it.
            UnsafeName: A name there must not become a local path.
            AccessDenied: The credentials do not allow it.
            StorageError: The storage failed or could not be reached.
        """
        at = uri or self.uri
        file = self._asked(self._open_file if to_read else self._stat_file, at, what=at.normalised)
        found = [file] if file is not None else self._asked(self._listed, at, what=at.normalised)
        chosen = [
            one
            for one in found
            if one.pack is not None
            or selects(one.relative, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        ]
        if not chosen:
            why = "nothing is there" if not found else f"no pattern selects any of the {len(found)} files there"
            raise ObjectNotFound(f"cannot read {at.normalised}: {why}")
        check_tree(one.relative for one in chosen)
        files = sorted((_remote_file(one) for one in chosen), key=lambda one: one.path)
        return RemoteTree(uri=at, files=tuple(files), is_file=file is not None, immutable=self._immutable(at))

    def level(self, uri: StorageURI | None = None) -> RemoteLevel:
        """Return what lies right under the URI now, without a look at what is further below.

        Args:
            uri: Another URI of the same storage; by default the one that the backend was opened for.

        Raises:
            ObjectNotFound: Nothing is there.
            UnsafeName: A name there must not become a local path.
            AccessDenied: The credentials do not allow it.
            StorageError: The storage failed or could not be reached.
        """
        at = uri or self.uri
        file = self._asked(self._stat_file, at, what=at.normalised)
        folders, found = ([], [file]) if file is not None else self._asked(self._level, at, what=at.normalised)
        if not found and not folders:
            raise ObjectNotFound(f"cannot read {at.normalised}: nothing is there")
        check_tree([*folders, *(one.relative for one in found)])
        files = sorted((_remote_file(one) for one in found), key=lambda one: one.path)
        return RemoteLevel(folders=tuple(sorted(folders)), files=tuple(files))

    def stat(self, file: RemoteFile) -> RemoteFile:
        """Return ``file`` as it is now.

        Raises:
            ObjectNotFound: It is gone.
            StorageError: The storage failed or could not be reached.
        """
        found = self._asked(self._stat, file.location, what=self._named(file.location))
        if found is None:
            raise ObjectNotFound(f"cannot read {self._named(file.location)}: it is gone")
        return attrs.evolve(file, size=found.size, identity=found.identity, sha256=found.sha256)

    def unpacked_digest(self, file: RemoteFile) -> str | None:
        """Return the sha256 (hex) that the pack ``file`` must have once it is decompressed; ``None``: any.

        Raises:
            StorageError: The storage failed or could not be reached.
        """
        return file.pack.sha256 if file.pack is not None else None

    def recorded(self, file: RemoteFile) -> str | None:
        """Return the sha256 (hex) that was noted beside ``file`` when it was written.

        ``None`` if none was, and if the file is not what ``file`` describes any more. Who rewrites a file may leave the
        old note where it was, so it is a second witness to what is known of the content, never the only one.

        Raises:
            StorageError: The storage failed or could not be reached.
        """
        found = self._asked(self._stat, file.location, what=self._named(file.location))
        is_same = found is not None and (found.size, _unquoted(found.identity)) == (file.size, _unquoted(file.identity))
        return found.recorded if found is not None and is_same else None

    def read(self, file: RemoteFile) -> Any:
        """Return the whole content of a small file, as a buffer.

        Raises:
            ObjectChanged: It is not what ``file`` describes any more.
            StorageError: The storage failed or could not be reached.
        """
        return self._translated(self._read, file, what=self._named(file.location))

    def stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[Any]:
        """Yield ``length`` bytes from ``offset`` on as buffers, one after the other; ``None``: to the end.

        A buffer stays as it is until it is released, if it ever is.

        Raises:
            ObjectChanged: It is not what ``file`` describes any more.
            StorageError: The storage failed or could not be reached.
        """
        what = self._named(file.location)
        chunks = self._translated(self._stream, file, offset, length, what=what)
        while (chunk := self._translated(next, chunks, None, what=what)) is not None:
            yield chunk

    def release(self, buffer: Any) -> None:  # noqa: B027 - most backends make new ones
        """Take back a buffer that :meth:`stream` yielded and nobody reads any more, to be filled again."""

    def write(self, name: str, source: BinaryIO, size: int, *, sha256: str | None = None) -> None:
        """Store ``size`` bytes of ``source`` as ``name`` below the URI; visible only once they are all there.

        Args:
            name: Relative name, ``/`` between its segments; empty for the URI itself.
            source: A file open for reading, at its start.
            size: Bytes it holds.
            sha256: Their hex digest, to be noted beside the file where the storage can.

        Raises:
            ReadOnlyStorage: The scheme cannot be written.
            StorageError: The storage failed or could not be reached.
        """
        if name:
            safe_relative_path(name)
        location = self.location(name)
        self._translated(self._write, location, source, size, sha256, what=self._named(location))

    def write_tree(
        self,
        files: Sequence[LocalFile],
        *,
        settings: TransferSettings,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> tuple[UploadedFile, ...]:
        """Store ``files`` as the one thing that the URI names; return them hashed, sorted by path.

        Args:
            files: Local files under the names they are to have.
            settings: How bytes are moved.
            progress: Called as files arrive.
            cancel: Ends the push when another thread sets it.

        Raises:
            ReadOnlyStorage: The storage holds files rather than trees.
            StorageError: The storage failed or could not be reached.
        """
        del files, settings, progress, cancel
        raise ReadOnlyStorage(f"cannot write {self.uri.normalised}: {self.uri.scheme} storage takes file by file")

    @abc.abstractmethod
    def location(self, name: str) -> str:
        """Return what the file ``name`` below the URI is read by; an empty name means the URI itself."""

    @abc.abstractmethod
    def filesystem(self) -> Any:
        """Return the fsspec filesystem of the storage, with modelreg's credentials and settings."""

    @abc.abstractmethod
    def filesystem_path(self) -> str:
        """Return the URI's path as :meth:`filesystem` takes it."""

    def close(self) -> None:  # noqa: B027 - most backends hold nothing that needs closing
        """Let go of connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri.normalised!r})"

    # What implementers write. Foreign errors may leave these; ``_translate`` says what they mean.

    @abc.abstractmethod
    def _stat_file(self, uri: StorageURI) -> Listed | None:
        """Return the file that ``uri`` itself names, ``None`` if it names none."""

    @abc.abstractmethod
    def _listed(self, uri: StorageURI) -> list[Listed]:
        """Return every file below the folder that ``uri`` names, empty if it names none."""

    def _open_file(self, uri: StorageURI) -> Listed | None:
        """Return the same as :meth:`_stat_file`, of a file that will be read."""
        return self._stat_file(uri)

    def _level(self, uri: StorageURI) -> tuple[list[str], list[Listed]]:
        """Return the names of the folders, and the files, right in the folder that ``uri`` names."""
        found = self._listed(uri)
        folders = {one.relative.partition("/")[0] for one in found if "/" in one.relative}
        return sorted(folders), [one for one in found if "/" not in one.relative]

    @abc.abstractmethod
    def _stat(self, location: str) -> Listed | None:
        """Return the file that is read by ``location``, ``None`` if it is gone."""

    @abc.abstractmethod
    def _read(self, file: RemoteFile) -> Any:
        """Return the whole content of ``file``, as a buffer."""

    @abc.abstractmethod
    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[Any]:
        """Yield ``length`` bytes from ``offset`` on as buffers."""

    @abc.abstractmethod
    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        """Return what a foreign ``error`` means for ``what``, ``None`` for one that is not the storage's."""

    def _write(self, location: str, source: BinaryIO, size: int, sha256: str | None) -> None:
        del source, size, sha256
        raise ReadOnlyStorage(f"cannot write {self._named(location)}: {self.uri.scheme} storage is read only")

    def _immutable(self, uri: StorageURI) -> bool:
        return "version" in uri.options

    def _named(self, location: str) -> str:
        """Return ``location`` as messages show it, without credentials."""
        return f"{self.uri.scheme}://{self.uri.bucket}/{location}"

    def _asked(self, call: Callable[..., T], *args: Any, what: str) -> T:
        """Return ``call(*args)``, tried again while its failure may pass."""
        attempts = Attempts(self.settings.transfer, threading.Event())
        while True:
            try:
                return self._translated(call, *args, what=what)
            except StorageError as error:  # noqa: PERF203 - failures are what the loop is for
                attempts.failed(error)

    def _translated(self, call: Callable[..., T], *args: Any, what: str) -> T:
        """Return ``call(*args)``; foreign errors leave as one of ours."""
        from modelreg.redact import keeps_secrets
        from modelreg.storage.backends.errors import without

        try:
            return call(*args)
        except ModelRegError as error:
            without(self.settings.secrets(), error)
            raise
        except Exception as error:
            meant = self._translate(error, what)
            if meant is None:
                raise
            secrets = self.settings.secrets()
            # A foreign error that quotes a signed URL must not be shown by a traceback either.
            raise without(secrets, meant) from (None if keeps_secrets(error, secrets) else error)


def relative_to(key: str, prefix: str) -> str | None:
    """Return ``key`` below the folder ``prefix`` (without its slash), ``None`` if it lies outside.

    Example:
        >>> relative_to("a/b/c", "a"), relative_to("ab/c", "a"), relative_to("a", "")
        ('b/c', None, 'a')
    """
    if not prefix:
        return key
    return key[len(prefix) + 1 :] if key.startswith(f"{prefix}/") else None


def reject_version(uri: StorageURI) -> None:
    """Refuse a folder of which one version was asked.

    Raises:
        InvalidURI: ``uri`` names a version: only files have versions.
    """
    if "version" in uri.options:
        raise InvalidURI(f"{uri.normalised} names a version, but no such file is there; folders have no versions")


def without_folder_markers(files: Iterable[Listed]) -> list[Listed]:
    """Return ``files`` without the empty objects that only stand for a folder which other files lie in."""
    known = list(files)
    folders = {parent for one in known for parent in _parents(one.relative)}
    return [one for one in known if one.relative and not (one.size == 0 and one.relative in folders)]


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _unquoted(identity: str) -> str:
    """Return ``identity`` in the spelling that listings and answers share: some of them quote entity tags."""
    return identity.replace('"', "")


def _remote_file(one: Listed) -> RemoteFile:
    return RemoteFile(one.relative, one.size, one.identity, one.sha256, one.location, one.pack)
