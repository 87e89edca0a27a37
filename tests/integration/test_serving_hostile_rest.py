"""Bad input over REST, to a server that listens: the client is told what is wrong, and nothing else."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import INFER, assert_clean, assert_refused, binary, document, post
from modelreg.serving import Model, ModelServer
from modelreg.testing.serving import EchoModel

LIMIT = 1 << 20


class Broken(Model):
    """Has a bug."""

    def predict(self, payload: Any) -> Any:
        raise KeyError("the password is 1234")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    models = [EchoModel("echo"), Broken("broken")]
    server = ModelServer(http_port=0, enable_grpc=False, host="127.0.0.1", max_body_bytes=LIMIT)
    with server.running(models) as running:
        yield running.http_url


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [3]},
        {"shape": [1]},
        {"shape": [-2]},
        {"shape": [-1, -2]},
        {"shape": [2**62, 2**62, 4]},
        {"shape": [2**31, 2**33]},
        {"shape": [2**64]},
        {"shape": [0, 2**63]},
        {"shape": [2] + [1] * 10_000},
        {"shape": [2.0]},
        {"shape": ["2"]},
        {"shape": [None]},
        {"shape": [True, 2]},
        {"shape": 2},
        {"shape": {}},
        {"shape": None},
        {"shape": ...},
        {"datatype": "FP31"},
        {"datatype": 32},
        {"datatype": ...},
        {"datatype": "OBJECT"},
        {"datatype": "BOOL"},
        {"datatype": "UINT8", "data": [-1, 2]},
        {"datatype": "INT8", "data": [128, 2]},
        {"datatype": "INT64", "data": [2**63, 2]},
        {"datatype": "INT32", "data": [1.5, 2]},
        {"datatype": "INT32", "data": ["NaN", 2]},
        {"datatype": "FP16", "data": ["one", 2]},
        {"datatype": "BYTES"},
        {"datatype": "BYTES", "data": [["a"], "b"]},
        {"data": [1, [2]]},
        {"data": [[1], [2, 3]]},
        {"data": [[1, 2], [3, 4]]},
        {"data": [{}, []]},
        {"data": [True, "x"]},
        {"data": []},
        {"data": "ab"},
        {"data": {"0": 1, "1": 2}},
        {"data": None},
        {"data": ...},
        {"parameters": []},
        {"parameters": "x"},
    ],
    ids=str,
)
def test_a_tensor_that_does_not_fit_is_named(url: str, fields: dict[str, Any]):
    reply = post(url, document(**fields))

    assert_refused(reply, 400)
    assert "'x'" in reply.error


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        (b"12345678", {"size": -1}),
        (b"12345678", {"size": -(2**63)}),
        (b"12345678", {"size": 9}),
        (b"12345678", {"size": 2**63}),
        (b"12345678", {"size": 10**30}),
        (b"12345678", {"size": 4}),
        (b"12345678", {"size": 8.0}),
        (b"12345678", {"size": "8"}),
        (b"12345678", {"size": True}),
        (b"12345678", {"size": []}),
        (b"1234", {}),
        (b"123456789", {}),
        (b"", {}),
        (b"12345678", {"shape": [2**61]}),
        (b"12345678", {"shape": [-2]}),
        (b"12345678", {"datatype": "NONE"}),
        # BYTES: cut in a length, in an element, too few, too many, and a length as large as there is.
        (b"\x01\x00\x00", {"datatype": "BYTES", "shape": [1]}),
        (b"\x05\x00\x00\x00abc", {"datatype": "BYTES", "shape": [1]}),
        (b"\x01\x00\x00\x00a", {"datatype": "BYTES", "shape": [2]}),
        (b"\x01\x00\x00\x00a\x01\x00\x00\x00b", {"datatype": "BYTES", "shape": [1]}),
        (b"\xff\xff\xff\xffabcd", {"datatype": "BYTES", "shape": [1]}),
        (b"\x00\x00\x00\x00", {"datatype": "BYTES", "shape": [2**40]}),
    ],
    ids=str,
)
def test_binary_data_that_does_not_fit_is_refused(url: str, raw: bytes, options: dict[str, Any]):
    body, headers = binary(raw, **options)

    assert_refused(post(url, body, headers=headers), 400)


def test_a_tensor_with_data_in_both_places_is_refused(url: str):
    head = document(parameters={"binary_data_size": 8})

    reply = post(url, head + b"12345678", headers={"Inference-Header-Content-Length": str(len(head))})

    assert_refused(reply, 400)
    assert "'x'" in reply.error


@pytest.mark.parametrize("length", ["-1", "99999", "1" + "0" * 30, "0x10", "1.5", "", "two", "٣", "10, 10"])
def test_a_length_of_the_json_that_is_none_is_refused(url: str, length: str):
    body, _ = binary(b"12345678")

    reply = post(url, body, headers={"Inference-Header-Content-Length": length.encode().decode("latin-1")})

    assert_refused(reply, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{}",
        b'{"inputs": null}',
        b'{"inputs": {}}',
        b'{"inputs": [1]}',
        b'{"inputs": [[]]}',
        b'{"inputs": [{}]}',
        b'{"inputs": [{"name": 1}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1e999]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1' + b"0" * 400 + b"]}]}",
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1,]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1',
        b'{"inputs": []} trailing',
        b'{"id": 7, "inputs": []}',
        b'{"inputs": [], "parameters": []}',
        b'{"inputs": [], "outputs": {}}',
        b'{"inputs": [], "outputs": [1]}',
        b'{"inputs": [], "outputs": [{"name": "x", "parameters": {"binary_data": 1}}]}',
        b'{"inputs": "\xff"}',
        b'{"inputs": "\\ud800"}',
        b"\xef\xbb\xbf{",
        b"\x00",
        b"[" * 200_000,
        b'{"inputs":' * 10_000,
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": ' + b"[" * 100_000,
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_a_body_that_is_no_request_is_refused(url: str, body: bytes):
    assert_refused(post(url, body), 400)


def test_two_tensors_of_one_name_are_refused(url: str):
    tensor = json.loads(document())["inputs"][0]

    reply = post(url, json.dumps({"inputs": [tensor, tensor]}).encode())

    assert_refused(reply, 400)
    assert "'x'" in reply.error


def test_an_output_that_is_not_there_is_named(url: str):
    body = json.dumps({**json.loads(document()), "outputs": [{"name": "nothing"}]}).encode()

    reply = post(url, body)

    assert_refused(reply, 400)
    assert "'nothing'" in reply.error


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/nobody/infer",
        "/v2/models/echo/versions/9/infer",
        "/v2/models/echo/versions/../infer",
        "/v2/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd/infer",
        "/v2/models/..%5c..%5cwindows/infer",
        "/v2/models/%00/infer",
        "/v2/models/%ff%fe/infer",
        "/v2/models//infer",
        f"/v2/models/{'a' * 5000}/infer",
        "/v1/models/nobody:predict",
        "/v1/models/echo:destroy/x",
        "/v3/anything",
        "/..%2f..%2fetc%2fpasswd",
    ],
)
def test_what_is_not_there_is_not_found(url: str, path: str):
    assert_refused(post(url, document(), path=path), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_not_allowed(url: str, method: str):
    assert_refused(post(url, b"", path=INFER, method=method), 405)


@pytest.mark.parametrize("path", ["/v2/repository/models/echo/load", "/v2/repository/models/echo/unload"])
def test_the_administrators_routes_are_closed(url: str, path: str):
    assert_refused(post(url, b"{}", path=path), 403, 404, 405)
    assert post(url, document()).status == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"7", b'{"instances": 1}', b'{"instances": {"a": 1}}', b"{}", b"[" * 100_000]
)
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_v1_body_that_is_no_request_is_refused(url: str, body: bytes, verb: str):
    reply = post(url, body, path=f"/v1/models/echo:{verb}")

    # The model does not explain, which is the first that can be said of some.
    if verb == "explain" and reply.status == 501:
        assert_clean(reply.error)
    else:
        assert_refused(reply, 400)


def test_a_body_above_the_limit_is_refused_by_its_length(url: str):
    assert_refused(post(url, bytes(LIMIT + 1)), 413)


def test_a_body_above_the_limit_is_refused_in_chunks(url: str):
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=60) as connection:
        head = (
            f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        )
        connection.sendall(head.encode())
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        try:
            # Four times the limit; a server may hang up before.
            for _ in range(4 * LIMIT >> 16):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass
        answer = connection.recv(1 << 16)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert_clean(answer.decode("latin-1"))


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)], ids=["gzip", "deflate"]
)
def test_a_bomb_is_refused_by_what_it_becomes(url: str, encoding: str, compress: Any):
    bomb = compress(bytes(64 * LIMIT))

    assert len(bomb) < LIMIT
    assert_refused(post(url, bomb, headers={"Content-Encoding": encoding}), 413)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [b"", b"not compressed", gzip.compress(document(), mtime=0)[:-9], b"\x1f\x8b\x08"])
def test_a_body_that_is_not_compressed_as_it_says_is_refused(url: str, encoding: str, body: bytes):
    assert_refused(post(url, body, headers={"Content-Encoding": encoding}), 400)


def test_an_encoding_that_nobody_knows_is_refused(url: str):
    assert_refused(post(url, document(), headers={"Content-Encoding": "zip"}), 415)


def test_a_client_that_leaves_in_the_middle_of_its_body_does_no_harm(url: str):
    address = urlsplit(url)
    for _ in range(20):
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=60) as connection:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())

    assert post(url, document()).status == 200


def test_a_bug_of_a_model_is_an_id_that_the_log_explains(url: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        reply = post(url, document(), path="/v2/models/broken/infer")

    assert reply.status == 500
    assert_clean(reply.error)
    assert "1234" not in reply.error
    logged = [record for record in caplog.records if reply.error.rpartition(" ")[2] in record.getMessage()]
    assert logged[0].exc_info is not None
    assert "1234" in str(logged[0].exc_info[1])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=3) | JSON,
        "shape": st.lists(st.integers(-3, 5) | st.integers(), max_size=4) | JSON,
        "datatype": st.sampled_from(["BOOL", "INT8", "UINT64", "FP16", "FP32", "FP64", "BF16", "BYTES"]) | JSON,
        "data": st.lists(JSON, max_size=6) | JSON,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "other"]), JSON, max_size=2) | JSON,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.lists(FIELDS, max_size=3) | JSON},
    optional={
        "id": st.text(max_size=3) | JSON,
        "outputs": st.lists(st.fixed_dictionaries({}, optional={"name": JSON, "parameters": JSON}), max_size=2) | JSON,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_output", "other"]), JSON, max_size=2) | JSON,
    },
)


@given(described=DOCUMENTS, tail=st.binary(max_size=40), off=st.integers(-3, 3) | st.none())
def test_whatever_is_sent_is_answered_or_refused(url: str, described: Any, tail: bytes, off: int | None):
    head = json.dumps(described).encode()
    headers = {} if off is None else {"Inference-Header-Content-Length": str(len(head) + off)}

    reply = post(url, head + tail, headers=headers)

    if reply.status != 200:
        assert_refused(reply, 400)


@given(body=st.binary(max_size=200), path=st.sampled_from([INFER, "/v1/models/echo:predict"]))
def test_any_bytes_are_answered_or_refused(url: str, body: bytes, path: str):
    reply = post(url, body, path=path)

    if reply.status != 200:
        assert_refused(reply, 400)


@given(
    raw=st.binary(max_size=60),
    shape=st.lists(st.integers(-2, 9), max_size=3),
    datatype=st.sampled_from(["BYTES", "FP16", "BOOL", "INT64"]),
)
def test_any_binary_data_is_answered_or_refused(url: str, raw: bytes, shape: list[int], datatype: str):
    body, headers = binary(raw, shape=shape, datatype=datatype)

    reply = post(url, body, headers=headers)

    if reply.status != 200:
        assert_refused(reply, 400)


@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_path_is_answered_or_refused(url: str, path: str):
    for method in ("GET", "POST"):
        reply = post(url, b"{}" if method == "POST" else b"", path=f"/v2/models/{path}", method=method)

        assert reply.status < 500, reply
        assert_clean(reply.body.decode("utf-8", "replace"))


def test_requests_at_once_do_not_mix_up_their_answers(url: str):
    replies: dict[int, list[float]] = {}

    def ask(number: int) -> None:
        body, headers = binary(b"\x00" * 1000, shape=[250])
        for _ in range(20):
            post(url, body, headers=headers)
            reply = post(url, document(data=[number, number]))
            replies.setdefault(number, []).extend(json.loads(reply.body)["outputs"][0]["data"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert replies == {number: [float(number)] * 40 for number in range(4)}
