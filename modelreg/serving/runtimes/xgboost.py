"""XGBoost: models that it saved itself, as JSON or UBJSON."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from modelreg.exceptions import InvalidModel, MissingExtra
from modelreg.serving.runtimes.tables import Features
from modelreg.serving.runtimes.tabular import Estimator, TabularModel, output
from modelreg.serving.runtimes.trust import Trust

# Requests run side by side already; more threads for each would wait for one another.
_ONE_THREAD = {"nthread": 1}


def create(name: str, path: Path, *, version: str | None, trust: Trust) -> TabularModel:  # noqa: ARG001 - the files are data
    """Return the model in a file, not loaded yet."""
    return TabularModel(name, read=partial(read, name, path), platform="xgboost", version=version)


def read(name: str, path: Path) -> Estimator:
    """Return the estimator in a file.

    ``predict`` answers what ``predict`` of the saved object did: classes where that was an ``XGBClassifier``, whose
    ``predict_proba`` is there as well; what the trees say, probabilities among them, where it was a ``Booster``.

    Args:
        name: Name of the model, for errors.
        path: The file.

    Raises:
        InvalidModel: The file is damaged, or not XGBoost's.
        MissingExtra: A library is not installed.
    """
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed", next_step="pip install 'modelreg[xgboost]'") from error
    content = bytearray(path.read_bytes())
    try:
        booster = xgboost.Booster(_ONE_THREAD)
        # From memory, where its first bytes tell JSON from UBJSON, and not its name.
        booster.load_model(content)
        kind = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type")
        features = Features(names=tuple(booster.feature_names or ()), count=booster.num_features(), datatype="FP32")
        errors = (ValueError, TypeError, xgboost.core.XGBoostError)
        wrapper = {
            "classifier": xgboost.XGBClassifier,
            "regressor": xgboost.XGBRegressor,
            "ranker": xgboost.XGBRanker,
        }.get(kind)
        if wrapper is None:
            return _of_booster(booster, features, errors)
        fitted = wrapper(n_jobs=1)
        fitted.load_model(content)
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise InvalidModel(f"model {name!r}: {path.name} is not a model that XGBoost saved") from error
    return _of_wrapper(fitted, features, errors, is_classifier=kind == "classifier")


def _of_booster(booster: Any, features: Features, errors: tuple[type[Exception], ...]) -> Estimator:
    groups = json.loads(booster.save_config())["learner"]["learner_model_param"].get("num_class", "0")
    dimensions = [int(groups)] if int(groups) > 1 else []
    return Estimator(
        methods={"predict": lambda table: booster.inplace_predict(_numbers(table))},
        features=features,
        outputs=(output("predict", "FP32", *dimensions),),
        errors=errors,
    )


def _of_wrapper(
    fitted: Any, features: Features, errors: tuple[type[Exception], ...], *, is_classifier: bool
) -> Estimator:
    methods = {"predict": lambda table: fitted.predict(_numbers(table))}
    outputs = [output("predict", "INT64" if is_classifier else "FP32")]
    if is_classifier:
        methods["predict_proba"] = lambda table: fitted.predict_proba(_numbers(table))
        outputs.append(output("predict_proba", "FP32", len(fitted.classes_)))
    return Estimator(methods=methods, features=features, outputs=tuple(outputs), errors=errors)


def _numbers(table: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(table, dtype=np.float32)
