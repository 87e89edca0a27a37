"""CloudEvents: which requests are events, and the events that answer them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from modelreg.exceptions import InvalidInput
from modelreg.serving.cloudevents import Event, EventAnswers, binary_event, structured_event

HEADERS = {"ce-specversion": "1.0", "ce-id": "36077800", "ce-source": "/shop", "ce-type": "com.example.order"}
ATTRIBUTES = {name[3:]: value for name, value in HEADERS.items()}


def test_a_request_with_the_headers_of_an_event_is_one() -> None:
    event = binary_event({**HEADERS, "ce-tenant": "a", "content-type": "application/json"})

    assert event == Event({**ATTRIBUTES, "tenant": "a"}, structured=False)


def test_a_request_without_them_is_none() -> None:
    assert binary_event({"content-type": "application/json"}) is None


@pytest.mark.parametrize("missing", ["ce-id", "ce-source", "ce-type"])
def test_an_event_without_an_attribute_that_it_must_have_is_refused(missing: str) -> None:
    with pytest.raises(InvalidInput, match=missing[3:]):
        binary_event({name: value for name, value in HEADERS.items() if name != missing})


def test_an_event_of_another_version_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"2\.0"):
        binary_event({**HEADERS, "ce-specversion": "2.0"})


def test_a_structured_event_gives_its_data_and_its_attributes() -> None:
    data, event = structured_event({**ATTRIBUTES, "data": {"instances": [1]}}, "application/cloudevents+json")

    assert data == {"instances": [1]}
    assert event == Event(ATTRIBUTES, structured=True)


def test_what_has_all_that_an_event_has_is_one_whatever_its_content_type() -> None:
    document = {**ATTRIBUTES, "time": "2026-11-22T00:00:00Z", "data": [1]}

    assert structured_event(document, "application/json")[0] == [1]


@pytest.mark.parametrize("document", [{"instances": [1]}, {**ATTRIBUTES, "data": 1}, [1], 7])
def test_anything_else_is_its_own_payload(document: Any) -> None:
    assert structured_event(document, "application/json") == (document, None)


@pytest.mark.parametrize(
    "document",
    [
        [1],
        {"data": 1},
        ATTRIBUTES,
        {**ATTRIBUTES, "id": None, "data": 1},
        {**ATTRIBUTES, "id": 7, "data": 1},
        {**ATTRIBUTES, "source": ["/shop"], "data": 1},
        {**ATTRIBUTES, "specversion": {"major": 1}, "data": 1},
    ],
)
def test_what_says_that_it_is_an_event_must_be_one(document: Any) -> None:
    with pytest.raises(InvalidInput, match="event"):
        structured_event(document, "application/cloudevents+json")


def test_a_binary_event_is_answered_with_headers() -> None:
    data, headers = Event(ATTRIBUTES, structured=False).answer({"predictions": [1]}, "iris", settings=EventAnswers())

    assert data == {"predictions": [1]}
    assert headers["content-type"] == "application/json"
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-source"] == "io.kserve.inference.iris"
    assert headers["ce-type"] == "io.kserve.inference.response"
    assert headers["ce-id"] != ATTRIBUTES["id"]
    assert datetime.fromisoformat(headers["ce-time"]) <= datetime.now(timezone.utc)


def test_a_structured_event_is_answered_with_one() -> None:
    body, headers = Event(ATTRIBUTES, structured=True).answer([1], "iris", settings=EventAnswers())

    assert headers == {"content-type": "application/cloudevents+json"}
    assert body["data"] == [1]
    assert {*body} == {"specversion", "id", "source", "type", "time", "data"}


def test_answers_carry_the_attributes_of_the_request_where_that_is_wanted() -> None:
    event = Event({**ATTRIBUTES, "tenant": "a", "datacontenttype": "application/json"}, structured=True)

    body, _ = event.answer([1], "iris", settings=EventAnswers(type="t", source="/models", merge=True))

    assert body["tenant"] == "a"
    assert (body["type"], body["source"]) == ("t", "/models")
    assert body["id"] != ATTRIBUTES["id"]
    assert "datacontenttype" not in body


def test_attributes_that_headers_cannot_carry_are_percent_encoded_both_ways() -> None:
    event = binary_event({**HEADERS, "ce-subject": "caf%C3%A9 100%25", "ce-tenant": "caf\xe9"})
    assert event is not None

    _, headers = event.answer([1], "模型", settings=EventAnswers(merge=True))

    assert (event.attributes["subject"], event.attributes["tenant"]) == ("café 100%", "café")
    assert headers["ce-subject"] == "caf%C3%A9%20100%25"
    assert headers["ce-tenant"] == "caf%C3%A9"
    assert headers["ce-source"] == "io.kserve.inference.%E6%A8%A1%E5%9E%8B"
    assert headers["ce-type"] == "io.kserve.inference.response"
