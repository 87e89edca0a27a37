"""Connections that look where they have come to, and redirects that lead where nobody should follow."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from modelreg.exceptions import AccessDenied
from modelreg.hosts import is_link_local
from modelreg.storage import download, open_backend
from modelreg.storage.guarded import GuardedAdapter, LedAstray
from modelreg.storage.hops import meaning, session_of
from modelreg.storageconfig import StorageSettings, TransferSettings

FAST = TransferSettings(attempts=1)


class Site:
    """A server that answers as it is told, and keeps what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.redirects: dict[str, str] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                target = site.redirects.get(self.path)
                self.send_response(200 if target is None else 302)
                self.send_header("Content-Length", "7")
                if target is not None:
                    self.send_header("Location", target)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(b"weights")

            do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def fetch(self, path: str, folder: Path, **options: Any) -> bytes:
        return fetch(f"{self.url}{path}", folder, **options)


def fetch(uri: str, folder: Path, **options: Any) -> bytes:
    with open_backend(uri, settings=StorageSettings(transfer=FAST, **options)) as backend:
        tree = backend.snapshot()
        [arrived] = download(backend, [(tree.files[0], folder / "part")])
        return bytes(arrived.data)


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(context: ssl.SSLContext | None = None) -> Site:
        sites.append(Site(context))
        return sites[-1]

    yield make
    for site in sites:
        site.server.shutdown()
        site.server.server_close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses that names stand for, one look after the other; the last is kept."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        known = answers.get(host, [host])
        return real(known.pop(0) if len(known) > 1 else known[0], *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


def session(**options: Any) -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", GuardedAdapter(**options))
    made.mount("https://", GuardedAdapter(**options))
    return made


def test_a_connection_to_an_ordinary_address_is_made(site: Site):
    with session() as asking:
        assert asking.get(f"{site.url}/m").content == b"weights"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nothing_is_sent_to_an_address_that_is_refused(site: Site, scheme: str):
    with (
        session(refuses=lambda address: address == "127.0.0.1") as asking,
        pytest.raises(LedAstray, match=r"127\.0\.0\.1"),
    ):
        asking.get(f"{scheme}://127.0.0.1:{site.port}/m")

    assert site.asked == []


def test_a_name_that_stands_for_another_address_by_then_is_refused(site: Site, resolve: dict[str, list[str]]):
    """The address of a name is judged where the connection has come to, not where an earlier look said it would."""
    resolve["models.example"] = ["10.0.0.1", "127.0.0.1"]
    assert not is_link_local("models.example", resolve=True)

    with session(refuses=lambda address: address == "127.0.0.1") as asking, pytest.raises(LedAstray):
        asking.get(f"http://models.example:{site.port}/m")

    assert site.asked == []


def test_only_uris_that_a_registry_named_are_guarded():
    for scheme in ("http", "https"):
        url = f"{scheme}://models.example"
        assert isinstance(session_of(StorageSettings(link_local=False)).get_adapter(url), GuardedAdapter)
        assert not isinstance(session_of(StorageSettings()).get_adapter(url), GuardedAdapter)


def test_a_guarded_storage_reads_what_it_may(site: Site, tmp_path: Path):
    assert site.fetch("/m.bin", tmp_path, link_local=False) == b"weights"


def test_where_a_connection_was_led_is_told():
    error = meaning(LedAstray("169.254.169.254"), "http://models.example/m")

    assert isinstance(error, AccessDenied)
    assert "http://models.example/m is at 169.254.169.254" in str(error)


@pytest.mark.parametrize(
    "target",
    [
        *(
            "http://169.254.169.254/latest",
            "//169.254.169.254/latest",
            "http://[::ffff:a9fe:a9fe]/",
            "http://0xA9FEA9FE/",
        ),
        *("http://169%2e254.169.254/", "http://metadata.google.internal/", "http://rebound.example/"),
        *("http://[::1", "file:///etc/passwd", r"http://169.254.169.254\@127.0.0.1/"),
    ],
)
def test_a_redirect_to_where_nobody_should_follow_is_refused(
    site: Site, resolve: dict[str, list[str]], tmp_path: Path, target: str
):
    resolve["rebound.example"] = ["169.254.169.254"]
    site.redirects["/m.bin"] = target

    with pytest.raises(AccessDenied, match="redirects to"):
        site.fetch("/m.bin", tmp_path)


def test_what_a_redirect_says_besides_is_not_read(site: Site):
    """A server could send it for ever."""
    site.redirects["/m"] = "/n"

    with session_of(StorageSettings()).get(f"{site.url}/m", stream=True, allow_redirects=False) as answer:
        assert answer.status_code == 302
        assert answer.raw.read() == b"weights"


def test_behind_a_proxy_no_name_is_looked_up(
    site: Site, resolve: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The proxy looks names up; here it answers for all of them."""
    monkeypatch.setenv("http_proxy", site.url)
    resolve["elsewhere.example"] = ["169.254.169.254"]
    site.redirects["http://models.example/m.bin"] = "http://elsewhere.example/m.bin"

    assert fetch("http://models.example/m.bin", tmp_path) == b"weights"


class TestNetrc:
    """Logins in ``.netrc`` go to their host, and no redirect draws them elsewhere or out of encryption."""

    @pytest.fixture(autouse=True)
    def netrc(self, home: Path) -> None:
        hosts = ("127.0.0.1", "localhost")
        (home / ".netrc").write_text("".join(f"machine {host} login ann password of-{host}\n" for host in hosts))

    def test_a_login_goes_to_its_host(self, site: Site, tmp_path: Path):
        site.fetch("/m.bin", tmp_path)

        assert all("authorization" in headers for _, headers in site.asked)

    def test_a_header_that_is_known_for_a_host_is_sent_instead_of_its_login(self, site: Site, tmp_path: Path):
        site.fetch("/m.bin", tmp_path, headers={"127.0.0.1": {"Authorization": "Bearer t0ken"}})

        assert {headers["authorization"] for _, headers in site.asked} == {"Bearer t0ken"}

    def test_a_redirect_draws_no_login_over_plain_http(self, make_site: Callable[..., Site], tmp_path: Path):
        first, second = make_site(), make_site()
        first.redirects["/m.bin"] = f"http://localhost:{second.port}/m.bin"

        first.fetch("/m.bin", tmp_path)

        assert second.asked
        assert not any("authorization" in headers for _, headers in second.asked)


class TestEncryption:
    """Where a redirect leaves encryption behind, no credential goes along."""

    @pytest.fixture
    def encrypted(self, make_site: Callable[..., Site], authority: trustme.CA) -> Site:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        return make_site(context)

    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def bundle(self, authority: trustme.CA, tmp_path: Path) -> str:
        path = tmp_path.with_name(f"{tmp_path.name}-home") / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        return str(path)

    def test_a_redirect_out_of_it_is_refused_where_headers_are_known(
        self, encrypted: Site, site: Site, bundle: str, tmp_path: Path
    ):
        encrypted.redirects["/m.bin"] = f"{site.url}/m.bin"
        headers = {"127.0.0.1": {"X-Key": "s3cret"}}

        with pytest.raises(AccessDenied, match="leave encryption behind"):
            encrypted.fetch("/m.bin", tmp_path, ca_bundle=bundle, headers=headers)

        assert site.asked == []

    def test_it_is_refused_where_a_login_is_known(
        self, encrypted: Site, site: Site, bundle: str, tmp_path: Path, home: Path
    ):
        (home / ".netrc").write_text("machine 127.0.0.1 login ann password s3cret\n")
        encrypted.redirects["/m.bin"] = f"{site.url}/m.bin"

        with pytest.raises(AccessDenied, match="leave encryption behind"):
            encrypted.fetch("/m.bin", tmp_path, ca_bundle=bundle)

        assert site.asked == []

    def test_what_needs_no_credentials_may_leave_it(self, encrypted: Site, site: Site, bundle: str, tmp_path: Path):
        encrypted.redirects["/m.bin"] = f"{site.url}/m.bin"

        assert encrypted.fetch("/m.bin", tmp_path, ca_bundle=bundle) == b"weights"

    def test_a_redirect_to_another_encrypted_host_is_sent_what_is_known_for_that_one(
        self, make_site: Callable[..., Site], authority: trustme.CA, site: Site, bundle: str, tmp_path: Path
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        other = make_site(context)
        site.redirects["/m.bin"] = f"https://localhost:{other.port}/m.bin"
        headers = {"127.0.0.1": {"X-Key": "first"}, "localhost": {"X-Key": "second"}}

        site.fetch("/m.bin", tmp_path, ca_bundle=bundle, headers=headers)

        assert {headers.get("x-key") for _, headers in site.asked} == {"first"}
        assert {headers.get("x-key") for _, headers in other.asked} == {"second"}
