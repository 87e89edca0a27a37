"""A Hugging Face hub on loopback, for tests of what reads ``hf://``: real files, in memory, behind ``HF_ENDPOINT``.

It answers as the hub does, as far as downloads go: revisions, listings by pages, small files by their id in git, large
ones by their sha256 and from another address, gated and private repositories, and its headers for errors.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

import attrs

#: Files of this many bytes and more are kept as large ones: a digest in the listing, the bytes elsewhere.
LARGE_BYTES = 1024

_KINDS = "models|datasets|spaces"
_REPO = r"(?P<repo>[^/]+/[^/]+|[^/]+)"
_API = re.compile(
    rf"/api/(?P<kind>{_KINDS})/{_REPO}/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(?:/(?P<path>.*))?"
)
_REPOSITORY = re.compile(rf"/api/(?P<kind>{_KINDS})/{_REPO}(?P<what>)(?P<revision>)(?P<path>)")
_RESOLVE = re.compile(rf"/(?:(?P<kind>datasets|spaces)/)?{_REPO}/(?P<what>resolve)/(?P<revision>[^/]+)/(?P<path>.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@attrs.define
class HubRepo:
    """One repository.

    Attributes:
        commits: Files by their path, by commit.
        refs: Commits by the names of branches and tags.
        card: What its card says, as the hub tells it.
        gated: Only who shows the hub's token may read it, though all may see that it is there.
        private: Only who shows the hub's token may see that it is there.
    """

    commits: dict[str, dict[str, bytes]] = attrs.field(factory=dict)
    refs: dict[str, str] = attrs.field(factory=dict)
    card: dict[str, object] = attrs.field(factory=dict)
    gated: bool = False
    private: bool = False


@attrs.frozen
class HubRequest:
    """One request that came.

    Attributes:
        method: ``GET``, ``HEAD`` or ``POST``.
        path: Its path and query.
        headers: Its headers, by their names in lower case.
        is_content: It came to the address of large files, not to the hub's own.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    is_content: bool


@attrs.frozen
class HubAnswer:
    """One answer: its status, its headers and its body."""

    status: int
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""


@attrs.define
class LocalHub:
    """A hub and what lies in it.

    Attributes:
        endpoint: Its address, for ``HF_ENDPOINT``.
        content: Address of large files.
        token: The access token that it accepts.
        page_size: Entries in one page of a listing.
        repos: Repositories, by kind and id, such as ``"models/acme/iris"``.
        requests: What it was asked.
        answer: Answers a request in its place; ``None`` where it is to answer itself.
    """

    endpoint: str = ""
    content: str = ""
    token: str = "hf_local"  # noqa: S105 - known to everyone
    page_size: int = 1000
    repos: dict[str, HubRepo] = attrs.field(factory=dict)
    requests: list[HubRequest] = attrs.field(factory=list)
    answer: Callable[[HubRequest], HubAnswer | None] = attrs.field(default=lambda _: None)
    _large: dict[str, bytes] = attrs.field(factory=dict, init=False, repr=False)

    def commit(self, repo: str, files: Mapping[str, bytes | None], *, kind: str = "models", ref: str = "main") -> str:
        """Add a commit to a branch, both made where they are missing, and return its id.

        Args:
            repo: Id of the repository.
            files: Content by path of what changes; ``None`` removes a file.
            kind: ``models``, ``datasets`` or ``spaces``.
            ref: Name of the branch.
        """
        found = self.repos.setdefault(f"{kind}/{repo}", HubRepo())
        now = {**found.commits.get(found.refs.get(ref, ""), {}), **files}
        tree = {path: content for path, content in sorted(now.items()) if content is not None}
        told = [
            f"{kind}/{repo} {len(found.commits)}",
            *(f"{path} {git_oid(content)}" for path, content in tree.items()),
        ]
        commit = hashlib.sha1("\n".join(told).encode(), usedforsecurity=False).hexdigest()
        found.commits[commit] = tree
        self._large |= {_sha256(content): content for content in tree.values() if len(content) >= LARGE_BYTES}
        found.refs[ref] = commit
        return commit

    def answer_to(self, request: HubRequest, body: bytes = b"") -> HubAnswer:
        """Return the answer to a request."""
        self.requests.append(request)
        special = self.answer(request)
        if special is not None:
            return special
        parts = urlsplit(request.path)
        if request.is_content:
            return self._content_of(parts.path.strip("/"), request)
        match = next(filter(None, (kind.fullmatch(parts.path) for kind in (_API, _REPOSITORY, _RESOLVE))), None)
        return _refusal(404, "RepoNotFound") if match is None else self._answer_about(match, request, body)

    def _answer_about(self, match: re.Match[str], request: HubRequest, body: bytes) -> HubAnswer:
        repo = self.repos.get(f"{match['kind'] or 'models'}/{match['repo']}")
        shown = request.headers.get("authorization", "")
        refusal = self._refused(repo, shown)
        if repo is None or refusal is not None:
            return refusal or _refusal(404, "RepoNotFound")
        revision = unquote(match["revision"]) or "main"
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            return _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if match["what"] in {"", "revision"}:
            return _json(_about(match["repo"], commit, repo))
        if repo.gated and not shown:
            return _refusal(401, "GatedRepo", f"Access to model {match['repo']} is restricted")
        return self._answer_at(match, repo.commits[commit], commit, request, body)

    def _answer_at(
        self, match: re.Match[str], files: Mapping[str, bytes], commit: str, request: HubRequest, body: bytes
    ) -> HubAnswer:
        path = unquote(match["path"] or "")
        if match["what"] == "resolve":
            return self._resolved(files, path, commit)
        if match["what"] == "tree":
            return self._page(files, path, request)
        wanted = parse_qs(body.decode()).get("paths", [])
        return _json([entry for entry in _entries(files, "", recursive=True) if entry["path"] in wanted])

    def _refused(self, repo: HubRepo | None, shown: str) -> HubAnswer | None:
        """Return the answer to who may not see the repository, or shows a token that is none."""
        if shown not in {"", f"Bearer {self.token}"}:
            return _refusal(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.private and not shown):
            # As the hub does: who shows no token is not told which of the two it is.
            return _refusal(404, "RepoNotFound") if shown else _refusal(401, "", "Invalid username or password.")
        return None

    def _page(self, files: Mapping[str, bytes], path: str, request: HubRequest) -> HubAnswer:
        at = urlsplit(request.path)
        query = parse_qs(at.query)
        recursive = query.get("recursive", [""])[0].lower() == "true"
        entries = list(_entries(files, path, recursive=recursive))
        if path and not entries:
            return _refusal(404, "EntryNotFound", f"{path} does not exist")
        start = int(query.get("cursor", ["0"])[0])
        end = start + self.page_size
        more = f"{self.endpoint}{at.path}?recursive={str(recursive).lower()}&cursor={end}"
        link = {"Link": f'<{more}>; rel="next"'} if end < len(entries) else {}
        return _json(entries[start:end], link)

    def _resolved(self, files: Mapping[str, bytes], path: str, commit: str) -> HubAnswer:
        content = files.get(path)
        if content is None:
            return _refusal(404, "EntryNotFound", "Entry not found")
        if len(content) < LARGE_BYTES:
            return HubAnswer(200, {"ETag": f'"{git_oid(content)}"', "X-Repo-Commit": commit}, content)
        sha256 = _sha256(content)
        linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": commit}
        return HubAnswer(302, {**linked, "Location": f"{self.content}/{sha256}?Signature=s3cret&name={quote(path)}"})

    def _content_of(self, sha256: str, request: HubRequest) -> HubAnswer:
        content = self._large.get(sha256)
        if content is None:
            return HubAnswer(403, {}, b"the address is no longer signed")
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        if wanted is None:
            return HubAnswer(200, {"Accept-Ranges": "bytes"}, content)
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        return HubAnswer(206, {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1])


@contextmanager
def serve_hub() -> Iterator[LocalHub]:
    """Run an empty hub on loopback, and yield it.

    Example:
        >>> with serve_hub() as hub:
        ...     commit = hub.commit("acme/iris", {"model.onnx": b"weights"})
        >>> len(commit)
        40
    """
    hub = LocalHub()
    servers = [_server(hub, is_content=False), _server(hub, is_content=True)]
    hub.endpoint, hub.content = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    for server in servers:
        # It looks for its end this often, in seconds.
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def git_oid(content: bytes) -> str:
    """Return the id that git gives a file.

    Example:
        >>> git_oid(b"")
        'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


# A large file is told by its digest in every answer about it; a test's files are few.
@functools.lru_cache(maxsize=1024)
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _about(repo: str, commit: str, found: HubRepo) -> dict[str, object]:
    owner, slash, _ = repo.partition("/")
    about: dict[str, object] = {"id": repo, "sha": commit, "private": found.private, "gated": found.gated, "tags": []}
    about["siblings"] = [{"rfilename": path} for path in found.commits[commit]]
    if slash:
        about["author"] = owner
    if found.card:
        about["cardData"] = found.card
    return about


def _entries(files: Mapping[str, bytes], folder: str, *, recursive: bool) -> Iterator[dict[str, object]]:
    """Yield what lies in ``folder``, as a listing says it."""
    seen: set[str] = set()
    prefix = f"{folder}/" if folder else ""
    for path, content in files.items():
        if not path.startswith(prefix):
            continue
        steps = path.removeprefix(prefix).split("/")
        for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
            at = prefix + "/".join(steps[:depth])
            if at not in seen:
                seen.add(at)
                yield {"type": "directory", "path": at, "oid": git_oid(at.encode()), "size": 0}
        if recursive or len(steps) == 1:
            yield _file_entry(path, content)


def _file_entry(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if len(content) >= LARGE_BYTES:
        sha256 = _sha256(content)
        # What git keeps in its place is a few lines that point to it.
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
        entry["oid"] = git_oid(pointer)
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": len(pointer)}
    return entry


def _json(document: object, headers: dict[str, str] | None = None) -> HubAnswer:
    return HubAnswer(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(document).encode())


def _refusal(status: int, code: str, said: str = "") -> HubAnswer:
    headers = {"X-Error-Code": code, "X-Error-Message": said}
    return HubAnswer(status, {name: value for name, value in headers.items() if value})


class _QuietServer(ThreadingHTTPServer):
    """Says nothing when a client goes away early, as downloads that are given up do."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # as socketserver calls it


def _server(hub: LocalHub, *, is_content: bool) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = hub.answer_to(HubRequest(self.command, self.path, headers, is_content), body)
            told = {**answer.headers, "Content-Length": str(len(answer.body))}
            lines = [f"HTTP/1.1 {answer.status} Answer", *(f"{name}: {value}" for name, value in told.items()), "", ""]
            # In one piece: a second one would wait for the first to be acknowledged.
            self.wfile.write("\r\n".join(lines).encode() + (b"" if self.command == "HEAD" else answer.body))

        do_HEAD = do_POST = do_GET  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what came is in the hub's list of requests."""

    return _QuietServer(("127.0.0.1", 0), Handler)
