"""Bad input at every position is answered with a clear 4xx, and nothing of it is stored."""

from __future__ import annotations

from typing import Any

import pytest

STRING = "MetadataStringValue"

BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "malformed": (b'{"name": ', 400),
    "not UTF-8": (b'{"name": "\xff"}', 400),
    "a list": (b"[]", 400),
    "null": (b"null", 422),
    "NaN literal": (
        b'{"name": "x", "customProperties": {"a": {"metadataType": "MetadataDoubleValue", "double_value": NaN}}}',
        400,
    ),
    "deeply nested": (b'{"a":' * 100_000, 400),
    "endless integer": (b'{"name": ' + b"9" * 10_000 + b"}", 400),
    "NUL in the name": (b'{"name": "a\\u0000b"}', 400),
    "half a surrogate pair": (b'{"name": "\\ud800"}', 400),
    "10 MB name": (b'{"name": "' + b"x" * 10_000_000 + b'"}', 400),
    "name of 256 characters": (b'{"name": "' + b"x" * 256 + b'"}', 400),
    "number for a name": (b'{"name": 5}', 400),
    "empty name": (b'{"name": ""}', 422),
    "no name": (b'{"owner": "ann"}', 422),
    "unknown field": (b'{"name": "x", "colour": "red"}', 400),
    "id in a create": (b'{"name": "x", "id": "7"}', 400),
    "unknown state": (b'{"name": "x", "state": "BAD"}', 400),
    "text for a list": (b'{"name": "x", "tasks": "one"}', 400),
    "numbers in a list": (b'{"name": "x", "tasks": [1]}', 400),
    "list for properties": (b'{"name": "x", "customProperties": []}', 400),
    "untagged property": (b'{"name": "x", "customProperties": {"a": {"string_value": "b"}}}', 400),
    "unknown tag": (b'{"name": "x", "customProperties": {"a": {"metadataType": "MetadataSetValue"}}}', 400),
    "tag that is no text": (b'{"name": "x", "customProperties": {"a": {"metadataType": []}}}', 400),
    "integer that is a number": (
        b'{"name": "x", "customProperties": {"a": {"metadataType": "MetadataIntValue", "int_value": 1}}}',
        400,
    ),
    "integer of 64 bits": (
        b'{"name": "x", "customProperties": {"a": {"metadataType": "MetadataIntValue", "int_value": "99999999999"}}}',
        400,
    ),
    "endless double": (
        b'{"name": "x", "customProperties": {"a": {"metadataType": "MetadataDoubleValue", "double_value": 1e999}}}',
        400,
    ),
}


@pytest.mark.parametrize(("raw", "status"), BODIES.values(), ids=BODIES)
def test_a_body_that_cannot_be_used_is_refused_and_not_stored(ask: Any, raw: bytes, status: int) -> None:
    answer = ask("POST", "/registered_models", raw=raw)

    assert answer[0] == status
    assert answer[1]["code"] == "Bad Request"
    assert 0 < len(answer[1]["message"]) < 400
    assert ask.names("/registered_models") == []


@pytest.mark.parametrize(
    "name", ["a'; DROP TABLE resource; --", "🦊 model", "%_\\", '"quoted"', "x" * 255, " ", "тест"]
)
def test_any_other_name_is_stored_and_found_as_it_is(ask: Any, name: str) -> None:
    model_id = ask.made("/registered_models", name=name)

    assert ask("GET", "/registered_model", name=name)[1]["id"] == model_id
    assert ask("GET", f"/registered_models/{model_id}")[1]["name"] == name


@pytest.mark.parametrize("id", ["abc", "1.5", "99999999999", "0x1", "1_000", "-", "٣"])
@pytest.mark.parametrize(
    "path",
    ["/registered_models/{}", "/artifacts/{}", "/registered_models/{}/versions", "/experiment_runs/{}/metric_history"],
)
def test_an_id_that_is_no_32_bit_integer_is_refused(ask: Any, path: str, id: str) -> None:
    assert ask("GET", path.format(id))[0] == 400


@pytest.mark.parametrize("token", ["bogus", "!!!!", "AAAA", "MWlkKzo6", "ÿ", "a" * 5000])
def test_a_page_token_of_somebody_else_is_refused(ask: Any, token: str) -> None:
    assert ask("GET", "/registered_models", nextPageToken=token)[0] == 400


def test_a_page_token_serves_the_order_that_it_was_given_for(ask: Any) -> None:
    for name in "abc":
        ask.made("/registered_models", name=name)
    token = ask("GET", "/registered_models", pageSize="1")[1]["nextPageToken"]

    assert ask("GET", "/registered_models", pageSize="1", nextPageToken=token)[1]["items"][0]["name"] == "b"
    assert ask("GET", "/registered_models", pageSize="1", nextPageToken=token, sortOrder="DESC")[0] == 400


@pytest.mark.parametrize(
    "filter_query",
    [
        *("name", "name =", "= 'x'", "name = alpha", "(name = 'a'", "name = 'a')", "name == 'a'", "NOT name = 'a'"),
        *("name = 'a' AND", "OR name = 'a'", "name IN ()", "name IN 'a'", "a.b = 1", "a.text_value = 'x'", "``= 1"),
        *("id = 'abc'", "name = 5", "name LIKE 5", "a IN (1, 'b')", "a = 99999999999999999999", "a = 1e999"),
        *("a.int_value = 'x'", "name LIKE 'a\\\\'", "(" * 5000, "a = 1" + " AND a = 1" * 500, "a = 1;", "id LIKE 'a'"),
        *("a = 'x" + "y" * 30_000 + "'", "a = 'no end", "\x01 = 1", "(a = 1 OR (b = 1 AND " * 60 + "c = 1" + "))" * 60),
    ],
)
def test_a_filter_that_cannot_be_used_is_refused(ask: Any, filter_query: str) -> None:
    status, answer = ask("GET", "/registered_models", filterQuery=filter_query)

    assert status == 400
    assert "filter" in answer["message"]


def test_a_nul_in_a_query_is_refused(ask: Any) -> None:
    assert ask("GET", "/registered_model", name="a\0b")[0] == 400
    assert ask("GET", "/registered_models", filterQuery="name = 'a\0b'")[0] == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/inference_services", {"servingEnvironmentId": "999", "registeredModelId": "1"}),
        ("/inference_services", {"servingEnvironmentId": "2", "registeredModelId": "999"}),
        ("/inference_services", {"servingEnvironmentId": "1", "registeredModelId": "1"}),
        ("/inference_services", {"servingEnvironmentId": "2", "registeredModelId": "1", "modelVersionId": "999"}),
        ("/serving_environments/999/inference_services", {"servingEnvironmentId": "2", "registeredModelId": "1"}),
        ("/inference_services/999/serves", {"modelVersionId": "1"}),
    ],
)
def test_what_refers_to_nothing_is_not_made(ask: Any, path: str, body: dict[str, str]) -> None:
    ask.made("/registered_models", name="model")
    ask.made("/serving_environments", name="here")

    assert ask("POST", path, body)[0] == 404
    assert ask.names("/inference_services") == []


def test_a_path_that_is_not_there_and_a_method_that_is_not_allowed_are_answered_in_the_same_form(ask: Any) -> None:
    assert ask("GET", "/nothing")[1]["code"] == "Not Found"
    assert ask("DELETE", "/registered_models")[1]["code"] == "Method Not Allowed"
