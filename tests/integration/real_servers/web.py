"""nginx, which serves a folder over HTTP with entity tags and ranges."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ports import free_port
from real_servers.process import answers, find_program, running

_CONFIGURATION = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 100000;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body_temp;
    proxy_temp_path {folder}/proxy_temp;
    fastcgi_temp_path {folder}/fastcgi_temp;
    uwsgi_temp_path {folder}/uwsgi_temp;
    scgi_temp_path {folder}/scgi_temp;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location / {{ autoindex on; }}
        location /private/ {{
            auth_basic "private";
            auth_basic_user_file {folder}/htpasswd;
        }}
    }}
}}
"""
#: User and password of ``/private/``; nginx takes a plain password so marked.
PRIVATE_USER, PRIVATE_PASSWORD = "ann", "pass-of-ann"


@dataclass(frozen=True)
class WebServer:
    """An HTTP server that is up.

    Attributes:
        url: Its root.
        root: The folder it serves; what is put there is served at once.
        process: Its process, which a test may kill.
    """

    url: str
    root: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[WebServer]:
    """Run nginx on ``folder/www``; ``/private/`` wants a user and a password."""
    program = find_program("nginx", "apt-get install -y --no-install-recommends nginx-light", folders=["/usr/sbin"])
    root = folder / "www"
    root.mkdir()
    (folder / "htpasswd").write_text(f"{PRIVATE_USER}:{{PLAIN}}{PRIVATE_PASSWORD}\n")
    port = free_port()
    # Its workers would leave root for a user that cannot read a test's folder.
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, root=root, port=port, user=user))
    url = f"http://127.0.0.1:{port}"
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)]
    with running(command, log=folder / "nginx.log", ready=answers(url)) as process:
        yield WebServer(url, root, process)
