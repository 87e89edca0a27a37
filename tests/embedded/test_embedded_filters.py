"""Filters find what a plain reading of them in Python finds, however they are combined, ordered and paged."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelreg.embedded import open_app
from modelreg.embedded.filter_query import parse_filter
from modelreg.exceptions import BadRequest

MODELS: list[dict[str, Any]] = [
    {"name": f"model-{number}", "owner": ["ann", "Bob", "ünï"][number % 3], "score": number / 4, "layers": number % 5}
    | {"live": number % 2 == 0, "tag": ["a%b", "a_b", "A\\b", "x" * 250 + str(number % 2)][number % 4]}
    | ({"description": f"text {number}"} if number % 3 else {})
    for number in range(24)
]
OWN = {"name", "owner", "description"}
COMPARISONS = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<>": lambda one, other: one != other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
}
TEXTS = ["name", "owner", "description", "tag", "absent"]
NUMBERS = ["score", "layers", "absent"]

some_text = st.sampled_from(
    [str(model[name]) for model in MODELS for name in ("name", "owner", "tag")] + ["", "B", "z'\""]
)
some_number = st.sampled_from([0, 1, 2, 3, 0.25, 0.5, 4.75, -1, 1e3])
some_pattern = st.lists(st.sampled_from(["%", "_", "a", "A", "b", "model", "-1", "\\%", "\\_", "x"]), max_size=4).map(
    "".join
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def like(pattern: str, text: str, *, fold: bool) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    meanings = {"%": ".*", "_": "."}
    expression = "".join(meanings.get(part) or re.escape(part[-1]) for part in parts)
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


@st.composite
def text_comparisons(draw: Any) -> tuple[str, Any]:
    name = draw(st.sampled_from(TEXTS))
    operator = draw(st.sampled_from([*COMPARISONS, "LIKE", "ILIKE", "IN"]))
    suffix = draw(st.sampled_from(["", ".string_value"])) if name not in OWN else ""
    if operator == "IN":
        values = draw(st.lists(some_text, min_size=1, max_size=3))
        return f"{name}{suffix} IN ({', '.join(map(quoted, values))})", lambda m: name in m and m[name] in values
    if operator in COMPARISONS:
        value, compare = draw(some_text), COMPARISONS[operator]
        return f"{name}{suffix} {operator} {quoted(value)}", lambda m: name in m and compare(m[name], value)
    pattern = draw(some_pattern)
    text = f"{name}{suffix} {operator} '{pattern}'"
    return text, lambda m: name in m and like(pattern, m[name], fold=operator == "ILIKE")


@st.composite
def number_comparisons(draw: Any) -> tuple[str, Any]:
    name, value = draw(st.sampled_from(NUMBERS)), draw(some_number)
    operator = draw(st.sampled_from([*COMPARISONS]))
    suffix = draw(st.sampled_from(["", ".double_value", ".int_value"]))
    held = {"": {"score", "layers"}, ".double_value": {"score"}, ".int_value": {"layers"}}[suffix]
    compare = COMPARISONS[operator]
    return f"`{name}`{suffix} {operator} {value}", lambda m: name in m and name in held and compare(m[name], value)


truths = st.booleans().map(lambda truth: (f"live = {str(truth).upper()}", lambda m: m["live"] == truth))


def joined(parts: list[tuple[str, Any]], word: str) -> tuple[str, Any]:
    texts, checks = zip(*parts, strict=True)
    every = all if word == "AND" else any
    return f"({f' {word} '.join(texts)})", lambda m: every(check(m) for check in checks)


filters = st.recursive(
    st.one_of(text_comparisons(), number_comparisons(), truths),
    lambda inner: st.builds(joined, st.lists(inner, min_size=1, max_size=3), st.sampled_from(["AND", "OR"])),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def models() -> Iterator[Any]:
    import falcon.testing

    with tempfile.TemporaryDirectory() as folder:
        app = open_app(str(Path(folder) / "registry.db"))
        client = falcon.testing.TestClient(app)
        for model in MODELS:
            fields = {name: value for name, value in model.items() if name in OWN}
            custom = {
                "score": {"metadataType": "MetadataDoubleValue", "double_value": model["score"]},
                "layers": {"metadataType": "MetadataIntValue", "int_value": str(model["layers"])},
                "live": {"metadataType": "MetadataBoolValue", "bool_value": model["live"]},
                "tag": {"metadataType": "MetadataStringValue", "string_value": model["tag"]},
            }
            body = {**fields, "customProperties": custom}
            assert client.simulate_post("/api/model_registry/v1alpha3/registered_models", json=body).status_code == 201
        yield client
        app.close()


def listed(models: Any, **query: str) -> list[str]:
    """Return the names of every page of a listing."""
    names: list[str] = []
    while True:
        answer = models.simulate_get("/api/model_registry/v1alpha3/registered_models", params=query)
        assert answer.status_code == 200, (query, answer.text)
        names += [item["name"] for item in answer.json["items"]]
        if not answer.json["nextPageToken"]:
            return names
        query["nextPageToken"] = answer.json["nextPageToken"]


@settings(max_examples=150)
@given(
    filter=filters, order=st.sampled_from(["ID", "CREATE_TIME"]), descending=st.booleans(), page_size=st.integers(1, 9)
)
def test_a_filter_finds_what_its_plain_reading_finds(
    models: Any, filter: tuple[str, Any], order: str, descending: bool, page_size: int
) -> None:
    text, matches = filter
    expected = [model["name"] for model in MODELS if matches(model)]

    found = listed(
        models,
        filterQuery=text,
        orderBy=order,
        sortOrder="DESC" if descending else "ASC",
        pageSize=str(page_size),
    )

    assert found == (expected[::-1] if descending else expected)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *(("name = 'model-1' -- a comment", 1), ("  NAME = 'x'", 0), ("live = TRUE and layers in (0, 1)", 5)),
        *(("id > 0", 24), ("id = '1'", 1), ("createTimeSinceEpoch > 0 AND lastUpdateTimeSinceEpoch > '5'", 24)),
    ],
)
def test_a_filter_in_another_spelling_means_the_same(models: Any, text: str, count: int) -> None:
    assert len(listed(models, filterQuery=text)) == count


def test_a_walk_through_pages_is_not_upset_by_what_is_made_meanwhile(models: Any) -> None:
    path = "/api/model_registry/v1alpha3/registered_models"
    first = models.simulate_get(path, params={"pageSize": "20", "sortOrder": "DESC"}).json
    late = models.simulate_post(path, json={"name": "made meanwhile", "state": "ARCHIVED"}).json["id"]
    second = models.simulate_get(
        path, params={"pageSize": "20", "sortOrder": "DESC", "nextPageToken": first["nextPageToken"]}
    ).json
    models.simulate_delete(f"/api/modelreg/v1/registered_models/{late}")

    names = [item["name"] for item in first["items"] + second["items"]]
    assert names == [model["name"] for model in reversed(MODELS)]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("name = m", "at character 8: 'm'"),
        ("name ~ 'x'", "at character 6: \"~ 'x'\""),
        ("name =", "at its end: it is not complete"),
        ("(name = 'm'", "at its end: it is not complete"),
        ("name = 'm' AND ", "at its end: it is not complete"),
    ],
)
def test_a_filter_that_cannot_be_read_is_told_by_the_place(text: str, place: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(place)):
        parse_filter(text)
