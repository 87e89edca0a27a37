"""A client of model servers over REST: the Open Inference Protocol V2, with binary tensors, and V1."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modelreg.client.inference_errors import from_status
from modelreg.client.inference_transport import Answer, InferenceTransport, RESTConfig, Timeout, checked_url
from modelreg.exceptions import InferenceError, InvalidInput, UnsupportedProtocol
from modelreg.http.retry import parse_retry_after
from modelreg.types.inference import InferRequest, InferResponse
from modelreg.wire import oip_json

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["InferenceRESTClient", "RESTConfig"]

_BAD_GATEWAY = 502
_HEADER_LENGTH = "Inference-Header-Content-Length"
_BINARY_EXTENSION = "binary_tensor_data"
# What a server answers to the question whether something is ready, where it is not.
_NOT_READY = frozenset({400, 404, 503})


class InferenceRESTClient:
    """A client of any number of model servers. It may be used from any number of threads, and after a fork.

    Its calls are those of KServe's client, without ``await``. Over V2 it sends tensors in binary form to servers that
    say that they know it, and as JSON to others; what is given as a list always goes as JSON.

    Args:
        config: How servers are reached; the defaults where ``None``.

    Example:
        >>> with InferenceRESTClient(RESTConfig(retries=0)) as client:
        ...     client.is_server_ready("http://127.0.0.1:9")
        Traceback (most recent call last):
        modelreg.exceptions.ServerUnreachable: GET http://127.0.0.1:9/v2/health/ready: cannot connect: ...
    """

    def __init__(self, config: RESTConfig | None = None) -> None:
        self._config = RESTConfig() if config is None else config
        self._transport = InferenceTransport(self._config)
        # By address and Host header: a gateway has many servers behind one address.
        self._knows_binary: dict[tuple[str, str | None], bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._transport.close()

    def infer(  # noqa: PLR0917 - the predecessor's signature
        self,
        base_url: str,
        data: InferRequest | Mapping[str, Any],
        model_name: str | None = None,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
        is_graph_endpoint: bool = False,
        timeout: Timeout = "default",
    ) -> Any:
        """Return a model's answer: an :class:`InferResponse` over V2, the JSON object of the answer over V1.

        Args:
            base_url: Address of the server, such as ``http://host:8080``.
            data: The request. Its ``model_version`` is asked for, if it has one.
            model_name: Name of the model; by default that of the request.
            headers: Headers to send along.
            response_headers: Takes the headers of the answer.
            is_graph_endpoint: Whether ``base_url`` is that of an inference graph, to which the data is posted as it is;
                the answer is the JSON object.
            timeout: Seconds for a connection, and for each silence of the server; ``None`` is for ever.

        Raises:
            InvalidInput: There is no name, no such address, or the server refuses the request (400).
            ModelNotFound: The server has no such model (404).
            ServerUnreachable: No answer came.
            InferenceError: The server answered with another error status, or with something else than an answer.
        """
        url = checked_url(base_url)
        headers = dict(headers or {})
        over_v2 = not is_graph_endpoint and self._goes_over_v2(data)
        if is_graph_endpoint:
            target = url
        else:
            model_name = _name_of(data, model_name)
            target = url + (_v2_path(data, model_name) if over_v2 else _v1_path(model_name, "predict"))
        binary = over_v2 and isinstance(data, InferRequest) and self._sends_binary(url, headers, timeout)
        content = _encode(data, headers, binary=binary)
        answer = self._transport.request(
            "POST", target, content=content, headers=headers, timeout=timeout, patient=True
        )
        _check(answer, model_name)
        if response_headers is not None:
            response_headers.update(answer.headers)
        return _decode_v2(answer) if over_v2 else _decode_json(answer)

    def explain(
        self,
        base_url: str,
        model_name: str,
        data: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = "default",
    ) -> Any:
        """Return a model's explanation over V1, a JSON object; arguments and errors are those of :meth:`infer`.

        Raises:
            UnsupportedProtocol: The client is set to V2, which has no explanations.
            InferenceError: The server answered with an error status, or with something else than an answer.
        """
        if self._config.protocol == "v2":
            raise UnsupportedProtocol("the protocol V2 has no explanations")
        target = checked_url(base_url) + _v1_path(model_name, "explain")
        sent = {"Content-Type": "application/json", **(headers or {})}
        answer = self._transport.request(
            "POST", target, content=_encode_json(data), headers=sent, timeout=timeout, patient=True
        )
        _check(answer, model_name)
        return _decode_json(answer)

    def is_server_ready(
        self, base_url: str, headers: Mapping[str, str] | None = None, timeout: Timeout = "default"
    ) -> bool:
        """Return whether a server can answer for its models.

        Raises:
            ServerUnreachable: No answer came.
            InferenceError: The answer says neither.
        """
        return self._is_ready(f"{checked_url(base_url)}/v2/health/ready", headers, timeout)

    def is_server_live(
        self, base_url: str, headers: Mapping[str, str] | None = None, timeout: Timeout = "default"
    ) -> bool:
        """Return whether a server answers at all, over V1 where the client is set to it.

        Raises:
            ServerUnreachable: No answer came.
            InferenceError: The answer says neither.
        """
        path = "/" if self._config.protocol == "v1" else "/v2/health/live"
        return self._is_ready(f"{checked_url(base_url)}{path}", headers, timeout)

    def is_model_ready(
        self, base_url: str, model_name: str, headers: Mapping[str, str] | None = None, timeout: Timeout = "default"
    ) -> bool:
        """Return whether a server has a model that can answer.

        Raises:
            ServerUnreachable: No answer came.
            InferenceError: The answer says neither.
        """
        name = quote(model_name, safe="")
        path = f"/v1/models/{name}" if self._config.protocol == "v1" else f"/v2/models/{name}/ready"
        return self._is_ready(f"{checked_url(base_url)}{path}", headers, timeout)

    def server_metadata(
        self, base_url: str, headers: Mapping[str, str] | None = None, timeout: Timeout = "default"
    ) -> dict[str, Any]:
        """Return ``name``, ``version`` and ``extensions`` of a server.

        Raises:
            ServerUnreachable: No answer came.
            InferenceError: The server answered with an error status, or with something else than an answer.
        """
        return self._get(f"{checked_url(base_url)}/v2", None, headers, timeout)

    def model_metadata(
        self,
        base_url: str,
        model_name: str,
        model_version: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = "default",
    ) -> dict[str, Any]:
        """Return ``name``, ``versions``, ``platform``, ``inputs`` and ``outputs`` of a model.

        Raises:
            ModelNotFound: The server has no such model.
            ServerUnreachable: No answer came.
            InferenceError: The server answered with an error status, or with something else than an answer.
        """
        path = _model_path(model_name, model_version)
        return self._get(f"{checked_url(base_url)}{path}", model_name, headers, timeout)

    def _get(
        self, url: str, model_name: str | None, headers: Mapping[str, str] | None, timeout: Timeout
    ) -> dict[str, Any]:
        answer = self._transport.request("GET", url, headers=headers, timeout=timeout)
        _check(answer, model_name)
        return _decode_object(answer)

    def _is_ready(self, url: str, headers: Mapping[str, str] | None, timeout: Timeout) -> bool:
        answer = self._transport.request("GET", url, headers=headers, timeout=timeout)
        if answer.status in _NOT_READY:
            return False
        _check(answer, None)
        return True

    def _goes_over_v2(self, data: InferRequest | Mapping[str, Any]) -> bool:
        if self._config.protocol is not None:
            return self._config.protocol == "v2"
        return isinstance(data, InferRequest) or "inputs" in data

    def _sends_binary(self, url: str, headers: Mapping[str, str], timeout: Timeout) -> bool:
        if self._config.binary is not None:
            return self._config.binary
        host = next((value for name, value in headers.items() if name.lower() == "host"), None)
        known = self._knows_binary.get((url, host))
        if known is not None:
            return known
        answer = self._transport.request("GET", f"{url}/v2", headers=headers, timeout=timeout)
        known = answer.status == 200 and _says_binary(answer)
        if answer.status in {200, 404}:
            # Any other status may be a passing trouble: the next request asks again.
            self._knows_binary[url, host] = known
        return known


def _name_of(data: InferRequest | Mapping[str, Any], model_name: str | None) -> str:
    name = data.model_name if model_name is None and isinstance(data, InferRequest) else model_name
    if not name:
        raise InvalidInput("a model_name is needed, unless the server is an inference graph")
    return name


def _v1_path(model_name: str, verb: str) -> str:
    return f"/v1/models/{quote(model_name, safe='')}:{verb}"


def _v2_path(data: InferRequest | Mapping[str, Any], model_name: str) -> str:
    version = data.model_version if isinstance(data, InferRequest) else None
    return f"{_model_path(model_name, version)}/infer"


def _model_path(model_name: str, version: str | None) -> str:
    path = f"/v2/models/{quote(model_name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _says_binary(answer: Answer) -> bool:
    """Return whether a server says of itself that it knows tensors in binary form."""
    try:
        extensions = _decode_object(answer).get("extensions")
    except InferenceError:
        # It answers something else there, such as a page: it does not say so.
        return False
    return isinstance(extensions, list) and _BINARY_EXTENSION in extensions


def _encode(data: InferRequest | Mapping[str, Any], headers: dict[str, str], *, binary: bool) -> bytes:
    """Return the body, and say in ``headers`` how it is to be read."""
    if not isinstance(data, InferRequest):
        _set_default(headers, "Content-Type", "application/json")
        return _encode_json(data)
    encoded = oip_json.encode_request(_asking_for_binary(data) if binary else data, binary=binary)
    if encoded.header_length is None:
        _set_default(headers, "Content-Type", "application/json")
    else:
        _set_default(headers, "Content-Type", "application/octet-stream")
        headers[_HEADER_LENGTH] = str(encoded.header_length)
    return encoded.body


def _asking_for_binary(request: InferRequest) -> InferRequest:
    """Return the request with a word on the outputs, unless it has one on them already."""
    if request.request_outputs or "binary_data_output" in (request.parameters or {}):
        return request
    asking = copy.copy(request)
    asking.parameters = {**(request.parameters or {}), "binary_data_output": True}
    return asking


def _set_default(headers: dict[str, str], name: str, value: str) -> None:
    if all(given.lower() != name.lower() for given in headers):
        headers[name] = value


def _encode_json(data: Mapping[str, Any]) -> bytes:
    try:
        return oip_json.dumps(data)
    except InferenceError as error:
        raise InvalidInput(f"the request cannot be written as JSON: {error.__cause__}") from error


def _check(answer: Answer, model_name: str | None) -> None:
    """Return if the answer's status is 2xx.

    Raises:
        InvalidInput: It is 400.
        InferenceError: It is another.
    """
    if 200 <= answer.status < 300:
        return
    retry_after_s = parse_retry_after(answer.headers.get("Retry-After"))
    raise from_status(answer.status, _message(answer), model_name=model_name, retry_after_s=retry_after_s)


def _message(answer: Answer) -> str:
    try:
        body = oip_json.loads(answer.content)
    except InvalidInput:
        # A page of a proxy, say.
        return f"the server answered with status {answer.status}"
    told = body.get("error") or body.get("detail") if isinstance(body, dict) else body
    return told if isinstance(told, str) else f"the server answered with status {answer.status}"


def _decode_v2(answer: Answer) -> InferResponse:
    length = answer.headers.get(_HEADER_LENGTH)
    if length is not None and not length.isdecimal():
        raise InferenceError(f"the server's header {_HEADER_LENGTH} is not a length: {length!r:.40}", _BAD_GATEWAY)
    try:
        return oip_json.decode_response(answer.content, header_length=None if length is None else int(length))
    except InferenceError as error:
        # For whoever passes it on, as a transformer does, the fault is the server's that was asked.
        raise InferenceError(error.message, _BAD_GATEWAY) from error


def _decode_json(answer: Answer) -> Any:
    try:
        return oip_json.loads(answer.content)
    except InvalidInput as error:
        raise InferenceError(f"the server's answer is not of the protocol: {error.message}", _BAD_GATEWAY) from error


def _decode_object(answer: Answer) -> dict[str, Any]:
    document = _decode_json(answer)
    if not isinstance(document, dict):
        raise InferenceError("the server's answer is not of the protocol: it is not a JSON object", _BAD_GATEWAY)
    return document
