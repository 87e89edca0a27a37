"""The registry as users hold it: the composition root of client, embedded registry, storage and tracking."""

from __future__ import annotations

from modelreg.registry.model_registry import ModelRegistry

__all__ = ["ModelRegistry"]
