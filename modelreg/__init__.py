"""modelreg takes a model from the training run that made it to the server that answers for it.

Importing it loads nothing heavy: each name below is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from modelreg._version import __version__

if TYPE_CHECKING:
    from modelreg import exceptions, storage, types, utils
    from modelreg.fetching import fetch, filesystem, open, push  # noqa: A004 - named as fsspec's and the built-in's
    from modelreg.registry import ModelRegistry

__all__ = [
    "ModelRegistry",
    "__version__",
    "exceptions",
    "fetch",
    "filesystem",
    "open",
    "push",
    "storage",
    "types",
    "utils",
]

# name -> module that holds it; a name that is a module itself has its own path
_EXPORTS = {
    "ModelRegistry": "modelreg.registry",
    "exceptions": "modelreg.exceptions",
    "fetch": "modelreg.fetching",
    "filesystem": "modelreg.fetching",
    "open": "modelreg.fetching",
    "push": "modelreg.fetching",
    "storage": "modelreg.storage",
    "types": "modelreg.types",
    "utils": "modelreg.utils",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_EXPORTS[name])
    value = module if _EXPORTS[name] == f"{__name__}.{name}" else getattr(module, name)
    # Kept, so that the next use costs no look-up.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
