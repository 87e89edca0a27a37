"""Where bytes come from and go to: the URI grammar, one backend per scheme and one transfer engine.

Importing this package loads none of it: each name below is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelreg.fetching import Storage
    from modelreg.storage.backends import Backend, open_backend
    from modelreg.storage.model import Downloaded, PushResult, RemoteFile, RemoteTree
    from modelreg.storage.names import check_tree, safe_relative_path
    from modelreg.storage.transfer import download
    from modelreg.storage.uploading import upload
    from modelreg.storage.uri import StorageURI, parse_uri

__all__ = [
    "Backend",
    "Downloaded",
    "PushResult",
    "RemoteFile",
    "RemoteTree",
    "Storage",
    "StorageURI",
    "check_tree",
    "download",
    "open_backend",
    "parse_uri",
    "safe_relative_path",
    "upload",
]

# name -> module that holds it
_EXPORTS = {
    "Backend": "modelreg.storage.backends",
    "Downloaded": "modelreg.storage.model",
    "PushResult": "modelreg.storage.model",
    "RemoteFile": "modelreg.storage.model",
    "RemoteTree": "modelreg.storage.model",
    # The drop-in for kserve_storage.Storage composes storage and cache, so it lives above both.
    "Storage": "modelreg.fetching",
    "StorageURI": "modelreg.storage.uri",
    "check_tree": "modelreg.storage.names",
    "download": "modelreg.storage.transfer",
    "open_backend": "modelreg.storage.backends",
    "parse_uri": "modelreg.storage.uri",
    "safe_relative_path": "modelreg.storage.names",
    "upload": "modelreg.storage.uploading",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
