"""The certificates and the proxy that the settings name are the ones that each storage uses."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import pytest
import trustme

from modelreg.exceptions import InvalidInput, StorageUnreachable
from modelreg.storage import download, open_backend
from modelreg.storageconfig import S3Settings, StorageSettings, TransferSettings

CONTENT = b"weights"
ONCE = TransferSettings(attempts=1)
# One URI of each mover, with the address of its service left open.
URIS = [
    pytest.param("{0}/model.bin", id="http"),
    pytest.param("s3://bucket/model.bin?endpoint={0}&anonymous=true&defaultRegion=us-east-1", id="s3"),
    pytest.param("gs://bucket/model.bin?endpoint={0}&anonymous=true", id="gs"),
    pytest.param("az://container/model.bin?account=acme&endpoint={0}&anonymous=true", id="az"),
]


@attrs.define
class Server:
    """A server that answers every path with the same content, as a storage or as a proxy before one."""

    address: str
    paths: list[str] = attrs.field(factory=list)


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that do not like its certificate."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    found = Server("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.paths.append(self.path)
            self.send_response(200)
            for name, value in {
                "Content-Length": str(len(CONTENT)),
                "ETag": '"1"',
                "Last-Modified": "Sun, 22 Nov 2026 08:00:00 GMT",
                "x-goog-generation": "1",
                "x-ms-blob-type": "BlockBlob",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(CONTENT)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.address = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(authority: trustme.CA) -> Iterator[Server]:
    """A server with a certificate of the authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as server:
        yield server


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def read(uri: str, settings: StorageSettings, folder: Path) -> bytes:
    with open_backend(uri, settings=settings) as backend:
        tree = backend.snapshot()
        [arrived] = download(backend, [(tree.files[0], folder / "part")])
        return bytes(arrived.data)


@pytest.mark.parametrize("uri", URIS)
def test_a_small_file_that_will_be_read_costs_one_request(uri: str, tmp_path: Path) -> None:
    with serving() as server:
        settings = StorageSettings(transfer=ONCE)
        with open_backend(uri.format(f"http://{server.address}"), settings=settings) as backend:
            [file] = backend.snapshot(to_read=True).files
            [arrived] = download(backend, [(file, tmp_path / "part")])

        assert bytes(arrived.data) == CONTENT
        assert len(server.paths) == 1


@pytest.mark.parametrize("uri", URIS)
def test_a_large_file_that_will_be_read_is_read_apart(uri: str, tmp_path: Path) -> None:
    with serving() as server:
        settings = StorageSettings(transfer=attrs.evolve(ONCE, small_bytes=1))
        with open_backend(uri.format(f"http://{server.address}"), settings=settings) as backend:
            [file] = backend.snapshot(to_read=True).files

        assert (file.path, file.size) == ("model.bin", len(CONTENT))


@pytest.mark.parametrize("uri", URIS)
def test_a_server_is_known_by_the_certificates_that_the_settings_name(
    uri: str, encrypted: Server, bundle: str, tmp_path: Path
) -> None:
    settings = StorageSettings(ca_bundle=bundle, transfer=ONCE)

    assert read(uri.format(f"https://{encrypted.address}"), settings, tmp_path) == CONTENT


@pytest.mark.parametrize("uri", URIS)
def test_a_server_that_nobody_vouches_for_is_told_nothing(uri: str, encrypted: Server, tmp_path: Path) -> None:
    with pytest.raises(StorageUnreachable):
        read(uri.format(f"https://{encrypted.address}"), StorageSettings(transfer=ONCE), tmp_path)

    assert encrypted.paths == []


@pytest.mark.parametrize("uri", URIS)
def test_the_environment_can_name_the_certificates(
    uri: str, encrypted: Server, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", bundle)

    assert read(uri.format(f"https://{encrypted.address}"), StorageSettings.from_env(), tmp_path) == CONTENT


def test_certificates_for_s3_alone_are_used_for_it(encrypted: Server, bundle: str, tmp_path: Path) -> None:
    settings = StorageSettings(s3=S3Settings(ca_bundle=bundle), transfer=ONCE)
    uri = f"s3://bucket/model.bin?endpoint=https://{encrypted.address}&anonymous=true&defaultRegion=us-east-1"

    assert read(uri, settings, tmp_path) == CONTENT
    with pytest.raises(StorageUnreachable):
        read(f"https://{encrypted.address}/model.bin", settings, tmp_path)


def test_s3_can_be_told_to_check_no_certificate(encrypted: Server, tmp_path: Path) -> None:
    settings = StorageSettings(s3=S3Settings(verify_tls=False), transfer=ONCE)
    uri = f"s3://bucket/model.bin?endpoint=https://{encrypted.address}&anonymous=true&defaultRegion=us-east-1"

    assert read(uri, settings, tmp_path) == CONTENT


@pytest.mark.parametrize("uri", URIS[1:])
def test_a_file_of_certificates_that_is_not_there_is_named(uri: str, tmp_path: Path) -> None:
    settings = StorageSettings(ca_bundle=str(tmp_path / "absent.pem"), transfer=ONCE)

    with pytest.raises(InvalidInput, match=r"absent\.pem"):
        read(uri.format("https://127.0.0.1:9"), settings, tmp_path)


@pytest.fixture
def proxy() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.mark.parametrize("uri", URIS)
def test_requests_go_to_the_proxy_that_the_settings_name(uri: str, proxy: Server, tmp_path: Path) -> None:
    settings = StorageSettings(proxy=f"http://{proxy.address}", transfer=ONCE)

    assert read(uri.format("http://storage.example"), settings, tmp_path) == CONTENT
    assert proxy.paths
    assert all(path.startswith("http://storage.example/") for path in proxy.paths)


@pytest.mark.parametrize("uri", URIS)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_the_environment_can_name_the_proxy(
    uri: str, name: str, proxy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"http://{proxy.address}")

    settings = attrs.evolve(StorageSettings.from_env(), transfer=ONCE)

    assert read(uri.format("http://storage.example"), settings, tmp_path) == CONTENT
    assert all(path.startswith("http://storage.example/") for path in proxy.paths)


@pytest.mark.parametrize("uri", URIS)
def test_a_host_that_needs_no_proxy_is_asked_itself(
    uri: str, proxy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    settings = attrs.evolve(StorageSettings.from_env(), transfer=ONCE)

    assert read(uri.format(f"http://{proxy.address}"), settings, tmp_path) == CONTENT
    assert not any(path.startswith("http://") for path in proxy.paths)


@pytest.mark.parametrize("uri", URIS[:3])
def test_the_filesystem_uses_them_too(uri: str, encrypted: Server, bundle: str) -> None:
    settings = StorageSettings(ca_bundle=bundle, transfer=ONCE)

    with open_backend(uri.format(f"https://{encrypted.address}"), settings=settings) as backend:
        assert backend.filesystem().cat_file(backend.filesystem_path()) == CONTENT


@pytest.mark.parametrize("uri", URIS[:3])
def test_the_filesystem_asks_the_proxy_too(uri: str, proxy: Server) -> None:
    settings = StorageSettings(proxy=f"http://{proxy.address}", transfer=ONCE)

    with open_backend(uri.format("http://storage.example"), settings=settings) as backend:
        assert backend.filesystem().cat_file(backend.filesystem_path()) == CONTENT
    assert proxy.paths


def test_the_filesystem_of_google_takes_the_proxy_of_the_environment(
    proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    uri = "gs://bucket/model.bin?endpoint=http://storage.example&anonymous=true"

    with open_backend(uri, settings=StorageSettings.from_env()) as backend:
        assert backend.filesystem().cat_file(backend.filesystem_path()) == CONTENT
    assert proxy.paths
