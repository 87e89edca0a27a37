"""Credentials of registries: where they are found, and to whom they are shown."""

from __future__ import annotations

import base64
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelreg.exceptions import AccessDenied, InvalidInput, StorageError, StorageRefused
from modelreg.storage.oci.auth import Authorizer, Credential, find_credential
from modelreg.storage.oci.manifests import OCI_MANIFEST
from modelreg.storage.oci.reference import parse_reference
from modelreg.storage.oci.registry import OCIRegistry
from modelreg.storageconfig import OCISettings, StorageSettings, TransferSettings
from modelreg.testing.oci_registry import OCITestRegistry, oci_registry

MANIFEST = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}
ANN = ("ann", "pass:word")
ENTRY = {"auth": base64.b64encode(b"ann:pass:word").decode()}
SCOPES = ("repository:team/iris:pull",)


def found(config: Any, text: str = "quay.io/team/iris:1", **settings: Any) -> Credential | None:
    document = config if isinstance(config, str) else json.dumps(config)
    return find_credential(parse_reference(text), OCISettings(auth_config=document, auth_files=(), **settings))


@pytest.mark.parametrize(
    ("key", "reference"),
    [
        ("quay.io", "quay.io/team/iris"),
        ("https://quay.io", "quay.io/team/iris"),
        ("https://Quay.io/v2/", "quay.io/team/iris"),
        ("quay.io/team", "quay.io/team/iris"),
        ("quay.io/team/iris", "quay.io/team/iris"),
        ("127.0.0.1:5000", "127.0.0.1:5000/iris"),
        ("https://index.docker.io/v1/", "busybox"),
        ("docker.io", "team/iris"),
    ],
)
def test_the_entry_of_a_registry_is_found_in_every_spelling(key: str, reference: str):
    assert found({"auths": {key: ENTRY}}, reference) == Credential(*ANN)


def test_the_entry_of_a_repository_comes_before_that_of_its_registry():
    other = {"username": "bob", "password": "else"}
    config = {"auths": {"quay.io": ENTRY, "quay.io/team": other, "quay.io/tea": ENTRY}}
    assert found(config) == Credential("bob", "else")


@pytest.mark.parametrize(
    "config", [{}, {"auths": {"quay.io.evil.example": ENTRY}}, {"auths": {"quay.io": {}}}, {"auths": []}]
)
def test_without_an_entry_nobody_logs_in(config: Any):
    assert found(config) is None


def test_an_identity_token_is_found():
    assert found({"auths": {"quay.io": {"auth": "", "identitytoken": "tok"}}}) == Credential("", "tok")


@pytest.mark.parametrize(
    "config",
    [
        "{not json: pass:word}",
        "[]",
        {"auths": {"quay.io": {"auth": "cGFzcw=="}}},
        {"auths": {"quay.io": {"auth": "/w"}}},
    ],
)
def test_a_malformed_file_is_told_of_without_what_is_in_it(config: Any):
    with pytest.raises(InvalidInput) as caught:
        found(config)
    assert "pass:word" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_name_and_a_password_come_before_all_files():
    assert found({"auths": {"quay.io": ENTRY}}, username="bob", password="x") == Credential("bob", "x")


def test_files_are_looked_through_in_order(tmp_path: Path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"auths": {"ghcr.io": ENTRY}}))
    second.write_text(json.dumps({"auths": {"quay.io": ENTRY}}))
    files = (str(tmp_path / "none.json"), str(first), str(second))
    assert find_credential(parse_reference("quay.io/x"), OCISettings(auth_files=files)) == Credential(*ANN)


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="cannot be read"):
        find_credential(parse_reference("quay.io/x"), OCISettings(auth_files=(str(tmp_path / "config.json"),)))


def test_the_environment_says_where_the_file_is(tmp_path: Path):
    assert OCISettings.from_env({"REGISTRY_AUTH_FILE": "a.json", "DOCKER_CONFIG": "b"}).auth_files == ("a.json",)
    [file] = OCISettings.from_env({"DOCKER_CONFIG": str(tmp_path)}).auth_files
    assert Path(file) == tmp_path / "config.json"
    standard = OCISettings.from_env({"XDG_RUNTIME_DIR": "/run/user/1"}).auth_files
    assert standard[0] == "/run/user/1/containers/auth.json"
    assert standard[-1] == "~/.docker/config.json"
    assert "registry.lan:5000" in OCISettings.from_env({"MODELREG_OCI_PLAIN_HTTP": "a, Registry.lan:5000"}).plain_http


def test_no_password_is_shown():
    shown = repr(Credential(*ANN)) + repr(OCISettings(username="ann", password="pass:word", auth_config="pass:word"))
    assert "pass:word" not in shown


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a credential helper that does what a script says."""
    if sys.platform == "win32":
        pytest.skip("helpers are scripts here")

    def make(script: str) -> None:
        program = tmp_path / "docker-credential-test"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    return make


def test_a_helper_is_asked_for_its_registry(helper: Any):
    helper("""read host; printf '{"ServerURL":"%s","Username":"ann","Secret":"of %s"}' "$host" "$host" """)
    config = {"credHelpers": {"quay.io": "test"}, "auths": {"ghcr.io": ENTRY}}
    assert found(config) == Credential("ann", "of quay.io")
    assert found(config, "ghcr.io/iris") == Credential(*ANN)


def test_a_store_is_asked_for_every_registry_by_the_name_it_knows(helper: Any):
    helper("""read host; printf '{"Username":"<token>","Secret":"of %s"}' "$host" """)
    assert found({"credsStore": "test"}, "busybox") == Credential("", "of https://index.docker.io/v1/")


def test_a_helper_that_knows_nothing_leaves_it_to_the_list(helper: Any):
    helper("echo credentials not found in native keychain; exit 1")
    assert found({"credsStore": "test", "auths": {"quay.io": ENTRY}}) == Credential(*ANN)
    helper("""echo '{"Username":"","Secret":""}'""")
    assert found({"credsStore": "test"}) is None


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo the keychain is locked >&2; exit 2", "the keychain is locked"),
        ("exit 3", "status 3"),
        ("exec sleep 9", "0.05"),
    ],
)
def test_a_helper_that_fails_is_told_of(helper: Any, script: str, why: str):
    helper(script)
    with pytest.raises(AccessDenied, match=why):
        found({"credsStore": "test"}, helper_timeout_s=0.05 if "sleep" in script else 60.0)


@pytest.mark.parametrize("name", ["is-not-installed", "../../bin/sh", ""])
def test_a_helper_that_is_none_is_not_run(name: str):
    config = {"credHelpers": {"quay.io": name or "/"}}
    with pytest.raises(AccessDenied, match="not installed"):
        found(config)


def test_a_helper_that_cannot_be_run_is_told_of(helper: Any, tmp_path: Path):
    helper("")
    (tmp_path / "docker-credential-test").write_text("#!/no/such/interpreter\n")
    with pytest.raises(AccessDenied, match="docker-credential-test failed"):
        found({"credsStore": "test"})


@pytest.fixture
def server() -> Iterator[OCITestRegistry]:
    with oci_registry(credentials=ANN) as server:
        server.add_manifest("team/iris", "1", OCI_MANIFEST, MANIFEST)
        yield server


def client(server: OCITestRegistry, entry: dict[str, str] | None = None) -> OCIRegistry:
    config = json.dumps({"auths": {server.host: ENTRY if entry is None else entry}})
    transfer = TransferSettings(attempts=1)
    settings = StorageSettings(oci=OCISettings(auth_config=config, auth_files=()), transfer=transfer)
    return OCIRegistry(parse_reference(f"{server.host}/team/iris:1"), settings=settings)


def test_a_password_is_shown_only_once_it_is_wanted(server: OCITestRegistry):
    registry = client(server)
    registry.manifest()
    registry.manifest()
    assert ["authorization" in headers for _, _, headers in server.requests] == [False, True, True]


def test_a_wrong_password_is_not_tried_twice(server: OCITestRegistry):
    registry = client(server, {"username": "ann", "password": "wrong"})
    with pytest.raises(AccessDenied, match="status 401"):
        registry.manifest()
    assert len(server.requests) == 2


def test_a_token_is_fetched_for_what_is_to_be_done(server: OCITestRegistry):
    server.wants_token = True
    registry = client(server)
    registry.manifest()
    registry.manifest_exists()
    registry.put_manifest("2", OCI_MANIFEST, json.dumps(MANIFEST).encode())
    pull, push = server.asked("GET", "/token")
    assert pull == "/token?service=test&scope=repository%3Ateam%2Firis%3Apull"
    assert push.endswith("%3Apull%2Cpush")


def test_what_a_registry_asks_for_besides_is_asked_for(server: OCITestRegistry):
    server.wants_token = True

    def answer(handler: Any) -> bool:
        if "manifests" not in handler.path or "Authorization" in handler.headers:
            return False
        challenge = f'Bearer realm="http://{server.host}/token",scope="repository:team/iris:pull aud:x"'
        handler.answer(401, headers={"WWW-Authenticate": challenge})
        return True

    server.intercept = answer
    client(server).manifest()
    assert server.asked("GET", "/token") == ["/token?scope=aud%3Ax&scope=repository%3Ateam%2Firis%3Apull"]


def test_an_identity_token_is_exchanged(server: OCITestRegistry):
    server.wants_token = True
    client(server, {"identitytoken": "pass:word"}).manifest()
    assert server.asked("POST") == ["/token"]


def test_a_token_that_was_taken_back_is_fetched_anew(server: OCITestRegistry):
    server.wants_token = True
    registry = client(server)
    registry.manifest()
    refused = []

    def refuse_once(handler: Any) -> bool:
        if refused or "manifests" not in handler.path:
            return False
        refused.append(handler.path)
        handler._challenge()
        return True

    server.intercept = refuse_once
    registry.manifest()
    assert len(server.asked("GET", "/token")) == 2


def test_credentials_that_give_no_token_are_told_of(server: OCITestRegistry):
    server.wants_token = True
    with pytest.raises(AccessDenied, match="does not take the credentials"):
        client(server, {"username": "ann", "password": "wrong"}).manifest()


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"no json", b'{"token": "a\\nb"}', b'{"token": 1}', b'{"token":"a","expires_in":"x"}']
)
def test_what_is_no_token_is_not_used(server: OCITestRegistry, body: bytes):
    server.wants_token = True

    def answer(handler: Any) -> bool:
        if handler.path.startswith("/token"):
            handler.answer(200, body)
        return handler.path.startswith("/token")

    server.intercept = answer
    with pytest.raises(StorageError, match="something else was answered"):
        client(server).manifest()


def test_a_token_service_that_fails_is_told_of(server: OCITestRegistry):
    server.wants_token = True

    def answer(handler: Any) -> bool:
        if handler.path.startswith("/token"):
            handler.answer(500)
        return handler.path.startswith("/token")

    server.intercept = answer
    with pytest.raises(StorageRefused, match="a token of"):
        client(server).manifest()


def test_a_challenge_that_is_not_understood_is_an_end(server: OCITestRegistry):
    def answer(handler: Any) -> bool:
        handler.answer(401, headers={"WWW-Authenticate": "Negotiate"})
        return True

    server.intercept = answer
    with pytest.raises(AccessDenied):
        client(server).manifest()
    assert len(server.requests) == 1


def test_a_token_service_does_not_pass_the_password_on(server: OCITestRegistry):
    server.wants_token = True
    with oci_registry(credentials=("no", "body"), wants_token=True) as other:

        def redirect(handler: Any) -> bool:
            if handler.path.startswith("/token"):
                handler.answer(302, headers={"Location": f"http://{other.host}/token"})
            return handler.path.startswith("/token")

        server.intercept = redirect
        with pytest.raises(AccessDenied):
            client(server).manifest()
    assert [path for _, path, _ in other.requests] == ["/token"]
    assert all("authorization" not in headers for _, _, headers in other.requests)


def authorizer(reference: str, *, plain_http: bool = False) -> Authorizer:
    def send(*asked: Any) -> Any:
        pytest.fail(f"{asked} was sent")

    settings = OCISettings(auth_config=json.dumps({"auths": {"quay.io": ENTRY}}), auth_files=())
    return Authorizer(parse_reference(reference), settings=settings, send=send, plain_http=plain_http)


@pytest.mark.parametrize(
    ("realm", "why"),
    [
        ("http://auth.example/token", "not an https address"),
        ("file:///etc/passwd", "not an https address"),
        ("https://169.254.169.254/latest", "platform"),
        ("https://metadata.google.internal/token", "platform"),
    ],
)
def test_a_registry_cannot_have_passwords_sent_anywhere(realm: str, why: str):
    asked = authorizer("quay.io/team/iris")
    assert asked.learn(f'Bearer realm="{realm}"', SCOPES, refused=None)
    with pytest.raises(AccessDenied, match=why):
        asked.header(SCOPES)


def test_a_password_is_not_sent_to_whoever_asks_without_one_to_send():
    asked = authorizer("ghcr.io/team/iris")
    assert not asked.learn('Basic realm="x"', SCOPES, refused=None)
    assert asked.header(SCOPES) is None
