"""Repositories of the Hugging Face hub, on a hub in this process: what is asked, verified, kept and refused."""

from __future__ import annotations

import gzip
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import modelreg
from modelreg.exceptions import (
    AccessDenied,
    DigestMismatch,
    InvalidInput,
    InvalidURI,
    MissingExtra,
    NotCached,
    ObjectChanged,
    ObjectNotFound,
    ReadOnlyStorage,
    StorageError,
    StorageRefused,
    StorageUnreachable,
    TransferStalled,
)
from modelreg.storage import download, open_backend, parse_uri
from modelreg.storage.addresses import check_registry_uri
from modelreg.storage.hub_uri import HubAddress, address_of, hub_uri
from modelreg.storageconfig import HubSettings, StorageSettings, TransferSettings
from modelreg.testing.hub import HubAnswer, LocalHub, serve_hub
from modelreg.testing.storage_contract import FolderContract, Place
from modelreg.testing.storage_place import HOSTILE_NAMES, pattern_bytes, read_tree

FAST = TransferSettings(concurrency=3, part_bytes=100_000, small_bytes=10_000, backoff_s=0.001, attempts=2)
WEIGHTS = pattern_bytes(350_000)
FILES = {"config.json": b"{}", "weights.bin": WEIGHTS, "onnx/model.onnx": b"onnx", "onnx/deep/x": b"x"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def settings(hub: LocalHub, **options: object) -> StorageSettings:
    return StorageSettings(transfer=FAST, hf=HubSettings(endpoint=hub.endpoint, **options))


def arrive(hub: LocalHub, uri: str, folder: Path, **options: object) -> dict[str, bytes]:
    """Return what a transfer brings of ``uri``: content by path."""
    with open_backend(uri, settings=settings(hub, **options)) as backend:
        files = backend.snapshot().files
        jobs = [(file, folder / f"{number}.part") for number, file in enumerate(files)]
        arrived = {one.file.path: one for one in download(backend, jobs)}
    return {path: bytes(one.data) if one.path is None else one.path.read_bytes() for path, one in arrived.items()}


def asked(hub: LocalHub, *, content: bool = False) -> list[str]:
    return [request.path.partition("?")[0] for request in hub.requests if request.is_content == content]


class TestHub(FolderContract):
    """The promises of every storage."""

    @pytest.fixture
    def place(self, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Place:
        hub.commit("acme/iris", {"README.md": b"# Iris"})
        hub.page_size = 100
        hub.repos["models/acme/iris"].gated = True
        monkeypatch.setenv("HF_TOKEN", hub.token)

        @contextmanager
        def denied() -> Iterator[None]:
            with monkeypatch.context() as patch:
                patch.setenv("HF_TOKEN", "hf_wrong")
                yield

        return Place(
            uri="hf://acme/iris",
            put=lambda name, content: hub.commit("acme/iris", {name: content}),
            missing_bucket="hf://acme/absent",
            denied=denied,
            secrets=(hub.token, "hf_wrong", "s3cret"),
            hostile_names=HOSTILE_NAMES,
        )

    @pytest.fixture(autouse=True)
    def what_opens_files(self, request: pytest.FixtureRequest) -> None:
        if "open" in request.node.name or "filesystem" in request.node.name:
            pytest.importorskip("huggingface_hub")


@pytest.mark.parametrize(
    ("uri", "normalised"),
    [
        ("hf://acme/iris", "hf://acme/iris"),
        ("hf://acme/iris/", "hf://acme/iris"),
        ("hf://models/acme/iris@main", "hf://acme/iris"),
        ("hf://acme/iris:v1.0", "hf://acme/iris@v1.0"),
        ("hf://acme/iris@v1.0/onnx/model.onnx", "hf://acme/iris@v1.0/onnx/model.onnx"),
        ("hf://acme/iris@refs/pr/1/onnx", "hf://acme/iris@refs%2Fpr%2F1/onnx"),
        ("hf://acme/iris@refs%2Fpr%2F1", "hf://acme/iris@refs%2Fpr%2F1"),
        ("hf://datasets/acme/flowers@refs/convert/parquet", "hf://datasets/acme/flowers@refs%2Fconvert%2Fparquet"),
        ("hf://acme/iris@a%2Fb/x", "hf://acme/iris@a%2Fb/x"),
        ("hf://gpt2", "hf://gpt2"),
        ("hf://gpt2@main/config.json", "hf://gpt2@main/config.json"),
        ("HF://acme/iris/50% of #1?", "hf://acme/iris/50% of #1?"),
    ],
)
def test_a_uri_has_one_normal_form(uri: str, normalised: str) -> None:
    parsed = parse_uri(uri)

    assert parsed.normalised == normalised
    assert parse_uri(parsed.normalised) == parsed


@given(
    kind=st.sampled_from(["models", "datasets", "spaces"]),
    repo=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?", fullmatch=True),
    revision=st.text(min_size=1),
    path=st.text(),
)
@example(kind="models", repo="datasets", revision="main", path="")
@example(kind="models", repo="gpt2", revision="main", path="config.json")
def test_a_repository_is_what_its_uri_is_read_as(kind: str, repo: str, revision: str, path: str) -> None:
    assume(repo.partition("/")[0] not in {"models", "datasets", "spaces"} or "/" not in repo)
    assume("\0" not in path and revision.isprintable())
    address = HubAddress(kind, repo, revision)

    parsed = parse_uri(hub_uri(address, path).text)

    assert (address_of(parsed), parsed.path) == (address, path)


@pytest.mark.parametrize("uri", ["hf://", "hf:///iris", "hf://acme/ir is", "hf://acme/iris@", "hf://-acme/iris"])
def test_a_uri_that_names_no_repository_is_refused(uri: str) -> None:
    with pytest.raises(InvalidURI, match="no repository"):
        parse_uri(uri)


@pytest.mark.parametrize(
    ("uri", "name"), [("hf://acme/iris@v1", "iris"), ("hf://gpt2", "gpt2"), ("hf://acme/iris/onnx/m.onnx", "m.onnx")]
)
def test_a_repository_is_named_without_its_owner(uri: str, name: str) -> None:
    assert parse_uri(uri).name == name


def test_a_registry_may_name_a_repository_whose_owner_is_called_as_a_host() -> None:
    assert check_registry_uri("hf://metadata/iris").bucket == "metadata/iris"


def test_a_whole_repository_arrives(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", FILES)

    assert arrive(hub, "hf://acme/iris", tmp_path) == FILES


@pytest.mark.parametrize("kind", ["datasets", "spaces"])
def test_other_kinds_of_repositories_arrive(hub: LocalHub, tmp_path: Path, kind: str) -> None:
    hub.commit("acme/iris", FILES, kind=kind)

    assert arrive(hub, f"hf://{kind}/acme/iris/onnx", tmp_path) == {"model.onnx": b"onnx", "deep/x": b"x"}


def test_a_model_without_an_owner_arrives(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("gpt2", FILES)

    assert arrive(hub, "hf://gpt2", tmp_path) == FILES


def test_all_is_read_of_the_commit_that_the_branch_was_at(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", FILES)

    with open_backend("hf://acme/iris", settings=settings(hub)) as backend:
        file = next(one for one in backend.snapshot().files if one.path == "config.json")
        hub.commit("acme/iris", {"config.json": b"{...}"})
        [arrived] = download(backend, [(file, tmp_path / "part")])

    assert arrived.data == b"{}"


@pytest.mark.parametrize("revision", ["dev", "a/b", "refs/pr/1"])
def test_a_revision_is_read_as_it_is_named(hub: LocalHub, tmp_path: Path, revision: str) -> None:
    hub.commit("acme/iris", {"x": b"main"})
    hub.commit("acme/iris", {"x": b"other"}, ref=revision)

    assert arrive(hub, f"hf://acme/iris@{quote(revision, safe='')}", tmp_path) == {"x": b"other"}


def test_a_commit_never_changes_and_is_not_looked_up(hub: LocalHub) -> None:
    commit = hub.commit("acme/iris", FILES)

    with open_backend(f"hf://acme/iris@{commit}", settings=settings(hub)) as backend:
        assert backend.snapshot().immutable
    assert asked(hub) == [f"/api/models/acme/iris/tree/{commit}"]


def test_a_level_is_listed_without_what_is_below_it(hub: LocalHub) -> None:
    hub.commit("acme/iris", FILES)

    with open_backend("hf://acme/iris/onnx", settings=settings(hub)) as backend:
        level = backend.level()

    assert (level.folders, [file.path for file in level.files]) == (("deep",), ["model.onnx"])


def test_a_listing_is_read_to_its_last_page(hub: LocalHub) -> None:
    hub.page_size = 2
    hub.commit("acme/iris", {f"{number}.txt": b"x" for number in range(5)})

    with open_backend("hf://acme/iris", settings=settings(hub)) as backend:
        assert len(backend.snapshot().files) == 5


def test_a_listing_that_goes_on_elsewhere_is_refused(hub: LocalHub) -> None:
    hub.commit("acme/iris", FILES)
    away = {"Link": '<https://elsewhere.example/api>; rel="next"'}
    hub.answer = lambda request: HubAnswer(200, away, b"[]") if "/tree/" in request.path else None

    with (
        open_backend("hf://acme/iris", settings=settings(hub)) as backend,
        pytest.raises(StorageError, match="not the hub"),
    ):
        backend.snapshot()


def test_the_token_goes_to_the_hub_and_not_along_to_the_content(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", FILES)

    arrive(hub, "hf://acme/iris", tmp_path, token=hub.token)

    sent = {(request.is_content, request.headers.get("authorization")) for request in hub.requests}
    assert sent == {(False, f"Bearer {hub.token}"), (True, None)}


@pytest.mark.parametrize("token", ["hf_local", None])
def test_a_netrc_is_not_asked(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hub.commit("acme/iris", FILES)

    arrive(hub, "hf://acme/iris", tmp_path, token=token)

    sent = {request.headers.get("authorization") for request in hub.requests if not request.is_content}
    assert sent == {None if token is None else f"Bearer {token}"}


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", "https://ann:s3cret@hub.example", "https://"])
def test_an_address_that_is_no_hub_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidInput, match="HF_ENDPOINT") as caught:
        open_backend("hf://acme/iris", settings=settings(LocalHub(endpoint=endpoint)))
    assert "s3cret" not in str(caught.value)


def test_the_content_network_is_found_once_for_all_ranges(hub: LocalHub, tmp_path: Path) -> None:
    commit = hub.commit("acme/iris", {"weights.bin": WEIGHTS})

    arrive(hub, "hf://acme/iris", tmp_path)

    assert len(asked(hub, content=True)) == 4
    assert asked(hub).count(f"/acme/iris/resolve/{commit}/weights.bin") < 4


def test_an_address_whose_signature_ran_out_is_asked_for_again(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", {"weights.bin": WEIGHTS})
    passes = iter([True, False, True, True, True])
    hub.answer = lambda request: HubAnswer(403) if request.is_content and not next(passes) else None

    with open_backend("hf://acme/iris", settings=settings(hub)) as backend:
        [file] = backend.snapshot().files
        parts = [b"".join(backend.stream(file, start, 1000)) for start in (0, 1000)]

    assert parts == [WEIGHTS[:1000], WEIGHTS[1000:2000]]


def test_all_of_a_file_is_asked_for_without_a_range(hub: LocalHub) -> None:
    hub.commit("acme/iris", {"config.json": b"{}", "empty": b""})

    with open_backend("hf://acme/iris", settings=settings(hub)) as backend:
        contents = [b"".join(backend.stream(file, 0, file.size)) for file in backend.snapshot().files]

    assert contents == [b"{}", b""]
    assert not any("range" in request.headers for request in hub.requests)


def test_a_packed_answer_is_unpacked(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", {"config.json": b"{}"})
    packed = HubAnswer(200, {"Content-Encoding": "gzip"}, gzip.compress(b"{}"))
    hub.answer = lambda request: packed if "/resolve/" in request.path else None

    assert arrive(hub, "hf://acme/iris", tmp_path) == {"config.json": b"{}"}


def test_a_hub_that_ignores_ranges_is_read_from_the_start(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", {"weights.bin": WEIGHTS})
    hub.answer = lambda request: HubAnswer(200, {}, WEIGHTS) if request.is_content else None

    assert arrive(hub, "hf://acme/iris", tmp_path) == {"weights.bin": WEIGHTS}


def test_large_content_that_is_not_what_was_listed_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", {"weights.bin": WEIGHTS[:5000]})
    hub.answer = lambda request: HubAnswer(200, {}, WEIGHTS[1:5001]) if request.is_content else None

    with pytest.raises(DigestMismatch, match=r"weights\.bin"):
        arrive(hub, "hf://acme/iris", tmp_path)


def test_small_content_that_is_not_what_was_listed_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", {"config.json": b"{}"})
    hub.answer = lambda request: HubAnswer(200, {}, b"[]") if "/resolve/" in request.path else None

    with pytest.raises(ObjectChanged, match=r"hf://acme/iris@\w+/config\.json"):
        arrive(hub, "hf://acme/iris", tmp_path)


@pytest.mark.parametrize(
    ("uri", "token", "said"),
    [
        ("hf://acme/absent", None, r"NotFound: .* does not exist, or is private \(.*set HF_TOKEN"),
        ("hf://acme/absent", "hf_local", r"NotFound: .* or is private \(.*the token's account may see it"),
        ("hf://acme/secret", None, r"NotFound: .*acme/secret does not exist, or is private"),
        ("hf://acme/gated", None, r"AccessDenied: .*gated is gated: .*\(ask for access on .*/gated, and set HF_TOKEN"),
        ("hf://acme/iris@v9", None, r"NotFound: .* no revision 'v9' \(name a branch"),
        ("hf://acme/iris", "hf_wrong", r"AccessDenied: .* does not accept the access token \(set HF_TOKEN"),
    ],
)
def test_what_is_wrong_is_said_with_the_next_step(
    hub: LocalHub, tmp_path: Path, uri: str, token: str | None, said: str
) -> None:
    for name in ("iris", "gated", "secret"):
        hub.commit(f"acme/{name}", FILES)
    hub.repos["models/acme/gated"].gated = True
    hub.repos["models/acme/secret"].private = True

    with pytest.raises((AccessDenied, ObjectNotFound)) as caught:
        arrive(hub, uri, tmp_path, token=token)
    assert re.search(said, f"{type(caught.value).__name__}: {caught.value}")
    assert token is None or token not in str(caught.value)


def test_a_token_without_access_to_a_gated_repository_is_told_to_ask(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", FILES)
    gated = HubAnswer(403, {"X-Error-Code": "GatedRepo"})
    hub.answer = lambda request: gated if "/tree/" in request.path else None

    with pytest.raises(AccessDenied, match=r"with the account of the token"):
        arrive(hub, "hf://acme/iris", tmp_path, token=hub.token)


@pytest.mark.parametrize("token", ["hf_local", None])
def test_gated_and_private_repositories_arrive_with_the_token_alone(
    hub: LocalHub, tmp_path: Path, token: str | None
) -> None:
    hub.commit("acme/iris", {"x": b"x"})
    hub.repos["models/acme/iris"].private = token is not None

    assert arrive(hub, "hf://acme/iris", tmp_path, token=token) == {"x": b"x"}


def test_a_file_that_is_gone_when_it_is_read_is_said(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("acme/iris", {"config.json": b"{}"})
    gone = HubAnswer(404, {"X-Error-Code": "EntryNotFound"})
    hub.answer = lambda request: gone if "/resolve/" in request.path else None

    with pytest.raises(ObjectNotFound, match="no such file"):
        arrive(hub, "hf://acme/iris", tmp_path)


@pytest.mark.parametrize(
    "answer",
    [
        HubAnswer(200, {}, b"<html>Log in"),
        HubAnswer(200, {}, b'{"sha": "main"}'),
        HubAnswer(200, {}, b"[]"),
    ],
    ids=["page", "no-commit", "list"],
)
def test_what_is_no_hub_is_said(hub: LocalHub, tmp_path: Path, answer: HubAnswer) -> None:
    hub.answer = lambda _: answer

    with pytest.raises(StorageError, match="HF_ENDPOINT"):
        arrive(hub, "hf://acme/iris", tmp_path)


@pytest.mark.parametrize("listing", [b"{}x", b"7", b'["a"]', b'[{"type": "file"}]'])
def test_what_is_no_listing_is_said(hub: LocalHub, tmp_path: Path, listing: bytes) -> None:
    hub.commit("acme/iris", FILES)
    hub.answer = lambda request: HubAnswer(200, {}, listing) if "/tree/" in request.path else None

    with pytest.raises(StorageError, match="HF_ENDPOINT"):
        arrive(hub, "hf://acme/iris", tmp_path)


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {"RateLimit": '"api";r=0;t=0'}, {}])
def test_a_hub_that_is_busy_is_asked_again(hub: LocalHub, tmp_path: Path, headers: dict[str, str]) -> None:
    hub.commit("acme/iris", FILES)
    refusals = [HubAnswer(429, headers)]
    hub.answer = lambda _: refusals.pop() if refusals else None

    assert arrive(hub, "hf://acme/iris/onnx/deep", tmp_path) == {"x": b"x"}


def test_a_hub_that_stays_busy_is_said_with_its_status(hub: LocalHub, tmp_path: Path) -> None:
    hub.answer = lambda _: HubAnswer(503)

    with pytest.raises(StorageRefused) as caught:
        arrive(hub, "hf://acme/iris", tmp_path)
    assert caught.value.status == 503


def test_a_disabled_repository_is_said(hub: LocalHub, tmp_path: Path) -> None:
    hub.answer = lambda _: HubAnswer(403, {"X-Error-Message": "Access to this resource is disabled."})

    with pytest.raises(AccessDenied, match="disabled"):
        arrive(hub, "hf://acme/iris", tmp_path)


def test_silence_is_given_up(hub: LocalHub, tmp_path: Path) -> None:
    release = threading.Event()
    hub.answer = lambda _: release.wait(20) and None
    impatient = attrs.evolve(settings(hub), transfer=attrs.evolve(FAST, stall_timeout_s=0.2, attempts=1))

    try:
        with open_backend("hf://acme/iris", settings=impatient) as backend, pytest.raises(TransferStalled):
            backend.snapshot()
    finally:
        release.set()


def test_the_hub_is_not_written(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"content")

    with pytest.raises(ReadOnlyStorage, match="hf upload acme/iris"):
        modelreg.push(tmp_path, "hf://acme/iris")
    assert hub.requests == []


def test_files_are_opened_with_the_hubs_own_client_where_it_is_installed(hub: LocalHub) -> None:
    hub.commit("acme/iris", FILES)
    if find_spec("huggingface_hub") is None:
        with pytest.raises(MissingExtra, match=r"modelreg\[hf\]"):
            modelreg.open("hf://acme/iris/config.json")
        return

    with modelreg.open("hf://acme/iris/config.json") as file:
        assert file.read() == b"{}"


def test_what_one_downloads_as_with_kserve_arrives(hub: LocalHub, tmp_path: Path) -> None:
    commit = hub.commit("acme/iris", FILES)

    modelreg.storage.Storage.download(f"hf://acme/iris:{commit}", str(tmp_path), ignore_patterns=["onnx/*"])

    assert read_tree(tmp_path) == {"config.json": b"{}", "weights.bin": WEIGHTS}


def test_nobody_there_is_said(tmp_path: Path) -> None:
    nobody = LocalHub(endpoint="http://127.0.0.1:9")

    with pytest.raises(StorageUnreachable):
        arrive(nobody, "hf://acme/iris", tmp_path)


def test_a_fetch_keeps_large_files_under_the_digest_that_the_hub_lists(hub: LocalHub) -> None:
    hub.commit("acme/iris", FILES)
    hub.commit("acme/other", {"copy.bin": WEIGHTS})
    modelreg.fetch("hf://acme/iris")
    hub.requests.clear()

    path = modelreg.fetch("hf://acme/other")

    assert read_tree(path) == {"copy.bin": WEIGHTS}
    assert asked(hub, content=True) == []


def test_a_new_commit_moves_what_it_changed_alone(hub: LocalHub) -> None:
    hub.commit("acme/iris", FILES)
    modelreg.fetch("hf://acme/iris")
    hub.commit("acme/iris", {"config.json": b"[]"})
    hub.requests.clear()

    path = modelreg.fetch("hf://acme/iris")

    assert (path / "config.json").read_bytes() == b"[]"
    assert [one.rpartition("/")[2] for one in asked(hub) if "/resolve/" in one] == ["config.json"]


def test_a_commit_is_fetched_once_and_never_asked_for_again(hub: LocalHub) -> None:
    commit = hub.commit("acme/iris", FILES)
    path = modelreg.fetch(f"hf://acme/iris@{commit}")
    hub.requests.clear()

    assert modelreg.fetch(f"hf://acme/iris@{commit}") == path
    assert hub.requests == []


def test_the_web_address_of_a_file_is_a_file_of_the_hub(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.commit("acme/iris", FILES)
    hub.repos["models/acme/iris"].gated = True
    monkeypatch.setenv("HF_TOKEN", hub.token)
    url = f"{hub.endpoint}/acme/iris/resolve/{commit}/weights.bin"

    assert modelreg.fetch(url).read_bytes() == WEIGHTS
    hub.requests.clear()
    assert modelreg.fetch(url).read_bytes() == WEIGHTS
    assert hub.requests == []


def test_the_page_of_a_file_is_that_file(hub: LocalHub) -> None:
    hub.commit("acme/iris", FILES)

    assert modelreg.fetch(f"{hub.endpoint}/acme/iris/blob/main/onnx/model.onnx").read_bytes() == b"onnx"


def test_other_web_addresses_of_the_hub_are_left_as_they_are(hub: LocalHub) -> None:
    hub.answer = lambda _: HubAnswer(200, {}, b"badge")

    assert modelreg.fetch(f"{hub.endpoint}/front/badge.svg").read_bytes() == b"badge"


def test_offline_a_branch_is_as_it_was_last_seen(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("acme/iris", FILES)
    path = modelreg.fetch("hf://acme/iris")
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert modelreg.fetch("hf://acme/iris") == path
    with pytest.raises(NotCached, match="hf://acme/other"):
        modelreg.fetch("hf://acme/other")
    assert hub.requests == []


def test_offline_the_hub_is_asked_for_nothing(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(StorageUnreachable, match="HF_HUB_OFFLINE"):
        modelreg.fetch("hf://acme/iris", offline=False)


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_the_token_of_the_environment_is_used(variable: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_login")
    found = HubSettings.from_env({variable: "hf_env", "HF_HOME": str(tmp_path)})

    assert found.read_token() == "hf_env"
    assert "hf_env" not in repr(found)


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_TOKEN_PATH", "XDG_CACHE_HOME"])
def test_the_token_of_a_login_is_found(variable: str, tmp_path: Path) -> None:
    path = tmp_path / "huggingface" / "token"
    path.parent.mkdir()
    path.write_text("hf_login\n")
    value = {"HF_HOME": path.parent, "HF_TOKEN_PATH": path, "XDG_CACHE_HOME": tmp_path}[variable]

    assert HubSettings.from_env({variable: str(value)}).read_token() == "hf_login"


def test_no_token_is_sent_where_the_environment_says_so(tmp_path: Path) -> None:
    assert HubSettings.from_env({"HF_TOKEN": "hf_env", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}).read_token() is None
    assert HubSettings.from_env({"HF_HOME": str(tmp_path)}).read_token() is None
    assert HubSettings().read_token() is None


def test_a_login_that_cannot_be_read_is_said_without_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"hf_s3cret\xff")

    for path in (tmp_path, tmp_path / "token"):
        with pytest.raises(InvalidInput, match="access token") as caught:
            HubSettings(token_path=str(path)).read_token()
        assert "s3cret" not in repr(caught.value) + repr(caught.value.__cause__)


def test_no_token_is_logged(hub: LocalHub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.commit("acme/iris", FILES)
    with caplog.at_level(logging.DEBUG):
        arrive(hub, "hf://acme/iris", tmp_path, token=hub.token)

    assert hub.token not in caplog.text
