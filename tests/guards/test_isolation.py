from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from pytest_socket import SocketConnectBlockedError


def test_a_connection_outside_loopback_is_refused():
    with (
        socket.socket() as outside,
        pytest.warns(UserWarning, match=r"192\.0\.2\.1"),
        pytest.raises(SocketConnectBlockedError),
    ):
        outside.connect(("192.0.2.1", 9))


def test_a_connection_to_loopback_is_allowed():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "HTTPS_PROXY"]
)
def test_no_credential_or_proxy_of_the_real_environment_is_seen(name: str):
    assert name not in os.environ


def test_home_data_and_cache_folders_are_the_tests_own(home: Path):
    assert Path.home() == home
    assert Path(os.environ["MODELREG_DATA_DIR"]).is_relative_to(home)
    assert Path(os.environ["MODELREG_CACHE_DIR"]).is_relative_to(home)


def test_an_absent_server_skips_the_test(skip_or_fail: Callable[[str], NoReturn], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MODELREG_TESTS_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nginx-light"):
        skip_or_fail("nginx is not installed: apt-get install nginx-light")


def test_an_absent_server_fails_the_test_where_servers_are_required(
    skip_or_fail: Callable[[str], NoReturn], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODELREG_TESTS_REQUIRE", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nginx-light"):
        skip_or_fail("nginx is not installed: apt-get install nginx-light")
