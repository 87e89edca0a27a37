"""Models in several versions, loaded and unloaded while they are used."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidInput, ModelNotFound, ModelNotReady
from modelreg.serving.model import Model
from modelreg.serving.repository import ModelRepository


class Noting(Model):
    """Notes whether it was stopped."""

    def __init__(self, name: str, version: str | None = None) -> None:
        super().__init__(name, version=version)
        self.stopped = threading.Event()

    def predict(self, payload: Any) -> Any:
        return payload

    def stop(self) -> None:
        super().stop()
        self.stopped.set()


@pytest.mark.parametrize(
    "versions",
    [
        ["1", "2", "10"],
        ["1.9.9", "1.10", "v1.11"],
        ["1.0-rc1", "1.0-rc2", "1.0-rc10", "1.0", "1.0.1"],
        [None, "0.1"],
        ["latest", "1"],
        ["2024-01-31", "2024-02-01"],
    ],
)
def test_without_a_version_the_newest_answers(versions: list[str | None]):
    repository = ModelRepository()
    for version in reversed(versions):
        repository.update(Noting("m", version))

    assert [served.version for served in repository.all()] == versions[::-1]
    assert repository.get_model("m").version == versions[-1]  # type: ignore[union-attr]
    assert repository.versions("m") == [version for version in versions[::-1] if version is not None]


@given(st.lists(st.text("0123456789.-+vrc", min_size=1, max_size=8), min_size=1, max_size=8, unique=True))
def test_any_versions_can_be_put_in_order(versions: list[str]):
    repository = ModelRepository()
    for version in versions:
        repository.update(Noting("m", version))

    assert sorted(repository.versions("m")) == sorted(versions)
    assert all(repository.get_model("m", version).version == version for version in versions)  # type: ignore[union-attr]


def test_a_model_that_is_not_there_is_none_or_an_error():
    repository = ModelRepository()
    repository.update(Noting("m", "1"))

    assert repository.get_model("n") is None
    assert repository.get_model("m", "2") is None
    assert not repository.is_model_ready("m", "2")
    with pytest.raises(ModelNotFound, match="there is no model 'm' in version '2'"):
        repository.use("m", "2")


def test_a_model_may_answer_under_another_name_too_and_is_stopped_with_the_last():
    model = Noting("m")
    repository = ModelRepository()
    repository.update(model)
    repository.update(model, name="n")

    repository.unload("m")
    assert not model.stopped.is_set()
    repository.unload("n")

    assert model.stopped.is_set()


def test_a_model_put_in_twice_is_not_stopped():
    model = Noting("m")
    repository = ModelRepository()
    repository.update(model)
    repository.update(model)
    for thread in threading.enumerate():
        if thread.name == "modelreg-retire":
            thread.join(60)

    assert not model.stopped.is_set()


def test_what_has_no_name_cannot_be_served():
    with pytest.raises(InvalidInput, match="object has no name"):
        ModelRepository().update(object())


def test_a_model_that_is_replaced_ends_its_requests_before_it_is_stopped():
    old, new = Noting("m"), Noting("m")
    repository = ModelRepository()
    repository.update(old)
    used = repository.use("m")

    repository.update(new)
    assert repository.get_model("m") is new
    assert not old.stopped.is_set()
    used.release()

    assert old.stopped.wait(60)
    assert not new.stopped.is_set()


def test_unloading_waits_for_the_requests_and_stops_every_version():
    first, second = Noting("m", "1"), Noting("m", "2")
    repository = ModelRepository()
    repository.update(first)
    repository.update(second)
    used = repository.use("m", "1")
    unloading = threading.Thread(target=repository.unload, args=("m",))
    unloading.start()
    assert_comes_true(lambda: repository.find("m") is None)

    with pytest.raises(ModelNotFound):
        repository.use("m", "1")
    assert not first.stopped.is_set()
    used.release()
    unloading.join(60)

    assert first.stopped.is_set()
    assert second.stopped.is_set()


def assert_comes_true(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    assert any(condition() or pause.wait(0.001) for _ in range(60_000))


def test_unloading_waits_no_longer_than_it_is_told(caplog: pytest.LogCaptureFixture):
    model = Noting("m")
    repository = ModelRepository()
    repository.update(model)
    repository.use("m")

    repository.unload("m", timeout_s=0)

    assert model.stopped.is_set()
    assert "requests still use model m" in caplog.text


def test_what_is_not_there_cannot_be_unloaded():
    with pytest.raises(ModelNotFound):
        ModelRepository().unload("m")


def test_loading_by_name_replaces_every_version_by_those_that_there_are_now():
    old = Noting("m", "1")
    repository = ModelRepository(loader=lambda name: [Noting(name, "2"), Noting(name, "3")])
    repository.update(old)

    assert repository.load("m")

    assert repository.versions("m") == ["3", "2"]
    assert repository.is_model_ready("m", "2")
    assert old.stopped.wait(60)


def test_what_is_in_service_stays_so_where_loading_fails():
    class Broken(Noting):
        def load(self) -> bool:
            return False

    working = Noting("m")
    repository = ModelRepository(loader=lambda name: [Broken(name)])
    repository.update(working)

    with pytest.raises(ModelNotReady, match=r"its load\(\) did not make it ready"):
        repository.load("m")

    assert repository.get_model("m") is working
    assert not working.stopped.is_set()


@pytest.mark.parametrize("repository", [ModelRepository(), ModelRepository(loader=lambda name: [])])
def test_what_nobody_knows_cannot_be_loaded(repository: ModelRepository):
    with pytest.raises(ModelNotFound):
        repository.load("m")


def test_a_model_may_set_ready_or_return_it_or_both():
    class Setting(Noting):
        def load(self) -> None:  # type: ignore[override]
            self.ready = True

    class Returning(Noting):
        def load(self) -> bool:
            return True

    repository = ModelRepository()
    for model in (Setting("a"), Returning("b"), Noting("c")):
        repository.update(model)
        repository.load(model.name)

        assert repository.is_model_ready(model.name)


def test_without_a_loader_loading_loads_what_is_there_and_stops_nothing():
    model = Noting("m")
    repository = ModelRepository()
    repository.update(model)

    repository.load("m")

    assert repository.is_model_ready("m")
    assert not model.stopped.is_set()


def test_without_a_loader_what_was_unloaded_can_be_loaded_again():
    model = Noting("m", "1")
    repository = ModelRepository()
    repository.update(model)
    repository.load("m")

    repository.unload("m")
    assert repository.index() == [{"name": "m", "version": "", "state": "UNAVAILABLE", "reason": "not loaded"}]
    assert not model.ready
    repository.load("m")

    assert repository.get_model("m", "1") is model
    assert model.ready


def test_the_models_of_a_folder_are_loaded_together(tmp_path: Path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
    repository = ModelRepository(tmp_path, loader=lambda name: [Noting(name)])

    repository.load_models()

    assert list(repository.get_models()) == ["a", "b"]


def test_the_index_tells_of_what_could_be_loaded_and_of_what_could_not(tmp_path: Path):
    def loader(name: str) -> list[Model]:
        raise OSError("disk on fire")

    (tmp_path / "later").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file").write_bytes(b"")
    repository = ModelRepository(tmp_path, loader=loader)
    ready = Noting("ready", "1")
    ready.load()
    repository.update(ready)
    repository.update(Noting("unready"))
    with pytest.raises(OSError, match="fire"):
        repository.load("broken")

    assert repository.index() == [
        {"name": "ready", "version": "1", "state": "READY", "reason": ""},
        {"name": "unready", "version": "", "state": "UNAVAILABLE", "reason": ""},
        {"name": "broken", "version": "", "state": "UNAVAILABLE", "reason": "OSError"},
        {"name": "later", "version": "", "state": "UNAVAILABLE", "reason": "not loaded"},
    ]


def test_the_index_shows_a_model_while_it_is_loaded():
    seen = []

    def loader(name: str) -> list[Model]:
        seen.extend(repository.index())
        return [Noting(name)]

    repository = ModelRepository(loader=loader)
    repository.load("m")

    assert [row["state"] for row in seen] == ["LOADING"]


def test_a_model_whose_stop_fails_is_out_of_service_all_the_same(caplog: pytest.LogCaptureFixture):
    class Clinging(Noting):
        def stop(self) -> None:
            raise RuntimeError("no")

    other = Noting("n")
    repository = ModelRepository()
    repository.update(Clinging("m"))
    repository.update(other)

    repository.close()

    assert repository.get_models() == {}
    assert other.stopped.is_set()
    assert "stop() of model m failed" in caplog.text


def test_start_is_called_after_load():
    class Starting(Noting):
        def start(self) -> None:
            assert self.ready
            self.started = True

    model = Starting("m")
    repository = ModelRepository()
    repository.update(model)
    repository.load("m")

    assert model.started


def test_models_come_and_go_while_requests_use_them():
    repository = ModelRepository(loader=lambda name: [Noting(name)])
    repository.load("m")
    wrong = []
    ended = threading.Event()

    def use() -> None:
        while not ended.is_set():
            try:
                served = repository.use("m")
            except ModelNotFound:
                continue
            if served.model.stopped.is_set():
                wrong.append(served)
            served.release()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        repository.load("m")
        repository.unload("m")
    ended.set()
    for thread in threads:
        thread.join(60)

    assert wrong == []


# --- sent to another process


class Sendable(Model):
    """Can be pickled."""


def loaded_by_name(name: str) -> list[Model]:
    return [Sendable(name, version="3")]


def test_a_repository_that_is_sent_has_the_same_models_under_the_same_names(tmp_path: Path):
    repository = ModelRepository(tmp_path, loader=loaded_by_name)
    for version in ("2", "10"):
        repository.update(Sendable("m", version=version))
    repository.update(Sendable("other"), "renamed")

    sent = pickle.loads(pickle.dumps(repository))

    assert [(served.name, served.version) for served in sent.all()] == [("m", "10"), ("m", "2"), ("renamed", None)]
    assert sent.models_dir == tmp_path
    assert sent.load("m")
    assert sent.versions("m") == ["3"]
    assert repository.versions("m") == ["10", "2"]


def test_what_was_unloaded_is_sent_along():
    repository = ModelRepository()
    repository.update(Sendable("m"))
    repository.unload("m")

    sent = pickle.loads(pickle.dumps(repository))

    assert sent.load("m")
    assert sent.is_model_ready("m")


def test_a_model_that_cannot_be_sent_is_named():
    repository = ModelRepository()
    repository.update(Noting("m"))

    with pytest.raises(InvalidInput, match="model 'm' cannot be sent to another process"):
        pickle.dumps(repository)
