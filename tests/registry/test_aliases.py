"""Aliases: set, moved, rolled back, removed; on modelreg's own registry and on one that cannot compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg import ModelRegistry
from modelreg.client.api import RegistryAPI, ServerCapabilities
from modelreg.exceptions import Conflict, InvalidInput, NotFound, StoreError, Unreachable
from modelreg.registry.aliases import AliasMethods
from modelreg.testing import in_process_registry, serve_registry
from modelreg.types import Alias, AliasChange, RegisteredModel

VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "1.3.0")


class KubeflowAPI(RegistryAPI):
    """The operations of a registry that has the contract's and no others; others may write right before or after."""

    before_update: Callable[[], Any] | None = None
    after_update: Callable[[], Any] | None = None

    def server_capabilities(self) -> ServerCapabilities:
        return ServerCapabilities("kubeflow")

    def update_registered_model(self, model: RegisteredModel, **options: Any) -> RegisteredModel:
        before, self.before_update = self.before_update, None
        if before is not None:
            before()
        updated = super().update_registered_model(model, **options)
        after, self.after_update = self.after_update, None
        if after is not None:
            after()
        return updated


class LossyAPI(RegistryAPI):
    """Operations of modelreg's own registry whose next answer to a change of properties is lost."""

    lost: StoreError | None = None

    def change_registered_model_properties(self, *arguments: Any, **options: Any) -> RegisteredModel:
        changed = super().change_registered_model_properties(*arguments, **options)
        lost, self.lost = self.lost, None
        if lost is not None:
            raise lost
        return changed


@pytest.fixture(autouse=True)
def fraud(registry: ModelRegistry) -> None:
    """A model with versions."""
    for version in VERSIONS:
        registry.register_model("fraud", f"s3://models/fraud/{version}", version, "onnx", "1")


@pytest.fixture
def kubeflow(registry: ModelRegistry) -> AliasMethods:
    return AliasMethods(KubeflowAPI(registry.api.session), author="bob")


@pytest.fixture(params=["modelreg", "kubeflow"])
def home(request: pytest.FixtureRequest, registry: ModelRegistry) -> AliasMethods:
    """The same methods on either kind of registry."""
    methods: AliasMethods = registry if request.param == "modelreg" else request.getfixturevalue("kubeflow")
    return methods


def versions(changes: list[AliasChange]) -> list[tuple[str, str | None]]:
    return [(change.action, change.version) for change in changes]


def test_an_alias_stands_for_a_version(home: AliasMethods):
    was_set = home.set_alias("fraud", "champion", "1.0.0")

    assert (was_set.name, was_set.version) == ("champion", "1.0.0")
    assert home.get_alias("fraud", "champion") == was_set
    assert home.aliases("fraud") == [was_set]


def test_an_alias_is_moved(home: AliasMethods):
    home.set_alias("fraud", "champion", "1.0.0")
    home.set_alias("fraud", "champion", "1.1.0")

    assert home.get_alias("fraud", "champion").version == "1.1.0"
    assert versions(home.alias_history("fraud", "champion")) == [("set", "1.1.0"), ("set", "1.0.0")]


def test_a_move_tells_who_made_it_and_when(home: AliasMethods):
    change = home.set_alias("fraud", "champion", "1.0.0").change

    assert change is not None
    assert change.author == home.author
    assert change.time_since_epoch > 1_700_000_000_000


def test_several_aliases_are_listed_in_order(home: AliasMethods):
    for alias, version in (("shadow", "1.2.0"), ("champion", "1.0.0"), ("challenger", "1.0.0")):
        home.set_alias("fraud", alias, version)

    assert [(alias.name, alias.version) for alias in home.aliases("fraud")] == [
        ("challenger", "1.0.0"),
        ("champion", "1.0.0"),
        ("shadow", "1.2.0"),
    ]


def test_setting_what_is_set_already_writes_nothing(home: AliasMethods):
    first = home.set_alias("fraud", "champion", "1.0.0")

    assert home.set_alias("fraud", "champion", "1.0.0") == first
    assert len(home.alias_history("fraud", "champion")) == 1


def test_each_rollback_goes_one_further(home: AliasMethods):
    for version in VERSIONS[:3]:
        home.set_alias("fraud", "champion", version)

    assert home.rollback_alias("fraud", "champion").version == "1.1.0"
    assert home.rollback_alias("fraud", "champion").version == "1.0.0"
    with pytest.raises(NotFound, match="no version to go back to"):
        home.rollback_alias("fraud", "champion")


def test_what_was_rolled_back_from_is_never_gone_back_to(home: AliasMethods):
    for version in ("1.0.0", "1.1.0"):
        home.set_alias("fraud", "champion", version)
    home.rollback_alias("fraud", "champion")
    home.set_alias("fraud", "champion", "1.2.0")

    assert home.rollback_alias("fraud", "champion").version == "1.0.0"


def test_an_alias_that_was_removed_is_gone_and_can_be_brought_back(home: AliasMethods):
    home.set_alias("fraud", "champion", "1.0.0")
    home.delete_alias("fraud", "champion")

    assert home.aliases("fraud") == []
    with pytest.raises(NotFound, match="no alias 'champion'"):
        home.get_alias("fraud", "champion")
    with pytest.raises(NotFound, match="no alias 'champion'"):
        home.delete_alias("fraud", "champion")
    assert home.rollback_alias("fraud", "champion").version == "1.0.0"
    assert versions(home.alias_history("fraud", "champion")) == [
        ("rollback", "1.0.0"),
        ("delete", None),
        ("set", "1.0.0"),
    ]


def test_an_alias_that_was_removed_and_set_again_goes_back_to_a_version(home: AliasMethods):
    home.set_alias("fraud", "champion", "1.0.0")
    home.delete_alias("fraud", "champion")
    home.set_alias("fraud", "champion", "1.1.0")

    assert home.rollback_alias("fraud", "champion").version == "1.0.0"


@given(moves=st.lists(st.sampled_from([*VERSIONS, None]), max_size=12))
def test_rollbacks_undo_moves_one_by_one(moves: list[str | None]):
    """``None`` is a rollback; a list of versions says what is right."""
    with in_process_registry() as registry:
        for version in VERSIONS:
            registry.register_model("fraud", "s3://models/fraud", version, "onnx", "1")
        right: list[str] = []
        for version in moves:
            if version is not None:
                registry.set_alias("fraud", "champion", version)
                right += [version] if right[-1:] != [version] else []
            elif len(right) > 1:
                right.pop()
                assert registry.rollback_alias("fraud", "champion").version == right[-1]
        assert [alias.version for alias in registry.aliases("fraud")] == right[-1:]


@pytest.mark.parametrize("alias", ["", "a b", "team/champion", "@champion", "-x", "a" * 101, "café"])
def test_what_cannot_be_the_name_of_an_alias_is_refused(registry: ModelRegistry, alias: str):
    with pytest.raises(InvalidInput, match="cannot be the name of an alias"):
        registry.set_alias("fraud", alias, "1.0.0")


def test_an_alias_stands_for_nothing_that_is_not_there(home: AliasMethods):
    with pytest.raises(NotFound):
        home.set_alias("fraud", "champion", "9.9.9")
    with pytest.raises(NotFound):
        home.set_alias("other", "champion", "1.0.0")

    assert home.aliases("fraud") == []


def test_a_version_that_is_gone_is_not_gone_back_to(registry: ModelRegistry):
    for version in ("1.0.0", "1.1.0"):
        registry.set_alias("fraud", "champion", version)
    gone = registry.get_model_version("fraud", "1.0.0")
    assert gone is not None
    registry.delete(gone)

    with pytest.raises(NotFound):
        registry.rollback_alias("fraud", "champion")
    assert registry.get_alias("fraud", "champion").version == "1.1.0"


def test_what_else_is_known_of_a_model_stays_as_it_is(home: AliasMethods, registry: ModelRegistry):
    model = registry.get_registered_model("fraud")
    assert model is not None
    model.custom_properties["stage"] = "beta"
    model.description = "flags card fraud"
    registry.archive(registry.update(model))

    home.set_alias("fraud", "champion", "1.0.0")

    after = registry.get_registered_model("fraud")
    assert after is not None
    assert (after.custom_properties["stage"], after.description, after.state) == (
        "beta",
        "flags card fraud",
        "ARCHIVED",
    )


def test_an_alias_that_somebody_wrote_by_hand_counts(home: AliasMethods, registry: ModelRegistry):
    home.set_alias("fraud", "champion", "1.0.0")
    model = registry.get_registered_model("fraud")
    assert model is not None
    model.custom_properties["modelreg.alias.champion"] = "1.1.0"
    registry.update(model)

    assert home.get_alias("fraud", "champion") == Alias("champion", "1.1.0")
    assert home.rollback_alias("fraud", "champion").version == "1.0.0"


@pytest.mark.parametrize(
    "text", ["?", "1", "[1]", '[["set"]]', '[["set", 1, 2, null]]', '[["set", "1", "2", null]]', 7]
)
def test_a_history_that_somebody_wrote_by_hand_is_not_taken_for_one(registry: ModelRegistry, text: Any):
    registry.set_alias("fraud", "champion", "1.0.0")
    model = registry.get_registered_model("fraud")
    assert model is not None
    model.custom_properties["modelreg.alias-history.champion"] = text
    registry.update(model)

    with pytest.raises(StoreError, match="not the history of an alias"):
        registry.set_alias("fraud", "champion", "1.1.0")


def test_a_history_stays_as_long_as_a_registry_can_hold(registry: ModelRegistry):
    model = registry.get_registered_model("fraud")
    assert model is not None
    entry = '["set","1.0.0",1,"' + "ann" * 100 + '"]'
    model.custom_properties["modelreg.alias-history.champion"] = f"[{','.join([entry] * 250)}]"
    registry.update(model)

    registry.set_alias("fraud", "champion", "1.1.0")

    history = registry.alias_history("fraud", "champion")
    assert 100 < len(history) < 250
    assert history[0].version == "1.1.0"


class TestSeveralWriters:
    """Nobody's move is lost where the registry can compare; where it cannot, what can be seen is put right."""

    def test_aliases_that_are_set_at_once_are_all_there(self):
        with serve_registry() as url, ModelRegistry(url, author="ann") as registry:
            for version in VERSIONS:
                registry.register_model("fraud", "s3://models/fraud", version, "onnx", "1")
            together = Barrier(8)

            def move(number: int) -> None:
                together.wait(60)
                registry.set_alias("fraud", f"a{number}", VERSIONS[number % 4])
                registry.set_alias("fraud", "shared", VERSIONS[number % 4])

            with ThreadPoolExecutor(8) as threads:
                list(threads.map(move, range(8)))

            found = {alias.name: alias.version for alias in registry.aliases("fraud")}
            history = [change.version for change in registry.alias_history("fraud", "shared")]

        assert {name for name in found if name != "shared"} == {f"a{number}" for number in range(8)}
        assert found["shared"] == history[0]
        assert all(one != other for one, other in pairwise(history))

    def test_a_move_that_came_first_is_not_overwritten(self, registry: ModelRegistry):
        """Another writer moves the alias between the look and the write; the move is decided again."""

        class Overtaken(RegistryAPI):
            is_overtaken = False

            def change_registered_model_properties(self, *arguments: Any, **options: Any) -> RegisteredModel:
                if not self.is_overtaken:
                    self.is_overtaken = True
                    registry.set_alias("fraud", "champion", "1.3.0")
                return super().change_registered_model_properties(*arguments, **options)

        AliasMethods(Overtaken(registry.api.session), author="bob").set_alias("fraud", "champion", "1.1.0")

        assert versions(registry.alias_history("fraud", "champion")) == [("set", "1.1.0"), ("set", "1.3.0")]

    def test_an_alias_that_others_move_all_the_time_is_a_conflict(self, registry: ModelRegistry):
        class Restless(RegistryAPI):
            def change_registered_model_properties(self, *_: Any, **__: Any) -> RegisteredModel:
                raise Conflict("not what was expected")

        with pytest.raises(Conflict, match="others move it all the time"):
            AliasMethods(Restless(registry.api.session)).set_alias("fraud", "champion", "1.0.0")

    @pytest.mark.parametrize("error", [Unreachable("the connection broke")])
    def test_a_move_whose_answer_was_lost_is_made_once(self, registry: ModelRegistry, error: StoreError):
        error.maybe_done = True
        api = LossyAPI(registry.api.session)
        api.lost = error

        alias = AliasMethods(api, author="bob").set_alias("fraud", "champion", "1.0.0")

        assert alias.version == "1.0.0"
        assert len(registry.alias_history("fraud", "champion")) == 1

    def test_a_failure_is_not_tried_again(self, registry: ModelRegistry):
        api = LossyAPI(registry.api.session)
        api.lost = StoreError("the disk is full")

        with pytest.raises(StoreError, match="the disk is full"):
            AliasMethods(api).set_alias("fraud", "champion", "1.0.0")

    def test_without_comparison_what_another_writer_swallowed_is_written_again(
        self, registry: ModelRegistry, kubeflow: AliasMethods
    ):
        stale = registry.get_registered_model("fraud")
        assert stale is not None
        api = kubeflow.api
        assert isinstance(api, KubeflowAPI)
        swallow = attrs.evolve(stale, custom_properties={"theirs": "kept"})
        api.after_update = lambda: registry.update(swallow)

        kubeflow.set_alias("fraud", "champion", "1.0.0")

        after = registry.get_registered_model("fraud")
        assert after is not None
        assert after.custom_properties["theirs"] == "kept"
        assert after.custom_properties["modelreg.alias.champion"] == "1.0.0"


def test_aliases_move_with_the_registry(registry: ModelRegistry, tmp_path: Any) -> None:
    registry.set_alias("fraud", "champion", "1.2.0")
    moved = list(_exported(registry))

    with in_process_registry(tmp_path / "other.db") as other:
        from modelreg.registry.importing import import_records

        import_records(other.api, iter(moved))
        assert other.get_alias("fraud", "champion") == registry.get_alias("fraud", "champion")


def _exported(registry: ModelRegistry) -> Iterator[dict[str, Any]]:
    from modelreg.registry.exporting import export_records

    return export_records(registry.api, source="here")
