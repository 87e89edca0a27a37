"""scikit-learn: skops files, which are data alone, and pickles of joblib's or Python's where that is allowed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from modelreg.exceptions import InvalidModel, MissingExtra, UntrustedModel
from modelreg.serving.runtimes.tables import Features
from modelreg.serving.runtimes.tabular import Estimator, TabularModel, output
from modelreg.serving.runtimes.trust import Trust

_PICKLES = frozenset({".joblib", ".pkl", ".pickle"})


def create(name: str, path: Path, *, version: str | None, trust: Trust) -> TabularModel:
    """Return the model in a file, not loaded yet.

    Raises:
        UntrustedModel: It is a pickle, and those are not trusted.
    """
    is_skops = _is_skops(path)
    if not is_skops and not trust.pickle:
        raise UntrustedModel(
            f"model {name!r}: {path.name} is a pickle, which can run any code when it is loaded",
            next_step="save it with skops; or, if you trust whoever made it, serve with --trust-pickle",
        )
    load = partial(_load_skops, trusted=sorted(trust.types)) if is_skops else _load_pickle
    return TabularModel(name, read=partial(read, name, path, load), platform="sklearn", version=version)


def read(name: str, path: Path, load: Callable[[str, Path], Any]) -> Estimator:
    """Return the estimator in a file.

    Args:
        name: Name of the model, for errors.
        path: The file.
        load: Loads the object in it.

    Raises:
        InvalidModel: The file is damaged, or what it holds cannot predict.
        UntrustedModel: A skops file holds types that are not trusted.
        MissingExtra: A library is not installed.
    """
    fitted = load(name, path)
    if not callable(getattr(fitted, "predict", None)):
        raise InvalidModel(f"model {name!r}: {path.name} holds a {type(fitted).__name__}, which cannot predict")
    features = _features(fitted)
    if features.names:
        _check_pandas()
    return Estimator(methods=_methods(fitted), features=features, outputs=tuple(_outputs(fitted)))


def _is_skops(path: Path) -> bool:
    """Return whether a file is for skops: by its name where that tells, else because it is a zip file."""
    suffix = path.suffix.lower()
    return suffix == ".skops" or (suffix not in _PICKLES and zipfile.is_zipfile(path))


def _load_skops(name: str, path: Path, *, trusted: list[str]) -> Any:
    try:
        from skops import io
        from skops.io.exceptions import UntrustedTypesFoundException
    except ImportError as error:
        raise _missing(error) from error
    try:
        return io.load(path, trusted=trusted)
    except UntrustedTypesFoundException as error:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - set(trusted))
        flags = " ".join(f"--trust-type {one}" for one in unknown)
        raise UntrustedModel(
            f"model {name!r}: {path.name} holds types that can do harm in the wrong hands: {', '.join(unknown)}",
            next_step=f"if you trust whoever made it, serve with {flags}",
        ) from error
    except Exception as error:
        # Any error at all may come of damaged bytes, or of a type that has changed since.
        raise _damaged(name, path, error) from error


def _load_pickle(name: str, path: Path) -> Any:
    try:
        import joblib
        import sklearn as sklearn  # noqa: PLC0414 - so that its absence is told as such
    except ImportError as error:
        raise _missing(error) from error
    try:
        return joblib.load(path)
    except Exception as error:
        # Loading a pickle runs code, which may raise anything.
        raise _damaged(name, path, error) from error


def _check_pandas() -> None:
    try:
        import pandas as pd  # noqa: F401 - told when the model is loaded, not when it is first asked
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> MissingExtra:
    return MissingExtra(f"{error.name} is not installed", next_step="pip install 'modelreg[sklearn]'")


def _damaged(name: str, path: Path, error: Exception) -> InvalidModel:
    return InvalidModel(
        f"model {name!r}: {path.name} cannot be loaded: {type(error).__name__}",
        debug_details=str(error),
        next_step="it is damaged, or was saved with other versions of its libraries",
    )


def _methods(fitted: Any) -> Mapping[str, Callable[[Any], Any]]:
    methods: dict[str, Callable[[Any], Any]] = {"predict": fitted.predict}
    if callable(getattr(fitted, "predict_proba", None)):
        if _targets(fitted) is None:
            methods["predict_proba"] = fitted.predict_proba
        else:
            # One array for each target, and the targets differ in classes.
            methods |= {f"predict_proba_{at}": partial(_proba_of, fitted, at) for at in range(_targets(fitted) or 0)}
    return methods


def _proba_of(fitted: Any, target: int, table: Any) -> Any:
    return fitted.predict_proba(table)[target]


def _targets(fitted: Any) -> int | None:
    """Return how many targets a classifier has that has classes for each of several; ``None`` for all others."""
    classes = getattr(fitted, "classes_", None)
    return len(classes) if isinstance(classes, list) else None


def _features(fitted: Any) -> Features:
    names = tuple(str(name) for name in getattr(fitted, "feature_names_in_", ()))
    return Features(names=names, count=getattr(fitted, "n_features_in_", None), by_name=True)


def _outputs(fitted: Any) -> list[dict[str, Any]]:
    from modelreg.types.datatypes import datatype_of

    classes = getattr(fitted, "classes_", None)
    if classes is None:
        return [output("predict", "FP64")]
    targets = classes if isinstance(classes, list) else [classes]
    datatype = datatype_of(targets[0].dtype) or "FP64"
    rows = [output("predict", datatype, *([len(targets)] if isinstance(classes, list) else []))]
    names = [name for name in _methods(fitted) if name != "predict"]
    return rows + [output(name, "FP64", len(of)) for name, of in zip(names, targets, strict=False)]
