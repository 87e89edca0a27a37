"""A small OCI registry in this process, for tests that pull and push without a server to install."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<name>.*)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_TOKEN = "a-token-of-the-test-registry"  # noqa: S105 - it opens nothing but this registry

Repository = dict[str, bytes]


@attrs.define
class OCITestRegistry:
    """What a registry holds, and what it was asked; tests change both as they like.

    Attributes:
        host: Its address as it stands in a reference, such as ``127.0.0.1:5000``.
        blobs: Content by repository and digest.
        manifests: Media type and body by repository, and by tag or digest.
        requests: Method, path and headers (names in lower case) of every request so far.
        credentials: User's name and password that it wants; ``None``: it is open to all.
        wants_token: It takes no password itself, but a token that it gives out for one.
        intercept: Called with each request's handler before it is answered; true: it has answered.
    """

    host: str
    blobs: dict[str, Repository] = attrs.field(factory=dict)
    manifests: dict[str, dict[str, tuple[str, bytes]]] = attrs.field(factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = attrs.field(factory=list)
    credentials: tuple[str, str] | None = None
    wants_token: bool = False
    intercept: Callable[[BaseHTTPRequestHandler], bool] | None = None
    uploads: dict[str, bytearray] = attrs.field(factory=dict)

    def add_blob(self, repository: str, content: bytes) -> str:
        """Store a blob and return its digest."""
        digest = _digest(content)
        self.blobs.setdefault(repository, {})[digest] = content
        return digest

    def add_manifest(self, repository: str, tag: str, media_type: str, document: Any) -> str:
        """Store a manifest under a tag and return its digest.

        Args:
            repository: Where.
            tag: The tag; empty for none.
            media_type: What it is.
            document: What it says: bytes, or what becomes JSON.
        """
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        known = self.manifests.setdefault(repository, {})
        for name in filter(None, (tag, _digest(body))):
            known[name] = (media_type, body)
        return _digest(body)

    def asked(self, method: str, part: str = "") -> list[str]:
        """Return the paths that were asked for by ``method`` and have ``part`` in them."""
        return [path for one, path, _ in self.requests if one == method and part in path]


@contextmanager
def oci_registry(**settings: Any) -> Iterator[OCITestRegistry]:
    """Run a registry on a free port of 127.0.0.1.

    Args:
        settings: Attributes of :class:`OCITestRegistry`.

    Example:
        >>> with oci_registry() as registry:
        ...     registry.add_blob("models/iris", b"")[:14]
        'sha256:e3b0c44'
    """

    class Handler(_Handler):
        registry: OCITestRegistry

    server = _Server(("127.0.0.1", 0), Handler)
    Handler.registry = OCITestRegistry(f"127.0.0.1:{server.server_port}", **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Handler.registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away early when tests want them to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: OCITestRegistry

    def handle_one(self) -> None:
        """Answer any request."""
        self.registry.requests.append((self.command, self.path, {key.lower(): v for key, v in self.headers.items()}))
        if self.registry.intercept is not None and self.registry.intercept(self):
            return
        parts = urlsplit(self.path)
        if parts.path == "/token":
            self._give_token()
        elif not self._is_welcome():
            self._body()
            self._challenge()
        else:
            self._route(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815 - as http.server calls them

    def _route(self, path: str, query: dict[str, str]) -> None:
        match = _PATH.fullmatch(path)
        if match is None:
            self.answer(200 if path == "/v2/" else 404)
        elif match["kind"] == "manifests":
            self._manifest(match["repository"], match["name"])
        elif match["name"].startswith("uploads/"):
            self._upload(match["repository"], match["name"].removeprefix("uploads/"), query)
        else:
            self._blob(match["repository"], match["name"])

    def _manifest(self, repository: str, name: str) -> None:
        if self.command == "PUT":
            digest = self.registry.add_manifest(
                repository, "" if ":" in name else name, self.headers["Content-Type"], self._body()
            )
            self.answer(201, headers={"Docker-Content-Digest": digest})
            return
        found = self.registry.manifests.get(repository, {}).get(name)
        if found is None:
            self.refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
            return
        self.answer(200, found[1], {"Content-Type": found[0], "Docker-Content-Digest": _digest(found[1])})

    def _blob(self, repository: str, digest: str) -> None:
        content = self.registry.blobs.get(repository, {}).get(digest)
        if content is None:
            self.refuse(404, "BLOB_UNKNOWN", "blob unknown to registry")
            return
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked is None:
            self.answer(200, content)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        self.answer(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def _upload(self, repository: str, session: str, query: dict[str, str]) -> None:
        if self.command == "POST":
            self._begin_upload(repository, query)
            return
        received = self.registry.uploads.get(session)
        if received is None:
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
            return
        if self.command in {"PUT", "PATCH"}:
            received += self._body()
        if self.command == "PUT":
            self._end_upload(repository, session, query.get("digest", ""))
            return
        location = {"Location": self.path, "Range": f"0-{max(0, len(received) - 1)}"}
        self.answer(202 if self.command == "PATCH" else 204, headers=location)

    def _begin_upload(self, repository: str, query: dict[str, str]) -> None:
        content = self.registry.blobs.get(query.get("from", ""), {}).get(query.get("mount", ""))
        if content is not None:
            self.registry.add_blob(repository, content)
            self.answer(201)
            return
        session = uuid.uuid4().hex
        self.registry.uploads[session] = bytearray()
        self.answer(202, headers={"Location": f"/v2/{repository}/blobs/uploads/{session}?state=x"})

    def _end_upload(self, repository: str, session: str, digest: str) -> None:
        content = bytes(self.registry.uploads.pop(session))
        if _digest(content) != digest:
            self.refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            return
        self.registry.add_blob(repository, content)
        self.answer(201)

    def _is_welcome(self) -> bool:
        wanted = self.registry.credentials
        if wanted is None:
            return True
        shown = f"Bearer {_TOKEN}" if self.registry.wants_token else _basic(wanted)
        return self.headers.get("Authorization") == shown

    def _challenge(self) -> None:
        challenge = 'Basic realm="test"'
        if self.registry.wants_token:
            match = _PATH.fullmatch(urlsplit(self.path).path)
            actions = "pull" if self.command in {"GET", "HEAD"} else "pull,push"
            scope = f',scope="repository:{match["repository"]}:{actions}"' if match is not None else ""
            challenge = f'Bearer realm="http://{self.registry.host}/token",service="test"{scope}'
        self.refuse(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})

    def _give_token(self) -> None:
        wanted = self.registry.credentials
        form = parse_qs(self._body().decode())
        is_known = wanted is not None and (
            self.headers.get("Authorization") == _basic(wanted) or form.get("refresh_token") == [wanted[1]]
        )
        if is_known:
            self.answer(200, json.dumps({"token": _TOKEN, "expires_in": 300}).encode())
        else:
            self.refuse(401, "UNAUTHORIZED", "wrong credentials")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        """Answer with an error as registries tell them."""
        self.answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Answer, with a body unless only the head was asked for."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep no log."""


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _basic(credentials: tuple[str, str]) -> str:
    return f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}"
