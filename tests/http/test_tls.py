"""TLS: servers whose certificate comes from an authority of one's own, and those that nobody vouches for."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from modelreg.exceptions import InvalidInput, TimedOut, Unreachable
from modelreg.http.auth import FixedToken
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession

Connect = Callable[..., RegistrySession]
SECRET = "s3cret-t0ken"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def custom_ca(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def certified(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """Makes the TLS of a server that goes by these names."""

    def context(*names: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(context)
        return context

    return context


def test_a_server_is_trusted_by_the_certificates_that_are_given(
    loopback: Any, connect: Connect, certified: Any, custom_ca: Path
) -> None:
    server = loopback.server(tls=certified("127.0.0.1"))
    session = connect(server.url, verify=custom_ca, auth=FixedToken(SECRET))

    assert [session.get("/a"), session.post("/b", {})] == [{}, {}]
    assert server.connections == 1
    assert server.requests[0].headers["Authorization"] == f"Bearer {SECRET}"


def test_a_server_is_trusted_by_the_certificates_that_the_environment_names(
    loopback: Any, connect: Connect, certified: Any, custom_ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(custom_ca))

    assert connect(loopback.server(tls=certified("127.0.0.1")).url).get("/a") == {}


def test_a_server_that_nobody_vouches_for_gets_nothing_and_is_not_tried_again(
    loopback: Any, connect: Connect, certified: Any, pauses: list[float]
) -> None:
    server = loopback.server(tls=certified("127.0.0.1"))

    with pytest.raises(Unreachable, match=r"TLS failed: .*give the server's CA certificates as custom_ca") as raised:
        connect(server.url, auth=FixedToken(SECRET)).get("/a")

    assert (server.requests, pauses) == ([], [])
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_a_server_of_another_name_gets_nothing(
    loopback: Any, connect: Connect, certified: Any, custom_ca: Path
) -> None:
    server = loopback.server(tls=certified("registry.test"))

    with pytest.raises(Unreachable, match=r"TLS failed: .*127\.0\.0\.1"):
        connect(server.url, verify=custom_ca).get("/a")

    assert server.requests == []


def test_a_server_without_tls_is_told_from_one_that_has_it(
    loopback: Any, connect: Connect, pauses: list[float]
) -> None:
    server = loopback.server()

    with pytest.raises(Unreachable, match="TLS failed"):
        connect(server.url.replace("http://", "https://")).get("/a")

    assert pauses == []


def test_a_server_that_falls_silent_before_tls_is_given_up(loopback: Any, connect: Connect) -> None:
    # Bound and listening, but nobody answers.
    server = loopback.server(start=False)
    server.server_activate()
    session = connect(server.url.replace("http://", "https://"), timeout=(0.05, 0.05), retry=RetryPolicy(attempts=1))

    with pytest.raises(TimedOut):
        session.get("/a")


def test_a_redirect_down_to_http_loses_the_token(
    loopback: Any, connect: Connect, certified: Any, custom_ca: Path
) -> None:
    plain = loopback.server()
    server = loopback.server(loopback.reply(307, Location=f"{plain.url}/b"), tls=certified("127.0.0.1"))

    assert connect(server.url, verify=custom_ca, auth=FixedToken(SECRET)).get("/a") == {}
    assert plain.lines == ["GET /b"]
    assert SECRET not in str(plain.requests)


@pytest.mark.parametrize("missing", ["argument", "variable"])
def test_certificates_that_are_not_there_are_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    path = tmp_path / "nowhere.pem"
    if missing == "variable":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))

    with pytest.raises(InvalidInput, match=r"there are no certificates at .*nowhere\.pem"):
        RegistrySession("https://registry.test", verify=path if missing == "argument" else None)


class TestTunnels:
    """TLS through a proxy that opens a tunnel, and is the server at its end as well."""

    @pytest.fixture
    def tunnel(self, loopback: Any, certified: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        def tunnel(*replies: Any) -> Any:
            proxy = loopback.server(loopback.reply(200, ""), *replies)
            proxy.tunnel = certified("registry.test")
            monkeypatch.setenv("https_proxy", proxy.url)
            return proxy

        return tunnel

    def test_the_proxy_does_not_see_the_token(
        self, loopback: Any, connect: Connect, tunnel: Any, custom_ca: Path
    ) -> None:
        proxy = tunnel(loopback.reply())

        assert connect("https://registry.test", verify=custom_ca, auth=FixedToken(SECRET)).get("/a") == {}
        assert proxy.lines == ["CONNECT registry.test:443", "GET /a"]
        assert "Authorization" not in proxy.requests[0].headers

    def test_a_server_at_the_end_that_nobody_vouches_for_is_not_tried_again(
        self, loopback: Any, connect: Connect, tunnel: Any, pauses: list[float]
    ) -> None:
        tunnel(loopback.reply())

        with pytest.raises(Unreachable, match="TLS failed"):
            connect("https://registry.test").get("/a")

        assert pauses == []

    def test_a_post_whose_answer_was_lost_in_the_tunnel_is_not_sent_again(
        self, loopback: Any, connect: Connect, tunnel: Any, custom_ca: Path
    ) -> None:
        proxy = tunnel(loopback.breaks())

        with pytest.raises(Unreachable, match="the connection broke") as raised:
            connect("https://registry.test", verify=custom_ca).post("/a", {})

        assert (raised.value.maybe_done, len(proxy.requests)) == (True, 2)
