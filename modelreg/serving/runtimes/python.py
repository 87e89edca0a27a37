"""Models that bring their own code: a ``model.py`` with one subclass of ``Model``, run where that is allowed."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, SupportsIndex

from modelreg.exceptions import InvalidModel, ModelRegError, UntrustedModel
from modelreg.serving.model import Model
from modelreg.serving.runtimes.trust import Trust


def create(name: str, path: Path, *, version: str | None, trust: Trust) -> Model:
    """Return the model that a file's code makes, not loaded yet.

    The class is called with the name. The code finds what is beside it by ``Path(__file__).parent``, and imports
    modules there as ``from . import features``: several models, and several versions of one, each have their own.

    Args:
        name: Name under which it is served.
        path: The file.
        version: Version under which it is served; the class's own choice where ``None``.
        trust: What the file may do.

    Raises:
        UntrustedModel: Code that comes with models is not trusted.
        InvalidModel: The code fails, or has no such class, or more than one.
    """
    if not trust.code:
        raise UntrustedModel(
            f"model {name!r}: {path.name} is code that comes with the model",
            next_step="if you trust whoever wrote it, serve with --trust-code",
        )
    kind = _class_in(_module(name, path), name, path)
    _make_sendable(kind, name, path)
    model = kind(name)
    if version is not None:
        model.version = version
    return model


def _module(name: str, path: Path) -> ModuleType:
    module_name = _module_name(path)
    spec = importlib.util.spec_from_file_location(module_name, path, submodule_search_locations=[str(path.parent)])
    if spec is None or spec.loader is None:
        raise InvalidModel(f"model {name!r}: {path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    _forget(module_name)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except ModelRegError:
        _forget(module_name)
        raise
    except Exception as error:
        # Somebody else's code, which may raise anything.
        _forget(module_name)
        raise InvalidModel(
            f"model {name!r}: {path.name} fails with {type(error).__name__}", debug_details=str(error)
        ) from error
    return module


def _module_name(path: Path) -> str:
    """A name of its own for each folder, so that one model's code never stands for another's."""
    return f"modelreg_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"


def _make_sendable(kind: type[Model], name: str, path: Path) -> None:
    """Let models of a class be pickled for a worker process, which cannot import the module that it is of.

    A class that says itself how it is pickled is left alone.
    """
    if kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return

    def reduce(model: Model, protocol: SupportsIndex) -> tuple[Any, ...]:
        # What makes it, the arguments of that, and its state.
        described: Any = object.__reduce_ex__(model, protocol)
        return (_made_empty, (name, path), *described[2:])

    kind.__reduce_ex__ = reduce  # type: ignore[assignment,method-assign]  # a class of the model's own code, made for it here


def _made_empty(name: str, path: Path) -> Model:
    """A model of the class in a file, as it is before its state is set."""
    kind = _class_in(sys.modules.get(_module_name(path)) or _module(name, path), name, path)
    return kind.__new__(kind)


def _forget(module_name: str) -> None:
    """Let the code be read anew when the model is loaded again, with what it imported from beside it."""
    for known in [known for known in sys.modules if known == module_name or known.startswith(f"{module_name}.")]:
        del sys.modules[known]


def _class_in(module: ModuleType, name: str, path: Path) -> type[Model]:
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Model) and value.__module__ == module.__name__
    ]
    # One that others build upon is not the model.
    leaves = [one for one in classes if not any(other is not one and issubclass(other, one) for other in classes)]
    if len(leaves) != 1:
        found = ", ".join(one.__name__ for one in leaves) or "none"
        raise InvalidModel(
            f"model {name!r}: {path.name} must define one subclass of modelreg.serving.Model, not {found}"
        )
    return leaves[0]
