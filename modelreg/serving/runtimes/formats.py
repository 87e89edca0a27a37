"""Which format the files of a model have, told by their names and first bytes, and what runs it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from modelreg.exceptions import InvalidModel
from modelreg.serving.model import Model
from modelreg.serving.runtimes.trust import Trust

#: Makes a model of a file: ``create(name, path, version=..., trust=...)``. It is not loaded yet.
Create = Callable[..., Model]

#: Where each format's runtime is, as ``module:attribute``.
RUNTIMES = {
    "lightgbm": "modelreg.serving.runtimes.lightgbm:create",
    "onnx": "modelreg.serving.runtimes.onnx:create",
    "python": "modelreg.serving.runtimes.python:create",
    "sklearn": "modelreg.serving.runtimes.sklearn:create",
    "xgboost": "modelreg.serving.runtimes.xgboost:create",
}
# What registries and people call them besides.
_ALIASES = {
    "joblib": "sklearn",
    "lgbm": "lightgbm",
    "pickle": "sklearn",
    "scikit-learn": "sklearn",
    "skops": "sklearn",
    "xgb": "xgboost",
}
#: The file that the python format is known by.
CODE_FILE = "model.py"
_SUFFIXES = {
    ".skops": "sklearn",
    ".joblib": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".onnx": "onnx",
    ".ubj": "xgboost",
    ".lgb": "lightgbm",
}
# These names mean one thing with one library and another with the next: the first bytes tell.
_AMBIGUOUS = frozenset({".bst", ".json", ".model", ".txt", ".xgb"})
_HEAD_BYTES = 256


@attrs.frozen
class ModelFile:
    """The file that a model is loaded from.

    Attributes:
        path: Where it is.
        format: Its format, a name of :data:`RUNTIMES`.
    """

    path: Path
    format: str


def known_format(name: str | None) -> str | None:
    """Return the name that this module has for a format, or ``None`` where no runtime is for it.

    Example:
        >>> known_format("scikit-learn"), known_format("tensorflow")
        ('sklearn', None)
    """
    folded = (name or "").strip().lower()
    folded = _ALIASES.get(folded, folded)
    return folded if folded in RUNTIMES else None


def is_model(path: Path) -> bool:
    """Return whether ``path`` is a file that a runtime loads, or a folder with one right in it."""
    return bool(_candidates([path] if path.is_file() else _files_in(path)))


def find_model(path: Path, *, declared: str | None = None, name: str = "model") -> ModelFile:
    """Return the file to load, and its format.

    A folder is searched, not those in it. A ``model.py`` in it makes it a model of the python format, as what is
    beside is what that reads; a skops file goes before those that hold pickles.

    Args:
        path: A file, or a folder that holds one model.
        declared: What the format is said to be; what the files show decides where no runtime is for that.
        name: Name of the model, for errors.

    Raises:
        InvalidModel: No file, or more than one, could be the model.
    """
    wanted = known_format(declared)
    files = [path] if path.is_file() else _files_in(path)
    found = _candidates(files)
    if wanted is not None:
        found = [one for one in found if one.format == wanted]
        if not found and len(files) == 1 and wanted != "python":
            # It is said what it is, so its name need not tell.
            return ModelFile(files[0], wanted)
    if not found:
        raise _not_found(name, files, declared)
    code = [one for one in found if one.format == "python"]
    return code[0] if code else _only(name, found)


def runtime(format_name: str) -> Create:
    """Return what makes models of files of a format.

    Args:
        format_name: A name of :data:`RUNTIMES`.
    """
    module, _, attribute = RUNTIMES[format_name].partition(":")
    create: Create = getattr(importlib.import_module(module), attribute)
    return create


def open_model(
    name: str, path: Path, *, version: str | None = None, declared: str | None = None, trust: Trust | None = None
) -> Model:
    """Return the model that a file or a folder holds, not loaded yet.

    Args:
        name: Name to serve it under.
        path: A file, or a folder that holds one model.
        version: Version to serve it under; ``None`` for none.
        declared: What the format is said to be, where somebody says.
        trust: What its files may do; by default nothing but be data.

    Raises:
        InvalidModel: No file, or more than one, could be the model.
        UntrustedModel: Loading it could run code, which ``trust`` does not allow.
    """
    file = find_model(path, declared=declared, name=name)
    return runtime(file.format)(name, file.path, version=version, trust=Trust() if trust is None else trust)


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _candidates(files: Iterable[Path]) -> list[ModelFile]:
    formats = ((path, _format_of(path)) for path in files)
    return [ModelFile(path, found) for path, found in formats if found is not None]


def _format_of(path: Path) -> str | None:
    if path.name == CODE_FILE:
        return "python"
    suffix = path.suffix.lower()
    return _sniffed(path) if suffix in _AMBIGUOUS else _SUFFIXES.get(suffix)


def _sniffed(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith((b"tree\n", b"tree\r\n")):
        return "lightgbm"
    # JSON and UBJSON alike are an object whose first key, but for the version, is this one.
    return "xgboost" if head.lstrip().startswith(b"{") and b"learner" in head else None


def _only(name: str, found: list[ModelFile]) -> ModelFile:
    safe = [one for one in found if one.path.suffix.lower() == ".skops"]
    rest = safe if safe and all(one.format == "sklearn" for one in found) else found
    if len(rest) == 1:
        return rest[0]
    names = ", ".join(f"{one.path.name} ({one.format})" for one in rest)
    raise InvalidModel(
        f"model {name!r} could be any of {names}", next_step="serve the file itself, or say --format where that decides"
    )


def _not_found(name: str, files: list[Path], declared: str | None) -> InvalidModel:
    said = f" of the format {declared!r}" if declared else ""
    shown = ", ".join(path.name for path in files[:5]) + (", ..." if len(files) > 5 else "")
    return InvalidModel(
        f"model {name!r}: no file{said} that can be served among {shown}"
        if files
        else f"model {name!r}: there are no files",
        next_step=f"the formats are {', '.join(RUNTIMES)}; a {CODE_FILE} serves any other with --trust-code",
    )
