"""One address decides where the registry is: its scheme, its port, and whether the way there is private."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidInput
from modelreg.http.address import is_loopback, server_url


@pytest.mark.parametrize(
    ("address", "options", "url"),
    [
        ("https://registry.test", {}, "https://registry.test"),
        ("https://registry.test:8443", {}, "https://registry.test:8443"),
        ("https://registry.test", {"port": 9000}, "https://registry.test:9000"),
        ("http://registry.test", {}, "http://registry.test:8080"),
        ("http://registry.test:80", {}, "http://registry.test:80"),
        ("http://registry.test", {"port": 9000}, "http://registry.test:9000"),
        ("http://registry.test:9000", {"port": 9000}, "http://registry.test:9000"),
        ("http://registry.test", {"is_secure": False}, "http://registry.test:8080"),
        ("https://registry.test", {"is_secure": True}, "https://registry.test"),
        ("https://registry.test", {"is_secure": False}, "https://registry.test"),
        ("registry.test", {}, "https://registry.test"),
        ("registry.test", {"is_secure": True}, "https://registry.test"),
        ("registry.test", {"is_secure": False}, "http://registry.test:8080"),
        ("registry.test:9000", {}, "https://registry.test:9000"),
        ("HTTPS://Registry.Test", {}, "https://registry.test"),
        ("https://registry.test/prefix/", {}, "https://registry.test/prefix"),
        ("http://[::1]/", {}, "http://[::1]:8080"),
        ("https://[::1]:8443", {}, "https://[::1]:8443"),
    ],
)
def test_scheme_and_port_follow_from_the_address_unless_they_are_given(
    address: str, options: dict[str, Any], url: str
) -> None:
    assert server_url(address, **options) == url


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "https://",
            "ftp://registry.test",
            "https://:443",
            "https://registry.test?a=b",
            "https://registry.test#a",
        ),
        *("https://registry.test:0x50", "https://registry.test:99999", "https://[::1"),
    ],
)
def test_what_is_no_address_of_a_server_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput):
        server_url(address)


def test_an_address_with_credentials_is_refused_without_repeating_them() -> None:
    with pytest.raises(InvalidInput, match="holds credentials") as raised:
        server_url("https://ann:hunter22@registry.test")

    assert "hunter22" not in str(raised.value)


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 65535"):
        server_url("https://registry.test", port)


def test_two_ports_that_differ_are_refused() -> None:
    with pytest.raises(InvalidInput, match="names port 8443, but port=9000"):
        server_url("https://registry.test:8443", 9000)


def test_plain_http_is_refused_where_tls_is_asked_for() -> None:
    with pytest.raises(InvalidInput, match="is_secure=True asks for TLS"):
        server_url("http://registry.test", is_secure=True)


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5})?", fullmatch=True),
    port=st.none() | st.integers(1, 65535),
    path=st.sampled_from(["", "/a", "/a/b/"]),
)
def test_the_url_of_a_server_is_its_own_address(scheme: str, host: str, port: int | None, path: str) -> None:
    url = server_url(f"{scheme}://{host}{path}", port)

    assert server_url(url) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8080", True),
        ("http://LOCALHOST.", True),
        ("http://registry.localhost", True),
        ("http://127.0.0.1", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:8080", True),
        ("http://10.0.0.1", False),
        ("http://localhost.registry.test", False),
        ("http://127.0.0.1.registry.test", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, *, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize("address", [8080, b"http://registry.test", None])
def test_an_address_that_is_no_text_is_refused(address: Any) -> None:
    with pytest.raises(InvalidInput, match="not text"):
        server_url(address)


@pytest.mark.parametrize("port", ["8080", True, 80.0, 0, -1, 65536])
def test_a_port_that_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(InvalidInput, match=r"port is .* integer from 1 to 65535"):
        server_url("http://registry.test", port)


def test_port_0_in_an_address_is_refused() -> None:
    with pytest.raises(InvalidInput, match="port is 0"):
        server_url("http://registry.test:0")


@pytest.mark.parametrize("address", ["/srv/registry.db", "./registry.db", "   ", "registry .test", "http://a b"])
def test_a_path_and_what_has_spaces_is_no_host_and_the_error_tells_how_a_database_is_named(address: str) -> None:
    with pytest.raises(InvalidInput, match=r"sqlite:///path for a database"):
        server_url(address)
