"""The V1 protocol's two verbs, ``predict`` and ``explain``, for bodies of JSON, of CloudEvents, or of anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.serving.cloudevents import Event, EventAnswers, binary_event, structured_event
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.http_answers import Answer, json_answer, model_headers
from modelreg.wire.json_text import dumps, loads

#: The verbs, as they stand in the URL.
VERBS = ("predict", "explain")

PROTOCOL = "rest-v1"
# Bodies of other types go to the model as they are. Command line clients send the second by default, whatever it is.
_JSON = frozenset({"", "application/json", "application/x-www-form-urlencoded", "application/octet-stream"})


#: A payload, and the event that it came in, where it came in one.
Asked: TypeAlias = tuple[Any, Event | None]


class V1:
    """The V1 protocol over a data plane.

    Args:
        dataplane: Where the models are.
        events: How answers to CloudEvents are made.
    """

    def __init__(self, dataplane: DataPlane, *, events: EventAnswers) -> None:
        self._dataplane = dataplane
        self._events = events
        self._verbs = {"predict": dataplane.predict, "explain": dataplane.explain}

    def answer(self, verb: str, name: str, version: str | None, asked: Asked, headers: dict[str, str]) -> Answer:
        """Return the answer to a request.

        Args:
            verb: One of :data:`VERBS`.
            name: Name of the model.
            version: Version of the model; ``None`` for the newest.
            asked: What the body holds, from :func:`read_request`.
            headers: Headers of the request, their names in lower case.

        Raises:
            InvalidInput: The model refuses the request, or what it repeats of it is nested too deep to be written.
            InferenceError: Another error, with its HTTP status.
        """
        payload, event = asked
        result = self._verbs[verb](name, payload, headers=headers, protocol=PROTOCOL, version=version)
        try:
            if event is not None:
                answer, event_headers = event.answer(result.answer, name, settings=self._events)
                return _answer(answer, {**result.headers, **event_headers})
            return _answer(result.answer, result.headers)
        except InferenceError as error:
            if _is_too_deep(payload):
                raise InvalidInput("the body is nested too deep for an answer that repeats it") from error
            raise


def _is_too_deep(payload: Any) -> bool:
    """Whether JSON that was read cannot be written in an answer: its nesting may be four times as deep."""
    if isinstance(payload, bytes):
        return False
    try:
        dumps({"data": {"predictions": [payload]}})
    except InferenceError:
        return True
    return False


def _answer(value: Any, headers: Mapping[str, str]) -> Answer:
    answer = json_answer(value)
    if not headers:
        return answer
    given = model_headers(headers)
    if any(name.lower() == "content-type" for name, _ in given):
        return Answer(answer.status, given, answer.parts)
    return Answer(answer.status, [*answer.headers, *given], answer.parts)


def read_request(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Return the payload of a request, and the event that it came in, where it came in one.

    Args:
        body: The body, decompressed.
        headers: Headers of the request, their names in lower case.

    Raises:
        InvalidInput: The body is not what its type says, or not the event that it should be.
    """
    event = binary_event(headers)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _JSON and not media_type.endswith("+json"):
        return body, event
    try:
        document = loads(body)
    except InvalidInput:
        if event is not None and media_type in {"", "application/octet-stream"}:
            # The data of an event may be anything.
            return body, event
        raise
    return (document, event) if event is not None else structured_event(document, media_type)
