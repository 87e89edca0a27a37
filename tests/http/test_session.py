"""A session: one pool per process, time-outs, redirects, proxies, and a token that nobody else sees."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import requests
import responses

from modelreg._version import __version__
from modelreg.exceptions import InvalidInput, ModelRegError, ServerError, StoreError, TimedOut, Unreachable
from modelreg.http.auth import FixedToken
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter

Connect = Callable[..., RegistrySession]
ONCE = RetryPolicy(attempts=1)
SECRET = "s3cret-t0ken-of-ann"

# What a process does that forks while it has a connection open.
FORKING = """
import os, sys
from modelreg.http.session import RegistrySession

with RegistrySession(sys.argv[1]) as session:
    assert session.get("/parent") == {"path": "/parent"}
    child = os.fork()
    if child == 0:
        assert session.get("/child") == {"path": "/child"}
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert session.get("/parent") == {"path": "/parent"}
"""


class TestRequests:
    def test_a_request_is_json_both_ways(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.reply(201, '{"name": "modèle"}'))

        answer = connect(f"{server.url}/prefix/").post("/models", {"name": "modèle"})

        (seen,) = server.requests
        assert answer == {"name": "modèle"}
        assert (seen.line, json.loads(seen.body)) == ("POST /prefix/models", {"name": "modèle"})
        assert {name: seen.headers[name] for name in ("Accept", "Content-Type", "User-Agent")} == {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": f"modelreg/{__version__}",
        }

    def test_each_method_is_sent_as_what_it_is(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.reply(), loopback.reply(), loopback.reply(), loopback.reply(204, ""))
        session = connect(server.url)

        answers = [
            session.get("/a", {"name": "x&y z", "filterQuery": 'name = "ü"'}),
            session.post("/b", {}),
            session.patch("/c", {}),
            session.delete("/d"),
        ]

        assert answers == [{}, {}, {}, None]
        assert server.lines == [
            *("GET /a?name=x%26y+z&filterQuery=name+%3D+%22%C3%BC%22", "POST /b", "PATCH /c", "DELETE /d")
        ]

    def test_a_request_without_a_body_claims_no_type(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server()

        connect(server.url).get("/a")

        assert "Content-Type" not in server.requests[0].headers


class TestPool:
    def test_requests_in_a_row_share_a_connection(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.reply(), loopback.reply(404), loopback.reply(200, "[1]"))
        session = connect(server.url, retry=ONCE)

        session.get("/a")
        with pytest.raises(StoreError):
            session.get("/b")
        session.get("/c")

        assert (len(server.requests), server.connections) == (3, 1)

    def test_threads_share_the_connections_and_get_their_own_answers(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(lambda seen: loopback.reply(200, json.dumps(seen.target)))
        session = connect(server.url)
        together = Barrier(8)

        def ask(number: int) -> bool:
            together.wait(60)
            return all(session.get(f"/{number}/{turn}") == f"/{number}/{turn}" for turn in range(5))

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(ask, range(8)))

        assert len(server.requests) == 40
        assert server.connections <= 8

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
    def test_a_forked_child_has_connections_of_its_own(self, loopback: Any) -> None:
        server = loopback.server(lambda seen: loopback.reply(200, json.dumps({"path": seen.target})))

        subprocess.run([sys.executable, "-c", FORKING, server.url], check=True, timeout=60)

        parent, child, again = server.requests
        assert server.lines == ["GET /parent", "GET /child", "GET /parent"]
        assert parent.client_port == again.client_port != child.client_port

    def test_a_connection_that_the_server_closed_in_between_is_made_anew(self, loopback: Any, connect: Connect) -> None:
        closing = loopback.breaks(loopback.reply(200, "{}", Connection="close").data)
        server = loopback.server(closing)
        session = connect(server.url)

        assert [session.get("/a"), session.post("/b", {})] == [{}, {}]
        assert server.connections == 2

    def test_a_closed_session_opens_new_connections(self, loopback: Any) -> None:
        server = loopback.server()
        with RegistrySession(server.url) as session:
            session.get("/a")
        with session:
            session.get("/b")
        session.close()

        assert (len(server.requests), server.connections) == (2, 2)


class TestTimeouts:
    def test_there_are_time_outs_where_none_are_given(self) -> None:
        given: list[Any] = []

        class Carrier(WSGIAdapter):
            def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
                given.append(options["timeout"])
                return super().send(request, **options)

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            start_response("200 OK", [])
            return [b"{}"]

        RegistrySession("http://registry.test", adapter=Carrier(app)).get("/a")

        assert given == [(5.0, 60.0)]

    @pytest.mark.parametrize(
        "sent",
        [b"", b"HTTP/1.1 200 OK\r\nContent-", b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"id":'],
        ids=["before the answer", "in the headers", "in the body"],
    )
    def test_a_server_that_falls_silent_is_given_up(self, loopback: Any, connect: Connect, sent: bytes) -> None:
        server = loopback.server(loopback.stalls(sent))
        session = connect(server.url, timeout=(5.0, 0.05), retry=ONCE)

        with pytest.raises(
            TimedOut, match=rf"GET {server.url}/a: no answer in time \(give a longer timeout\)"
        ) as raised:
            session.get("/a")

        assert raised.value.maybe_done
        assert isinstance(raised.value, TimeoutError)

    def test_a_silent_server_is_asked_again_where_that_cannot_harm(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.stalls(), loopback.reply())
        session = connect(server.url, timeout=(5.0, 0.2))

        assert session.get("/a") == {}

    @responses.activate
    def test_a_connection_that_takes_too_long_was_never_made(self, connect: Connect, pauses: list[float]) -> None:
        responses.post("http://registry.test/a", body=requests.ConnectTimeout("too slow"))
        responses.post("http://registry.test/a", json={})

        assert connect("http://registry.test").post("/a", {}) == {}
        assert len(pauses) == 1


class TestRedirects:
    def test_a_redirect_on_the_same_server_keeps_the_token(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.reply(307, Location="/elsewhere"), loopback.reply())

        assert connect(server.url, auth=FixedToken(SECRET)).get("/a") == {}
        assert server.lines == ["GET /a", "GET /elsewhere"]
        assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {SECRET}"}

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_to_another_server_loses_the_token(self, loopback: Any, connect: Connect, status: int) -> None:
        other = loopback.server()
        server = loopback.server(loopback.reply(status, Location=f"{other.url}/b"))

        assert connect(server.url, auth=FixedToken(SECRET)).get("/a") == {}
        assert SECRET not in str(other.requests)

    def test_a_redirect_to_another_name_of_the_server_loses_the_token(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server()
        server.replies.insert(0, loopback.reply(307, Location=f"http://localhost:{server.server_port}/b"))

        assert connect(server.url, auth=FixedToken(SECRET)).get("/a") == {}
        assert ["Authorization" in request.headers for request in server.requests] == [True, False]

    @pytest.mark.parametrize("status", [307, 308])
    def test_a_post_is_redirected_whole(self, loopback: Any, connect: Connect, status: int) -> None:
        server = loopback.server(loopback.reply(status, Location="/b"), loopback.reply(201))

        assert connect(server.url).post("/a", {"name": "fraud"}) == {}
        assert [(request.line, request.body) for request in server.requests] == [
            ("POST /a", b'{"name":"fraud"}'),
            ("POST /b", b'{"name":"fraud"}'),
        ]

    @pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_a_change_is_never_turned_into_a_reading(
        self, loopback: Any, connect: Connect, method: str, status: int
    ) -> None:
        server = loopback.server(loopback.reply(status, Location="http://registry.test/login?token=abc"))

        with pytest.raises(ServerError, match=r"it redirects to http://registry.test/login\?token=\*\*\* \(check"):
            connect(server.url).request(method, "/a", body={})

        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "target",
        [
            *("file:///etc/passwd", "ftp://registry.test/", "http:///a", "http://[::1", "\xff"),
            *("http://169.254.169.254/latest", "//169.254.169.254/latest", "http://169.254.169.254\\@registry.test/"),
        ],
    )
    def test_a_redirect_to_what_is_no_server_is_an_error_at_once(
        self, loopback: Any, connect: Connect, target: str
    ) -> None:
        head = f"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: {target}\r\n\r\n"
        server = loopback.server(loopback.breaks(head.encode("latin-1")))

        with pytest.raises(ServerError, match=r"it redirects to .* \(check the address\)"):
            connect(server.url).get("/a")

        assert len(server.requests) == 1

    def test_a_circle_of_redirects_is_an_error(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.reply(307, Location="/a"))

        with pytest.raises(ServerError, match="redirects in a circle"):
            connect(server.url).get("/a")


class TestProxies:
    def test_the_environment_names_the_proxy(
        self, loopback: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = loopback.server()
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://ann:pw@"))

        assert connect("http://registry.test:8080").get("/a") == {}
        assert proxy.lines == ["GET http://registry.test:8080/a"]
        assert proxy.requests[0].headers["Proxy-Authorization"] == "Basic YW5uOnB3"

    def test_the_environment_names_servers_that_need_none(
        self, loopback: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy, server = loopback.server(), loopback.server()
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "registry.test,127.0.0.1")

        connect(server.url).get("/a")

        assert (proxy.lines, server.lines) == ([], ["GET /a"])

    def test_a_proxy_that_is_not_there_is_an_error_and_tried_again(
        self, loopback: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
    ) -> None:
        absent = loopback.server(start=False)
        monkeypatch.setenv("http_proxy", absent.url.replace("http://", "http://ann:hunter22@"))

        with pytest.raises(Unreachable, match=r"cannot connect through the proxy: .*refused") as raised:
            connect("http://registry.test").post("/a", {})

        assert (raised.value.maybe_done, len(pauses)) == (False, 3)
        assert "hunter22" not in "".join(traceback.format_exception(raised.value))

    def test_a_proxy_that_lets_nothing_through_to_tls_is_an_error(
        self, loopback: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = loopback.server(loopback.reply(407, ""))
        monkeypatch.setenv("https_proxy", proxy.url)

        with pytest.raises(
            Unreachable, match="cannot connect through the proxy: Tunnel connection failed: 407"
        ) as raised:
            connect("https://registry.test", retry=ONCE, auth=FixedToken(SECRET)).post("/a", {})

        assert not raised.value.maybe_done
        assert [request.method for request in proxy.requests] == ["CONNECT"]
        assert SECRET not in str(proxy.requests)

    def test_a_post_that_reached_the_proxy_may_have_been_done_and_is_not_sent_again(
        self, loopback: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = loopback.server(loopback.breaks())
        monkeypatch.setenv("http_proxy", proxy.url)

        with pytest.raises(Unreachable, match="the connection broke") as raised:
            connect("http://registry.test").post("/a", {})

        assert (raised.value.maybe_done, len(proxy.requests)) == (True, 1)


class TestSecrets:
    """Whatever happens, the token is in no message, no log line and no repr."""

    @pytest.fixture(autouse=True)
    def netrc(self, home: Path) -> None:
        (home / ".netrc").write_text("machine 127.0.0.1 login ann password of-netrc\n")

    @pytest.mark.parametrize(
        "reply",
        [
            "a 200",
            "a 400 that repeats it",
            "a 403 that repeats it at the end of a long message",
            "a web page that repeats it",
            "a 401",
            "a redirect to it",
            "a 503",
            "a cut",
            "nothing",
        ],
    )
    def test_no_answer_makes_it_seen(
        self, loopback: Any, connect: Connect, caplog: pytest.LogCaptureFixture, reply: str
    ) -> None:
        caplog.set_level(logging.DEBUG)
        replies = {
            "a 200": loopback.reply(),
            "a 400 that repeats it": loopback.reply(400, json.dumps({"message": f"what is {SECRET}?"})),
            "a 403 that repeats it at the end of a long message": loopback.reply(403, "x" * 490 + SECRET),
            "a web page that repeats it": loopback.reply(500, f"<title>Bearer {SECRET}</title>"),
            "a 401": loopback.reply(401, json.dumps({"message": f"token {SECRET} is bad"})),
            "a redirect to it": loopback.reply(303, Location=f"http://registry.test/?token={SECRET}"),
            "a 503": loopback.reply(503),
            "a cut": loopback.breaks(f"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{SECRET}".encode()),
            "nothing": loopback.breaks(),
        }
        server = loopback.server(replies[reply])
        session = connect(server.url, auth=FixedToken(SECRET))

        shown = outcome(lambda: session.patch("/a", {})) + outcome(lambda: session.post("/a", {}))

        assert server.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
        assert "/a" in caplog.text
        assert SECRET[:8] not in shown + caplog.text + repr(session)

    def test_the_address_is_shown_without_credentials(self) -> None:
        session = RegistrySession("https://ann:hunter22@registry.test/?api_key=hunter22")

        assert "hunter22" not in repr(session) + session.base_url

    def test_no_netrc_adds_credentials(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server()

        connect(server.url).get("/a")

        assert "Authorization" not in server.requests[0].headers


def outcome(ask: Callable[[], Any]) -> str:
    """All that a reader can see of what came out."""
    try:
        return repr(ask())
    except ModelRegError as error:
        return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


@pytest.mark.parametrize("host", ["registry..test", f"{'a' * 64}.test"])
def test_a_host_that_no_name_server_can_know_is_told_as_a_wrong_address(host: str) -> None:
    with RegistrySession(f"http://{host}") as session, pytest.raises(InvalidInput, match="check the address"):
        session.get("/")


def test_of_a_request_with_a_long_filter_an_error_shows_the_beginning(connect: Connect) -> None:
    session = connect("http://127.0.0.1:9", retry=ONCE)

    with pytest.raises(Unreachable) as caught:
        session.get("/models", {"filterQuery": "x" * 10_000})

    assert "GET http://127.0.0.1:9/models?filterQuery=xxx" in str(caught.value)
    assert len(str(caught.value)) < 1000
