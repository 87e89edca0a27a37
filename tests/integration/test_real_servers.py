"""The fixtures themselves: each server answers a client that is not ours."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from real_servers import oci
from real_servers.azure import AzureServer
from real_servers.gcs import GCSServer
from real_servers.oci import OCIServer
from real_servers.postgres import PostgreSQLServer
from real_servers.process import NotInstalled, ServerFailed, find_program, running
from real_servers.s3 import PUBLIC_BUCKET, S3Server
from real_servers.web import WebServer


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as response:
        content: bytes = response.read()
    return content


@pytest.mark.parametrize("name", ["seaweedfs", "moto"])
def test_s3_keeps_what_is_put(name: str, request: pytest.FixtureRequest, bucket_name: str) -> None:
    server: S3Server = request.getfixturevalue(name)
    client = server.client()
    client.create_bucket(Bucket=bucket_name)
    client.put_object(Bucket=bucket_name, Key="a/b c", Body=b"content")

    assert client.get_object(Bucket=bucket_name, Key="a/b c")["Body"].read() == b"content"


def test_seaweedfs_wants_credentials_but_for_the_public_bucket(seaweedfs: S3Server, bucket_name: str) -> None:
    client = seaweedfs.client()
    client.create_bucket(Bucket=bucket_name)
    for bucket in (bucket_name, PUBLIC_BUCKET):
        client.put_object(Bucket=bucket, Key="open", Body=b"content")

    assert read(f"{seaweedfs.url}/{PUBLIC_BUCKET}/open") == b"content"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        read(f"{seaweedfs.url}/{bucket_name}/open")


def test_fake_gcs_makes_buckets(fake_gcs: GCSServer, bucket_name: str) -> None:
    fake_gcs.create_bucket(bucket_name)

    assert bucket_name.encode() in read(f"{fake_gcs.url}/storage/v1/b?project=test")


def test_azurite_makes_containers(azurite: AzureServer, bucket_name: str) -> None:
    azurite.create_bucket(bucket_name)

    with azurite.service() as service:
        assert bucket_name in [container.name for container in service.list_containers()]


def test_nginx_serves_its_folder(nginx: WebServer, bucket_name: str) -> None:
    (nginx.root / bucket_name).write_bytes(b"content")

    assert read(f"{nginx.url}/{bucket_name}") == b"content"


def test_docker_registry_takes_an_image_from_skopeo(
    docker_registry: OCIServer, tmp_path: Path, bucket_name: str, skip_or_fail: Callable[[str], NoReturn]
) -> None:
    try:
        skopeo = oci.skopeo()
    except NotInstalled as error:
        skip_or_fail(str(error))
    digest = write_image(tmp_path)
    target = f"docker://{docker_registry.host}/{bucket_name}:v1"

    command = [skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{tmp_path}", target]
    subprocess.run(command, check=True, capture_output=True)

    assert read(f"{docker_registry.url}/v2/{bucket_name}/blobs/{digest}") == b"{}"


def write_image(folder: Path) -> str:
    """Writes an image without layers; returns the digest of its configuration."""
    media = "application/vnd.oci.image"
    config = write_blob(folder, b"{}", f"{media}.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": f"{media}.manifest.v1+json", "config": config, "layers": []}
    entry = write_blob(folder, json.dumps(manifest).encode(), f"{media}.manifest.v1+json")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return str(config["digest"])


def write_blob(folder: Path, content: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def test_each_postgresql_database_is_new(postgresql_server: PostgreSQLServer, postgresql_url: str) -> None:
    with postgresql_server.database() as other:
        assert other != postgresql_url
        for url in (postgresql_url, other):
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE only_here (n int)")


def test_an_absent_program_names_the_command_that_installs_it() -> None:
    with pytest.raises(NotInstalled, match="no-such-server is not installed: apt-get install no-such-server"):
        find_program("no-such-server", "apt-get install no-such-server")


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('port taken')"]

    with (
        pytest.raises(ServerFailed, match="ended with 1\nport taken"),
        running(command, log=tmp_path / "log", ready=lambda: False),
    ):
        pass
