"""No credential is kept or shown: not by an error, a log, a repr, a journal or the cache, whatever goes wrong."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.cacheconfig import CacheSettings
from modelreg.config import RegistrySettings
from modelreg.exceptions import ModelRegError
from modelreg.storage import open_backend, parse_uri
from modelreg.storageconfig import StorageSettings
from modelreg.utils import S3Params

TOKEN = "t0ken-of-ann"
PASSWORD = "passw0rd-of-ann"
SIGNATURE = "s1gnature-of-ann"
SESSION = "se55ion-of-ann"
# Azure's keys are base64.
KEY = "azN5LW9mLWFubg=="
HEADER = "h3ader-of-ann"
SECRETS = (TOKEN, PASSWORD, SIGNATURE, SESSION, KEY, HEADER)


class Echo:
    """A server that repeats all that it was sent, under whichever status it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.location = ""
        self.seen: list[str] = []
        echo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                said = f"{self.path} {dict(self.headers)}"
                echo.seen.append(said)
                body = json.dumps({"code": "500", "message": said if echo.status != 200 else "fine"}).encode()
                self.send_response(echo.status, "no")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"1"')
                if echo.location:
                    self.send_header("Location", echo.location)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_POST = do_PATCH = do_HEAD = do_PUT = do_GET  # noqa: N815 - named by http.server

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.server.shutdown()
    echo.server.server_close()


@pytest.fixture(autouse=True)
def credentials(echo: Echo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Credentials of every kind in the environment, and modelreg telling all that it does."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIA0000",
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_SESSION_TOKEN": SESSION,
        "AZURE_STORAGE_ACCESS_KEY": KEY,
        "AZURE_STORAGE_SAS_TOKEN": f"sv=2024&sig={SIGNATURE}",
        "AZURE_CLIENT_SECRET": PASSWORD,
        "HF_TOKEN": TOKEN,
        "HF_ENDPOINT": f"http://{echo.host}",
        "MODELREG_TRANSFER_ATTEMPTS": "1",
        "127.0.0.1-headers": json.dumps({"X-Key": HEADER}),
        "STORAGE_CONFIG": json.dumps({"type": "s3", "secret_access_key": KEY}),
    }.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG, logger="modelreg")


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture, home: Path) -> Iterator[Callable[..., str]]:
    """Returns all that anybody can read afterwards: what was handed over, the log, and every file that is left."""

    def everything(*texts: str) -> str:
        # What other libraries say below the level of warnings is up to whoever asks them to.
        own = [record.getMessage() for record in caplog.records if record.name.startswith("modelreg")]
        left = [f"{path} {path.read_bytes()!r}" for path in home.rglob("*") if path.is_file()]
        return "\n".join([*texts, *own, *left])

    return everything


def outcome(ask: Callable[[], Any]) -> str:
    """What came out, as far as it can be read."""
    try:
        return repr(ask())
    except ModelRegError as error:
        return "".join(traceback.format_exception(error)) + repr(error)


def found_in(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500, 302])
def test_a_registry_that_repeats_the_token(echo: Echo, shown: Callable[..., str], status: int):
    echo.status = status
    echo.location = f"http://ann:{PASSWORD}@127.0.0.1:9/?token={TOKEN}" if status == 302 else ""
    registry = ModelRegistry(f"http://{echo.host}", user_token=TOKEN, connect=False)

    text = outcome(lambda: registry.get_registered_model("fraud")) + outcome(lambda: list(registry.get_experiments()))
    text += outcome(lambda: registry.register_model("fraud", "s3://m", "1", "onnx", "1")) + repr(registry)
    registry.close()

    assert any(TOKEN in said for said in echo.seen)
    assert found_in(shown(text)) == []


@pytest.mark.parametrize("status", [200, 401, 404, 302])
def test_a_file_behind_a_signed_address(echo: Echo, shown: Callable[..., str], status: int):
    echo.status = status
    echo.location = f"https://127.0.0.1:9/m?X-Amz-Signature={SIGNATURE}" if status == 302 else ""
    uri = f"http://ann:{PASSWORD}@{echo.host}/m.json?X-Amz-Signature={SIGNATURE}&api_key={TOKEN}"

    text = outcome(lambda: modelreg.fetch(uri)) + outcome(lambda: modelreg.fetch(uri, offline=True))

    assert all(any(secret in said for said in echo.seen) for secret in (SIGNATURE, HEADER, TOKEN))
    assert found_in(shown(text)) == []


@pytest.mark.parametrize("scheme", ["s3", "az", "hf"])
@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_storage_that_repeats_what_it_was_sent(
    echo: Echo, shown: Callable[..., str], scheme: str, status: int, tmp_path: Path
):
    echo.status = status
    uri = {
        "s3": f"s3://bucket/m.bin?endpoint=http://{echo.host}&defaultRegion=eu-1",
        "az": f"az://container/m.bin?account=acme&endpoint=http://{echo.host}",
        "hf": "hf://acme/model",
    }[scheme]
    (tmp_path / "m.bin").write_bytes(b"weights")

    text = outcome(lambda: modelreg.fetch(uri))
    text += "" if scheme == "hf" else outcome(lambda: modelreg.push(tmp_path / "m.bin", uri))

    assert echo.seen
    assert found_in(shown(text)) == []


def test_what_a_run_logs(shown: Callable[..., str], tmp_path: Path):
    """The registry and the journal are both among the files that are left."""
    (tmp_path / "rows.csv").write_bytes(b"a,b")
    with ModelRegistry(author="ann") as registry, registry.start_experiment_run(experiment_name="study") as run:
        signed = f"https://ann:{PASSWORD}@data.example/rows.csv?X-Amz-Signature={SIGNATURE}"
        dataset = run.log_dataset(uri=signed, source=f"copied from {signed}", source_type="https")
        run.log_artifact(tmp_path / "rows.csv", uri=f"memory://ann:{PASSWORD}@bucket/rows.csv")
        text = repr(dataset) + repr(run)

    assert dataset.uri == "https://***@data.example/rows.csv?X-Amz-Signature=***"
    assert found_in(shown(text)) == []


def test_a_run_while_the_registry_is_down(shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELREG_TRACKING_EXIT_TIMEOUT_S", "0.1")
    settings = RegistrySettings.from_env()
    with ModelRegistry("http://127.0.0.1:9", user_token=TOKEN, connect=False, settings=settings) as registry:
        text = outcome(lambda: registry.get_registered_model("fraud")) + repr(registry)

    assert found_in(shown(text)) == []


def test_settings_and_addresses(shown: Callable[..., str]):
    signed = f"https://ann:{PASSWORD}@models.example/m?X-Amz-Signature={SIGNATURE}"
    with open_backend(signed, settings=StorageSettings.from_env()) as backend:
        values = [
            *(StorageSettings.from_env(), StorageSettings(proxy=f"http://ann:{PASSWORD}@proxy:3128"), backend),
            *(RegistrySettings.from_env(), CacheSettings.from_env(), parse_uri(signed), str(parse_uri(signed))),
            *(backend.uri, S3Params("b", "p", access_key_id="AKIA0000", secret_access_key=KEY)),
        ]

    assert found_in(shown(repr(values), *map(str, values))) == []


@pytest.mark.parametrize("address", ["postgresql://ann:{0}@127.0.0.1:9/models", "https://ann:{0}@registry.example"])
def test_an_address_with_a_password(shown: Callable[..., str], address: str):
    text = outcome(lambda: ModelRegistry(address.format(PASSWORD), connect=False))

    assert "registry" in text or "postgresql" in text or "psycopg" in text
    assert found_in(shown(text)) == []
