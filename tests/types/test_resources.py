"""Resources: what can be changed and what cannot, and how their values compare."""

from __future__ import annotations

import copy
import pickle
from enum import Enum
from typing import Any

import attrs
import pytest

from modelreg import types
from modelreg.types import (
    Artifact,
    BaseResource,
    ListOptions,
    Metric,
    MetricPoint,
    ModelArtifact,
    OrderByField,
    Page,
    ProtoValue,
    RegisteredModel,
    RegisteredModelState,
    SortOrder,
    StructValue,
    UnknownValue,
)
from modelreg.types.artifacts import ARTIFACT_CLASSES

PUBLIC = [getattr(types, name) for name in types.__all__]
RESOURCES: list[type[BaseResource]] = [
    kind
    for kind in PUBLIC
    if isinstance(kind, type) and issubclass(kind, BaseResource) and kind not in {BaseResource, Artifact}
]
ENUMERATIONS: list[type[Enum]] = [kind for kind in PUBLIC if isinstance(kind, type(Enum))]

EDITABLE = [(cls, name) for cls in RESOURCES for name in cls.editable]
FIXED = [(cls, field.name) for cls in RESOURCES for field in attrs.fields(cls) if field.name not in cls.editable]


class TestResources:
    def test_there_are_twelve_and_each_artifact_is_known_by_its_tag(self):
        assert len(RESOURCES) == 12
        assert {cls for cls in RESOURCES if issubclass(cls, Artifact)} == set(ARTIFACT_CLASSES.values())
        assert {tag.value for tag in types.ArtifactTypeQueryParam} == set(ARTIFACT_CLASSES)

    @pytest.mark.parametrize(("cls", "name"), EDITABLE)
    def test_what_an_update_sends_can_be_changed(self, cls: type[BaseResource], name: str):
        resource = cls(name="a")

        setattr(resource, name, value := {"a": 1} if name == "custom_properties" else "x")

        assert getattr(resource, name) == value

    @pytest.mark.parametrize(("cls", "name"), FIXED)
    def test_what_no_update_sends_is_frozen(self, cls: type[BaseResource], name: str):
        resource = cls(**{"name": "a", name: "before"})

        with pytest.raises(attrs.exceptions.FrozenAttributeError):
            setattr(resource, name, "after")
        assert getattr(resource, name) == "before"

    @pytest.mark.parametrize("cls", RESOURCES)
    def test_a_field_that_does_not_exist_cannot_be_set_by_a_slip(self, cls: type[BaseResource]):
        with pytest.raises(AttributeError):
            cls(name="a").descripton = "x"  # type: ignore[attr-defined] # the slip

    @pytest.mark.parametrize("cls", RESOURCES)
    def test_a_frozen_field_changes_in_a_copy(self, cls: type[BaseResource]):
        resource = cls(name="a", custom_properties={"k": 1})

        changed = attrs.evolve(resource, id="7", name="b")  # type: ignore[call-arg] # every class but the base has a name

        assert (changed.id, changed.custom_properties) == ("7", {"k": 1})
        assert resource == cls(name="a", custom_properties={"k": 1})

    @pytest.mark.parametrize("cls", RESOURCES)
    def test_resources_do_not_share_their_custom_properties(self, cls: type[BaseResource]):
        one, other = cls(name="a"), cls(name="a")

        one.custom_properties["k"] = 1

        assert other.custom_properties == {}

    @pytest.mark.parametrize("cls", RESOURCES)
    def test_custom_properties_that_are_none_are_an_empty_dict(self, cls: type[BaseResource]):
        resource = cls(name="a", custom_properties=None)
        assert resource.custom_properties == {}

        resource.custom_properties = None  # type: ignore[assignment] # what users of None wrote before
        assert resource.custom_properties == {}

    @pytest.mark.parametrize("cls", RESOURCES)
    def test_a_resource_can_be_copied_and_sent_to_another_process(self, cls: type[BaseResource]):
        resource = cls(name="a", id="7", custom_properties={"k": StructValue("e30=")})

        assert copy.deepcopy(resource) == resource
        assert pickle.loads(pickle.dumps(resource)) == resource

    def test_resources_of_different_classes_differ(self):
        assert types.ServingEnvironment("a") != types.Experiment("a")

    @pytest.mark.parametrize("cls", RESOURCES)
    def test_what_is_mutable_is_no_key(self, cls: type[BaseResource]):
        with pytest.raises(TypeError, match="unhashable"):
            hash(cls(name="a"))

    def test_all_but_the_first_arguments_are_named(self):
        with pytest.raises(TypeError):
            RegisteredModel("fraud", "ann")  # type: ignore[misc] # the mistake
        assert ModelArtifact("card", "s3://b/k") == ModelArtifact(name="card", uri="s3://b/k")
        assert Metric("loss", 0.5) == Metric(name="loss", value=0.5)


FROZEN = [
    (StructValue("e30="), "struct_value"),
    (ProtoValue("t", "AA=="), "proto_value"),
    (UnknownValue({"metadataType": "new"}), "raw"),
    (ListOptions(page_size=1), "page_size"),
    (Page(["a"]), "items"),
]


@pytest.mark.parametrize(("value", "name"), FROZEN)
def test_what_is_no_resource_is_frozen_whole(value: Any, name: str):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, None)


def test_a_point_has_what_a_metrics_history_needs():
    point = MetricPoint("loss", 0.5)

    assert (point.step, point.timestamp, point.id) == (None, None, None)


class TestListOptions:
    def test_every_option_is_left_to_the_server_unless_it_is_given(self):
        assert attrs.asdict(ListOptions()) == dict.fromkeys(
            ("page_size", "order_by", "sort_order", "next_page_token", "filter_query")
        )

    def test_options_are_named(self):
        with pytest.raises(TypeError):
            ListOptions(10)  # type: ignore[misc] # the mistake

    def test_equal_options_are_one_key(self):
        options = ListOptions(order_by=OrderByField.ID, sort_order=SortOrder.ASC)

        assert {options: 1}[attrs.evolve(options)] == 1


class TestEnumerations:
    @pytest.mark.parametrize("enumeration", ENUMERATIONS)
    def test_a_member_is_its_text(self, enumeration: type[Enum]):
        for member in enumeration:
            assert member == member.value
            assert str(member) == f"{member}" == member.value
            assert enumeration(member.value) is member

    def test_a_resource_takes_a_state_as_a_member_or_as_text(self):
        assert RegisteredModel("a", state="LIVE") == RegisteredModel("a", state=RegisteredModelState.LIVE)
