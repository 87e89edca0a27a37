"""Certificates that are exchanged while the server runs, as cert-manager does."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from modelreg.exceptions import InvalidInput, Unreachable
from modelreg.serving.http_server import HTTPServer
from modelreg.serving.model import Model
from modelreg.serving.ports import ReservedPort
from modelreg.serving.renewal import CertificateFiles, RenewingHTTPServer
from modelreg.serving.server import ModelServer
from modelreg.serving.tls import TLSSettings, copied

PATIENCE_S = 60.0


class Total(Model):
    def predict(self, payload: Any) -> Any:
        return {"predictions": [sum(payload["instances"])]}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> TLSSettings:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issue(authority, tmp_path)
    return TLSSettings(tmp_path / "cert.pem", tmp_path / "key.pem")


def issue(authority: trustme.CA, folder: Path) -> str:
    """Put another certificate into the folder, each file in one step, and return it as servers show it."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "new-key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "new-cert.pem")
    (folder / "new-key.pem").replace(folder / "key.pem")
    (folder / "new-cert.pem").replace(folder / "cert.pem")
    return issued.cert_chain_pems[0].bytes().decode().strip()


def shown(port: int) -> str:
    """The certificate that a new connection gets."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE_S).strip()


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# --- REST and gRPC


def test_new_connections_get_the_certificate_that_has_changed(authority: trustme.CA, tls: TLSSettings):
    server = ModelServer(
        http_port=0,
        grpc_port=0,
        host="127.0.0.1",
        ssl_certfile=tls.certfile,
        ssl_keyfile=tls.keyfile,
        ssl_renewal_s=0.01,
    )
    with server.running([Total("total")]) as running:
        ports = port_of(running.http_url), port_of(running.grpc_target or "")
        assert [shown(port) for port in ports] == [tls.certfile.read_text().strip()] * 2

        new = issue(authority, tls.certfile.parent)

        for port in ports:
            eventually(lambda port=port: answers_with(port) == new)
        http = HTTPSConnection(f"127.0.0.1:{ports[0]}", context=trusting(authority), timeout=PATIENCE_S)
        http.request("POST", "/v1/models/total:predict", b'{"instances": [1, 2]}')
        assert http.getresponse().read() == b'{"predictions":[3]}'
        http.close()


def test_a_channel_of_grpc_goes_on_while_new_ones_get_the_certificate_that_has_changed(
    authority: trustme.CA, tls: TLSSettings
):
    server = ModelServer(http_port=0, grpc_port=0, host="127.0.0.1", ssl_certfile=tls.certfile, ssl_keyfile=tls.keyfile)
    with server.running([Total("total")]) as running, ExitStack() as channels:
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        lives = channels.enter_context(grpc.secure_channel(running.grpc_target, credentials)).unary_unary(
            "/inference.GRPCInferenceService/ServerLive"
        )
        before = lives(b"", timeout=PATIENCE_S)

        new = issue(authority, tls.certfile.parent)

        assert shown(port_of(running.grpc_target or "")) == new
        assert lives(b"", timeout=PATIENCE_S) == before


# --- what counts as a change


def test_files_that_are_as_they_were_have_not_changed(tls: TLSSettings):
    files = CertificateFiles(tls)

    assert [files.renewed(), files.renewed()] == [False, False]


def test_a_change_is_told_once(authority: trustme.CA, tls: TLSSettings):
    files = CertificateFiles(tls)
    issue(authority, tls.certfile.parent)

    assert [files.renewed(), files.renewed()] == [True, False]


def test_a_certificate_without_its_key_is_no_change_until_the_key_is_there(
    authority: trustme.CA, tls: TLSSettings, caplog: pytest.LogCaptureFixture
):
    files = CertificateFiles(tls)
    old_key = tls.keyfile.read_bytes()
    issue(authority, tls.certfile.parent)
    new_key = tls.keyfile.read_bytes()
    tls.keyfile.write_bytes(old_key)

    half = files.renewed()
    tls.keyfile.unlink()
    without = files.renewed()
    tls.keyfile.write_bytes(new_key)
    whole = files.renewed()

    assert (half, without, whole) == (False, False, True)
    assert caplog.text.count("goes on with the certificate that it has") == 2


def test_the_links_that_kubernetes_mounts_are_followed(authority: trustme.CA, tls: TLSSettings, tmp_path: Path):
    versions = [tmp_path / "..1", tmp_path / "..2"]
    for version in versions:
        version.mkdir()
        issue(authority, version)
    link = tmp_path / "..data"
    link.symlink_to(versions[0].name, target_is_directory=True)
    files = CertificateFiles(TLSSettings(link / "cert.pem", link / "key.pem", tmp_path / "ca.pem"))

    other = tmp_path / "..data_tmp"
    other.symlink_to(versions[1].name, target_is_directory=True)
    other.replace(link)

    assert files.renewed()


# --- the copies that a server reads


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_server_reads_what_was_checked(
    in_memory: bool, authority: trustme.CA, tls: TLSSettings, monkeypatch: pytest.MonkeyPatch
):
    if not in_memory:
        # As on systems that have no such files.
        monkeypatch.delattr(os, "memfd_create", raising=False)
    before = tls.certfile.read_bytes()

    with copied(TLSSettings(tls.certfile, tls.keyfile, tls.certfile.with_name("ca.pem"))) as copies:
        issue(authority, tls.certfile.parent)
        assert copies.certfile.read_bytes() == before
        assert copies.client_ca is not None
        assert copies.client_ca.read_bytes() == authority.cert_pem.bytes()
        paths = (copies.certfile, copies.keyfile, copies.client_ca)

    assert not any(path.exists() for path in paths)


def test_files_that_are_gone_when_a_server_begins_are_told_of(tls: TLSSettings):
    tls.keyfile.unlink()

    with pytest.raises(InvalidInput, match=r"cannot be read.*key\.pem"), copied(tls):
        pass


# --- servers that follow each other


class Exchange:
    """A server whose certificate can be exchanged, which can be told not to begin anew, and to hold its answers."""

    def __init__(self, tls: TLSSettings, *, grace_s: float = 10.0, **how: Any) -> None:
        self.port = ReservedPort("127.0.0.1", 0)
        self.fails = False
        self.refused = threading.Event()
        self.asked = threading.Event()
        self.answering = threading.Event()
        self.answering.set()
        self.server = RenewingHTTPServer(self.create, tls, look_s=0.01, grace_s=grace_s, **how)

    def answer(self, _environ: Any, start_response: Any) -> list[bytes]:
        self.asked.set()
        self.answering.wait(PATIENCE_S)
        start_response("200 OK", [])
        return [b"hello"]

    def create(self, tls: TLSSettings) -> HTTPServer:
        if self.fails:
            self.refused.set()
            raise Unreachable("the port is taken")
        return HTTPServer(self.answer, port=self.port, threads=2, tls=tls)


@pytest.fixture
def exchange(tls: TLSSettings) -> Iterator[Callable[..., Exchange]]:
    with ExitStack() as stack:

        def make(**how: Any) -> Exchange:
            made = Exchange(tls, **how)
            stack.callback(made.port.close)
            stack.callback(made.server.stop, 10)
            made.server.start()
            return made

        yield make


@pytest.mark.parametrize("in_turn", [True, False])
def test_one_server_follows_the_other_on_the_same_port(
    in_turn: bool, exchange: Callable[..., Exchange], authority: trustme.CA, tls: TLSSettings
):
    port = exchange(in_turn=in_turn).port.port

    for _ in range(3):
        new = issue(authority, tls.certfile.parent)
        eventually(lambda new=new: answers_with(port) == new)


def answers_with(port: int) -> str | None:
    try:
        return shown(port)
    except OSError:
        return None


def test_a_server_that_cannot_follow_is_tried_again_and_the_old_one_answers_meanwhile(
    exchange: Callable[..., Exchange], authority: trustme.CA, tls: TLSSettings, caplog: pytest.LogCaptureFixture
):
    made = exchange()
    old = tls.certfile.read_text().strip()

    made.fails = True
    new = issue(authority, tls.certfile.parent)
    assert made.refused.wait(PATIENCE_S)
    meanwhile = shown(made.port.port)
    made.fails = False
    eventually(lambda: answers_with(made.port.port) == new)

    assert meanwhile == old
    assert "cannot begin with the certificate that has changed" in caplog.text


@pytest.mark.parametrize("grace_s", [0.01, 30.0])
def test_a_request_that_began_before_the_change_is_answered_after_it(
    grace_s: float,
    exchange: Callable[..., Exchange],
    authority: trustme.CA,
    tls: TLSSettings,
    caplog: pytest.LogCaptureFixture,
):
    made = exchange(grace_s=grace_s)
    made.answering.clear()
    http = HTTPSConnection(f"127.0.0.1:{made.port.port}", context=trusting(authority), timeout=PATIENCE_S)
    http.request("GET", "/")
    assert made.asked.wait(PATIENCE_S)

    new = issue(authority, tls.certfile.parent)
    eventually(lambda: answers_with(made.port.port) == new)
    if grace_s < 1:
        eventually(lambda: "still run after 0.01 s" in caplog.text)
    made.answering.set()

    assert http.getresponse().read() == b"hello"
    http.close()


def test_a_connection_that_is_idle_is_closed_so_that_its_client_sees_the_new_certificate(
    exchange: Callable[..., Exchange], authority: trustme.CA, tls: TLSSettings
):
    port = exchange().port.port
    http = HTTPSConnection(f"127.0.0.1:{port}", context=trusting(authority), timeout=PATIENCE_S)
    http.request("GET", "/")
    assert http.getresponse().read() == b"hello"

    issue(authority, tls.certfile.parent)

    assert http.sock is not None
    assert http.sock.recv(1) == b""
    http.close()


def test_a_server_that_was_not_started_can_be_stopped(tls: TLSSettings):
    assert RenewingHTTPServer(Exchange.create, tls, look_s=1, grace_s=1).stop(1)  # type: ignore[arg-type] # not called


def test_certificates_are_looked_at_every_so_many_seconds_and_not_every_none(tls: TLSSettings):
    with pytest.raises(InvalidInput, match="every 0"):
        RenewingHTTPServer(Exchange.create, tls, look_s=0, grace_s=1)  # type: ignore[arg-type] # not called
