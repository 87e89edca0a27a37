"""Sources that tests fetch from: a web server in this process, folders, and fsspec's memory; and a count of moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import attrs
import pytest

from file_trees import write_tree
from loopback import answering
from modelreg.fetching.misses import Fetcher
from modelreg.storage import download


@attrs.define
class Site:
    """A web server: what lies at each path, the status of every answer that it gave, and the tokens it was sent."""

    url: str = ""
    pages: dict[str, bytes] = attrs.field(factory=dict)
    answers: list[tuple[str, int]] = attrs.field(factory=list)
    refusal: int | None = None
    tokens: list[str] = attrs.field(factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = self.pages.get(handler.path)
        self.tokens += handler.headers.get_all("Authorization", [])
        etag = f'"{hash(content)}"'
        if self.refusal is not None:
            status, content = self.refusal, b""
        elif content is None:
            status, content = 404, b"nothing is here"
        elif handler.headers.get("If-None-Match") == etag:
            status, content = 304, b""
        else:
            status = 200
        self.answers.append((handler.command, status))
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("ETag", etag)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with answering(site.answer) as site.url:
        yield site


@attrs.define
class Counted:
    """A fetcher, and the paths of the files whose bytes it moved, call by call."""

    fetcher: Fetcher
    moves: list[list[str]]


@pytest.fixture
def counted() -> Counted:
    moves: list[list[str]] = []

    def move(backend: Any, jobs: list[Any], **options: Any) -> Iterator[Any]:
        moves.append([file.path for file, _ in jobs])
        return download(backend, jobs, **options)

    return Counted(Fetcher(move=move), moves)


MakeFolder = Callable[[dict[str, bytes]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> MakeFolder:
    """Makes a folder of the given files; called again, one beside it."""

    def make(files: dict[str, bytes]) -> Path:
        return write_tree(tmp_path / f"source-{len([*tmp_path.iterdir()])}", files)

    return make


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's filesystem in memory, empty before and after."""
    from fsspec.implementations.memory import MemoryFileSystem

    filesystem = MemoryFileSystem()
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def read_folder() -> Callable[[Path], dict[str, bytes]]:
    """Returns every file below a folder with its bytes."""
    return contents
