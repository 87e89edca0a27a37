"""What every home of a registry promises, as tests: one passes by subclassing :class:`StoreContract`.

A subclass gives one fixture, ``home``: the addresses of one empty registry, as many as there are ways to it::

    class TestMyRegistry(StoreContract):
        @pytest.fixture
        def home(self):
            with my_server() as url:
                yield Home(addresses=(url,))

The tests need pytest; ``pytest.register_assert_rewrite("modelreg.testing.store_contract")`` in a conftest makes
failures tell more.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import attrs
import pytest

from modelreg.exceptions import BadRequest, DuplicateError, NotFound
from modelreg.registry import ModelRegistry
from modelreg.types import (
    BaseResource,
    CustomProperties,
    Experiment,
    ExperimentRun,
    InferenceService,
    ListOptions,
    Metric,
    ModelArtifact,
    ModelVersion,
    OrderByField,
    Page,
    Parameter,
    RegisteredModel,
    ServingEnvironment,
    SortOrder,
)

T = TypeVar("T")

#: Names that SQL, URLs, filters and shells like to get wrong.
AWKWARD_NAMES = (
    "it's",
    'say "fraud"',
    "50%_off",
    "a/b?c=d&e#f",
    "back\\slash",
    "名前 ünïcode 🎉",
    " spaces ",
    "new\nline",
    "'; DROP TABLE registered_models; --",
)

# Registers its own models and one that all want, and tells the id of that one.
_WORKER = """
import sys
from modelreg.registry import ModelRegistry
address, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with ModelRegistry(address, author=who) as registry:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        registry.register_model(f"{who}-{number}", "s3://b/k", "1", "onnx", "1")
    model = registry.register_model("contested", "s3://b/k", f"version of {who}", "onnx", "1")
    print(model.id, flush=True)
"""


@attrs.frozen(kw_only=True)
class Home:
    """One empty registry.

    Attributes:
        addresses: What ``ModelRegistry`` takes; several where several servers stand before one database.
        processes: Whether other processes may use the addresses.
        deletes: Whether it can delete, which Kubeflow's server cannot.
    """

    addresses: tuple[str, ...]
    processes: bool = True
    deletes: bool = True

    def connect(self, number: int = 0) -> ModelRegistry:
        """Return a registry through address ``number``, counted around."""
        return ModelRegistry(self.addresses[number % len(self.addresses)], author="tester")


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of resource, as the tests handle it.

    Attributes:
        name: Its name in the registry's operations.
        make: Builds one, given the registry and the number of the resource.
        parent: The field that holds the parent's id; ``None`` without parent.
    """

    name: str
    make: Callable[[ModelRegistry, int], BaseResource]
    parent: str | None = None

    def call(self, registry: ModelRegistry, verb: str, *args: Any, plural: str = "", **options: Any) -> Any:
        """Call the operation ``verb_name`` of the registry."""
        return getattr(registry.api, f"{verb}_{self.name}{plural}")(*args, **options)

    def create(self, registry: ModelRegistry, number: int = 0, **changes: Any) -> Any:
        """Create resource ``number``."""
        return self.call(registry, "create", attrs.evolve(self.make(registry, number), **changes))


def _parent(registry: ModelRegistry, kind: str, make: Callable[[str], BaseResource]) -> str:
    """Return the id of the one parent that the tests use, created where it is missing."""
    try:
        found = getattr(registry.api, f"find_{kind}")(name="parent")
    except NotFound:
        found = getattr(registry.api, f"create_{kind}")(make("parent"))
    return str(found.id)


def _model(registry: ModelRegistry) -> str:
    return _parent(registry, "registered_model", RegisteredModel)


def _experiment(registry: ModelRegistry) -> str:
    return _parent(registry, "experiment", Experiment)


def _environment(registry: ModelRegistry) -> str:
    return _parent(registry, "serving_environment", ServingEnvironment)


def _version(registry: ModelRegistry, number: int) -> BaseResource:
    return ModelVersion(f"n{number}", registered_model_id=_model(registry))


def _run(registry: ModelRegistry, number: int) -> BaseResource:
    return ExperimentRun(f"n{number}", experiment_id=_experiment(registry))


def _service(registry: ModelRegistry, number: int) -> BaseResource:
    return InferenceService(
        f"n{number}", registered_model_id=_model(registry), serving_environment_id=_environment(registry)
    )


KINDS = (
    Kind(name="registered_model", make=lambda _, number: RegisteredModel(f"n{number}")),
    Kind(name="model_version", make=_version, parent="registered_model_id"),
    Kind(name="experiment", make=lambda _, number: Experiment(f"n{number}")),
    Kind(name="experiment_run", make=_run, parent="experiment_id"),
    Kind(name="serving_environment", make=lambda _, number: ServingEnvironment(f"n{number}")),
    Kind(name="inference_service", make=_service, parent="serving_environment_id"),
)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Return what ``work`` returns for each number, called by as many threads that start at one moment."""
    barrier = Barrier(count)

    def start(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def pages(read: Callable[[ListOptions], Page[T]], options: ListOptions) -> Iterator[Page[T]]:
    """Yield every page of a listing."""
    token: str | None = None
    while token != "":
        page = read(attrs.evolve(options, next_page_token=token))
        yield page
        token = page.next_page_token


def metric_history(registry: ModelRegistry, run_id: str, name: str) -> list[Metric]:
    """Return every point of one metric, a few at a time."""
    read = registry.api.get_experiment_run_metric_history
    found = pages(lambda options: read(run_id, options, name=name), ListOptions(page_size=20))
    return [point for page in found for point in page.items]


class StoreContract:
    """What a registry promises."""

    @pytest.fixture
    def home(self) -> Home:
        """Overridden by each home: one empty registry."""
        raise NotImplementedError

    @pytest.fixture
    def registry(self, home: Home) -> Iterator[ModelRegistry]:
        """The registry through its first address."""
        with home.connect() as registry:
            yield registry

    @every_kind
    def test_what_is_created_is_found(self, registry: ModelRegistry, kind: Kind) -> None:
        created = kind.create(registry, external_id="ext", description="d", custom_properties={"k": 1})
        parent = {"parent_resource_id": getattr(created, kind.parent)} if kind.parent else {}

        assert kind.call(registry, "get", created.id) == created
        assert kind.call(registry, "find", name=created.name, **parent) == created
        assert kind.call(registry, "find", external_id="ext") == created
        assert created.create_time_since_epoch is not None
        assert (created.description, created.custom_properties) == ("d", {"k": 1})

    @every_kind
    def test_what_is_not_there_is_not_found(self, registry: ModelRegistry, kind: Kind) -> None:
        kind.create(registry)

        with pytest.raises(NotFound):
            kind.call(registry, "get", "987654")
        with pytest.raises(NotFound):
            kind.call(registry, "find", external_id="absent")

    @every_kind
    def test_an_update_changes_what_it_says_and_nothing_else(self, registry: ModelRegistry, kind: Kind) -> None:
        created = kind.create(registry, description="old", custom_properties={"k": "v"})

        kind.call(registry, "update", attrs.evolve(kind.make(registry, 0), id=created.id, external_id="new"))

        updated = kind.call(registry, "get", created.id)
        assert (updated.external_id, updated.description) == ("new", "old")
        assert updated.last_update_time_since_epoch >= created.last_update_time_since_epoch

    @every_kind
    def test_a_name_is_taken_once(self, registry: ModelRegistry, kind: Kind) -> None:
        kind.create(registry)

        with pytest.raises(DuplicateError):
            kind.create(registry)

    @every_kind
    def test_a_listing_is_complete_in_pages_of_any_size(self, registry: ModelRegistry, kind: Kind) -> None:
        ids = [kind.create(registry, number).id for number in range(7)]

        for size in (1, 3, 7, 100):
            found = pages(lambda options: kind.call(registry, "get", options, plural="s"), ListOptions(page_size=size))
            assert [item.id for page in found for item in page.items if item.name != "parent"] == ids

    @every_kind
    @pytest.mark.parametrize("field", list(OrderByField))
    def test_a_listing_is_ordered(self, registry: ModelRegistry, kind: Kind, field: OrderByField) -> None:
        ids = [kind.create(registry, number).id for number in range(5)]

        for order, expected in ((SortOrder.ASC, ids), (SortOrder.DESC, ids[::-1])):
            options = ListOptions(page_size=2, order_by=field, sort_order=order)
            found = pages(lambda options: kind.call(registry, "get", options, plural="s"), options)
            assert [item.id for page in found for item in page.items if item.name != "parent"] == expected

    @every_kind
    def test_an_awkward_name_comes_back_and_is_found_by_a_filter(self, registry: ModelRegistry, kind: Kind) -> None:
        for number, name in enumerate(AWKWARD_NAMES):
            kind.create(registry, number, name=name)

        for name in AWKWARD_NAMES:
            quoted = name.replace("\\", "\\\\").replace("'", "\\'")
            page = kind.call(registry, "get", ListOptions(filter_query=f"name = '{quoted}'"), plural="s")
            assert [item.name for item in page.items] == [name]

    def test_filters_select(self, registry: ModelRegistry) -> None:
        for number in range(4):
            properties: CustomProperties = {
                "accuracy": number / 4,
                "epochs": number,
                "final": number > 1,
                "kind": f"k{number % 2}",
            }
            registry.api.create_registered_model(
                RegisteredModel(f"n{number}", owner=f"o{number}", custom_properties=properties)
            )

        for filter_query, expected in (
            ("accuracy > 0.4", ["n2", "n3"]),
            ("epochs.int_value >= 1 AND epochs.int_value < 3", ["n1", "n2"]),
            ("kind = 'k0' OR owner = 'o3'", ["n0", "n2", "n3"]),
            ("name LIKE '%3'", ["n3"]),
            ("owner IN ('o0', 'o2')", ["n0", "n2"]),
            ("final = true", ["n2", "n3"]),
            ("kind = 'absent'", []),
        ):
            page = registry.api.get_registered_models(ListOptions(filter_query=filter_query))
            assert [model.name for model in page.items] == expected, filter_query

    @pytest.mark.parametrize("text", ["name =", "name ~ 'x'", "AND", "(name = 'x'", "name = 'x' name = 'y'"])
    def test_a_filter_that_cannot_be_read_is_refused(self, registry: ModelRegistry, text: str) -> None:
        with pytest.raises(BadRequest):
            registry.api.get_registered_models(ListOptions(filter_query=text))

    def test_properties_keep_their_types(self, registry: ModelRegistry) -> None:
        properties: CustomProperties = {
            "yes": True,
            "no": False,
            "int": 2**31 - 1,
            "float": 0.1,
            "whole": 2.0,
            "text": "1",
            "none": "",
        }

        created = registry.api.create_registered_model(RegisteredModel("m", custom_properties=dict(properties)))

        read = registry.api.get_registered_model(str(created.id)).custom_properties
        assert read == properties
        assert {name: type(value) for name, value in read.items()} == {
            name: type(value) for name, value in properties.items()
        }

    def test_every_step_of_a_metric_is_kept(self, registry: ModelRegistry) -> None:
        run = KINDS[3].create(registry)
        values = [0.5, math.nan, math.inf, -math.inf, 0.25]
        for step, value in enumerate(values):
            registry.api.upsert_experiment_run_artifact(
                run.id, Metric(value=value, name="loss", step=step, timestamp=step)
            )

        history = metric_history(registry, run.id, "loss")

        assert [str(point.value) for point in history] == [str(value) for value in values]

    def test_a_run_keeps_one_parameter_per_name(self, registry: ModelRegistry) -> None:
        run = KINDS[3].create(registry)
        for value in ("0.1", "0.2"):
            registry.api.upsert_experiment_run_artifact(run.id, Parameter(value=value, name="lr"))

        found = registry.api.get_experiment_run_artifacts(run.id, ListOptions()).items

        assert [(one.name, one.value) for one in found if isinstance(one, Parameter)] == [("lr", "0.2")]

    def test_a_version_keeps_its_artifacts(self, registry: ModelRegistry) -> None:
        version = KINDS[1].create(registry)
        artifact = ModelArtifact(uri="s3://b/k", name="files", model_format_name="onnx")

        created = registry.api.upsert_model_version_artifact(version.id, artifact)

        assert registry.api.get_model_version_artifacts(version.id, ListOptions()).items == [created]

    @every_kind
    def test_what_is_deleted_is_gone(self, home: Home, registry: ModelRegistry, kind: Kind) -> None:
        if not home.deletes:
            pytest.skip("the registry cannot delete")
        created = kind.create(registry)

        kind.call(registry, "delete", created.id)

        with pytest.raises(NotFound):
            kind.call(registry, "get", created.id)
        assert kind.create(registry).id != created.id

    def test_of_threads_that_create_one_name_one_wins(self, home: Home) -> None:
        def create(number: int) -> str | None:
            with home.connect(number) as registry:
                try:
                    return str(registry.api.create_registered_model(RegisteredModel("contested")).id)
                except DuplicateError:
                    return None

        winners = [one for one in together(8, create) if one]

        with home.connect() as registry:
            assert [model.id for model in registry.api.get_registered_models(ListOptions()).items] == winners

    def test_of_threads_that_register_one_version_one_wins(self, home: Home) -> None:
        def register(number: int) -> str | None:
            with home.connect(number) as registry:
                try:
                    registry.register_model("fraud", f"s3://b/{number}", "1", "onnx", "1")
                except DuplicateError:
                    return None
            return f"s3://b/{number}"

        winners = [uri for uri in together(8, register) if uri]

        assert len(winners) == 1
        with home.connect() as registry:
            artifact = registry.get_model_artifact("fraud", "1")
            assert artifact is not None
            assert artifact.uri == winners[0]
            assert len(list(registry.get_model_versions("fraud"))) == 1

    def test_threads_that_share_a_version_all_get_it(self, home: Home) -> None:
        def register(number: int) -> str | None:
            with home.connect(number) as registry:
                return registry.register_model("fraud", "s3://b/k", "1", "onnx", "1", if_exists="reuse").id

        ids = together(8, register)

        assert len(set(ids)) == 1
        with home.connect() as registry:
            assert len(list(registry.get_model_versions("fraud"))) == 1

    def test_updates_of_different_fields_are_all_kept(self, home: Home) -> None:
        fields = ("description", "owner", "readme", "maturity", "provider", "license")
        with home.connect() as registry:
            model = registry.api.create_registered_model(RegisteredModel("m"))

        def update(number: int) -> None:
            with home.connect(number) as registry:
                for round_ in range(10):
                    change = RegisteredModel("m", id=model.id)
                    setattr(change, fields[number], f"{number}-{round_}")
                    registry.api.update_registered_model(change)

        together(len(fields), update)

        with home.connect() as registry:
            found = registry.api.get_registered_model(str(model.id))
        assert [getattr(found, field) for field in fields] == [f"{number}-9" for number in range(len(fields))]

    def test_points_that_threads_log_are_all_kept(self, home: Home) -> None:
        with home.connect() as registry:
            run = KINDS[3].create(registry)

        def log(number: int) -> None:
            with home.connect(number) as registry:
                for step in range(25):
                    point = Metric(
                        value=step / 25, name=f"metric-{number % 2}", step=step + 100 * number, timestamp=step
                    )
                    registry.api.upsert_experiment_run_artifact(run.id, point)

        together(8, log)

        with home.connect() as registry:
            points = [point for name in ("metric-0", "metric-1") for point in metric_history(registry, run.id, name)]
        assert sorted(point.step for point in points if point.step is not None) == [
            step + 100 * number for number, step in itertools.product(range(8), range(25))
        ]

    def test_a_listing_is_complete_while_others_write(self, home: Home) -> None:
        with home.connect() as registry:
            ids = [registry.api.create_registered_model(RegisteredModel(f"old-{number}")).id for number in range(40)]

        def work(number: int) -> list[str | None]:
            with home.connect(number) as registry:
                if number:
                    for count in range(20):
                        registry.api.create_registered_model(RegisteredModel(f"new-{number}-{count}"))
                    return []
                found = pages(registry.api.get_registered_models, ListOptions(page_size=5))
                return [model.id for page in found for model in page.items]

        listed = together(4, work)[0]

        assert set(ids) <= set(listed)
        assert len(listed) == len(set(listed))

    def test_processes_that_write_at_once_lose_nothing(self, home: Home) -> None:
        if not home.processes:
            pytest.skip("the registry lives in one process")
        count, each = 6, 10
        workers = [self._start_worker(home, number, each) for number in range(count)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        answers = [worker.communicate("go\n", timeout=120) for worker in workers]

        assert [error for _, error in answers if error] == []
        assert len({answer for answer, _ in answers}) == 1
        with home.connect() as registry:
            names = [model.name for model in registry.get_registered_models()]
            versions = [version.name for version in registry.get_model_versions("contested")]
        assert sorted(names) == sorted(
            ["contested", *(f"p{number}-{index}" for number in range(count) for index in range(each))]
        )
        assert sorted(versions) == [f"version of p{number}" for number in range(count)]

    @staticmethod
    def _start_worker(home: Home, number: int, each: int) -> subprocess.Popen[str]:
        address = home.addresses[number % len(home.addresses)]
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", _WORKER, address, f"p{number}", str(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
