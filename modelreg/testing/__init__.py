"""What users' own tests may import: a registry of their own, and contract suites for storages and registries.

Importing this package loads none of it: each name below is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelreg.testing.registry import in_process_registry, serve_registry

__all__ = ["in_process_registry", "serve_registry"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("modelreg.testing.registry"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
