"""Resources and the contract's JSON: nothing lost either way, nothing else sent, and what is malformed is refused."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelreg import types
from modelreg.exceptions import InvalidInput, TypeNotFound, UnsupportedType
from modelreg.types import (
    Artifact,
    ArtifactState,
    BaseResource,
    DataSet,
    DocArtifact,
    Experiment,
    ExperimentRun,
    InferenceService,
    Metric,
    ModelArtifact,
    ModelVersion,
    Page,
    Parameter,
    ProtoValue,
    RegisteredModel,
    RegisteredModelState,
    ServeModel,
    ServingEnvironment,
    StructValue,
    UnknownValue,
)
from modelreg.wire.registry_json import (
    structure,
    structure_artifact,
    structure_page,
    unstructure,
    unstructure_create,
    unstructure_update,
    unstructure_upsert,
)

ARTIFACTS: list[type[Artifact]] = [ModelArtifact, DocArtifact, DataSet, Metric, Parameter]
RESOURCES: list[type[BaseResource]] = [
    *(RegisteredModel, ModelVersion, Experiment, ExperimentRun, ServingEnvironment, InferenceService, ServeModel),
    *ARTIFACTS,
]
ENUMERATIONS = [kind for name in types.__all__ if isinstance(kind := getattr(types, name), type(Enum))]

CONTRACT: dict[str, Any] = yaml.load(
    (Path(__file__).parents[1] / "data" / "model-registry-v1alpha3.openapi.yaml").read_text(encoding="utf-8"),
    getattr(yaml, "CSafeLoader", yaml.SafeLoader),
)
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]

each_resource = pytest.mark.parametrize("cls", RESOURCES)


def through_json(obj: Any) -> Any:
    """What a server would read, and send back."""
    return json.loads(json.dumps(obj, allow_nan=False))


def hints_of(cls: type[BaseResource]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in attrs.fields(cls)}


# NaN is not equal to itself: it has tests of its own.
numbers = st.floats(allow_nan=False)
unknown_values = st.builds(
    lambda rest, tag: UnknownValue({**rest, "metadataType": tag}),
    st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())),
    st.sampled_from(["MetadataVectorValue", "", "metadataintvalue"]),
)
properties = st.dictionaries(
    st.text(),
    st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | numbers
    | st.text()
    | st.builds(StructValue, st.text())
    | st.builds(ProtoValue, st.text(), st.text())
    | unknown_values,
)


@st.composite
def resources(draw: st.DrawFn, cls: type[BaseResource]) -> BaseResource:
    """Any resource of a class: each field any value that its type allows."""
    fields = {
        name: draw(st.none() | numbers if float in get_args(hint) else st.from_type(hint))
        for name, hint in hints_of(cls).items()
        if name != "custom_properties"
    }
    return cls(**fields, custom_properties=draw(properties))


def full(cls: type[BaseResource]) -> BaseResource:
    """A resource whose fields are all set."""
    # Text that can be an id as well.
    by_type = {str: "7", int: 12, float: 0.5, list[str]: ["en"]}

    def value(hint: Any) -> Any:
        kinds = get_args(hint) or (hint,)
        enumerations = [kind for kind in kinds if isinstance(kind, type(Enum))]
        return next(iter(enumerations[0])) if enumerations else by_type[kinds[0]]

    fields = {name: value(hint) for name, hint in hints_of(cls).items() if name != "custom_properties"}
    return cls(**fields, custom_properties={"b": True, "i": 1, "f": 0.5, "s": "x", "p": ProtoValue("t", "AA==")})


def properties_in_contract(schema: str) -> set[str]:
    """The names of a schema's fields, with those that it takes from other schemas."""

    def names(part: dict[str, Any]) -> set[str]:
        if "$ref" in part:
            return properties_in_contract(part["$ref"].rpartition("/")[2])
        return set(part.get("properties", ())).union(*(names(inner) for inner in part.get("allOf", ())))

    return names(SCHEMAS[schema])


def check_against_contract(schema: str, obj: Any) -> None:
    document = {"$ref": f"#/components/schemas/{schema}", "components": CONTRACT["components"]}
    jsonschema.Draft4Validator(document).validate(through_json(obj))


class TestRoundTrip:
    @each_resource
    @given(data=st.data())
    def test_every_resource_survives_the_way_to_json_and_back(self, cls: type[BaseResource], data: st.DataObject):
        resource = data.draw(resources(cls))

        again = structure(cls, through_json(unstructure(resource)))

        assert again == resource
        # True == 1 == 1.0: equal is not enough.
        assert {key: type(value) for key, value in again.custom_properties.items()} == {
            key: type(value) for key, value in resource.custom_properties.items()
        }

    @pytest.mark.parametrize("cls", ARTIFACTS)
    @given(data=st.data())
    def test_an_artifact_comes_back_as_what_its_type_names(self, cls: type[Artifact], data: st.DataObject):
        artifact = data.draw(resources(cls))

        again = structure_artifact(through_json(unstructure(artifact)))

        assert type(again) is cls
        assert again == artifact

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_metric_may_be_no_finite_number(self, value: float):
        again = structure(Metric, through_json(unstructure(Metric(name="loss", value=value))))

        assert again.value == pytest.approx(value, nan_ok=True)

    @each_resource
    def test_a_page_holds_every_item_and_where_it_goes_on(self, cls: type[BaseResource]):
        items = [full(cls), full(cls)]

        page = structure_page(cls, through_json({"items": [*map(unstructure, items)], "nextPageToken": "t"}))

        assert page == Page(items, "t")

    def test_a_page_of_artifacts_holds_all_types(self):
        items = [full(cls) for cls in ARTIFACTS]

        page = structure_page(Artifact, through_json({"items": [*map(unstructure, items)], "nextPageToken": ""}))

        assert page == Page(items, "")

    @pytest.mark.parametrize("obj", [{}, {"items": None, "nextPageToken": None}, {"items": []}])
    def test_a_page_of_an_older_server_may_leave_out_what_is_empty(self, obj: dict[str, Any]):
        assert structure_page(RegisteredModel, obj) == Page([], "")


class TestContract:
    @each_resource
    def test_a_resource_has_the_fields_of_the_contract_and_no_others(self, cls: type[BaseResource]):
        assert set(unstructure(full(cls))) == properties_in_contract(cls.__name__)

    @each_resource
    def test_a_create_holds_the_fields_that_the_contract_lets_it(self, cls: type[BaseResource]):
        assert set(unstructure_create(full(cls))) == properties_in_contract(f"{cls.__name__}Create")

    @each_resource
    def test_an_update_holds_the_editable_fields_alone(self, cls: type[BaseResource]):
        assert set(unstructure_update(full(cls))) == properties_in_contract(f"{cls.__name__}Update")

    @each_resource
    def test_what_is_sent_is_valid_by_the_contract(self, cls: type[BaseResource]):
        resource = full(cls)

        check_against_contract(cls.__name__, unstructure(resource))
        check_against_contract(f"{cls.__name__}Create", unstructure_create(resource))
        check_against_contract(f"{cls.__name__}Update", unstructure_update(resource))

    @pytest.mark.parametrize("enumeration", ENUMERATIONS)
    def test_an_enumeration_has_the_values_of_the_contract(self, enumeration: type[Enum]):
        assert {member.value for member in enumeration} == set(SCHEMAS[enumeration.__name__]["enum"])

    @each_resource
    def test_an_enumeration_is_read_as_its_member(self, cls: type[BaseResource]):
        again = structure(cls, through_json(unstructure(full(cls))))

        assert {name: type(value) for name, value in attrs.asdict(again, recurse=False).items()} == {
            name: type(value) for name, value in attrs.asdict(full(cls), recurse=False).items()
        }


class TestWriting:
    def test_times_are_text_and_a_step_is_a_number(self):
        body = unstructure(Metric(name="loss", value=1, step=2**40, timestamp=2**53, create_time_since_epoch=7))

        assert body == {
            "artifactType": "metric",
            "name": "loss",
            "value": 1.0,
            "step": 2**40,
            "timestamp": str(2**53),
            "createTimeSinceEpoch": "7",
            "customProperties": {},
        }

    def test_what_is_none_is_left_out(self):
        assert unstructure_create(RegisteredModel("fraud")) == {"name": "fraud", "customProperties": {}}
        assert unstructure_update(RegisteredModel("fraud")) == {"customProperties": {}}

    def test_what_is_empty_is_sent_so_that_it_can_be_emptied(self):
        assert unstructure_update(RegisteredModel("fraud", owner="", tasks=[])) == {
            "customProperties": {},
            "owner": "",
            "tasks": [],
        }

    def test_an_update_can_be_limited_to_some_fields(self):
        model = RegisteredModel("fraud", owner="ann", description="flags card fraud")

        assert unstructure_update(model, ["owner"]) == {"owner": "ann"}

    def test_a_state_goes_out_as_its_text_whether_known_or_not(self):
        assert unstructure_update(RegisteredModel("a", state=RegisteredModelState.LIVE))["state"] == "LIVE"
        assert unstructure_update(RegisteredModel("a", state="FROZEN"))["state"] == "FROZEN"

    def test_an_upsert_names_the_artifact_where_it_has_an_id(self):
        assert unstructure_upsert(DocArtifact(id="7", uri="s3://b/k")) == {
            "id": "7",
            "artifactType": "doc-artifact",
            "uri": "s3://b/k",
            "customProperties": {},
        }
        assert "id" not in unstructure_upsert(DocArtifact(uri="s3://b/k"))

    def test_numbers_of_numpy_become_plain(self):
        np = pytest.importorskip("numpy", reason="numpy is not installed: pip install numpy")

        body = unstructure(Metric(value=np.float32(0.5), step=np.int64(3), timestamp=np.int64(7)))

        assert through_json(body) == {
            "artifactType": "metric",
            "value": 0.5,
            "step": 3,
            "timestamp": "7",
            "customProperties": {},
        }

    @pytest.mark.parametrize(
        ("field", "value"),
        [("value", "high"), ("value", 10**400), ("step", "first"), ("step", math.inf), ("timestamp", math.nan)],
    )
    def test_a_value_that_is_no_number_is_refused_by_its_name(self, field: str, value: Any):
        with pytest.raises(InvalidInput, match=f"^{field} is "):
            unstructure(Metric(name="loss", **{field: value}))

    def test_a_custom_property_that_cannot_be_written_is_refused_by_its_key(self):
        with pytest.raises(UnsupportedType, match="'shape'"):
            unstructure_create(RegisteredModel("fraud", custom_properties={"shape": (1, 2)}))  # type: ignore[dict-item] # the mistake


class TestReading:
    @each_resource
    def test_fields_of_a_newer_server_are_ignored(self, cls: type[BaseResource]):
        news = {"novelty": {"deep": [1]}, "customproperties": 3, "create_time_since_epoch": "x"}

        assert structure(cls, {**unstructure(full(cls)), **news}) == full(cls)

    def test_a_state_that_a_newer_server_knows_stays_text(self):
        artifact = structure(DocArtifact, {"name": "card", "state": "QUARANTINED"})

        assert artifact.state == "QUARANTINED"
        assert not isinstance(artifact.state, ArtifactState)

    @each_resource
    def test_what_is_null_is_as_if_it_were_not_there(self, cls: type[BaseResource]):
        optional = [name for name, hint in hints_of(cls).items() if type(None) in get_args(hint)]
        camel = {name: name.split("_")[0] + "".join(map(str.title, name.split("_")[1:])) for name in optional}
        nulls = {camel[name]: None for name in optional} | {"customProperties": None}
        required = {} if "name" in optional else {"name": "a"}

        assert structure(cls, {**nulls, **required}) == structure(cls, required)

    def test_64_bits_are_read_from_text_and_from_numbers(self):
        large = 2**53 + 1

        assert structure(Metric, {"step": large, "timestamp": str(large)}) == Metric(step=large, timestamp=large)
        assert structure(Metric, {"step": "3", "timestamp": 7.0}) == Metric(step=3, timestamp=7)

    def test_an_id_that_a_server_sends_as_a_number_is_text(self):
        assert structure(RegisteredModel, {"name": "a", "id": 7}).id == "7"

    @pytest.mark.parametrize(
        ("cls", "obj", "place"),
        [
            (RegisteredModel, {}, "required field missing @ $.name"),
            (ServingEnvironment, {"id": "1"}, "required field missing @ $.name"),
            (RegisteredModel, {"name": None}, "@ $.name"),
            (RegisteredModel, {"name": ["a"]}, "@ $.name"),
            (RegisteredModel, {"name": True}, "@ $.name"),
            (RegisteredModel, {"name": "a", "state": ["LIVE"]}, "@ $.state"),
            (RegisteredModel, {"name": "a", "state": {}}, "@ $.state"),
            (RegisteredModel, {"name": "a", "language": "en"}, "@ $.language"),
            (RegisteredModel, {"name": "a", "language": {"en": 1}}, "@ $.language"),
            (RegisteredModel, {"name": "a", "tasks": [None]}, "@ $.tasks"),
            (RegisteredModel, {"name": "a", "customProperties": ["a"]}, "@ $.custom_properties"),
            (RegisteredModel, {"name": "a", "createTimeSinceEpoch": "yesterday"}, "@ $.create_time_since_epoch"),
            (RegisteredModel, {"name": "a", "createTimeSinceEpoch": ["7"]}, "@ $.create_time_since_epoch"),
            (Metric, {"step": 1.5}, "@ $.step"),
            (Metric, {"step": True}, "@ $.step"),
            (Metric, {"timestamp": math.inf}, "@ $.timestamp"),
            (Metric, {"value": "high"}, "@ $.value"),
            (Metric, {"value": False}, "@ $.value"),
            (Metric, {"value": 10**400}, "@ $.value"),
            (Parameter, {"value": {"a": 1}}, "@ $.value"),
        ],
    )
    def test_a_malformed_object_is_refused_with_the_place(self, cls: type[BaseResource], obj: Any, place: str):
        with pytest.raises(InvalidInput) as caught:
            structure(cls, obj)

        assert str(caught.value).startswith(f"not a {cls.__name__}: ")
        assert place in str(caught.value)

    def test_everything_that_is_wrong_is_told_at_once(self):
        with pytest.raises(InvalidInput, match=r"\$\.name.*; .*\$\.owner|\$\.owner.*; .*\$\.name"):
            structure(RegisteredModel, {"name": None, "owner": []})

    @pytest.mark.parametrize("obj", [None, [], "fraud", 7])
    def test_what_is_no_object_is_refused(self, obj: Any):
        for read in (structure, structure_page):
            with pytest.raises(InvalidInput, match=f"^not a RegisteredModel: a {type(obj).__name__}"):
                read(RegisteredModel, obj)
        with pytest.raises(InvalidInput, match=r"^not a Artifact"):
            structure_artifact(obj)

    @pytest.mark.parametrize("tag", [None, "", "Metric", "notebook"])
    def test_an_artifact_of_an_unknown_type_is_told_by_it(self, tag: str | None):
        with pytest.raises(TypeNotFound, match=f"artifact type {tag!r}"):
            structure_artifact({"name": "a", "artifactType": tag})

    @pytest.mark.parametrize("items", [{"name": "a"}, "abc", 7])
    def test_a_page_whose_items_are_no_list_is_refused(self, items: Any):
        with pytest.raises(InvalidInput, match=r"^not a page of RegisteredModel"):
            structure_page(RegisteredModel, {"items": items})

    def test_a_page_with_one_malformed_item_is_refused(self):
        with pytest.raises(InvalidInput, match=r"^not a RegisteredModel"):
            structure_page(RegisteredModel, {"items": [{"name": "a"}, {}]})

    @pytest.mark.parametrize("token", [{"a": 1}, [2], True])
    def test_a_page_whose_token_is_none_is_refused(self, token: Any):
        with pytest.raises(InvalidInput, match="nextPageToken"):
            structure_page(RegisteredModel, {"items": [], "nextPageToken": token})
