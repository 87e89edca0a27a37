"""The proxy itself: it passes on what it should, counts it, and spoils what it is told to."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import requests

from faulty_proxy import Answer, Do, Drop, Fault, FaultyProxy, Flip, Header, Pad, Reset, Stall, Truncate, is_download
from real_servers.s3 import S3Server
from real_servers.web import WebServer

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def proxy(nginx: WebServer) -> Iterator[FaultyProxy]:
    (nginx.root / "content").write_bytes(CONTENT)
    host, port = nginx.url.removeprefix("http://").split(":")
    with FaultyProxy((host, int(port))) as proxy:
        yield proxy


def get(proxy: FaultyProxy, *, timeout: float = 30) -> bytes:
    with requests.Session() as session:
        return session.get(f"{proxy.url}/content", timeout=timeout).content


def test_it_passes_on_and_counts(proxy: FaultyProxy) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{proxy.url}/content", timeout=30).content == CONTENT
        assert session.head(f"{proxy.url}/content", timeout=30).headers["Content-Length"] == str(len(CONTENT))

    assert proxy.count(is_download) == 3
    assert proxy.count() == 4
    assert proxy.sent == 3 * len(CONTENT)


def test_it_passes_on_bodies_of_signed_requests(seaweedfs: S3Server, bucket_name: str) -> None:
    host, port = seaweedfs.url.removeprefix("http://").split(":")
    with FaultyProxy((host, int(port))) as proxy:
        client = seaweedfs.client(proxy.url)
        client.create_bucket(Bucket=bucket_name)
        client.put_object(Bucket=bucket_name, Key="key", Body=CONTENT)
        content = client.get_object(Bucket=bucket_name, Key="key")["Body"].read()
        client.close()

    assert content == CONTENT


@pytest.mark.parametrize(
    "fault", [Truncate(after=1000), Reset(after=1000), Pad(more=10), Drop(), Drop(after_server=True)]
)
def test_a_spoilt_exchange_fails_and_the_next_is_whole(proxy: FaultyProxy, fault: Fault) -> None:
    proxy.spoil(fault, times=1)

    with pytest.raises(requests.RequestException):
        get(proxy)
    assert get(proxy) == CONTENT


def test_a_stall_is_silent_until_the_proxy_ends(proxy: FaultyProxy) -> None:
    proxy.spoil(Stall(after=1000))

    with pytest.raises(requests.RequestException, match="timed out"):
        get(proxy, timeout=0.2)
    assert proxy.sent == 1000


def test_a_flip_changes_one_byte(proxy: FaultyProxy) -> None:
    proxy.spoil(Flip(at=200_000))

    assert [index for index, (one, other) in enumerate(zip(get(proxy), CONTENT, strict=True)) if one != other] == [
        200_000
    ]


def test_headers_and_answers_are_replaced(proxy: FaultyProxy) -> None:
    proxy.spoil(Header("ETag", '"another"'), times=1)
    with requests.Session() as session:
        assert session.get(f"{proxy.url}/content", timeout=30).headers["ETag"] == '"another"'
        proxy.spoil(Answer(503, b"later", {"Retry-After": "0"}), times=1)
        answer = session.get(f"{proxy.url}/content", timeout=30)
        assert (answer.status_code, answer.content, answer.headers["Retry-After"]) == (503, b"later", "0")
        assert session.get(f"{proxy.url}/content", timeout=30).content == CONTENT


def test_an_action_comes_before_the_server(proxy: FaultyProxy, nginx: WebServer) -> None:
    proxy.spoil(Do(lambda: (nginx.root / "content").write_bytes(b"changed")), times=1)

    assert get(proxy) == b"changed"


def test_a_dead_proxy_refuses_and_a_revived_one_answers(proxy: FaultyProxy) -> None:
    proxy.die()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)

    proxy.revive()

    assert get(proxy) == CONTENT
