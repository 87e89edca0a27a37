"""Registering a model over a registry that fails at any step: whole after the second call, and in few requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from modelreg.client.api import RegistryAPI
from modelreg.embedded import open_app
from modelreg.exceptions import DuplicateError, ServerError, StoreError
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.registry.registration import Registration, register
from modelreg.types import ModelArtifact, ModelVersion, RegisteredModel

WANTED = Registration(
    model=RegisteredModel("fraud", owner="ann"),
    version=ModelVersion("1", author="ann", description="first", custom_properties={"auc": 0.5}),
    artifact=ModelArtifact(name="fraud", uri="s3://models/fraud"),
)


class FailingApp:
    """A registry of the contract alone that fails at the POST of a number, before or after it did what was asked."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.requests: list[str] = []
        self.fail_at: int | None = None
        self.after = False

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/api/modelreg/"):
            start_response("404 Not Found", [("Content-Type", "application/json")])
            return [b"{}"]
        self.requests.append(environ["REQUEST_METHOD"])
        if self.requests.count("POST") - 1 != self.fail_at or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start_response)
        self.fail_at = None
        if self.after:
            list(self._app(environ, lambda *_: lambda _: None))
        start_response("500 Internal Server Error", [("Content-Type", "application/json")])
        return [b'{"code": "Internal Server Error", "message": "out of luck"}']


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FailingApp]:
    app = open_app(str(tmp_path / "registry.db"))
    yield FailingApp(app)
    app.close()


@pytest.fixture
def api(app: FailingApp) -> RegistryAPI:
    return RegistryAPI(RegistrySession("http://registry.test", adapter=WSGIAdapter(app)))


def whole(api: RegistryAPI) -> bool:
    """Whether the registry holds the wanted model, version and artifact, and nothing else."""
    (model,) = api.get_registered_models().items
    (version,) = api.get_model_versions().items
    (artifact,) = api.get_model_artifacts().items
    (of_version,) = api.get_model_version_artifacts(str(version.id)).items
    return (
        (model.name, version.name, artifact.uri) == ("fraud", "1", "s3://models/fraud")
        and version.custom_properties == {"auc": 0.5}
        and artifact == of_version
    )


@pytest.mark.parametrize("step", [0, 1, 2], ids=["model", "version", "artifact"])
def test_what_failed_is_completed_by_the_same_call(app: FailingApp, api: RegistryAPI, step: int) -> None:
    app.fail_at = step
    with pytest.raises(ServerError, match="out of luck"):
        register(api, WANTED)

    register(api, WANTED)

    assert whole(api)


@pytest.mark.parametrize("step", [0, 1], ids=["model", "version"])
def test_what_was_stored_before_the_failure_is_completed_by_the_same_call(
    app: FailingApp, api: RegistryAPI, step: int
) -> None:
    app.fail_at, app.after = step, True
    with pytest.raises(ServerError):
        register(api, WANTED)

    register(api, WANTED)

    assert whole(api)


def test_a_failure_after_everything_was_stored_is_told_by_the_same_call(app: FailingApp, api: RegistryAPI) -> None:
    app.fail_at, app.after = 2, True
    with pytest.raises(ServerError):
        register(api, WANTED)

    with pytest.raises(DuplicateError, match="already"):
        register(api, WANTED)

    assert whole(api)


def test_a_new_model_costs_three_requests_and_a_new_version_four(app: FailingApp, api: RegistryAPI) -> None:
    register(api, WANTED)
    new, app.requests = app.requests, []
    another = Registration(model=WANTED.model, version=ModelVersion("2"), artifact=WANTED.artifact)
    register(api, another)

    assert new == ["POST"] * 3
    assert app.requests == ["POST", "GET", "POST", "POST"]


class LosingApp:
    """A registry of modelreg's own that loses requests to register, or its answers, as often as it is told to."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.requests = 0
        # Whether each of the next requests is done before its answer is lost.
        self.losses: list[bool] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ["PATH_INFO"].endswith("/registrations"):
            return self._app(environ, start_response)
        self.requests += 1
        if not self.losses:
            return self._app(environ, start_response)
        if self.losses.pop(0):
            list(self._app(environ, lambda *_: lambda _: None))
        start_response("504 Gateway Timeout", [("Content-Type", "text/html")])
        return [b"<title>Gateway Timeout</title>"]


class TestAtOnce:
    """A registry that registers in one transaction."""

    @pytest.fixture
    def own(self, tmp_path: Path) -> Iterator[LosingApp]:
        app = open_app(str(tmp_path / "registry.db"))
        yield LosingApp(app)
        app.close()

    @pytest.fixture
    def own_api(self, own: LosingApp) -> RegistryAPI:
        retry = RetryPolicy(sleep=lambda _: None)
        return RegistryAPI(RegistrySession("http://registry.test", adapter=WSGIAdapter(own), retry=retry))

    def test_a_version_costs_one_request(self, own: LosingApp, own_api: RegistryAPI) -> None:
        register(own_api, WANTED)

        assert own.requests == 1
        assert whole(own_api)

    def test_an_answer_that_was_lost_is_found_to_be_ours(self, own: LosingApp, own_api: RegistryAPI) -> None:
        own.losses = [True]

        model = register(own_api, WANTED)

        assert (model.name, own.requests) == ("fraud", 1)
        assert whole(own_api)

    def test_metadata_that_is_not_a_number_is_ours_as_well(self, own: LosingApp, own_api: RegistryAPI) -> None:
        version = ModelVersion("1", author="ann", custom_properties={"auc": float("nan")})
        artifact = ModelArtifact(name="fraud", uri="s3://models/fraud", custom_properties={"loss": float("nan")})
        own.losses = [True]

        model = register(own_api, attrs.evolve(WANTED, version=version, artifact=artifact))

        assert model.name == "fraud"

    def test_a_request_that_was_lost_is_sent_again(self, own: LosingApp, own_api: RegistryAPI) -> None:
        own.losses = [False, True]

        register(own_api, WANTED)

        assert own.requests == 2
        assert whole(own_api)

    def test_a_registry_that_loses_everything_is_given_up_with_nothing_left_there(
        self, own: LosingApp, own_api: RegistryAPI
    ) -> None:
        own.losses = [False] * 10

        with pytest.raises(StoreError):
            register(own_api, WANTED)

        assert own.requests == 3
        assert own_api.get_registered_models().items == []

    def test_what_another_registered_while_an_answer_was_lost_is_not_ours(
        self, own: LosingApp, own_api: RegistryAPI
    ) -> None:
        register(own_api, attrs.evolve(WANTED, artifact=ModelArtifact(name="fraud", uri="s3://other")))
        own.losses = [False]

        with pytest.raises(DuplicateError, match="already"):
            register(own_api, WANTED)

    def test_an_external_id_that_is_taken_is_told(self, own_api: RegistryAPI) -> None:
        own_api.create_registered_model(RegisteredModel("other", external_id="x-1"))
        model = RegisteredModel("fraud", external_id="x-1")

        with pytest.raises(DuplicateError, match="external ids"):
            register(own_api, attrs.evolve(WANTED, model=model))
