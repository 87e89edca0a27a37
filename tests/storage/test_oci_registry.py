"""The client of registries, against a registry in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import attrs
import pytest

from modelreg.exceptions import (
    AccessDenied,
    DigestMismatch,
    InvalidInput,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageRefused,
    StorageUnreachable,
)
from modelreg.storage.oci.manifests import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of
from modelreg.storage.oci.reference import parse_reference
from modelreg.storage.oci.registry import OCIRegistry
from modelreg.storageconfig import OCISettings, StorageSettings, TransferSettings
from modelreg.testing.oci_registry import OCITestRegistry, oci_registry

REPOSITORY = "models/iris"
CONTENT = bytes(range(256)) * 20
FAST = TransferSettings(attempts=3, backoff_s=0.001)
NOTHING = "sha256:" + "0" * 64


@pytest.fixture
def server() -> Iterator[OCITestRegistry]:
    with oci_registry() as server:
        yield server


def client(server: OCITestRegistry, **settings: Any) -> OCIRegistry:
    reference = parse_reference(f"{server.host}/{REPOSITORY}:1")
    return OCIRegistry(reference, settings=StorageSettings(transfer=FAST, oci=OCISettings(**settings)))


def manifest_of(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], **fields}).encode()


@attrs.define
class Once:
    """Answers the first requests that fit by hand, and lets all others through."""

    answer: Any
    method: str
    times: int = 1

    def __call__(self, handler: BaseHTTPRequestHandler) -> bool:
        if handler.command != self.method or not self.times:
            return False
        self.times -= 1
        self.answer(handler)
        return True


def test_a_manifest_is_what_was_stored(server: OCITestRegistry):
    registry = client(server)
    digest = registry.put_manifest("1", OCI_MANIFEST, manifest_of())
    found = registry.manifest()
    assert (found.digest, found.media_type, found.body) == (digest, OCI_MANIFEST, manifest_of())
    assert found.document["layers"] == []
    assert registry.manifest(digest) == found


def test_a_manifest_that_does_not_exist_is_not_found(server: OCITestRegistry):
    with client(server) as registry:
        assert registry.manifest_exists() is None
        with pytest.raises(ObjectNotFound, match=rf"oci://{server.host}/{REPOSITORY}:1 does not exist"):
            registry.manifest()


def test_the_digest_of_a_manifest_is_asked_for_without_its_bytes(server: OCITestRegistry):
    digest = server.add_manifest(REPOSITORY, "1", OCI_MANIFEST, manifest_of())
    assert client(server).manifest_exists() == digest
    assert [method for method, _, _ in server.requests] == ["HEAD"]


def test_a_registry_that_tells_no_digest_is_asked_for_the_manifest(server: OCITestRegistry):
    digest = server.add_manifest(REPOSITORY, "1", OCI_MANIFEST, manifest_of())
    server.intercept = Once(lambda handler: handler.answer(200), "HEAD")
    assert client(server).manifest_exists() == digest


def test_another_manifest_than_was_asked_for_is_refused(server: OCITestRegistry):
    server.manifests[REPOSITORY] = {NOTHING: (OCI_MANIFEST, manifest_of())}
    with pytest.raises(DigestMismatch, match=NOTHING):
        client(server).manifest(NOTHING)


def test_the_manifest_of_a_tag_must_have_the_digest_that_the_registry_tells(server: OCITestRegistry):
    told = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": NOTHING}
    server.intercept = Once(lambda handler: handler.answer(200, manifest_of(), told), "GET")
    with pytest.raises(DigestMismatch):
        client(server).manifest()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "neither an image nor an artifact"),
        (json.dumps({"mediaType": OCI_INDEX, "manifests": [], "layers": []}).encode(), "at once"),
        (json.dumps({"mediaType": OCI_INDEX, "layers": []}).encode(), "is not the"),
        (json.dumps({"mediaType": OCI_MANIFEST}).encode(), "is not the"),
    ],
)
def test_what_is_no_manifest_is_refused(server: OCITestRegistry, body: bytes, why: str):
    server.add_manifest(REPOSITORY, "1", "application/json", body)
    with pytest.raises(StorageError, match=why):
        client(server).manifest()


def test_a_manifest_says_itself_what_it_is(server: OCITestRegistry):
    server.add_manifest(REPOSITORY, "1", "application/json", manifest_of(mediaType=DOCKER_MANIFEST))
    found = client(server).manifest()
    assert (found.media_type, found.is_index) == (DOCKER_MANIFEST, False)


def test_a_manifest_of_gigabytes_is_not_read(server: OCITestRegistry):
    server.add_manifest(REPOSITORY, "1", OCI_MANIFEST, b" " * (5 << 20))
    with pytest.raises(StorageRefused, match="longer than"):
        client(server).manifest()


def test_a_blob_comes_as_it_was_stored(server: OCITestRegistry):
    registry = client(server)
    digest = digest_of(CONTENT)
    assert registry.blob_exists(digest) is None
    registry.upload_blob(io.BytesIO(CONTENT), digest, len(CONTENT))
    assert registry.blob_exists(digest) == len(CONTENT)
    assert b"".join(registry.read_blob(digest)) == CONTENT
    assert registry.blob(digest) == CONTENT


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (100, 50), (5000, None), (0, len(CONTENT))])
def test_a_part_of_a_blob_comes_alone(server: OCITestRegistry, offset: int, length: int | None):
    digest = server.add_blob(REPOSITORY, CONTENT)
    end = len(CONTENT) if length is None else offset + length
    assert b"".join(client(server).read_blob(digest, offset, length)) == CONTENT[offset:end]


def test_a_registry_without_ranges_is_known_by_its_answer(server: OCITestRegistry):
    digest = server.add_blob(REPOSITORY, CONTENT)
    server.intercept = Once(lambda handler: handler.answer(200, CONTENT), "GET")
    registry = client(server)
    with pytest.raises(ObjectChanged, match="range"):
        list(registry.read_blob(digest, 10, 10))
    assert not registry.ranged


def test_a_blob_that_is_not_its_digest_is_refused(server: OCITestRegistry):
    server.blobs[REPOSITORY] = {NOTHING: CONTENT}
    registry = client(server)
    with pytest.raises(DigestMismatch):
        list(registry.read_blob(NOTHING))
    with pytest.raises(DigestMismatch):
        registry.blob(NOTHING)


def test_a_registry_that_does_not_tell_the_size_of_a_blob_is_told_of(server: OCITestRegistry):
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()

    server.intercept = Once(answer, "HEAD")
    with pytest.raises(StorageRefused, match="does not tell the size"):
        client(server).blob_exists(digest_of(CONTENT))


def test_a_mistake_of_the_caller_is_no_failure_of_the_registry(server: OCITestRegistry):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client(server).upload_blob(Broken(CONTENT), digest_of(CONTENT), len(CONTENT))


def test_what_a_registry_says_of_an_error_may_be_anything(server: OCITestRegistry):
    server.intercept = Once(lambda handler: handler.answer(405, b"<html>no</html>"), "GET")
    with pytest.raises(StorageRefused, match="status 405"):
        client(server).manifest()


def test_a_small_blob_is_bounded(server: OCITestRegistry):
    digest = server.add_blob(REPOSITORY, CONTENT)
    with pytest.raises(StorageRefused, match="longer than 100 bytes"):
        client(server).blob(digest, most=100)


def test_a_digest_that_cannot_be_checked_is_not_asked_for(server: OCITestRegistry):
    with pytest.raises(StorageError, match="no sha256"):
        client(server).blob_exists("md5:abc")
    assert server.requests == []


def test_what_is_there_is_not_sent_again(server: OCITestRegistry):
    digest = server.add_blob(REPOSITORY, CONTENT)
    client(server).upload_blob(io.BytesIO(CONTENT), digest, len(CONTENT))
    assert [method for method, _, _ in server.requests] == ["HEAD"]


def test_an_empty_blob_is_stored(server: OCITestRegistry):
    registry = client(server)
    registry.upload_blob(io.BytesIO(), digest_of(b""), 0)
    assert registry.blob_exists(digest_of(b"")) == 0


def test_an_upload_goes_on_where_it_was_cut_off(server: OCITestRegistry):
    content = CONTENT * 1000
    cut = len(content) - 2000

    def keep_half_and_fail(handler: Any) -> None:
        session = handler.path.rpartition("/")[2].partition("?")[0]
        server.uploads[session] += handler.rfile.read(int(handler.headers["Content-Length"]))[:cut]
        handler.refuse(503, "UNAVAILABLE", "come back later")

    server.intercept = Once(keep_half_and_fail, "PATCH")
    client(server).upload_blob(io.BytesIO(content), digest_of(content), len(content))
    assert server.blobs[REPOSITORY][digest_of(content)] == content
    sent = [
        (headers.get("content-range"), headers["content-length"])
        for one, _, headers in server.requests
        if one == "PATCH"
    ]
    assert sent == [(None, str(len(content))), (f"{cut}-{len(content) - 1}", "2000")]


def test_an_upload_of_which_all_had_come_is_only_ended(server: OCITestRegistry):
    content = CONTENT * 1000

    def keep_all_and_fail(handler: Any) -> None:
        session = handler.path.rpartition("/")[2].partition("?")[0]
        server.uploads[session] += handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.refuse(504, "TIMEOUT", "too late")

    server.intercept = Once(keep_all_and_fail, "PATCH")
    client(server).upload_blob(io.BytesIO(content), digest_of(content), len(content))
    assert server.blobs[REPOSITORY][digest_of(content)] == content
    assert len(server.asked("PATCH")) == 1


@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_upload_that_the_registry_has_forgotten_begins_anew(server: OCITestRegistry, status: int):
    def fail(handler: Any) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.refuse(502, "BAD_GATEWAY", "try again")

    put, get = Once(fail, "PUT"), Once(lambda handler: handler.answer(status), "GET")
    server.intercept = lambda handler: put(handler) or get(handler)
    client(server).upload_blob(io.BytesIO(CONTENT), digest_of(CONTENT), len(CONTENT))
    assert server.blobs[REPOSITORY][digest_of(CONTENT)] == CONTENT
    assert len(server.asked("POST")) == 2


def test_an_upload_from_the_middle_of_a_file_sends_the_rest_of_it(server: OCITestRegistry):
    source = io.BytesIO(b"before" + CONTENT)
    source.seek(6)
    client(server).upload_blob(source, digest_of(CONTENT), len(CONTENT))
    assert server.blobs[REPOSITORY][digest_of(CONTENT)] == CONTENT


def test_a_file_that_ends_early_is_not_uploaded(server: OCITestRegistry):
    with pytest.raises(InvalidInput, match="ended 10 bytes early"):
        client(server).upload_blob(io.BytesIO(CONTENT[:-10]), digest_of(CONTENT), len(CONTENT))
    assert server.blobs == {}


def test_other_bytes_than_the_digest_says_are_refused_by_the_registry(server: OCITestRegistry):
    with pytest.raises(StorageRefused, match="DIGEST_INVALID") as caught:
        client(server).upload_blob(io.BytesIO(CONTENT), NOTHING, len(CONTENT))
    assert caught.value.status == 400


def test_a_registry_that_does_not_say_where_to_send_is_told_of(server: OCITestRegistry):
    server.intercept = Once(lambda handler: handler.answer(202), "POST")
    with pytest.raises(StorageRefused, match="did not say where"):
        client(server).upload_blob(io.BytesIO(CONTENT), digest_of(CONTENT), len(CONTENT))


def test_a_blob_of_another_repository_is_mounted(server: OCITestRegistry):
    digest = server.add_blob("models/base", CONTENT)
    registry = client(server)
    assert registry.mount_blob(digest, "models/base")
    assert registry.blob_exists(digest) == len(CONTENT)
    assert not registry.mount_blob(NOTHING, "models/base")


def test_a_manifest_that_is_stored_as_something_else_is_told_of(server: OCITestRegistry):
    told = {"Docker-Content-Digest": NOTHING}

    def answer(handler: Any) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.answer(201, headers=told)

    server.intercept = Once(answer, "PUT")
    with pytest.raises(DigestMismatch):
        client(server).put_manifest("1", OCI_MANIFEST, manifest_of())


def test_a_failure_that_passes_is_tried_again(server: OCITestRegistry):
    digest = server.add_manifest(REPOSITORY, "1", OCI_MANIFEST, manifest_of())
    wait = {"Retry-After": "0"}
    server.intercept = Once(lambda handler: handler.refuse(429, "TOOMANYREQUESTS", "slow down", wait), "GET", times=2)
    assert client(server).manifest().digest == digest


def test_a_failure_that_stays_says_what_the_registry_said(server: OCITestRegistry):
    server.intercept = Once(lambda handler: handler.refuse(503, "UNAVAILABLE", "no disk"), "GET", times=9)
    with pytest.raises(StorageRefused, match="UNAVAILABLE: no disk"):
        client(server).manifest()
    assert len(server.requests) == FAST.attempts


def test_an_answer_that_is_cut_off_is_asked_for_again(server: OCITestRegistry):
    digest = server.add_manifest(REPOSITORY, "1", OCI_MANIFEST, manifest_of())

    def cut_off(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True

    server.intercept = Once(cut_off, "GET")
    assert client(server).manifest().digest == digest


def test_a_registry_that_is_not_there_cannot_be_reached(server: OCITestRegistry):
    reference = parse_reference("127.0.0.1:1/models/iris:1")
    registry = OCIRegistry(reference, settings=StorageSettings(transfer=attrs.evolve(FAST, attempts=1)))
    with pytest.raises(StorageUnreachable):
        registry.manifest()


def test_registries_are_asked_over_tls_unless_they_are_named(server: OCITestRegistry):
    server.add_manifest(REPOSITORY, "1", OCI_MANIFEST, manifest_of())
    reference = parse_reference(f"{server.host}/{REPOSITORY}:1")
    once = attrs.evolve(FAST, attempts=1)
    encrypted = OCIRegistry(reference, settings=StorageSettings(transfer=once, oci=OCISettings(plain_http=())))
    with pytest.raises(StorageError, match="cannot reach"):
        encrypted.manifest()
    named = OCIRegistry(reference, settings=StorageSettings(transfer=once, oci=OCISettings(plain_http=(server.host,))))
    assert named.manifest_exists() is not None


def test_a_blob_that_is_elsewhere_is_fetched_there_without_the_registrys_credentials(server: OCITestRegistry):
    digest = server.add_blob(REPOSITORY, CONTENT)
    server.credentials = ("ann", "secret")
    with oci_registry() as elsewhere:
        elsewhere.add_blob(REPOSITORY, CONTENT)
        target = f"http://{elsewhere.host}/v2/{REPOSITORY}/blobs/{digest}?X-Amz-Signature=abc"

        def redirect(handler: Any) -> bool:
            if "Authorization" not in handler.headers:
                return False
            handler.answer(307, headers={"Location": target})
            return True

        server.intercept = redirect
        registry = client(server, username="ann", password="secret")
        assert b"".join(registry.read_blob(digest, 10, 20)) == CONTENT[10:30]
    assert all("authorization" not in headers for _, _, headers in elsewhere.requests)


def test_a_denied_request_says_how_to_log_in(server: OCITestRegistry):
    server.credentials = ("ann", "secret")
    with pytest.raises(AccessDenied, match=f"docker login {server.host}") as caught:
        client(server).manifest()
    assert "UNAUTHORIZED: authentication required" in str(caught.value)
    assert len(server.requests) == 1
