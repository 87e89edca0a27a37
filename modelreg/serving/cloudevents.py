"""CloudEvents 1.0 over HTTP: the payload of a request that is an event, and an answer that is one in turn.

An event comes in one of two modes. Binary: its attributes are ``ce-`` headers, and the body is its data. Structured:
the body is a JSON object with the attributes, and the data under ``data``. The answer comes in the mode of the request,
with the attributes that KServe's server gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import attrs

from modelreg.exceptions import InvalidInput

#: Content type of an event in structured mode.
STRUCTURED = "application/cloudevents+json"

_RESPONSE_TYPE = "io.kserve.inference.response"
_PREFIX = "ce-"
_REQUIRED = ("specversion", "id", "source", "type")
_VERSIONS = {"1.0", "0.3"}
# What stands for itself in a header, beside letters and digits.
_IN_HEADERS = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
# What, beside the data, makes a JSON object an event even where the content type does not say so.
_TELLING = ("specversion", "id", "source", "type", "time", "data")


@attrs.frozen
class EventAnswers:
    """How answers to events are made.

    Args:
        type: Their ``type``.
        source: Their ``source``; ``None`` for ``io.kserve.inference.`` and the model's name.
        merge: Whether they carry the other attributes of the request.
    """

    type: str = _RESPONSE_TYPE
    source: str | None = None
    merge: bool = False


@attrs.frozen
class Event:
    """The attributes of an event, and the mode in which it came.

    Args:
        attributes: Its attributes by name, without the prefix of headers.
        structured: Whether it came in structured mode.
    """

    attributes: Mapping[str, Any]
    structured: bool

    def answer(self, data: Any, model_name: str, *, settings: EventAnswers) -> tuple[Any, dict[str, str]]:
        """Return the answer's body, ready to be made JSON of, and its headers.

        Args:
            data: The data of the answer.
            model_name: Name of the model that answered.
            settings: How the answer's attributes are made.
        """
        kept = dict(self.attributes) if settings.merge else {}
        kept.pop("datacontenttype", None)
        attributes = {
            **kept,
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": settings.source or f"io.kserve.inference.{model_name}",
            "type": settings.type,
            "time": datetime.now(timezone.utc).isoformat(),
        }
        if self.structured:
            return {**attributes, "data": data}, {"content-type": STRUCTURED}
        headers = {f"{_PREFIX}{name}": _header_value(str(value)) for name, value in attributes.items()}
        return data, {**headers, "content-type": "application/json"}


def binary_event(headers: Mapping[str, str]) -> Event | None:
    """Return the event that a request in binary mode is; ``None`` where it is none.

    Args:
        headers: Headers of the request, their names in lower case.

    Raises:
        InvalidInput: It lacks an attribute that an event must have.
    """
    if "ce-specversion" not in headers and "ce-id" not in headers:
        return None
    attributes = {name[len(_PREFIX) :]: unquote(value) for name, value in headers.items() if name.startswith(_PREFIX)}
    _check(attributes)
    return Event(attributes, structured=False)


def structured_event(document: Any, content_type: str) -> tuple[Any, Event | None]:
    """Return the payload of a request, and the event that it came in; ``None`` where it came in none.

    Args:
        document: The decoded body.
        content_type: Its media type, in lower case.

    Raises:
        InvalidInput: It says that it is an event, and lacks what an event must have.
    """
    if not isinstance(document, dict):
        if content_type == STRUCTURED:
            raise InvalidInput("an event in structured mode must be a JSON object")
        return document, None
    if content_type != STRUCTURED and not all(name in document for name in _TELLING):
        return document, None
    attributes = {name: value for name, value in document.items() if name != "data"}
    _check(attributes)
    if "data" not in document:
        raise InvalidInput("the event has no data")
    return document["data"], Event(attributes, structured=True)


def _header_value(text: str) -> str:
    """``text`` as the binding to HTTP has it in headers: what is no visible ASCII is percent-encoded."""
    return quote(text, safe=_IN_HEADERS)


def _check(attributes: Mapping[str, Any]) -> None:
    for name in _REQUIRED:
        value = attributes.get(name)
        if not (value and isinstance(value, str)):
            raise InvalidInput(f"the event has no attribute {name!r}" + (", which is a text" if value else ""))
    if attributes["specversion"] not in _VERSIONS:
        raise InvalidInput(f"events of version {attributes['specversion']!r} are not read")
