"""modelreg takes a model from the training run that made it to the server that answers for it.

Importing it loads nothing heavy: each name below is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from modelreg._version import __version__

if TYPE_CHECKING:
    from modelreg import exceptions, types, utils
    from modelreg.registry import ModelRegistry

__all__ = ["ModelRegistry", "__version__", "exceptions", "types", "utils"]

# name -> module that holds it; a name that is a module itself has its own path
_EXPORTS = {
    "ModelRegistry": "modelreg.registry",
    "exceptions": "modelreg.exceptions",
    "types": "modelreg.types",
    "utils": "modelreg.utils",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_EXPORTS[name])
    return module if _EXPORTS[name] == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
