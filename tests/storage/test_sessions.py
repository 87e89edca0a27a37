"""What a session takes from the environment, and when it looks again."""

from __future__ import annotations

from typing import Any

import pytest

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
