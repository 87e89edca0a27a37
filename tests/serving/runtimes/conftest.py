"""Models of every format, fitted once on the iris and the digits data; a format whose library is absent is skipped."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import onnx_files

# What the extra `serve` installs is needed by all of these.
collect_ignore_glob = [] if find_spec("numpy") else ["test_*.py"]


class Data(NamedTuple):
    """A data set: the features of each row, and its class."""

    X: Any
    y: Any


class Fitted(NamedTuple):
    """A model in a file, and the object that it was made of."""

    path: Path
    model: Any
    data: Data


@pytest.fixture(scope="session")
def iris() -> Data:
    sklearn = pytest.importorskip("sklearn.datasets")
    return Data(*sklearn.load_iris(return_X_y=True))


@pytest.fixture(scope="session")
def digits() -> Data:
    sklearn = pytest.importorskip("sklearn.datasets")
    return Data(*sklearn.load_digits(return_X_y=True))


@pytest.fixture(scope="session")
def classifier(iris: Data) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(*iris)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def skops_file(classifier: Any, iris: Data, folder: Path) -> Fitted:
    io = pytest.importorskip("skops.io")
    path = folder / "iris.skops"
    io.dump(classifier, path)
    return Fitted(path, classifier, iris)


@pytest.fixture(scope="session")
def joblib_file(classifier: Any, iris: Data, folder: Path) -> Fitted:
    joblib = pytest.importorskip("joblib")
    path = folder / "iris.joblib"
    joblib.dump(classifier, path)
    return Fitted(path, classifier, iris)


@pytest.fixture(scope="session")
def pickle_file(digits: Data, folder: Path) -> Fitted:
    from sklearn.neighbors import KNeighborsClassifier

    fitted = KNeighborsClassifier(3).fit(*digits)
    path = folder / "digits.pkl"
    path.write_bytes(pickle.dumps(fitted))
    return Fitted(path, fitted, digits)


@pytest.fixture(scope="session")
def named_file(iris: Data, folder: Path) -> Fitted:
    """A classifier that was fitted on a data frame, one column of which is text."""
    pandas, io = pytest.importorskip("pandas"), pytest.importorskip("skops.io")
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pandas.DataFrame({"width": iris.X[:, 3], "length": iris.X[:, 2]})
    frame["size"] = ["large" if row[0] > 6 else "small" for row in iris.X]
    species = ["setosa", "versicolor", "virginica"]
    transformer = make_column_transformer((OneHotEncoder(), ["size"]), (StandardScaler(), ["width", "length"]))
    fitted = make_pipeline(transformer, LogisticRegression(max_iter=1000)).fit(
        frame, [species[label] for label in iris.y]
    )
    path = folder / "named.skops"
    io.dump(fitted, path)
    return Fitted(path, fitted, Data(frame, iris.y))


@pytest.fixture(scope="session")
def xgboost_file(iris: Data, folder: Path) -> Fitted:
    xgboost = pytest.importorskip("xgboost")
    fitted = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(*iris)
    path = folder / "iris.ubj"
    fitted.save_model(path)
    return Fitted(path, fitted, iris)


@pytest.fixture(scope="session")
def booster_file(digits: Data, folder: Path) -> Fitted:
    xgboost = pytest.importorskip("xgboost")
    settings = {"objective": "multi:softprob", "num_class": 10, "nthread": 1}
    fitted = xgboost.train(settings, xgboost.DMatrix(*digits), 3)
    path = folder / "digits.json"
    fitted.save_model(path)
    return Fitted(path, fitted, digits)


@pytest.fixture(scope="session")
def lightgbm_file(iris: Data, folder: Path) -> Fitted:
    lightgbm = pytest.importorskip("lightgbm")
    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    fitted = lightgbm.train(settings, lightgbm.Dataset(*iris), 5)
    path = folder / "iris.txt"
    fitted.save_model(path)
    return Fitted(path, fitted, iris)


@pytest.fixture(scope="session")
def onnx_file(classifier: Any, iris: Data, folder: Path) -> Fitted:
    pytest.importorskip("onnxruntime")
    path = folder / "iris.onnx"
    path.write_bytes(onnx_files.classifier(classifier.coef_, classifier.intercept_))
    return Fitted(path, classifier, iris)
