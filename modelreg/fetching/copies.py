"""Copies: what the cache holds, put where the caller wants it, for the caller to own and to change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelreg.cache import files
from modelreg.cache.manifests import Entry
from modelreg.cache.refs import Ref
from modelreg.cache.store import Cache
from modelreg.exceptions import CacheError, CacheFull, InvalidInput

_FILE_MODE = 0o666
_EXECUTABLE_MODE = 0o777


def copy_out(cache: Cache, ref: Ref, target: str) -> Path:
    """Put a copy of an answer at ``target`` and return its path; what is there already must not differ.

    A folder that is not there appears whole. Into one that is, each file goes whole, after all of them were looked at;
    files of other names are left alone. Copies share disk space with the cache where the file system can do that, and
    never more: changing them does not change the cache.

    Args:
        cache: What holds the answer.
        ref: The answer.
        target: The path of the file or folder itself.

    Raises:
        InvalidInput: Something else is there, or in its way.
        CacheFull: No space is left for it.
        CacheError: It cannot be written, or someone emptied the cache meanwhile.
    """
    target = os.path.abspath(os.path.expanduser(target))
    manifest = cache.manifest(ref)
    if manifest is None:
        raise CacheError(
            f"the manifest of {ref.uri} is gone from the cache {cache.layout.root}", next_step="fetch it again"
        )
    root = cache.layout.tree(ref.tree)
    with _copying(ref, root, target), cache.lease(ref):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if ref.file is not None:
            only = next(entry for entry in manifest.entries if entry.path == ref.file)
            _copy_into({target: only}, root)
        elif os.path.lexists(target):
            if not os.path.isdir(target):
                raise _conflict(target)
            _copy_into({f"{target}/{entry.path}": entry for entry in manifest.entries}, root)
        else:
            _copy_whole(manifest.entries, root, target)
    return Path(target)


@contextmanager
def _copying(ref: Ref, root: str, target: str) -> Iterator[None]:
    """Say what the system's errors mean for a copy of the tree ``root`` at ``target``."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise _conflict(error.filename or target) from error
    except OSError as error:
        if isinstance(error, CacheFull):
            raise
        if str(error.filename or "").startswith(root):
            gone = isinstance(error, FileNotFoundError)
            problem = "disappeared from the cache while it was copied" if gone else "cannot be read in the cache"
            next_step = "fetch it again" if gone else f"see who may read {error.filename}"
            raise CacheError(f"{ref.uri} {problem}: {error.strerror}", next_step=next_step) from error
        if files.is_full(error):
            raise CacheFull(f"no space is left for the copy {target}", next_step="choose another disk") from error
        raise CacheError(
            f"the copy {target} cannot be written: {error.strerror or error}", next_step="choose another path"
        ) from error


def _copy_whole(entries: tuple[Entry, ...], root: str, target: str) -> None:
    """Make a folder under another name and give it its own when it is whole."""
    temporary = _beside(target)
    try:
        for entry in entries:
            _copy(f"{root}/{entry.path}", f"{temporary}/{entry.path}", entry)
        os.rename(temporary, target)
    except BaseException:
        files.remove_tree(temporary)
        raise


def _copy_into(targets: dict[str, Entry], root: str) -> None:
    """Put files where nothing differs from them."""
    missing = {target: entry for target, entry in targets.items() if not _is_there(target, entry)}
    for target, entry in missing.items():
        temporary = _beside(target)
        try:
            _copy(f"{root}/{entry.path}", temporary, entry)
            os.replace(temporary, target)
        except BaseException:
            files.remove(temporary)
            raise


def _is_there(target: str, entry: Entry) -> bool:
    """Return whether ``target`` is there already.

    Raises:
        InvalidInput: It is, and is something else.
    """
    if not os.path.lexists(target):
        folder = os.path.dirname(target)
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            raise _conflict(folder)
        return False
    if os.path.isfile(target) and os.path.getsize(target) == entry.size and files.hash_file(target) == entry.sha256:
        return True
    raise _conflict(target)


def _conflict(target: str) -> InvalidInput:
    return InvalidInput(
        f"{target} is there already, and is not what was fetched", next_step="remove it, or choose another path"
    )


def _copy(source: str, target: str, entry: Entry) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    files.clone_or_copy(source, target, mode=_EXECUTABLE_MODE if entry.executable else _FILE_MODE)


def _beside(target: str) -> str:
    """Return a hidden path of nobody else's in the folder of ``target``."""
    folder, name = os.path.split(target)
    return f"{folder}/.{name[:100]}.{os.getpid()}-{os.urandom(6).hex()}"
