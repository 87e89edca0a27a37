"""A stub of the Hugging Face hub on loopback, behind ``HF_ENDPOINT``: one model, one commit, files of a folder.

Headers and body go out in one send: in two, each call would wait for a delayed acknowledgement.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

#: The model's one commit.
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def hub(folder: Path) -> Iterator[str]:
    """Serve ``folder`` as ``o/m``; yield the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(head=True)

        def do_GET(self) -> None:
            self._answer(head=False)

        def _answer(self, *, head: bool) -> None:
            status, content, headers = self._found(unquote(self.path.partition("?")[0]))
            headers["Content-Length"] = str(len(content))
            lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            self.wfile.write("\r\n".join(lines).encode() + (b"" if head else content))

        def _found(self, path: str) -> tuple[int, bytes, dict[str, str]]:
            if path.startswith(("/api/models/o/m/revision/", "/api/models/o/m/tree/")) or path == "/api/models/o/m":
                return 200, self._listing(path), {"Content-Type": "application/json"}
            if "/resolve/" not in path:
                return 404, b"", {}
            content = (folder / path.split("/resolve/", 1)[1].partition("/")[2]).read_bytes()
            tag = hashlib.sha256(content).hexdigest()
            return 200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content))}

        def _listing(self, path: str) -> bytes:
            files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            if "/tree/" in path:
                entries = [{"type": "file", "path": name, "size": (folder / name).stat().st_size} for name in files]
                return json.dumps([{**entry, "oid": "0" * 40} for entry in entries]).encode()
            siblings = [{"rfilename": name} for name in files]
            return json.dumps({"id": "o/m", "sha": COMMIT, "siblings": siblings}).encode()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a benchmark's output is its table."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
