"""Creates whose answers get lost on the way back from a real registry: one object, or an error, and never a second."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import DuplicateError, ServerError, StoreError
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.types import (
    Experiment,
    ExperimentRun,
    InferenceService,
    ListOptions,
    Metric,
    ModelArtifact,
    ModelVersion,
    RegisteredModel,
    ServeModel,
    ServingEnvironment,
)

# What becomes of an answer after the registry has done what was asked.
LOSSES = ["502", "503", "504", "cut", "empty", "not JSON"]
# What becomes of a request that the registry never sees.
REFUSALS = ["429", "503 before"]
# ... or only after the next request.
LATE = "late"
STATUSES = {"503 before": "503", LATE: "504"}


class Lossy:
    """A gateway before a registry: it loses answers and requests as it is told to, the next one first."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.fates: list[str] = []
        self.requests: list[str] = []
        # What happens while a request is lost.
        self.meanwhile: Callable[[], object] = lambda: None
        self._late: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].rpartition('/')[2]}")
        fate = self.fates.pop(0) if self.fates else "passes"
        if fate == "passes":
            answer = self._app(environ, start_response)
            self._do(self._late)
            return answer
        if fate in LOSSES:
            self._do([environ])
        if fate == LATE:
            self._late.append(environ)
        self.meanwhile()
        return self._answer(fate, start_response)

    def _do(self, requests: list[dict[str, Any]]) -> None:
        while requests:
            list(self._app(requests.pop(), lambda *_: None))

    @staticmethod
    def _answer(fate: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if fate not in {"cut", "empty", "not JSON"}:
            start_response(f"{STATUSES.get(fate, fate)} Trouble", [("Content-Type", "text/html")])
            return [b"<title>Trouble</title>"]
        start_response("201 Created", [("Content-Type", "application/json")])
        return {"cut": broken(), "empty": [], "not JSON": [b'{"id": "1", "na']}[fate]


def broken() -> Iterator[bytes]:
    yield b'{"id": "1", '
    raise OSError("the connection broke")


@pytest.fixture
def gateway(app: Any) -> Lossy:
    return Lossy(app)


@pytest.fixture
def api(gateway: Lossy) -> Iterator[RegistryAPI]:
    retry = RetryPolicy(sleep=lambda _: None)
    with RegistrySession("http://registry.test", adapter=WSGIAdapter(gateway), retry=retry) as session:
        yield RegistryAPI(session)


@attrs.frozen
class World:
    """What the objects of a test belong to."""

    model: str
    version: str
    experiment: str
    environment: str
    service: str


@pytest.fixture
def world(api: RegistryAPI) -> World:
    model = str(api.create_registered_model(RegisteredModel("the model")).id)
    environment = str(api.create_serving_environment(ServingEnvironment("the environment")).id)
    service = InferenceService("the service", registered_model_id=model, serving_environment_id=environment)
    return World(
        model=model,
        version=str(api.create_model_version(ModelVersion("v0", registered_model_id=model)).id),
        experiment=str(api.create_experiment(Experiment("the experiment")).id),
        environment=environment,
        service=str(api.create_inference_service(service).id),
    )


# Each way to create something of a name, and where to count what there is.
NAMED: dict[str, tuple[Callable[[RegistryAPI, World, str], Any], Callable[[RegistryAPI], Any]]] = {
    "model": (
        lambda api, world, name: api.create_registered_model(RegisteredModel(name, owner="ann")),
        lambda api: api.get_registered_models,
    ),
    "version": (
        lambda api, world, name: api.create_model_version(ModelVersion(name, registered_model_id=world.model)),
        lambda api: api.get_model_versions,
    ),
    "version of a model": (
        lambda api, world, name: api.create_registered_model_version(
            world.model, ModelVersion(name, registered_model_id=world.model, custom_properties={"auc": 0.5})
        ),
        lambda api: api.get_model_versions,
    ),
    "artifact of a version": (
        lambda api, world, name: api.upsert_model_version_artifact(
            world.version, ModelArtifact(name=name, uri="s3://m")
        ),
        lambda api: api.get_artifacts,
    ),
    "experiment": (
        lambda api, world, name: api.create_experiment(Experiment(name)),
        lambda api: api.get_experiments,
    ),
    "run": (
        lambda api, world, name: api.create_experiment_run(ExperimentRun(name, experiment_id=world.experiment)),
        lambda api: api.get_experiment_runs,
    ),
    "run of an experiment": (
        lambda api, world, name: api.create_experiment_experiment_run(
            world.experiment, ExperimentRun(name, experiment_id=world.experiment)
        ),
        lambda api: api.get_experiment_runs,
    ),
    "environment": (
        lambda api, world, name: api.create_serving_environment(ServingEnvironment(name)),
        lambda api: api.get_serving_environments,
    ),
    "service": (
        lambda api, world, name: api.create_inference_service(
            InferenceService(name, registered_model_id=world.model, serving_environment_id=world.environment)
        ),
        lambda api: api.get_inference_services,
    ),
    "service of an environment": (
        lambda api, world, name: api.create_environment_inference_service(
            world.environment,
            InferenceService(name, registered_model_id=world.model, serving_environment_id=world.environment),
        ),
        lambda api: api.get_inference_services,
    ),
}


def ids(listing: Callable[..., Any], name: str) -> list[str]:
    return [item.id for item in listing(ListOptions(filter_query=f"name = '{name}'")).items]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", NAMED)
def test_a_create_whose_answer_was_lost_returns_the_one_object(
    api: RegistryAPI, gateway: Lossy, world: World, kind: str, loss: str
) -> None:
    create, listing = NAMED[kind]
    gateway.fates, gateway.requests = [loss], []

    created = create(api, world, "fraud")

    assert [request.split()[0] for request in gateway.requests] == ["POST", "GET"]
    assert ids(listing(api), "fraud") == [created.id]
    assert created == read_again(api, kind, created.id)


def read_again(api: RegistryAPI, kind: str, id: str) -> Any:
    read: dict[str, Callable[[str], Any]] = {
        "model": api.get_registered_model,
        "version": api.get_model_version,
        "artifact": api.get_artifact,
        "experiment": api.get_experiment,
        "run": api.get_experiment_run,
        "environment": api.get_serving_environment,
        "service": api.get_inference_service,
    }
    return read[kind.split(maxsplit=1)[0]](id)


@pytest.mark.parametrize("kind", NAMED)
def test_a_create_that_a_gateway_refused_is_sent_again_once_it_is_known_not_to_be_done(
    api: RegistryAPI, gateway: Lossy, world: World, kind: str
) -> None:
    create, listing = NAMED[kind]
    gateway.fates, gateway.requests = ["503 before"], []

    created = create(api, world, "fraud")

    assert [request.split()[0] for request in gateway.requests] == ["POST", "GET", "POST"]
    assert ids(listing(api), "fraud") == [created.id]


def test_a_lookup_that_is_lost_as_well_is_asked_again(api: RegistryAPI, gateway: Lossy) -> None:
    gateway.fates = ["cut", "504", "not JSON", "empty"]

    model = api.create_registered_model(RegisteredModel("fraud"))

    assert ids(api.get_registered_models, "fraud") == [model.id]


def test_a_registry_that_stays_away_is_an_error_that_a_second_call_shows_the_way_out_of(
    api: RegistryAPI, gateway: Lossy
) -> None:
    gateway.fates = ["cut", *["503 before"] * 4]
    with pytest.raises(ServerError, match="Trouble"):
        api.create_registered_model(RegisteredModel("fraud"))

    with pytest.raises(DuplicateError):
        api.create_registered_model(RegisteredModel("fraud"))

    assert len(ids(api.get_registered_models, "fraud")) == 1


def test_a_request_that_arrives_after_it_was_looked_up_is_found(api: RegistryAPI, gateway: Lossy) -> None:
    gateway.fates = [LATE]

    model = api.create_registered_model(RegisteredModel("fraud", owner="ann"))

    assert [request.split()[0] for request in gateway.requests] == ["POST", "GET", "POST", "GET"]
    assert ids(api.get_registered_models, "fraud") == [model.id]


def test_what_another_client_created_under_the_name_is_not_taken_for_ones_own(
    app: Any, api: RegistryAPI, gateway: Lossy
) -> None:
    other = RegistryAPI(RegistrySession("http://registry.test", adapter=WSGIAdapter(app)))
    gateway.fates = ["503 before"]
    gateway.meanwhile = lambda: other.create_registered_model(RegisteredModel("fraud", owner="eve"))

    with pytest.raises(DuplicateError, match="'fraud' is taken by another RegisteredModel") as raised:
        api.create_registered_model(RegisteredModel("fraud", owner="ann"))

    assert isinstance(raised.value.__cause__, ServerError)
    assert [model.owner for model in api.get_registered_models().items] == ["eve"]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_has_no_name_is_an_error_and_sent_once(api: RegistryAPI, gateway: Lossy, world: World, loss: str) -> None:
    run = str(api.create_experiment_run(ExperimentRun("run", experiment_id=world.experiment)).id)
    creates: list[Callable[[], Any]] = [
        lambda: api.create_experiment_run(ExperimentRun(experiment_id=world.experiment)),
        lambda: api.create_model_artifact(ModelArtifact(uri="s3://m")),
        lambda: api.create_artifact(ModelArtifact(uri="s3://m")),
        lambda: api.upsert_model_version_artifact(world.version, ModelArtifact(uri="s3://m")),
        lambda: api.upsert_experiment_run_artifact(run, Metric(name="loss", value=0.5, step=1)),
        lambda: api.create_inference_service_serve(world.service, ServeModel(model_version_id=world.version)),
    ]
    gateway.requests = []

    for create in creates:
        gateway.fates = [loss]
        with pytest.raises(StoreError) as raised:
            create()
        assert raised.value.maybe_done

    assert [request.split()[0] for request in gateway.requests] == ["POST"] * len(creates)


@pytest.mark.parametrize("fate", ["cut", "503 before"])
def test_a_serving_action_is_looked_up_among_those_of_its_service(
    api: RegistryAPI, gateway: Lossy, world: World, fate: str
) -> None:
    first = api.create_inference_service_serve(world.service, ServeModel("first", model_version_id=world.version))
    gateway.fates = [fate]

    second = api.create_inference_service_serve(world.service, ServeModel("second", model_version_id=world.version))

    assert [serve.id for serve in api.get_inference_service_serves(world.service).items] == [first.id, second.id]


def test_a_serving_action_is_told_from_others_where_the_registry_lists_all_whatever_their_name(app: Any) -> None:
    deaf = Lossy(lambda environ, start_response: app(environ | {"QUERY_STRING": ""}, start_response))
    api = RegistryAPI(RegistrySession("http://registry.test", adapter=WSGIAdapter(deaf)))
    model = str(api.create_registered_model(RegisteredModel("fraud")).id)
    version = str(api.create_model_version(ModelVersion("v1", registered_model_id=model)).id)
    environment = str(api.create_serving_environment(ServingEnvironment("production")).id)
    service = InferenceService("fraud", registered_model_id=model, serving_environment_id=environment)
    service_id = str(api.create_inference_service(service).id)
    api.create_inference_service_serve(service_id, ServeModel("first", model_version_id=version))
    deaf.fates = ["cut"]

    second = api.create_inference_service_serve(service_id, ServeModel("second", model_version_id=version))

    assert [serve.name for serve in api.get_inference_service_serves(service_id).items] == ["first", second.name]


@pytest.mark.parametrize("loss", LOSSES)
def test_an_update_whose_answer_was_lost_is_sent_again(api: RegistryAPI, gateway: Lossy, loss: str) -> None:
    model = api.create_registered_model(RegisteredModel("fraud"))
    model.description = "new"
    gateway.fates = [loss]

    assert api.update_registered_model(model).description == "new"


FATES = st.lists(st.sampled_from(["passes", *LOSSES, *REFUSALS, LATE]), max_size=8)
NUMBERS = itertools.count()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fates=FATES)
def test_whatever_is_lost_there_is_one_object_or_an_error(api: RegistryAPI, gateway: Lossy, fates: list[str]) -> None:
    name = f"model {next(NUMBERS)}"
    gateway.fates = [*fates]
    try:
        created = api.create_registered_model(RegisteredModel(name, owner="ann"))
    except StoreError:
        created = None
    gateway.fates = []
    api.get_registered_models()  # then what is late has arrived

    found = ids(api.get_registered_models, name)
    assert found == [created.id] if created is not None else len(found) <= 1
