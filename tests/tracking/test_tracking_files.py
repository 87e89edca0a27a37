"""Files, models and data sets of runs: where they go, and what is refused before a byte of them moves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.exceptions import DuplicateError, ExperimentRunError, InvalidInput, StoreError, Unreachable
from modelreg.registry.storing import find_same
from modelreg.registry.uploading import destination
from modelreg.tracking.tracker import Tracker

FORMAT = {"model_format_name": "raw", "model_format_version": "1"}


@pytest.fixture
def embedded() -> Iterator[ModelRegistry]:
    with ModelRegistry(author="ann") as registry:
        yield registry


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("first")
    return folder


@pytest.fixture
def stored(home: Path) -> Callable[[], list[Path]]:
    """The files that runs have stored."""
    return lambda: sorted(path for path in (home / "artifacts").rglob("*") if path.is_file())


@pytest.fixture
def kept(embedded: ModelRegistry) -> Callable[[], list[Path]]:
    """The files that runs of the registry have stored."""
    root = embedded.settings.data_folder / "artifacts"
    return lambda: sorted(path for path in root.rglob("*") if path.is_file())


def read(uri: str | None) -> str:
    return (modelreg.fetch(str(uri)) / "weights").read_text()


def test_a_model_that_is_logged_again_leaves_the_versions_before_as_they_are(embedded: ModelRegistry, model: Path):
    with embedded.start_experiment_run("fraud") as run:
        run.log_model(model, register_as="fraud", version="1", **FORMAT)
        (model / "weights").write_text("second")
        run.log_model(model, register_as="fraud", version="2", **FORMAT)

    assert [read(f"model-registry://fraud/{version}") for version in "12"] == ["first", "second"]


def test_a_version_of_other_files_is_refused_before_a_byte_moves(
    embedded: ModelRegistry, model: Path, kept: Callable[[], list[Path]]
):
    with embedded.start_experiment_run("fraud") as run:
        run.log_model(model, register_as="fraud", version="1", **FORMAT)
        (model / "weights").write_text("second")
        before = kept()
        with pytest.raises(DuplicateError, match="version '1' already, of other files"):
            run.log_model(model, "again", register_as="fraud", version="1", **FORMAT)
        logged = [log.name for log in run.get_logs()]

    assert (kept(), logged) == (before, ["model"])


def test_a_version_of_the_same_files_is_kept_and_logged(
    embedded: ModelRegistry, model: Path, kept: Callable[[], list[Path]]
):
    with embedded.start_experiment_run("fraud") as run:
        first = run.log_model(model, register_as="fraud", version="1", **FORMAT)
        again = run.log_model(model, "again", register_as="fraud", version="1", metadata={"try": 2}, **FORMAT)

    assert (again.uri, again.custom_properties["try"], len(kept())) == (first.uri, 2, 1)
    assert [log.name for log in embedded.get_experiment_run_logs(run.info.id)] == ["model", "again"]


def test_a_place_that_holds_other_files_is_refused_before_a_byte_moves(
    embedded: ModelRegistry, model: Path, tmp_path: Path
):
    there = (tmp_path / "store").as_uri()
    with embedded.start_experiment_run("fraud") as run:
        run.log_model(model, uri=there, register_as="fraud", version="1", **FORMAT)
        (model / "weights").write_text("second")
        with pytest.raises(DuplicateError, match="never overwritten"):
            run.log_model(model, uri=there, register_as="fraud", version="2", **FORMAT)

    assert read("model-registry://fraud/1") == "first"


def test_a_model_goes_to_a_place_that_is_free(embedded: ModelRegistry, model: Path, tmp_path: Path):
    with embedded.start_experiment_run("fraud") as run:
        artifact = run.log_model(model, uri=(tmp_path / "store").as_uri(), register_as="fraud", version="1", **FORMAT)

    assert (artifact.uri, read("model-registry://fraud/1")) == ((tmp_path / "store").as_uri(), "first")


def test_a_registry_that_does_not_answer_refuses_no_version(model: Path, tmp_path: Path):
    class Down:
        def find_registered_model(self, **_: Any) -> None:
            raise Unreachable("connection refused")

    target = destination(model, tmp_path.as_uri())

    assert find_same(Down(), "fraud", "1", model, target, is_fresh=True) is None  # type: ignore[arg-type]


def test_a_registration_that_fails_says_where_the_files_are(embedded: ModelRegistry, model: Path):
    with embedded.start_experiment_run("fraud") as run:
        run._services._register = _refusing(run._services._register)  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="255 characters") as refused:
            run.log_model(model, register_as="fraud", version="v" * 255, **FORMAT)
        logged = run.get_log("artifacts", "model")

    assert str(logged.uri) in str(refused.value)  # type: ignore[attr-defined]


def _refusing(register: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(name: str, artifact: Any, **details: Any) -> Any:
        return register("m" * 4000, artifact, **details)

    return refuse


@pytest.mark.parametrize(
    "log",
    [
        lambda run, path: run.log_artifact(path),
        lambda run, path: run.log_model(path),
        lambda run, path: run.log_model(path, register_as="fraud"),
        lambda run, path: run.log_dataset(file_path=path),
        lambda run, _: run.log_system_metrics(),
    ],
)
def test_a_run_that_has_ended_stores_nothing(
    tracker: Tracker, tmp_path: Path, stored: Callable[[], list[Path]], log: Callable[[Any, Path], Any]
):
    (tmp_path / "file").write_text("content")
    run = tracker.start_run("fraud")
    run.finish()

    with pytest.raises(ExperimentRunError, match="has ended"):
        log(run, tmp_path / "file")

    assert stored() == []


@pytest.mark.parametrize(
    ("log", "argument"),
    [
        (lambda run, path: run.log_artifact(path, name=""), "name"),
        (lambda run, path: run.log_artifact(path, description=5), "description"),
        (lambda run, path: run.log_artifact(None), "path"),
        (lambda run, path: run.log_model(path, metadata={"auc": [1]}), r"metadata\['auc'\]"),
        (lambda run, path: run.log_model(path, metadata={"auc": Pair()}), r"metadata\['auc'\]"),
        (lambda run, path: run.log_model(path, metadata={"": 1}), "metadata"),
        (lambda run, path: run.log_model(path, metadata=[1]), "metadata"),
        (lambda run, path: run.log_model(path, register_as=""), "register_as"),
        (lambda run, path: run.log_model(path, register_as="fraud", version=2), "version"),
        (lambda run, path: run.log_model(path, model_format_name=2), "model_format_name"),
        (lambda run, path: run.log_dataset(file_path=path, source_type=3), "source_type"),
        (lambda run, path: run.log_dataset(file_path=path, digest=3), "digest"),
        (lambda run, path: run.log_dataset(file_path=path, schema={"a": Unspeakable()}), "schema"),
        (lambda run, path: run.log_dataset(file_path=3), "file_path"),
        (lambda run, path: run.log_dataset(uri=3), "uri"),
        (lambda run, path: run.log_metric("loss", 1.0, description=3), "description"),
        (lambda run, path: run.log_param("lr", 1.0, description=3), "description"),
        (lambda run, path: run.log_system_metrics("often"), "interval_s"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_stored(
    tracker: Tracker,
    tmp_path: Path,
    stored: Callable[[], list[Path]],
    log: Callable[[Any, Path], Any],
    argument: str,
):
    (tmp_path / "file").write_text("content")

    with tracker.start_run("fraud") as run:
        with pytest.raises(InvalidInput, match=argument):
            log(run, tmp_path / "file")
        logged = run.get_logs()

    assert (stored(), logged) == ([], [])


class Pair:
    """What a tensor of two elements does."""

    def item(self) -> float:
        raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")


class Unspeakable:
    """Has no text."""

    def __repr__(self) -> str:
        raise LookupError("no text")


def test_a_name_that_climbs_stays_a_name(tracker: Tracker, tmp_path: Path, stored: Callable[[], list[Path]]):
    (tmp_path / "loss curve?.svg").write_text("<svg/>")
    with tracker.start_run("fraud") as run:
        artifact = run.log_artifact(tmp_path / "loss curve?.svg", "../../loss")

    (file,) = stored()
    assert (artifact.name, file.name) == ("../../loss", "loss_curve_.svg")
    assert file.parent.parent.name == "artifacts"
    assert file.parent.parent.parent.name == run.key


def test_the_folder_that_one_is_in_has_a_name(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.chdir(tmp_path / "checkpoint")
    tracker._upload = lambda *_: _Stored()
    with tracker.start_run("fraud") as run:
        names = [run.log_artifact(path).name for path in (".", "..", os.curdir + os.sep)]

    assert names == ["checkpoint", tmp_path.name, "checkpoint"]


class _Stored:
    uri, digest, size = "memory://", "sha256:00", 1
