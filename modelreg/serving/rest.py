"""The server over HTTP, as a WSGI application: inference in V2 and V1, and everything about the server and its models.

Inference goes straight to the data plane: what a framework does for a request costs as much as all the rest of a small
one. The other routes are falcon's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, TypeAlias

from modelreg.exceptions import InferenceError, InvalidInput, TooManyRequests
from modelreg.serving import rest_v1
from modelreg.serving.access_log import AccessLog
from modelreg.serving.bodies import BodyLimits, Buffers, Places, accepts_gzip, gzipped, is_large, read_body
from modelreg.serving.cloudevents import EventAnswers
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.http_answers import Answer, error_answer, model_headers, request_headers, status_line
from modelreg.serving.rest_routes import routes
from modelreg.types.inference import InferRequest
from modelreg.wire.oip_json import decode_request, encode_response

StartResponse = Callable[..., Any]
WSGIApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
#: A verb, a model and its version.
Route: TypeAlias = tuple[str, str, str | None]

PROTOCOL = "rest-v2"
_HEADER_LENGTH = "inference-header-content-length"
# Passed through, so that logs and traces of client, proxies and server meet.
_PASSED_THROUGH = (("HTTP_X_REQUEST_ID", "x-request-id"), ("HTTP_TRACEPARENT", "traceparent"))
_V1, _V2 = "/v1/models/", "/v2/models/"


def rest_app(
    dataplane: DataPlane,
    *,
    enable_repository_api: bool = False,
    limits: BodyLimits | None = None,
    max_bodies: int | None = None,
    events: EventAnswers | None = None,
    access_log: Callable[[dict[str, Any]], None] | None = None,
) -> WSGIApplication:
    """Return the server as a WSGI application.

    Args:
        dataplane: Where the models are.
        enable_repository_api: Whether clients may load and unload models.
        limits: How large bodies may be.
        max_bodies: Requests with a body that are read or answered at once; further ones are refused. ``None`` for as
            many as the data plane admits, and a few. A server needs more threads than this, to have some for probes.
        events: How answers to CloudEvents are made.
        access_log: Called with what there is to say of each request that was answered; ``None`` for no log.

    Example:
        >>> import requests
        >>> from modelreg.http.wsgi_adapter import WSGIAdapter
        >>> from modelreg.serving.repository import ModelRepository
        >>> session = requests.Session()
        >>> session.mount("http://server/", WSGIAdapter(rest_app(DataPlane(ModelRepository()))))
        >>> session.get("http://server/v2/health/live").json()
        {'live': True}
    """
    app = RestApp(
        dataplane,
        routes=routes(dataplane, enable_repository_api=enable_repository_api),
        limits=BodyLimits() if limits is None else limits,
        places=Places(max_bodies_of(dataplane) if max_bodies is None else max_bodies),
        events=EventAnswers() if events is None else events,
    )
    return app if access_log is None else AccessLog(app, access_log)


def max_bodies_of(dataplane: DataPlane) -> int:
    """Return how many requests with a body are read or answered at once: those admitted, and a few to be read."""
    admission = dataplane.admission
    return admission.max_concurrency + admission.max_queue + 8


class RestApp:
    """The application; see :func:`rest_app`.

    Args:
        dataplane: Where the models are.
        routes: The application that answers all but inference.
        limits: How large bodies may be.
        places: Places for requests with a body.
        events: How answers to CloudEvents are made.
    """

    def __init__(
        self, dataplane: DataPlane, *, routes: WSGIApplication, limits: BodyLimits, places: Places, events: EventAnswers
    ) -> None:
        self._dataplane = dataplane
        self._routes = routes
        self._limits = limits
        self._places = places
        self._buffers = Buffers()
        self._v1 = rest_v1.V1(dataplane, events=events)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] != "POST":
            return self._routes(environ, start_response)
        try:
            place = self._places.take()
        except TooManyRequests as error:
            route = inference_route(environ["PATH_INFO"])
            if route is not None:
                self._count_refused(route, error, 0.0)
            return _sent(error_answer(error), environ, start_response)
        try:
            return self._post(environ, start_response)
        finally:
            self._places.give_back(place)

    def _post(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        route = inference_route(environ["PATH_INFO"])
        if route is None:
            return self._routes(environ, start_response)
        try:
            answer = self._answer(route, environ)
        except Exception as error:  # noqa: BLE001 - the client gets an answer, and the log what is not its doing
            answer = error_answer(error)
        return _sent(answer, environ, start_response)

    def _answer(self, route: Route, environ: dict[str, Any]) -> Answer:
        verb, name, version = route
        begun = perf_counter()
        try:
            headers = request_headers(environ)
            asked = self._read(route, environ, headers)
        except (InvalidInput, InferenceError) as error:
            self._count_refused(route, error, perf_counter() - begun)
            raise
        if isinstance(asked, InferRequest):
            return self._infer(asked, headers)
        return self._v1.answer(verb, name, version, asked, headers)

    def _count_refused(self, route: Route, error: InvalidInput | InferenceError, seconds: float) -> None:
        """Count a request that does not come to the data plane, which counts all others."""
        protocol = PROTOCOL if route[0] == "infer" else rest_v1.PROTOCOL
        self._dataplane.metrics.observe("", None, protocol, getattr(error, "status", 400), seconds=seconds)

    def _read(self, route: Route, environ: dict[str, Any], headers: dict[str, str]) -> InferRequest | rest_v1.Asked:
        verb, name, version = route
        if verb != "infer":
            return rest_v1.read_request(read_body(environ, self._limits), headers)
        # Tensors in binary form stay in the body; of JSON, nothing does.
        if _HEADER_LENGTH in headers or not is_large(environ):
            return _read_request(read_body(environ, self._limits), name, version, headers)
        with self._buffers.body(environ, self._limits) as body:
            return _read_request(body, name, version, headers)

    def _infer(self, request: InferRequest, headers: dict[str, str]) -> Answer:
        response, response_headers = self._dataplane.infer(request, headers=headers, protocol=PROTOCOL)
        encoded = encode_response(response)
        if encoded.header_length is None:
            answer_headers = [("content-type", "application/json")]
        else:
            answer_headers = [
                ("content-type", "application/octet-stream"),
                (_HEADER_LENGTH, str(encoded.header_length)),
            ]
        if response_headers:
            own = {name for name, _ in answer_headers}
            answer_headers += [item for item in model_headers(response_headers) if item[0].lower() not in own]
        return Answer(200, answer_headers, encoded.parts)


def inference_route(path: str) -> Route | None:
    """Return the verb, the model and its version that a path asks for; ``None`` where it is no path of inference.

    Args:
        path: The path as WSGI has it: each byte of it a character.

    Example:
        >>> inference_route("/v2/models/iris/versions/2/infer"), inference_route("/v1/models/iris:predict")
        (('infer', 'iris', '2'), ('predict', 'iris', None))
    """
    # As for the other routes, a slash at the end means nothing.
    path = path.removesuffix("/")
    if path.startswith(_V2):
        if not path.endswith("/infer"):
            return None
        verb, model = "infer", path[len(_V2) : -len("/infer")]
    elif path.startswith(_V1):
        model, _, verb = path[len(_V1) :].rpartition(":")
        if verb not in rest_v1.VERBS:
            return None
    else:
        return None
    if not model.isascii():
        model = model.encode("latin-1").decode("utf-8", "replace")
    name, separator, version = model.partition("/versions/")
    if not name or (separator and not version) or "/" in version:
        return None
    return verb, name, version or None


def _read_request(body: bytes | bytearray, name: str, version: str | None, headers: dict[str, str]) -> InferRequest:
    length = headers.get(_HEADER_LENGTH)
    header_length = None if length is None else _header_length(length)
    request = decode_request(body, model_name=name, model_version=version, header_length=header_length)
    if not request.id and "x-request-id" in headers:
        request.id = headers["x-request-id"]
    return request


def _header_length(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"the header Inference-Header-Content-Length must be a number of bytes, not {text!r}")
    return int(text)


def _sent(answer: Answer, environ: dict[str, Any], start_response: StartResponse) -> list[Any]:
    status, headers, parts = answer
    for key, name in _PASSED_THROUGH:
        if (value := environ.get(key)) is not None:
            headers.append((name, value))
    accepted = environ.get("HTTP_ACCEPT_ENCODING")
    if accepted is not None and accepts_gzip(accepted) and (smaller := gzipped(parts)) is not None:
        headers += [("content-encoding", "gzip"), ("vary", "accept-encoding")]
        parts = [smaller]
    start_response(status_line(status), headers)
    return parts
