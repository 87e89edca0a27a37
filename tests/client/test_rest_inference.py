"""The REST client of model servers, against the server's own application in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests
import responses
from urllib3.exceptions import NewConnectionError

from modelreg.client.rest_inference import InferenceRESTClient, RESTConfig
from modelreg.exceptions import (
    DeadlineExceeded,
    InferenceError,
    InvalidInput,
    ModelNotFound,
    PayloadTooLarge,
    ServerNotReady,
    ServerUnreachable,
    TooManyRequests,
    UnsupportedProtocol,
)
from modelreg.http.retry import RetryPolicy
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.serving import DataPlane, InferInput, InferRequest, Model, ModelRepository, RequestedOutput
from modelreg.serving.rest import rest_app
from modelreg.types.inference import InferResponse

URL = "http://models.local"
INFER = f"{URL}/v2/models/doubler/infer"


class Doubler(Model):
    def predict(self, payload: Any, headers: dict[str, str], response_headers: dict[str, str]) -> Any:
        response_headers["x-seen"] = headers.get("x-user", "nobody")
        if isinstance(payload, dict):
            return {"predictions": [2 * number for number in payload["instances"]]}
        return payload.inputs[0].as_numpy() * 2

    def explain(self, payload: Any) -> Any:
        return {"explanations": ["it was doubled"] * len(payload["instances"])}

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


class Carrier(WSGIAdapter):
    """Carries requests to the application, and keeps them."""

    def __init__(self, app: Callable[..., Any]) -> None:
        super().__init__(app)
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        self.sent.append(request)
        return super().send(request, **options)


@pytest.fixture
def carrier() -> Iterator[Carrier]:
    repository = ModelRepository()
    repository.update(Doubler("doubler", version="1"))
    repository.update(Doubler("doubler", version="2"))
    dataplane = DataPlane(repository)
    dataplane.start()
    yield Carrier(rest_app(dataplane))
    dataplane.close()


@pytest.fixture
def client(carrier: Carrier) -> Iterator[InferenceRESTClient]:
    with InferenceRESTClient(RESTConfig(adapter=carrier)) as client:
        yield client


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def patient(pauses: list[float]) -> Iterator[InferenceRESTClient]:
    """A client on the network, whose pauses take no time."""
    retry = RetryPolicy(attempts=3, sleep=pauses.append, jitter=lambda: 1.0)
    with InferenceRESTClient(RESTConfig(retry=retry, binary=False)) as client:
        yield client


def request(array: Any = None, **options: Any) -> InferRequest:
    array = np.array([[1, 2]], dtype=np.float32) if array is None else array
    return InferRequest("doubler", [InferInput.from_numpy("x", array)], **options)


def of(response: InferResponse) -> Any:
    return response.outputs[0].as_numpy()


def refused(message: str) -> requests.ConnectionError:
    return requests.ConnectionError(NewConnectionError(None, message))


def test_a_request_goes_over_v2_and_its_tensors_in_binary_form_both_ways(client: InferenceRESTClient, carrier: Carrier):
    headers: dict[str, str] = {}

    response = client.infer(URL, request(), response_headers=headers)

    assert of(response).tolist() == [[2, 4]]
    assert carrier.sent[-1].headers["Content-Type"] == "application/octet-stream"
    assert carrier.sent[-1].body.endswith(np.array([1, 2], dtype="<f4").tobytes())
    assert headers["content-type"] == "application/octet-stream"


def test_a_server_is_asked_once_whether_it_knows_binary_tensors(client: InferenceRESTClient, carrier: Carrier):
    for _ in range(3):
        client.infer(URL, request())

    assert [sent.method for sent in carrier.sent] == ["GET", "POST", "POST", "POST"]


def test_servers_behind_one_gateway_are_told_apart_by_their_host_header(client: InferenceRESTClient, carrier: Carrier):
    for host in ("a.example", "b.example", "a.example"):
        client.infer(URL, request(), headers={"Host": host})

    assert [sent.headers["Host"] for sent in carrier.sent if sent.method == "GET"] == ["a.example", "b.example"]


@responses.activate
@pytest.mark.parametrize(
    "metadata",
    [
        {"json": {"name": "kserve", "extensions": []}},
        {"json": {"extensions": 5}},
        {"json": []},
        {"body": "<html>hello</html>"},
        {"status": 404},
    ],
)
def test_a_server_that_says_nothing_of_binary_tensors_gets_json(metadata: dict[str, Any]):
    responses.get(f"{URL}/v2", **metadata)
    answer = {"model_name": "doubler", "outputs": [{"name": "y", "shape": [1], "datatype": "INT8", "data": [4]}]}
    inferred = responses.post(INFER, json=answer)

    with InferenceRESTClient() as client:
        response = client.infer(URL, request())

    assert of(response).tolist() == [4]
    assert inferred.calls[0].request.headers["Content-Type"] == "application/json"
    assert b'"data":[1.0,2.0]' in inferred.calls[0].request.body


@responses.activate
def test_a_server_in_passing_trouble_is_asked_again_whether_it_knows_binary_tensors():
    asked = responses.get(f"{URL}/v2", status=503)
    responses.post(INFER, json={"model_name": "doubler", "outputs": []})

    with InferenceRESTClient() as client:
        client.infer(URL, request())
        client.infer(URL, request())

    assert asked.call_count == 2


@pytest.mark.parametrize("binary", [True, False])
def test_the_form_of_tensors_can_be_set(carrier: Carrier, binary: bool):
    with InferenceRESTClient(RESTConfig(adapter=carrier, binary=binary)) as client:
        assert of(client.infer(URL, request())).tolist() == [[2, 4]]

    assert [("Inference-Header-Content-Length" in sent.headers) for sent in carrier.sent] == [binary]


def test_what_is_given_as_a_list_goes_as_json(client: InferenceRESTClient, carrier: Carrier):
    response = client.infer(URL, InferRequest("doubler", [InferInput("x", [2], "INT32", [3, 4])]))

    assert of(response).tolist() == [6, 8]
    assert carrier.sent[-1].headers["Content-Type"] == "application/json"


def test_a_word_on_the_outputs_is_left_as_it_was_given(client: InferenceRESTClient):
    headers: dict[str, str] = {}
    asked = request(request_outputs=[RequestedOutput("output-0", {"binary_data": False})])

    client.infer(URL, asked, response_headers=headers)

    assert headers["content-type"] == "application/json"


def test_the_callers_request_is_not_changed(client: InferenceRESTClient):
    asked = request(parameters={"k": 1})

    client.infer(URL, asked)

    assert asked.parameters == {"k": 1}


def test_the_version_of_the_request_is_asked_for(client: InferenceRESTClient):
    assert client.infer(URL, request(model_version="1")).model_version == "1"


def test_a_dictionary_with_inputs_goes_over_v2(client: InferenceRESTClient):
    tensor = {"name": "x", "shape": [2], "datatype": "INT8", "data": [1, 2]}

    assert of(client.infer(URL, {"inputs": [tensor]}, model_name="doubler")).tolist() == [2, 4]


def test_another_dictionary_goes_over_v1(client: InferenceRESTClient):
    assert client.infer(URL, {"instances": [1, 2]}, "doubler") == {"predictions": [2, 4]}


def test_headers_go_both_ways(client: InferenceRESTClient):
    headers: dict[str, str] = {}

    client.infer(URL, {"instances": []}, "doubler", headers={"X-User": "ann"}, response_headers=headers)

    assert headers["x-seen"] == "ann"


@responses.activate
def test_data_for_an_inference_graph_is_posted_to_its_own_address():
    posted = responses.post("http://graph.local/", json=[1, 2])

    with InferenceRESTClient() as client:
        assert client.infer("http://graph.local", {"instances": [1]}, is_graph_endpoint=True) == [1, 2]
        assert client.infer("http://graph.local", request(), is_graph_endpoint=True) == [1, 2]

    assert [call.request.headers["Content-Type"] for call in posted.calls] == ["application/json"] * 2


def test_an_explanation_comes_over_v1(client: InferenceRESTClient):
    assert client.explain(URL, "doubler", {"instances": [1]}) == {"explanations": ["it was doubled"]}


def test_v2_has_no_explanations(carrier: Carrier):
    with InferenceRESTClient(RESTConfig(protocol="v2", adapter=carrier)) as client, pytest.raises(UnsupportedProtocol):
        client.explain(URL, "doubler", {"instances": [1]})


def test_metadata_says_what_a_server_and_a_model_are(client: InferenceRESTClient):
    assert client.server_metadata(URL)["name"] == "modelreg"
    assert client.model_metadata(URL, "doubler", "1")["inputs"][0]["name"] == "x"


@pytest.mark.parametrize("protocol", ["v1", "v2", None])
def test_readiness_is_true_or_false(carrier: Carrier, protocol: str | None):
    with InferenceRESTClient(RESTConfig(protocol=protocol, adapter=carrier)) as client:
        assert client.is_server_live(URL) is True
        assert client.is_server_ready(URL) is True
        assert client.is_model_ready(URL, "doubler") is True
        assert client.is_model_ready(URL, "nobody") is False


@responses.activate
def test_a_server_that_says_that_it_is_not_ready_is_not_and_not_asked_again():
    asked = responses.get(f"{URL}/v2/health/ready", status=503)

    with InferenceRESTClient() as client:
        assert client.is_server_ready(URL) is False

    assert asked.call_count == 1


@responses.activate
def test_an_answer_that_says_nothing_of_readiness_is_an_error():
    responses.get(f"{URL}/v2/health/ready", status=401, json={"error": "who are you?"})

    with InferenceRESTClient() as client, pytest.raises(InferenceError, match="who are you") as raised:
        client.is_server_ready(URL)

    assert raised.value.status == 401


def test_a_request_that_the_server_refuses_is_invalid_input_with_its_message(client: InferenceRESTClient):
    tensor = {"name": "x", "shape": [3], "datatype": "INT8", "data": [1, 2]}

    with pytest.raises(InvalidInput, match="input 'x'"):
        client.infer(URL, {"inputs": [tensor]}, model_name="doubler")


def test_a_model_that_the_server_does_not_have_is_named(client: InferenceRESTClient):
    with pytest.raises(ModelNotFound, match="nobody") as raised:
        client.infer(URL, request(), model_name="nobody")

    assert raised.value.model_name == "nobody"


@responses.activate
@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (413, PayloadTooLarge, 413),
        (429, TooManyRequests, 429),
        (501, UnsupportedProtocol, 501),
        (503, ServerNotReady, 503),
        (504, DeadlineExceeded, 504),
        (418, InferenceError, 418),
        (302, InferenceError, 502),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[InferenceError], told: int):
    responses.post(INFER, status=status, json={"error": "the reason"}, headers={"Retry-After": "7"})

    config = RESTConfig(retries=0, binary=False)
    with InferenceRESTClient(config) as client, pytest.raises(kind, match="the reason") as raised:
        client.infer(URL, request())

    assert raised.value.status == told
    assert raised.value.retry_after_s == 7


@responses.activate
@pytest.mark.parametrize(
    "answer",
    [
        {"body": "<html>hello</html>"},
        {"json": []},
        {"json": {"model_name": "m"}},
        {"json": {}, "headers": {"Inference-Header-Content-Length": "-1"}},
        {"json": {}, "headers": {"Inference-Header-Content-Length": "99"}},
    ],
)
def test_something_else_than_an_answer_is_the_servers_error(answer: dict[str, Any]):
    responses.post(INFER, **answer)

    with InferenceRESTClient(RESTConfig(binary=False)) as client, pytest.raises(InferenceError) as raised:
        client.infer(URL, request())

    assert raised.value.status == 502


@responses.activate
def test_a_page_of_a_proxy_is_not_repeated_in_the_error():
    responses.post(INFER, status=502, body="<html>secret</html>")

    with InferenceRESTClient(RESTConfig(binary=False)) as client, pytest.raises(InferenceError) as raised:
        client.infer(URL, request())

    assert str(raised.value) == "the server answered with status 502"


@responses.activate
@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_tried_again_when_the_server_says(patient: InferenceRESTClient, pauses: list[float], status: int):
    responses.post(INFER, status=status, headers={"Retry-After": "2"})
    responses.post(INFER, json={"model_name": "doubler", "outputs": []})

    assert patient.infer(URL, request()).outputs == []
    assert pauses == [2.0]


@responses.activate
def test_a_server_that_keeps_refusing_is_left_alone_after_a_few_times(
    patient: InferenceRESTClient, pauses: list[float]
):
    refusing = responses.post(INFER, status=503)

    with pytest.raises(ServerNotReady):
        patient.infer(URL, request())

    assert refusing.call_count == 3
    assert pauses == [0.2, 0.4]


@responses.activate
def test_a_refusal_for_longer_than_anybody_waits_is_raised_at_once(patient: InferenceRESTClient, pauses: list[float]):
    responses.post(INFER, status=503, headers={"Retry-After": "3600"})

    with pytest.raises(ServerNotReady):
        patient.infer(URL, request())

    assert pauses == []


@responses.activate
def test_a_request_that_found_no_server_is_sent_again(patient: InferenceRESTClient, pauses: list[float]):
    responses.post(INFER, body=refused("connection refused"))
    responses.post(INFER, json={"model_name": "doubler", "outputs": []})

    assert patient.infer(URL, request()).outputs == []
    assert len(pauses) == 1


@responses.activate
@pytest.mark.parametrize("broken", [requests.ConnectionError("reset"), requests.ReadTimeout("silence")])
def test_a_request_that_may_have_been_answered_is_not_sent_again(
    patient: InferenceRESTClient, pauses: list[float], broken: Exception
):
    responses.post(INFER, body=broken)

    with pytest.raises(InferenceError) as raised:
        patient.infer(URL, request())

    assert raised.value.status in {502, 504}
    assert pauses == []


@responses.activate
def test_a_server_that_is_not_there_is_unreachable(patient: InferenceRESTClient):
    responses.get(f"{URL}/v2/health/ready", body=refused("connection refused"))

    with pytest.raises(ServerUnreachable, match=r"cannot connect: .*connection refused") as raised:
        patient.is_server_ready(URL)

    assert isinstance(raised.value, ConnectionError)


def test_an_address_that_is_none_is_refused_without_its_password(client: InferenceRESTClient):
    with pytest.raises(InvalidInput, match="is no address of a model server") as raised:
        client.is_server_live("ftp://ann:secret@models.local")

    assert "secret" not in str(raised.value)


def test_a_request_without_a_model_is_refused(client: InferenceRESTClient):
    with pytest.raises(InvalidInput, match="model_name"):
        client.infer(URL, {"instances": [1]})


def test_a_request_that_json_cannot_hold_is_refused(client: InferenceRESTClient):
    with pytest.raises(InvalidInput, match="cannot be written as JSON"):
        client.infer(URL, {"instances": [object()]}, "doubler")


def test_a_protocol_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="no protocol 'v3'"):
        RESTConfig(protocol="v3")


def test_names_with_slashes_stay_one_part_of_the_path(client: InferenceRESTClient, carrier: Carrier):
    client.is_model_ready(URL, "a/b c")

    assert carrier.sent[-1].path_url == "/v2/models/a%2Fb%20c/ready"


def test_a_config_does_not_show_its_password():
    assert "secret" not in repr(RESTConfig(auth=("ann", "secret")))
