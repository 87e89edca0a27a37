"""One backend per scheme, imported when a URI of that scheme is first opened."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from modelreg.exceptions import MissingExtra, UnknownScheme
from modelreg.storage.backends.base import Backend, OpenBackend
from modelreg.storage.uri import StorageURI, parse_uri
from modelreg.storageconfig import StorageSettings

__all__ = ["Backend", "known_schemes", "open_backend"]

#: Entry point group by which other packages add a scheme: its name, and an :class:`OpenBackend`.
ENTRY_POINTS = "modelreg.storage"

_BACKENDS: Mapping[str, str] = {
    "az": "modelreg.storage.backends.azure:AzureBackend",
    "file": "modelreg.storage.backends.local:LocalBackend",
    "gs": "modelreg.storage.backends.gcs:GCSBackend",
    "hf": "modelreg.storage.backends.hf:HubBackend",
    "http": "modelreg.storage.backends.web:WebBackend",
    "https": "modelreg.storage.backends.web:WebBackend",
    "oci": "modelreg.storage.backends.oci:OCIBackend",
    "pvc": "modelreg.storage.backends.local:ClaimBackend",
    "s3": "modelreg.storage.backends.s3:S3Backend",
}
# Schemes that are fsspec's, but not storages: caches, archives and references of other URIs.
_NOT_STORAGES = frozenset({"blockcache", "cached", "filecache", "simplecache", "reference", "root", "data", "generic"})


def open_backend(uri: StorageURI | str, *, settings: StorageSettings | None = None) -> Backend:
    """Return the backend that answers for ``uri``; close it when done.

    Args:
        uri: What it is to be opened for.
        settings: How storages are reached; by default as the environment says.

    Raises:
        InvalidInput: ``uri`` or a setting is malformed.
        UnknownScheme: No storage answers for the scheme.
        MissingExtra: The storage needs a package that is not installed.
    """
    parsed = parse_uri(uri) if isinstance(uri, str) else uri
    return _opener(parsed.scheme)(parsed, settings=StorageSettings.from_env() if settings is None else settings)


def known_schemes() -> list[str]:
    """Return every scheme that a storage answers for, in order: modelreg's own and those that packages add."""
    return sorted({*_BACKENDS, *(point.name for point in entry_points(group=ENTRY_POINTS))})


def _opener(scheme: str) -> OpenBackend:
    if scheme in _BACKENDS:
        return cast("OpenBackend", _load(_BACKENDS[scheme]))
    added = _added(scheme)
    if added is not None:
        return cast("OpenBackend", added.load())
    return _fsspec_opener(scheme)


def _added(scheme: str) -> EntryPoint | None:
    return next(iter(entry_points(group=ENTRY_POINTS, name=scheme)), None)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _fsspec_opener(scheme: str) -> OpenBackend:
    """Return the backend over any other fsspec filesystem."""
    import fsspec
    from fsspec.registry import known_implementations, registry

    if scheme in _NOT_STORAGES or (scheme not in known_implementations and scheme not in registry):
        raise UnknownScheme(
            f"no storage answers for {scheme}://",
            next_step=f"known are {', '.join(f'{one}://' for one in known_schemes())}, local paths, and the schemes of "
            f"fsspec; a package adds one by an entry point in the group {ENTRY_POINTS!r}",
        )
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        hint = known_implementations.get(scheme, {}).get("err", "")
        raise MissingExtra(f"{scheme}:// needs a package that is not installed", next_step=hint) from error
    return cast("OpenBackend", _load("modelreg.storage.backends.anyfs:FilesystemBackend"))
