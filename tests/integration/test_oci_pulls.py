"""Images as skopeo writes them, fetched from docker-registry: formats, packing, passwords, certificates."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import modelreg
from modelreg.exceptions import AccessDenied, StorageUnreachable
from modelreg.storage.oci.reference import parse_reference
from modelreg.storage.oci.registry import OCIRegistry
from modelreg.storageconfig import OCISettings, StorageSettings, TransferSettings
from modelreg.testing.storage_place import pattern_bytes, read_tree
from real_servers.oci import OCIServer, docker_registry

FILES = {"config.json": b"{}", "weights/large.bin": pattern_bytes(20_000_000)}
MODEL = {f"models/{name}": content for name, content in FILES.items()}
MEDIA = "application/vnd.oci.image"
# As htpasswd -Bbn ann secret prints it.
HTPASSWD = "ann:$2y$05$p4Ycn3UjYuDZFXO0bVHZdO.4FicnKo3qLJsdLRdjgCA1knoPr4gRm\n"
Skopeo = Callable[..., str]
TO_PLAIN_HTTP = "--dest-tls-verify=false"


@pytest.fixture
def layout(tmp_path: Path, bucket_name: str) -> Path:
    """A folder with an image for two platforms, of a base's layer and a model's, as tools lay it out."""
    folder = tmp_path / "layout"
    # Each test has layers of its own: in place of one that it has copied before, skopeo takes what it made of that.
    base, model = (
        archive({"etc/passwd": bucket_name.encode(), "models/old": b"of the base"}),
        archive({**MODEL, "models/.wh.old": b"", "of": bucket_name.encode()}),
    )
    manifests = [image(folder, machine, base, model) for machine in ("amd64", "arm64")]
    index = json.dumps({"schemaVersion": 2, "mediaType": f"{MEDIA}.index.v1+json", "manifests": manifests}).encode()
    entry = blob(folder, index, f"{MEDIA}.index.v1+json")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        # The two blocks that end an archive, without the filling up to 10 KiB that skopeo's zstd:chunked leaves out.
        end = archive.offset + 2 * tarfile.BLOCKSIZE
    return buffer.getvalue()[:end]


def image(folder: Path, machine: str, *layers: bytes) -> dict[str, Any]:
    """Writes an image of plain layers; returns what names it in an index."""
    diffs = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    platform = {"os": "linux", "architecture": machine}
    config = json.dumps({**platform, "rootfs": {"type": "layers", "diff_ids": diffs}}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}.manifest.v1+json",
        "config": blob(folder, config, f"{MEDIA}.config.v1+json"),
        "layers": [blob(folder, layer, f"{MEDIA}.layer.v1.tar") for layer in layers],
    }
    return {**blob(folder, json.dumps(manifest).encode(), f"{MEDIA}.manifest.v1+json"), "platform": platform}


def blob(folder: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


@pytest.mark.parametrize(
    "options",
    [
        ("--all",),
        ("--dest-compress-format", "gzip"),
        ("--dest-compress-format", "zstd"),
        ("--dest-compress-format", "zstd:chunked"),
        ("--format", "v2s2"),
    ],
)
def test_an_image_of_skopeo_is_fetched(
    docker_registry: OCIServer, run_skopeo: Skopeo, layout: Path, bucket_name: str, options: tuple[str, ...]
) -> None:
    where = f"{docker_registry.host}/{bucket_name}:1"
    run_skopeo(
        "copy",
        "--override-os=linux",
        "--override-arch=amd64",
        *options,
        TO_PLAIN_HTTP,
        f"oci:{layout}",
        f"docker://{where}",
    )

    assert read_tree(modelreg.fetch(f"oci://{where}")) == FILES


def test_another_platform_of_an_image_is_fetched_where_it_is_asked_for(
    docker_registry: OCIServer, run_skopeo: Skopeo, layout: Path, bucket_name: str
) -> None:
    where = f"{docker_registry.host}/{bucket_name}:1"
    run_skopeo("copy", "--all", TO_PLAIN_HTTP, f"oci:{layout}", f"docker://{where}")

    assert read_tree(modelreg.fetch(f"oci://{where}?platform=linux/arm64")) == FILES


def test_what_skopeo_says_an_image_is_called_is_what_it_is_fetched_by(
    docker_registry: OCIServer, run_skopeo: Skopeo, layout: Path, bucket_name: str
) -> None:
    where = f"{docker_registry.host}/{bucket_name}"
    run_skopeo(
        "copy", "--override-os=linux", "--override-arch=arm64", TO_PLAIN_HTTP, f"oci:{layout}", f"docker://{where}:1"
    )
    digest = run_skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{where}:1").strip()

    path = modelreg.fetch(f"oci://{where}@{digest}")

    assert read_tree(path) == FILES
    assert modelreg.fetch(f"oci://{where}@{digest}", offline=True) == path


class Flaky(io.BytesIO):
    """A file whose reader loses its connection once, in the middle."""

    broken = False

    def read(self, size: int | None = -1) -> bytes:
        if not self.broken and self.tell() > len(self.getvalue()) // 2:
            self.broken = True
            raise ConnectionResetError("the line went dead")
        return super().read(size)


def test_an_upload_that_breaks_off_ends_right_all_the_same(docker_registry: OCIServer, bucket_name: str) -> None:
    content = pattern_bytes(30_000_000)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    reference = parse_reference(f"{docker_registry.host}/{bucket_name}:1")
    with OCIRegistry(reference, settings=StorageSettings(transfer=TransferSettings(backoff_s=0.01))) as registry:
        registry.upload_blob(Flaky(content), digest, len(content))

        assert registry.blob_exists(digest) == len(content)
        assert b"".join(registry.read_blob(digest)) == content


@pytest.fixture(scope="session")
def closed_registry(start: Any) -> OCIServer:
    """A registry that wants a password."""
    server: OCIServer = start(lambda folder: docker_registry(folder, htpasswd=HTPASSWD))
    return server


def test_a_password_of_the_docker_configuration_opens_a_registry(
    closed_registry: OCIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"auth": base64.b64encode(b"ann:secret").decode()}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {closed_registry.host: entry}}))
    uri = f"oci://{closed_registry.host}/models/closed:1"
    source = tmp_path / "model"
    source.mkdir()
    (source / "a").write_bytes(b"1")

    with pytest.raises(AccessDenied, match="docker login"):
        modelreg.push(source, uri)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    modelreg.push(source, uri)

    assert read_tree(modelreg.fetch(uri)) == {"a": b"1"}


@pytest.fixture(scope="session")
def tls_registry(start: Any) -> Iterator[tuple[OCIServer, trustme.CA]]:
    """A registry with a certificate of an authority that nobody knows, and the authority."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")

    @contextlib.contextmanager
    def run(folder: Path) -> Iterator[OCIServer]:
        chain, key = folder / "chain.pem", folder / "key.pem"
        chain.write_bytes(b"".join(one.bytes() for one in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(key)
        with docker_registry(folder, certificate=(chain, key)) as server:
            yield server

    return start(run), authority


def test_a_registry_with_a_certificate_of_ones_own_is_trusted_where_the_settings_say_so(
    tls_registry: tuple[OCIServer, trustme.CA], tmp_path: Path
) -> None:
    server, authority = tls_registry
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    reference = parse_reference(f"{server.host}/models/iris:1")
    once = TransferSettings(attempts=1)

    def registry(ca_bundle: str | None) -> OCIRegistry:
        settings = StorageSettings(ca_bundle=ca_bundle, oci=OCISettings(plain_http=()), transfer=once)
        return OCIRegistry(reference, settings=settings)

    assert registry(str(tmp_path / "ca.pem")).manifest_exists() is None
    with pytest.raises(StorageUnreachable, match="certificate"):
        registry(None).manifest_exists()
