"""docker-registry, which speaks the OCI distribution API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ports import free_port
from real_servers.process import answers, find_program, running


@dataclass(frozen=True)
class OCIServer:
    """An OCI registry that is up.

    Attributes:
        host: Its address as it stands in a reference, such as ``127.0.0.1:5000``.
        pid: Its process.
        scheme: ``https`` if it wants TLS.
    """

    host: str
    pid: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Its root."""
        return f"{self.scheme}://{self.host}"


@contextlib.contextmanager
def docker_registry(
    folder: Path, *, htpasswd: str | None = None, certificate: tuple[Path, Path] | None = None
) -> Iterator[OCIServer]:
    """Run docker-registry.

    Args:
        folder: An empty folder.
        htpasswd: Content of a password file, as ``htpasswd -Bbn USER PASSWORD`` prints it; ``None`` asks for none.
        certificate: Files of its certificate and its key; ``None``: it does without TLS.
    """
    program = find_program("docker-registry", "apt-get install -y --no-install-recommends docker-registry")
    port = free_port()
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if certificate is not None:
        http["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": http,
    }
    if htpasswd is not None:
        (folder / "htpasswd").write_text(htpasswd)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(settings))
    command = [program, "serve", str(folder / "config.yml")]
    # One that wants TLS says so, in plain words.
    ready = answers(f"http://127.0.0.1:{port}/v2/")
    with running(command, log=folder / "registry.log", ready=ready, cwd=folder) as process:
        yield OCIServer(f"127.0.0.1:{port}", process.pid, "http" if certificate is None else "https")


def skopeo() -> str:
    """Return the path of skopeo, the client that OCI registries are checked with."""
    return find_program("skopeo", "apt-get install -y --no-install-recommends skopeo")
