"""The REST contract, V2 and V1, over the WSGI application alone."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests

from modelreg.exceptions import InferenceError, InvalidInput
from modelreg.http.wsgi_adapter import WSGIAdapter
from modelreg.serving.access_log import log_request
from modelreg.serving.admission import Admission
from modelreg.serving.bodies import LARGE, BodyLimits
from modelreg.serving.dataplane import DataPlane
from modelreg.serving.http_answers import status_line
from modelreg.serving.metrics import PrometheusMetrics
from modelreg.serving.model import Model
from modelreg.serving.repository import ModelRepository
from modelreg.serving.rest import inference_route, rest_app
from modelreg.types.inference import InferInput, InferRequest
from modelreg.wire.oip_json import encode_request

URL = "http://server"
HEADER_LENGTH = "Inference-Header-Content-Length"


class Sum(Model):
    """Adds up the rows of its input, and tells what it was given."""

    platform = "test"

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [{"name": "total", "datatype": "FP32", "shape": [-1]}]

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        for name in ("x-answer", "content-length"):
            if name in headers:
                response_headers[name] = headers[name]
        if isinstance(payload, bytes):
            return {"bytes": len(payload)}
        if isinstance(payload, dict):
            return {"predictions": [sum(row) for row in payload["instances"]]}
        if isinstance(payload, list):
            return payload
        return payload.inputs[0].as_numpy().sum(axis=1)

    def explain(self, payload: Any, headers: Any = None) -> Any:
        return {"explanations": [max(row) for row in payload["instances"]]}


class Failing(Model):
    """Raises what it is told to."""

    def predict(self, payload: Any) -> Any:
        raise {
            "bug": RuntimeError("/secret/path"),
            "refused": InvalidInput("no such colour"),
            "teapot": InferenceError("short and stout", status=418, retry_after_s=2.5),
        }[payload["instances"][0]]


class Unwell(Model):
    """Is loaded, and not well."""

    def healthy(self) -> bool:
        return False

    def predict(self, payload: Any) -> Any:
        return payload


def repository() -> ModelRepository:
    models = ModelRepository(loader=lambda name: [Sum(name)] if name in {"sum", "other"} else [])
    for model in (Sum("sum", version="1"), Sum("sum", version="2"), Failing("failing"), Sum("größe")):
        models.update(model)
    return models


def session_of(dataplane: DataPlane, **options: Any) -> requests.Session:
    session = requests.Session()
    session.mount(URL, WSGIAdapter(rest_app(dataplane, **options)))
    session.headers["Accept-Encoding"] = "identity"
    return session


@pytest.fixture
def dataplane() -> Iterator[DataPlane]:
    dataplane = DataPlane(repository())
    dataplane.start()
    yield dataplane
    dataplane.close()


@pytest.fixture
def server(dataplane: DataPlane) -> requests.Session:
    return session_of(dataplane)


def tensor(rows: int = 1) -> dict[str, Any]:
    return {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0] * rows}


def v2(**more: Any) -> dict[str, Any]:
    return {"inputs": [tensor()], **more}


# --- V2 inference


@pytest.mark.parametrize(("path", "version"), [("sum", "2"), ("sum/versions/1", "1"), ("sum/versions/2", "2")])
def test_a_version_answers_where_it_is_asked_for_and_the_newest_otherwise(
    server: requests.Session, path: str, version: str
) -> None:
    answer = server.post(f"{URL}/v2/models/{path}/infer", json=v2(id="7"))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model_name": "sum",
        "model_version": version,
        "id": "7",
        "outputs": [{"name": "total", "shape": [1], "datatype": "FP32", "data": [10.0]}],
    }


def test_tensors_go_both_ways_in_binary_form(server: requests.Session) -> None:
    described = {**tensor(2), "parameters": {"binary_data_size": 32}}
    del described["data"]
    header = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    body = header + np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32).tobytes()

    answer = server.post(
        f"{URL}/v2/models/sum/infer",
        data=body,
        headers={"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"},
    )

    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(answer.content[length:], np.float32).tolist() == [10, 26]


class Keeping(Model):
    """Keeps what it is given."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.kept: list[Any] = []

    def predict(self, payload: Any) -> Any:
        self.kept.append(payload.inputs[0].as_numpy())
        return np.zeros(1, np.float32)


@pytest.mark.parametrize("binary", [False, True])
def test_what_a_model_keeps_of_a_large_request_is_not_touched_by_the_next_one(binary: bool) -> None:
    model = Keeping("keeping")
    models = ModelRepository()
    models.update(model)
    dataplane = DataPlane(models)
    dataplane.start()
    server = session_of(dataplane)
    sent = [np.full((LARGE // 4, 4), number, np.float32) for number in range(3)]

    for array in sent:
        request = InferRequest("keeping", [InferInput.from_numpy("x", array)])
        encoded = encode_request(request, binary=binary)
        headers = {} if encoded.header_length is None else {HEADER_LENGTH: str(encoded.header_length)}
        assert server.post(f"{URL}/v2/models/keeping/infer", data=encoded.body, headers=headers).status_code == 200

    dataplane.close()
    assert all(map(np.array_equal, model.kept, sent))


@pytest.mark.parametrize("depth", [300, 1000])
def test_an_answer_that_repeats_what_is_nested_too_deep_is_the_client_s_doing(
    server: requests.Session, depth: int
) -> None:
    answer = server.post(f"{URL}/v1/models/sum:predict", data="[" * depth + "]" * depth)

    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "the body is nested too deep for an answer that repeats it"},
    )


def test_a_large_body_that_is_no_json_is_refused(server: requests.Session) -> None:
    answer = server.post(f"{URL}/v2/models/sum/infer", data=b"[" * LARGE)

    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "1000000"])
def test_a_length_of_the_header_that_cannot_be_is_the_clients_mistake(server: requests.Session, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}

    answer = server.post(f"{URL}/v2/models/sum/infer", json=v2(), headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_request_without_an_id_is_answered_with_one(server: requests.Session) -> None:
    assert server.post(f"{URL}/v2/models/sum/infer", json=v2()).json()["id"]


def test_the_id_of_the_http_request_and_the_trace_come_back(server: requests.Session) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    answer = server.post(
        f"{URL}/v2/models/sum/infer", json=v2(), headers={"X-Request-Id": "req-1", "traceparent": trace}
    )

    assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("req-1", trace)
    assert answer.json()["id"] == "req-1"
    refused = server.post(f"{URL}/v2/models/none/infer", json=v2(), headers={"X-Request-Id": "req-2"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (404, "req-2")


def test_headers_of_the_model_are_on_the_answer_but_not_those_that_frame_it(server: requests.Session) -> None:
    answer = server.post(f"{URL}/v2/models/sum/infer", json=v2(), headers={"X-Answer": "yes"})

    assert answer.headers["x-answer"] == "yes"
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "ä", "\0"])
def test_a_header_of_the_model_that_http_cannot_carry_is_its_failure(dataplane: DataPlane, value: str) -> None:
    class Injecting(Model):
        def predict(self, payload: Any, headers: Any, response_headers: Any) -> Any:
            response_headers["x-answer"] = value
            return np.ones(1)

    dataplane.repository.update(Injecting("injecting"))
    dataplane.start()

    answer = session_of(dataplane).post(f"{URL}/v2/models/injecting/infer", json=v2())

    assert answer.status_code == 500
    assert "header" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "name", "version"),
    [
        ("/v2/models/größe/infer", "größe", None),
        ("/v2/models/a%2Fb/infer", "a/b", None),
        ("/v2/models/m/versions/1.0-rc/infer", "m", "1.0-rc"),
        ("/v2/models/m/infer/", "m", None),
    ],
)
def test_names_are_read_as_urls_write_them(path: str, name: str, version: str | None) -> None:
    as_wsgi_has_it = path.replace("%2F", "/").encode().decode("latin-1")

    assert inference_route(as_wsgi_has_it) == ("infer", name, version)


@pytest.mark.parametrize(
    "path",
    ["/v2/models//infer", "/v2/models/m/versions//infer", "/v2/models/m", "/v1/models/m:train", "/v1/models/:predict"],
)
def test_other_paths_are_no_inference(path: str) -> None:
    assert inference_route(path) is None


def test_a_model_with_a_name_that_is_not_ascii_answers(server: requests.Session) -> None:
    assert server.post(f"{URL}/v2/models/größe/infer", json=v2()).json()["model_name"] == "größe"
    assert server.get(f"{URL}/v2/models/größe").json()["name"] == "größe"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", ""),
        (json.dumps({"inputs": [{**tensor(), "shape": [2, 4]}]}).encode(), "x"),
        (json.dumps({"inputs": [{**tensor(), "datatype": "FP31"}]}).encode(), "FP31"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_the_reason(
    server: requests.Session, body: bytes, words: str
) -> None:
    answer = server.post(f"{URL}/v2/models/sum/infer", data=body)

    assert answer.status_code == 400
    assert words in answer.json()["error"]


# --- V1


@pytest.mark.parametrize("path", ["sum", "sum/versions/1"])
def test_v1_predicts_and_explains(server: requests.Session, path: str) -> None:
    body = {"instances": [[1, 2], [3, 4]]}

    assert server.post(f"{URL}/v1/models/{path}:predict", json=body).json() == {"predictions": [3, 7]}
    assert server.post(f"{URL}/v1/models/{path}:explain", json=body).json() == {"explanations": [2, 4]}


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/x-www-form-urlencoded"])
def test_v1_reads_json_whatever_simple_clients_call_it(server: requests.Session, content_type: str | None) -> None:
    answer = server.post(
        f"{URL}/v1/models/sum:predict", data=b'{"instances": [[1]]}', headers={"Content-Type": content_type}
    )

    assert answer.json() == {"predictions": [1]}


def test_v1_gives_the_model_other_types_as_they_are(server: requests.Session) -> None:
    answer = server.post(f"{URL}/v1/models/sum:predict", data=b"\xff\xd8\xff", headers={"Content-Type": "image/jpeg"})

    assert answer.json() == {"bytes": 3}


@pytest.mark.parametrize("body", [b"{", b'{"instances": 7}', b'{"instances": "a"}'])
def test_v1_refuses_what_is_no_request(server: requests.Session, body: bytes) -> None:
    assert server.post(f"{URL}/v1/models/sum:predict", data=body).status_code == 400


def test_v1_answers_an_event_in_binary_mode_with_one(server: requests.Session) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t"}

    answer = server.post(f"{URL}/v1/models/sum:predict", json={"instances": [[1]]}, headers=headers)

    assert answer.json() == {"predictions": [1]}
    assert answer.headers["ce-source"] == "io.kserve.inference.sum"
    assert answer.headers["content-type"] == "application/json"


def test_v1_answers_an_event_in_structured_mode_with_one(server: requests.Session) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"instances": [[1]]}}

    answer = server.post(
        f"{URL}/v1/models/sum:predict",
        data=json.dumps(event),
        headers={"Content-Type": "application/cloudevents+json"},
    )

    assert answer.headers["content-type"] == "application/cloudevents+json"
    assert answer.json()["data"] == {"predictions": [1]}


def test_an_event_may_carry_what_is_no_json(server: requests.Session) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t", "Content-Type": "image/png"}

    assert server.post(f"{URL}/v1/models/sum:predict", data=b"\x89PNG", headers=headers).json() == {"bytes": 4}


# --- errors


def test_a_handlers_bug_is_told_by_an_id_that_the_log_explains(
    server: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    answer = server.post(f"{URL}/v1/models/failing:predict", json={"instances": ["bug"]})

    assert answer.status_code == 500
    message = answer.json()["error"]
    assert message.startswith("internal error ")
    assert message.split()[-1] in caplog.text
    assert "/secret/path" in caplog.text
    assert "/secret/path" not in answer.text


def test_a_handler_chooses_its_status(server: requests.Session) -> None:
    teapot = server.post(f"{URL}/v1/models/failing:predict", json={"instances": ["teapot"]})
    refused = server.post(f"{URL}/v1/models/failing:predict", json={"instances": ["refused"]})

    assert (teapot.status_code, teapot.json()) == (418, {"error": "short and stout"})
    assert teapot.headers["retry-after"] == "3"
    assert (refused.status_code, refused.json()) == (400, {"error": "no such colour"})


@pytest.mark.parametrize(
    "path", ["/v2/models/none/infer", "/v2/models/sum/versions/9/infer", "/v1/models/none:predict"]
)
def test_an_unknown_model_or_version_is_not_found(server: requests.Session, path: str) -> None:
    answer = server.post(f"{URL}{path}", json=v2())

    assert answer.status_code == 404
    assert "there is no model" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2/models/sum/infer"), ("DELETE", "/v2/models/sum"), ("PUT", "/v1/models/sum:predict"), ("POST", "/v2")],
)
def test_other_methods_are_refused_with_those_that_there_are(server: requests.Session, method: str, path: str) -> None:
    answer = server.request(method, f"{URL}{path}")

    assert answer.status_code == 405
    assert answer.headers["allow"]
    assert answer.json()["error"]


def test_there_is_nothing_elsewhere(server: requests.Session) -> None:
    answer = server.get(f"{URL}/v3")

    assert (answer.status_code, answer.json()) == (404, {"error": "there is nothing here"})
    assert server.post(f"{URL}/v2/models//infer").status_code == 404


def test_a_body_that_is_too_large_is_refused(dataplane: DataPlane) -> None:
    server = session_of(dataplane, limits=BodyLimits(100))

    assert server.post(f"{URL}/v2/models/sum/infer", data=bytes(101)).status_code == 413
    assert server.post(f"{URL}/v2/models/sum/infer", data=bytes(LARGE)).status_code == 413


def test_a_compressed_body_is_read(server: requests.Session) -> None:
    body = gzip.compress(json.dumps(v2()).encode())

    answer = server.post(f"{URL}/v2/models/sum/infer", data=body, headers={"Content-Encoding": "gzip"})

    assert answer.json()["outputs"][0]["data"] == [10.0]


def test_requests_that_are_refused_before_they_come_to_a_model_are_counted() -> None:
    dataplane = DataPlane(repository(), metrics=PrometheusMetrics())
    dataplane.start()
    server = session_of(dataplane, limits=BodyLimits(100))

    server.post(f"{URL}/v2/models/sum/infer", data=b"{")
    server.post(f"{URL}/v1/models/sum:predict", data=bytes(101))
    counts = server.get(f"{URL}/metrics").text

    assert 'modelreg_requests_total{model_name="",model_version="",protocol="rest-v2",status="400"} 1.0' in counts
    assert 'modelreg_requests_total{model_name="",model_version="",protocol="rest-v1",status="413"} 1.0' in counts
    dataplane.close()


def test_a_request_for_an_output_that_is_not_there_is_counted_as_refused() -> None:
    dataplane = DataPlane(repository(), metrics=PrometheusMetrics())
    dataplane.start()
    server = session_of(dataplane)

    answer = server.post(f"{URL}/v2/models/sum/infer", json={**v2(), "outputs": [{"name": "nothing"}]})
    counts = server.get(f"{URL}/metrics").text

    assert answer.status_code == 400
    assert "'nothing'" in answer.json()["error"]
    assert 'modelreg_requests_total{model_name="sum",model_version="2",protocol="rest-v2",status="400"} 1.0' in counts
    assert 'status="200"' not in counts
    dataplane.close()


def test_an_unknown_encoding_is_refused(server: requests.Session) -> None:
    answer = server.post(f"{URL}/v2/models/sum/infer", data=b"", headers={"Content-Encoding": "br"})

    assert answer.status_code == 415


def test_past_what_is_admitted_requests_are_refused_with_the_time_to_try_again() -> None:
    dataplane = DataPlane(repository(), admission=Admission(max_concurrency=1, max_queue=0))
    dataplane.start()
    dataplane.admission.come_in()

    answer = session_of(dataplane).post(f"{URL}/v2/models/sum/infer", json=v2())

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    dataplane.admission.go()
    dataplane.close()


def test_without_a_free_place_for_a_body_probes_are_answered_all_the_same(dataplane: DataPlane) -> None:
    server = session_of(dataplane, max_bodies=0)

    assert server.post(f"{URL}/v2/models/sum/infer", json=v2()).status_code == 429
    assert server.get(f"{URL}/v2/health/live").status_code == 200


def test_requests_without_a_free_place_are_counted_where_they_ask_models(dataplane: DataPlane) -> None:
    dataplane.metrics = PrometheusMetrics()
    server = session_of(dataplane, max_bodies=0)

    for path in ("/v2/models/sum/infer", "/v1/models/sum:predict", "/v2/repository/index"):
        server.post(f"{URL}{path}", json=v2())
    counts = server.get(f"{URL}/metrics").text

    assert 'modelreg_requests_total{model_name="",model_version="",protocol="rest-v2",status="429"} 1.0' in counts
    assert 'modelreg_requests_total{model_name="",model_version="",protocol="rest-v1",status="429"} 1.0' in counts


# --- health and metadata


def test_the_server_is_live_and_ready(server: requests.Session) -> None:
    assert server.get(f"{URL}/").json() == {"status": "alive"}
    assert server.get(f"{URL}/v2/health/live").json() == {"live": True}
    assert server.get(f"{URL}/v2/health/ready").json() == {"ready": True}


def test_it_is_not_ready_with_a_model_that_is_not_and_while_it_leaves(dataplane: DataPlane) -> None:
    server = session_of(dataplane)
    dataplane.repository.update(Unwell("unwell"))
    dataplane.start()

    unwell = server.get(f"{URL}/v2/health/ready")
    of_model = server.get(f"{URL}/v2/models/unwell/ready")
    dataplane.repository.unload("unwell")
    before = server.get(f"{URL}/v2/health/ready")
    dataplane.withdraw()
    leaving = server.get(f"{URL}/v2/health/ready")

    assert [answer.status_code for answer in (unwell, of_model, before, leaving)] == [503, 503, 200, 503]
    assert unwell.json()["ready"] is of_model.json()["ready"] is False


def test_it_is_not_ready_without_models() -> None:
    dataplane = DataPlane(ModelRepository())
    dataplane.start()

    assert session_of(dataplane).get(f"{URL}/v2/health/ready").status_code == 503
    dataplane.close()


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_describes_itself(server: requests.Session, path: str) -> None:
    described = server.get(f"{URL}{path}").json()

    assert described["name"] == "modelreg"
    assert "binary_tensor_data" in described["extensions"]


@pytest.mark.parametrize("path", ["sum", "sum/versions/1"])
def test_a_model_describes_itself(server: requests.Session, path: str) -> None:
    assert server.get(f"{URL}/v2/models/{path}").json() == {
        "name": "sum",
        "versions": ["2", "1"],
        "platform": "test",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "total", "datatype": "FP32", "shape": [-1]}],
    }


@pytest.mark.parametrize("path", ["/v2/models/sum/ready", "/v2/models/sum/versions/1/ready", "/v1/models/sum"])
def test_a_model_is_ready(server: requests.Session, path: str) -> None:
    assert server.get(f"{URL}{path}").json() == {"name": "sum", "ready": True}


@pytest.mark.parametrize(
    "path", ["/v2/models/none", "/v2/models/sum/versions/3", "/v2/models/sum/versions/3/ready", "/v1/models/none"]
)
def test_of_a_model_that_is_not_there_nothing_is_told(server: requests.Session, path: str) -> None:
    assert server.get(f"{URL}{path}").status_code == 404


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_models_are_listed(server: requests.Session, version: str) -> None:
    assert {*server.get(f"{URL}/{version}/models").json()["models"]} == {"sum", "failing", "größe"}


# --- the repository


def test_the_index_tells_of_every_version(server: requests.Session) -> None:
    rows = server.post(f"{URL}/v2/repository/index").json()

    assert {"name": "sum", "version": "1", "state": "READY", "reason": ""} in rows
    assert len(rows) == len(server.post(f"{URL}/v2/repository/index", json={"ready": False}).json()) == 4


@pytest.mark.parametrize("body", ["[]", "7", '{"ready": "yes"}', "{"])
def test_an_index_asked_for_in_other_words_is_refused(server: requests.Session, body: str) -> None:
    assert server.post(f"{URL}/v2/repository/index", data=body).status_code == 400


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_models_are_neither_loaded_nor_unloaded_unless_that_is_enabled(server: requests.Session, verb: str) -> None:
    answer = server.post(f"{URL}/v2/repository/models/sum/{verb}")

    assert answer.status_code == 403
    assert server.get(f"{URL}/v2/models/sum/ready").status_code == 200


def test_models_are_loaded_and_unloaded_while_others_are_served(dataplane: DataPlane) -> None:
    server = session_of(dataplane, enable_repository_api=True)

    loaded = server.post(f"{URL}/v2/repository/models/other/load", json={"parameters": {}})
    infer = server.post(f"{URL}/v2/models/other/infer", json=v2())
    unloaded = server.post(f"{URL}/v2/repository/models/other/unload")
    gone = server.post(f"{URL}/v2/models/other/infer", json=v2())

    assert (loaded.json(), unloaded.json()) == ({"name": "other", "load": True}, {"name": "other", "unload": True})
    assert (infer.status_code, gone.status_code) == (200, 404)
    assert server.post(f"{URL}/v2/repository/models/none/load").status_code == 404


# --- the access log


def test_each_request_is_told_of_in_the_access_log(dataplane: DataPlane) -> None:
    records: list[dict[str, Any]] = []
    server = session_of(dataplane, access_log=records.append)

    server.post(
        f"{URL}/v2/models/größe/infer?token=secret", json=v2(), headers={"X-Request-Id": "r", "traceparent": "t"}
    )
    server.get(f"{URL}/nope", headers={"Authorization": "secret"})

    infer, nope = records
    assert (infer["method"], infer["path"], infer["status"]) == ("POST", "/v2/models/größe/infer", 200)
    assert (infer["request_id"], infer["traceparent"]) == ("r", "t")
    assert infer["received"] > infer["sent"] - 100 > 0
    assert infer["ms"] > 0
    assert (nope["method"], nope["status"], nope["received"]) == ("GET", 404, 0)
    assert "secret" not in json.dumps(records)


def test_a_record_is_logged_as_a_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    log_request({"path": "/v2", "status": 200})

    assert json.loads(caplog.messages[0]) == {"path": "/v2", "status": 200}


# --- bugs of the server's own


def test_a_bug_of_the_server_is_told_by_an_id_that_the_log_explains(
    dataplane: DataPlane, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(PrometheusMetrics):
        def render(self) -> tuple[bytes, str]:
            raise RuntimeError("/secret/path")

    dataplane.metrics = Broken()

    answer = session_of(dataplane).get(f"{URL}/metrics")

    assert answer.status_code == 500
    assert answer.json()["error"].split()[-1] in caplog.text
    assert "/secret/path" in caplog.text
    assert "/secret/path" not in answer.text


def test_a_status_without_a_name_is_answered_all_the_same() -> None:
    assert status_line(404) == "404 Not Found"
    assert status_line(499) == "499 Error"
