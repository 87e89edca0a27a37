"""What users' own tests may import: a registry, fake models, and contract suites for storages and registries.

Importing this package loads none of it: each name below is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelreg.testing.hub import LocalHub, serve_hub
    from modelreg.testing.registry import in_process_registry, serve_registry
    from modelreg.testing.serving import EchoModel, FailingModel, HeldModel

__all__ = ["EchoModel", "FailingModel", "HeldModel", "LocalHub", "in_process_registry", "serve_hub", "serve_registry"]

# name -> module that holds it
_EXPORTS = {
    "EchoModel": "modelreg.testing.serving",
    "FailingModel": "modelreg.testing.serving",
    "HeldModel": "modelreg.testing.serving",
    "LocalHub": "modelreg.testing.hub",
    "in_process_registry": "modelreg.testing.registry",
    "serve_hub": "modelreg.testing.hub",
    "serve_registry": "modelreg.testing.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
