"""LightGBM: models that ``Booster.save_model`` wrote, which are text."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from modelreg.exceptions import InvalidModel, MissingExtra
from modelreg.serving.runtimes.tables import Features
from modelreg.serving.runtimes.tabular import Estimator, TabularModel, output
from modelreg.serving.runtimes.trust import Trust

# What it calls features that were given no names.
_UNNAMED = re.compile(r"Column_\d+")
_TREE_SIZES = re.compile(rb"^tree_sizes=([\d ]+)$", re.MULTILINE)


def create(name: str, path: Path, *, version: str | None, trust: Trust) -> TabularModel:  # noqa: ARG001 - the files are data
    """Return the model in a file, not loaded yet."""
    return TabularModel(name, read=partial(read, name, path), platform="lightgbm", version=version)


def read(name: str, path: Path) -> Estimator:
    """Return the estimator in a file: ``predict`` answers what the saved ``Booster`` did.

    Args:
        name: Name of the model, for errors.
        path: The file.

    Raises:
        InvalidModel: The file is damaged, or not LightGBM's.
        MissingExtra: The library is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed", next_step="pip install 'modelreg[lightgbm]'") from error
    try:
        booster = lightgbm.Booster(model_str=_model_text(path))
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError, ValueError) as error:
        raise InvalidModel(f"model {name!r}: {path.name} is not a model that LightGBM saved") from error
    names = tuple(booster.feature_name())
    is_named = not all(_UNNAMED.fullmatch(one) for one in names)
    classes = booster.num_model_per_iteration()
    return Estimator(
        # Requests run side by side already; more threads for each would wait for one another.
        methods={"predict": lambda table: booster.predict(_numbers(table), num_threads=1)},
        features=Features(names=names if is_named else (), count=booster.num_feature(), kept_as=_kept_as),
        outputs=(output("predict", "FP64", *([classes] if classes > 1 else [])),),
        errors=(ValueError, TypeError, lightgbm.basic.LightGBMError),
    )


def _model_text(path: Path) -> str:
    """Return the text of a saved model.

    Raises:
        ValueError: It is none. LightGBM's own reader looks for the end of one for ever, and ends the process where a
            tree is not where the header says.
    """
    content = path.read_bytes()
    sizes = _TREE_SIZES.search(content)
    at = content.find(b"\nTree=0\n") + 1
    for number, size in enumerate(sizes[1].split() if sizes is not None else []):
        if not content.startswith(b"Tree=%d\n" % number, at):
            raise ValueError(f"its tree {number} is not where it should be")
        at += int(size)
    if not content.startswith(b"tree\n") or not content.startswith(b"end of trees\n", at):
        raise ValueError("it does not begin or end as a saved model does")
    return content.decode()


def _kept_as(name: str) -> str:
    """``name`` as it is in a saved model."""
    return name.replace(" ", "_")


def _numbers(table: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(table, dtype=np.float64)
