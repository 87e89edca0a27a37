from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import click
import pytest
from click.testing import Result

from modelreg.cli.serve import serve
from ports import free_port, free_ports

needs_serve = pytest.mark.skipif(not find_spec("numpy") or not find_spec("grpc"), reason="needs the extra 'serve'")

CODE = """
from modelreg.serving import Model

class Doubler(Model):
    def predict(self, payload):
        return {"predictions": [2 * one for one in payload["instances"]]}
"""

BUSY = """
import sys, time
from modelreg.serving import Model

class Busy(Model):
    def predict(self, payload):
        print("begun", file=sys.stderr, flush=True)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass
"""


def parameters(*arguments: str) -> dict[str, object]:
    return serve.make_context("serve", [*arguments]).params


def test_kserves_flags_are_taken():
    read = parameters(
        *("--model_name=fraud", "--model_dir=/mnt/models", "--http_port=8090", "--grpc_port", "8091", "--workers=2"),
        *("--max_threads=8", "--enable_grpc=false", "--ssl_certfile", __file__, "--ssl_keyfile", __file__),
        *("--predictor_host=fraud:80", "--predictor_protocol=grpc-v2", "--predictor_use_ssl=true"),
        *("--predictor_request_timeout_seconds=5", "--predictor_request_retries=1", "--enable_latency_logging=false"),
        *(
            "--grpc_max_receive_message_length=1024",
            "--enable_docs_url=true",
            f"--log_config_file={__file__}",
            "--event-loop=auto",
        ),
        *("--timeout-keep-alive=5", "--configure_logging=false", "--max_asyncio_workers=3", "--nthread=1"),
        *("--enable_predictor_health_check", "--access_log_format=x", "--protocol=v2"),
    )

    assert (read["name"], read["model_dir"], read["http_port"], read["grpc_port"]) == (
        "fraud",
        "/mnt/models",
        8090,
        8091,
    )
    assert (read["enable_grpc"], read["workers"], read["max_threads"]) == (False, 2, 8)
    assert (read["predictor_host"], read["predictor_protocol"]) == ("fraud:80", "grpc-v2")


def test_a_flag_that_there_is_not_is_refused():
    with pytest.raises(click.NoSuchOption):
        parameters("--trust_everything", "folder")


@needs_serve
@pytest.mark.parametrize("arguments", [[], ["--name", "x", "a", "b"], ["absent"]])
def test_what_cannot_be_served_is_a_mistake(modelreg_cli: Callable[..., Result], arguments: list[str]):
    assert modelreg_cli("serve", *arguments).exit_code == 2


@needs_serve
@pytest.mark.parametrize(("name", "flag"), [("model.pkl", "--trust-pickle"), ("model.py", "--trust-code")])
def test_what_could_run_code_is_refused_with_the_name_of_the_flag(
    modelreg_cli: Callable[..., Result], tmp_path: Path, name: str, flag: str
):
    (tmp_path / name).write_text("raise SystemExit('it ran')")

    result = modelreg_cli("serve", str(tmp_path))

    assert result.exit_code == 1
    assert flag in result.stderr
    assert "it ran" not in result.output


def ended_by_a_signal(server: subprocess.Popen[str]) -> str:
    """What the server said, which ended in order."""
    server.send_signal(signal.SIGTERM)
    said = server.communicate(timeout=60)[1]
    assert server.returncode == 0 or sys.platform == "win32"
    return said


@contextmanager
def serving(folder: Path, port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "modelreg", "serve", *arguments, "--host", "127.0.0.1", "--http_port", str(port)]
    server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        yield server
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


@needs_serve
def test_a_class_is_served_until_the_server_is_told_to_stop(tmp_path: Path):
    (tmp_path / "my_model.py").write_text(CODE)
    port = free_port()
    arguments = ["--model_name", "twice", "--enable_grpc", "false", "--grpc-max-connection-age", "60"]
    with serving(tmp_path, port, "my_model:Doubler", *arguments) as server:
        answer = ask_when_ready(f"http://127.0.0.1:{port}", server)
        said = ended_by_a_signal(server)

    assert answer == {"predictions": [2, 4]}
    assert f"serving twice (Doubler)\nanswering over REST on 127.0.0.1:{port};" in said


@needs_serve
@pytest.mark.skipif(sys.platform == "win32", reason="a signal ends a process at once there")
def test_a_model_that_does_not_end_in_time_is_told_and_does_not_abort_the_process(tmp_path: Path):
    (tmp_path / "my_model.py").write_text(BUSY)
    port = free_port()
    arguments = ["--name", "busy", "--enable-grpc", "false", "--grace-period", "0"]
    with (
        serving(tmp_path, port, "my_model:Busy", *arguments) as server,
        closing(HTTPConnection("127.0.0.1", port)) as http,
    ):
        wait_until_ready(f"http://127.0.0.1:{port}", server)
        http.request("POST", "/v1/models/busy:predict", b"{}")
        assert "begun\n" in server.stderr
        said = ended_by_a_signal(server)

    assert "requests were still being worked on 0 s after the server was told to stop" in said


@needs_serve
@pytest.mark.parametrize("source", ["my_model:Doubler", "folder"])
def test_processes_that_are_spawned_make_the_models_again(tmp_path: Path, source: str):
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "my_model.py", folder / "model.py"):
        path.write_text(CODE)
    port, grpc_port = free_ports(2)
    arguments = ["--model_name", "twice", "--trust-code", "--grpc-port", str(grpc_port), "--access-log"]
    workers = ["--workers", "2", "--start-method", "spawn"]
    with serving(tmp_path, port, source, *arguments, *workers) as server:
        url = f"http://127.0.0.1:{port}"
        answers = [ask_when_ready(url, server) for _ in range(4)]
        over_grpc = ready_over_grpc(grpc_port)
        with urlopen(f"{url}/metrics", timeout=30) as it:
            metrics = it.read().decode()
        said = ended_by_a_signal(server)

    assert answers == [{"predictions": [2, 4]}] * 4
    assert over_grpc
    # Whichever worker is asked knows of the requests of both.
    assert re.search(r'^modelreg_requests_total\{.*model_name="twice".*status="200".*\} 4\.0$', metrics, re.MULTILINE)
    assert len(re.findall(r':predict.*"status": 200', said)) == 4


def ready_over_grpc(port: int) -> bool:
    from modelreg.serving import InferenceGRPCClient

    with InferenceGRPCClient(f"127.0.0.1:{port}") as client:
        return client.is_model_ready("twice")


def wait_until_ready(url: str, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"{url}/v2/health/ready", timeout=5):
                break
        except (URLError, TimeoutError):
            assert server.poll() is None, server.stderr.read()
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.05)


def ask_when_ready(url: str, server: subprocess.Popen[str]) -> object:
    """The answer to a request, once the server can give one."""
    wait_until_ready(url, server)
    body = json.dumps({"instances": [1, 2]}).encode()
    request = Request(f"{url}/v1/models/twice:predict", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as it:
        return json.load(it)
