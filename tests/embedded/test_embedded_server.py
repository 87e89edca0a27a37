"""The registry as a server: tokens, probes, a graceful stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelreg.embedded.server import TokenGuard, serve
from modelreg.exceptions import InvalidInput
from ports import free_port

# What a test is given before it fails rather than hangs.
PATIENCE_S = 60.0
SERVE = "import sys; from modelreg.embedded.server import serve; serve(sys.argv[1], port=int(sys.argv[2]), workers=2)"


def answer(guard: TokenGuard, path: str = "/", authorization: str = "") -> int:
    statuses: list[str] = []
    guard({"PATH_INFO": path, "HTTP_AUTHORIZATION": authorization}, lambda status, _headers: statuses.append(status))
    return int(statuses[0][:3])


def open_to_all(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return []


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("first\n\nsecond\n")
    return path


def test_only_a_request_with_a_known_token_is_let_through(tokens: Path) -> None:
    guard = TokenGuard(open_to_all, tokens)

    assert answer(guard, authorization="Bearer first") == answer(guard, authorization="bearer second") == 200
    for authorization in ("", "Bearer", "Bearer ", "Bearer third", "Basic first", "first"):
        assert answer(guard, authorization=authorization) == 401
    assert answer(guard, "/livez") == answer(guard, "/readyz") == 200


def test_tokens_rotate_without_a_restart(tokens: Path) -> None:
    guard = TokenGuard(open_to_all, tokens)
    replacement = tokens.with_suffix(".new")
    replacement.write_text("third, longer\n")
    replacement.replace(tokens)

    assert answer(guard, authorization="Bearer third, longer") == 200
    assert answer(guard, authorization="Bearer first") == 401


@pytest.mark.parametrize("content", [None, "", "\n \n"])
def test_a_file_without_tokens_is_refused_before_anything_is_served(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)

    with pytest.raises(InvalidInput, match="token file"):
        serve(str(tmp_path / "registry.db"), port=1, token_file=path)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of two processes."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path / "registry.db"), str(port)])
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE_S
    while not _is_ready(url):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield url, process
    process.kill()
    process.wait()


def _is_ready(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{url}/readyz", timeout=5).status == 200)
    except OSError:
        return False


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process can catch")
def test_a_server_answers_until_it_is_told_to_stop_and_ends_well(address: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = address
    request = urllib.request.Request(
        f"{url}/api/model_registry/v1alpha3/registered_models", data=json.dumps({"name": "fraud"}).encode()
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        assert json.load(response)["name"] == "fraud"
    with pytest.raises(urllib.error.HTTPError, match="409"):
        urllib.request.urlopen(request, timeout=PATIENCE_S)

    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE_S) == 0
    assert not _is_ready(url)
