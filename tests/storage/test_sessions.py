"""What a session takes from the environment, and when it looks again."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import responses

from modelreg.storage.sessions import Session

pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def settings(session: Session, url: str, **given: Any) -> Any:
    values = {"proxies": {}, "stream": True, "verify": None, "cert": None, **given}
    return session.merge_environment_settings(url, **values)


def test_a_proxy_of_the_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")

    found = settings(Session(), "http://models.example.com/m")

    assert found["proxies"]["http"] == "http://proxy.example.com:3128"


def test_a_proxy_that_the_environment_names_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    before = settings(session, "http://models.example.com/m")

    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    after = settings(session, "http://models.example.com/m")

    assert "http" not in before["proxies"]
    assert after["proxies"]["http"] == "http://proxy.example.com:3128"


def test_a_host_that_no_proxy_names_is_asked_directly_while_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "inside.example.com")
    session = Session()

    outside = settings(session, "http://models.example.com/m")
    inside = settings(session, "http://inside.example.com/m")

    assert "http" in outside["proxies"]
    assert "http" not in inside["proxies"]


def test_proxies_of_one_request_are_those_it_names() -> None:
    found = settings(Session(), "http://models.example.com/m", proxies={"http": "http://other.example.com"})

    assert found["proxies"] == {"http": "http://other.example.com"}


def test_what_a_request_does_to_its_proxies_stays_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    session = Session()

    settings(session, "http://models.example.com/m")["proxies"].clear()

    assert settings(session, "http://models.example.com/m")["proxies"]["http"] == "http://proxy.example.com:3128"


def test_many_hosts_are_each_answered_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "h7.example.com")
    session = Session()

    found = [settings(session, f"http://h{number}.example.com/m")["proxies"] for number in range(300)]

    assert [number for number, proxies in enumerate(found) if "http" not in proxies] == [7]


URL = "http://models.example.com/m"


def asked(url: str = URL, **given: Any) -> Any:
    """What reached the server of a request."""
    with responses.RequestsMock() as server:
        server.get(url, body=b"content")
        with Session().ask("get", url, **{"headers": {}, "timeout": (1, 1), **given}) as answer:
            assert answer.raw.read() == b"content"
        return server.calls[0].request


def test_a_request_carries_the_sessions_headers_and_its_own() -> None:
    headers = asked(headers={"accept": "text/plain", "X-Key": "1"}).headers

    assert (headers["Accept"], headers["X-Key"]) == ("text/plain", "1")
    assert headers["User-Agent"].startswith("python-requests/")


def test_the_login_in_an_address_is_sent_as_a_header() -> None:
    request = asked(URL.replace("//", "//ann:pw@"))

    assert request.headers["Authorization"] == f"Basic {base64.b64encode(b'ann:pw').decode()}"


def test_a_login_in_netrc_is_sent_unless_the_request_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine models.example.com login bob password pw")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    def signed(request: Any) -> Any:
        request.headers["Authorization"] = "Bearer 1"
        return request

    assert asked().headers["Authorization"] == f"Basic {base64.b64encode(b'bob:pw').decode()}"
    assert asked(auth=signed).headers["Authorization"] == "Bearer 1"
