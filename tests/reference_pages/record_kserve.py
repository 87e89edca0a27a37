"""Writes ``kserve.json``: the public names of KServe's runtime and storage, with the parameters that they take.

Run in an environment that holds KServe, and nothing of modelreg::

    pip install kserve==0.21.0 kserve-storage==0.21.0
    python tests/reference_pages/record_kserve.py
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The two that the reference page shows whole, and those that programs written against them import besides.
MODULES = (
    *("kserve.model_server", "kserve.model", "kserve.model_repository", "kserve.protocol.infer_type"),
    *("kserve.inference_client", "kserve.predictor_config", "kserve.errors", "kserve_storage"),
)


def main() -> None:
    """Write the file beside this script."""
    # KServe reads the command line of whoever imports it.
    sys.argv = sys.argv[:1]
    record = {
        "versions": {name: version(name) for name in ("kserve", "kserve-storage")},
        "names": {name: describe(name) for name in MODULES},
    }
    target = Path(__file__).with_name("kserve.json")
    target.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def describe(module_name: str) -> dict[str, Any]:
    """Return what a module defines under public names: its functions, its classes and what it assigns."""
    module = importlib.import_module(module_name)
    found: dict[str, Any] = {name: {} for name in assigned(module) if not name.startswith("_")}
    for name, value in sorted(vars(module).items()):
        own = getattr(value, "__module__", "").startswith(module_name)
        if name.startswith("_") or not own:
            continue
        if inspect.isclass(value):
            found[name] = describe_class(value)
        elif inspect.isfunction(value):
            found[name] = {"parameters": parameters(value)}
    return found


def assigned(module: types.ModuleType) -> set[str]:
    """Return the names that the module's source assigns to at its top."""
    statements = ast.parse(inspect.getsource(module)).body
    targets = [one for statement in statements if isinstance(statement, ast.Assign) for one in statement.targets]
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def describe_class(cls: type) -> dict[str, Any]:
    """Return a class's constructor, and the methods and properties that it defines or inherits from its own package."""
    if issubclass(cls, enum.Enum):
        return {"members": sorted(one.name for one in cls)}
    described: dict[str, Any] = {"parameters": parameters(cls)}
    members = {}
    for name in sorted(dir(cls)):
        defined_by = next((one for one in cls.__mro__ if name in vars(one)), object)
        value = inspect.getattr_static(cls, name)
        if not defined_by.__module__.startswith("kserve") or (name.startswith("_") and name != "__call__"):
            continue
        if isinstance(value, property):
            members[name] = "property"
        elif callable(getattr(cls, name)):
            members[name] = {"parameters": parameters(getattr(cls, name))}
    return {**described, "attributes": members}


def parameters(function: Any) -> list[str] | None:
    """Return the names of a function's parameters, without ``self``; ``*`` and ``**`` before those that gather."""
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    try:
        found = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    return [marks.get(one.kind, "") + one.name for one in found if one.name not in {"self", "cls"}]


if __name__ == "__main__":
    main()
