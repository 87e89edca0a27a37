"""Models saved to registries on base images, by modelreg itself and with a tool of the caller's own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from file_trees import write_tree
from modelreg.exceptions import AccessDenied, InvalidInput, InvalidURI, ObjectNotFound, StorageError
from modelreg.storage.oci.images import canonical
from modelreg.storage.oci.layout import ImageLayout
from modelreg.storage.oci.manifests import OCI_INDEX, OCI_MANIFEST, digest_of
from modelreg.storage.oci.modelcars import push_modelcar
from modelreg.storage.uploading import stage
from modelreg.storageconfig import OCISettings, StorageSettings
from modelreg.testing.oci_registry import OCITestRegistry, oci_registry
from modelreg.utils import BackendDefinition, save_to_oci_registry

FILES = {"config.json": b"{}", "sub/weights.bin": b"1234"}


@pytest.fixture
def registry() -> Iterator[OCITestRegistry]:
    """A registry that is open to all and empty."""
    with oci_registry() as running:
        yield running


@pytest.fixture
def closed_registry() -> Iterator[OCITestRegistry]:
    """A registry that wants a password."""
    with oci_registry(credentials=("ann", "s3cret")) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model."""
    return write_tree(tmp_path / "model", FILES)


def add_base(registry: OCITestRegistry, repository: str = "library/base") -> str:
    """Store a base image for two platforms; return the digest of its only layer."""
    layer = registry.add_blob(repository, b"a layer")
    entries = []
    for architecture in ("amd64", "arm64"):
        platform = {"architecture": architecture, "os": "linux"}
        config = canonical({**platform, "rootfs": {"type": "layers", "diff_ids": [layer]}})
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": registry.add_blob(repository, config),
                "size": len(config),
            },
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": 7}],
        }
        body = canonical(manifest)
        registry.add_manifest(repository, "", OCI_MANIFEST, body)
        entries.append({"mediaType": OCI_MANIFEST, "digest": digest_of(body), "size": len(body), "platform": platform})
    registry.add_manifest(
        repository, "1", OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    )
    return layer


def manifests(registry: OCITestRegistry, repository: str, tag: str) -> list[dict[str, Any]]:
    """Return the manifests that a tag's index lists."""
    known = registry.manifests[repository]
    return [json.loads(known[entry["digest"]][1]) for entry in json.loads(known[tag][1])["manifests"]]


def members(registry: OCITestRegistry, repository: str, layer: dict[str, Any]) -> list[str]:
    """Return the names of the files in a layer."""
    with tarfile.open(fileobj=io.BytesIO(registry.blobs[repository][layer["digest"]])) as tar:
        return [member.name for member in tar if member.isfile()]


def test_a_model_is_saved_without_any_base(registry: OCITestRegistry, model: Path):
    uri = save_to_oci_registry("scratch", f"{registry.host}/models/fraud:1", model)

    [manifest, _] = manifests(registry, "models/fraud", "1")
    assert uri == f"oci://{registry.host}/models/fraud:1"
    assert [members(registry, "models/fraud", layer) for layer in manifest["layers"]] == [
        ["models/config.json", "models/sub/weights.bin"]
    ]


def test_a_single_file_is_saved_under_its_name(registry: OCITestRegistry, model: Path):
    save_to_oci_registry("scratch", f"{registry.host}/models/fraud:1", model / "config.json")

    [manifest, _] = manifests(registry, "models/fraud", "1")
    assert members(registry, "models/fraud", manifest["layers"][0]) == ["models/config.json"]


def test_a_base_of_the_same_registry_is_mounted_for_every_platform(registry: OCITestRegistry, model: Path):
    layer = add_base(registry)

    save_to_oci_registry(f"{registry.host}/library/base:1", f"{registry.host}/models/fraud:1", str(model), None, "oras")

    pushed = manifests(registry, "models/fraud", "1")
    assert [len(manifest["layers"]) for manifest in pushed] == [2, 2]
    assert [manifest["layers"][0]["digest"] for manifest in pushed] == [layer, layer]
    assert registry.asked("POST", f"mount={layer}")
    assert not [path for path in registry.asked("GET") if layer in path]


def test_a_base_of_another_registry_is_copied_without_the_password_of_this_one(
    registry: OCITestRegistry, closed_registry: OCITestRegistry, model: Path
):
    layer = add_base(registry)

    save_to_oci_registry(
        f"{registry.host}/library/base:1",
        f"{closed_registry.host}/models/fraud:1",
        model,
        oci_username="ann",
        oci_password="s3cret",
    )

    assert closed_registry.blobs["models/fraud"][layer] == b"a layer"
    assert not [headers for _, _, headers in registry.requests if "authorization" in headers]


def test_a_card_is_found_by_what_the_manifest_says(registry: OCITestRegistry, model: Path, tmp_path: Path):
    card = tmp_path / "README.md"
    card.write_text("# Fraud")

    save_to_oci_registry("scratch", f"{registry.host}/models/fraud:1", model, modelcard=card)

    for manifest in manifests(registry, "models/fraud", "1"):
        assert manifest["annotations"]["io.opendatahub.layers.modelcard"] == manifest["layers"][-1]["digest"]
        assert members(registry, "models/fraud", manifest["layers"][-1]) == ["models/README.md"]


def test_nothing_is_sent_twice(registry: OCITestRegistry, model: Path):
    save_to_oci_registry("scratch", f"{registry.host}/models/fraud:1", model)
    sent = len(registry.asked("POST"))

    save_to_oci_registry("scratch", f"{registry.host}/models/fraud:2", model)

    assert len(registry.asked("POST")) == sent
    assert registry.manifests["models/fraud"]["1"] == registry.manifests["models/fraud"]["2"]


@pytest.mark.parametrize("variable", ["MY_DOCKER_CONFIG", ".dockerconfigjson"])
def test_credentials_come_from_a_variable(
    closed_registry: OCITestRegistry, model: Path, monkeypatch: pytest.MonkeyPatch, variable: str
):
    auth = base64.b64encode(b"ann:s3cret").decode()
    monkeypatch.setenv(variable, json.dumps({"auths": {closed_registry.host: {"auth": auth}}}))
    named = None if variable.startswith(".") else variable

    save_to_oci_registry("scratch", f"{closed_registry.host}/models/fraud:1", model, oci_auth_env_var=named)

    assert "1" in closed_registry.manifests["models/fraud"]


def test_wrong_credentials_are_told_and_not_shown(closed_registry: OCITestRegistry, model: Path):
    with pytest.raises(AccessDenied) as caught:
        save_to_oci_registry(
            "scratch", f"{closed_registry.host}/models/fraud:1", model, oci_username="ann", oci_password="wr0ng"
        )

    assert "wr0ng" not in str(caught.value)


def test_a_variable_that_is_not_set_is_said(model: Path):
    with pytest.raises(InvalidInput, match="'NO_SUCH_VARIABLE'"):
        save_to_oci_registry("scratch", "127.0.0.1:1/fraud:1", model, oci_auth_env_var="NO_SUCH_VARIABLE")


def test_a_backend_that_nobody_knows_is_refused(model: Path):
    with pytest.raises(ValueError, match="no backend 'docker'"):
        save_to_oci_registry("scratch", "127.0.0.1:1/fraud:1", model, backend="docker")


def test_a_model_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="does not exist"):
        save_to_oci_registry("scratch", "127.0.0.1:1/fraud:1", tmp_path / "nowhere")


def test_a_reference_that_cannot_be_read_is_refused(model: Path):
    with pytest.raises(InvalidURI):
        save_to_oci_registry("scratch", "oci://127.0.0.1:1/fraud:1", model)


def test_a_base_that_is_not_there_is_said(registry: OCITestRegistry, model: Path):
    with pytest.raises(ObjectNotFound, match="library/base"):
        save_to_oci_registry(f"{registry.host}/library/base:1", f"{registry.host}/models/fraud:1", model)


def test_files_that_are_not_what_was_staged_are_refused(registry: OCITestRegistry, model: Path):
    staged = stage(model)
    (model / "config.json").write_bytes(b"[]")

    with pytest.raises(InvalidInput, match="changed while it was pushed"):
        push_modelcar(model, f"{registry.host}/models/fraud:1", staged=staged)

    assert "models/fraud" not in registry.manifests


def test_what_was_pushed_is_told_with_its_digests(registry: OCITestRegistry, model: Path):
    pushed = push_modelcar(model, f"{registry.host}/models/fraud:1", staged=stage(model))

    assert [(file.path, file.sha256) for file in pushed] == [
        (name, hashlib.sha256(content).hexdigest()) for name, content in FILES.items()
    ]


class Tool:
    """Moves images as skopeo does, between the registry of one's dreams and a folder.

    Args:
        docker: What is pulled says that it is of Docker's making.
    """

    def __init__(self) -> None:
        self.called: list[tuple[Any, ...]] = []
        self.credentials: list[str] = []

    def definition(self, *, is_available: bool = True) -> BackendDefinition:
        return BackendDefinition(is_available=lambda: is_available, pull=self.pull, push=self.push)

    def pull(self, base: str, dest: Path, **params: str) -> None:
        self.called.append(("pull", base, dest))
        layout = ImageLayout(dest)
        config = canonical({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        layout.upload_blob(io.BytesIO(config), digest_of(config), len(config))
        descriptor = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(config),
            "size": len(config),
        }
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor, "layers": []}
        layout.put_manifest("latest", OCI_MANIFEST, canonical(manifest))
        self._note(params)

    def push(self, src: Path, oci_ref: str, **params: str) -> None:
        layout = ImageLayout(src)
        self.called.append(("push", layout.manifest("latest").document, oci_ref))
        self._note(params)

    def _note(self, params: dict[str, str]) -> None:
        if "authfile" in params:
            self.credentials.append(Path(params["authfile"]).read_text(encoding="utf-8"))


def test_a_tool_of_ones_own_moves_the_image(model: Path, tmp_path: Path):
    tool = Tool()

    uri = save_to_oci_registry(
        "busybox:latest", "quay.io/org/fraud:1", model, tmp_path / "work", "any", None, tool.definition()
    )

    [pulled, (verb, manifest, reference)] = tool.called
    assert pulled == ("pull", "busybox:latest", tmp_path / "work")
    assert (verb, reference, uri) == ("push", "quay.io/org/fraud:1", "oci://quay.io/org/fraud:1")
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar"]
    assert (tmp_path / "work" / "oci-layout").exists()
    assert tool.credentials == []


def test_a_tool_works_in_a_folder_that_is_gone_afterwards(model: Path):
    tool = Tool()

    save_to_oci_registry("busybox", "quay.io/org/fraud:1", model, custom_oci_backend=tool.definition())

    assert not tool.called[0][2].exists()


def test_a_tool_gets_the_credentials_in_a_file(model: Path):
    tool = Tool()

    save_to_oci_registry(
        "busybox",
        "quay.io/org/fraud:1",
        model,
        custom_oci_backend=tool.definition(),
        oci_username="ann",
        oci_password="s3cret",
    )

    auth = base64.b64encode(b"ann:s3cret").decode()
    assert [json.loads(text) for text in tool.credentials] == [{"auths": {"quay.io/org/fraud": {"auth": auth}}}] * 2


def test_a_tool_that_is_not_available_is_refused(model: Path):
    with pytest.raises(ValueError, match="not available"):
        save_to_oci_registry(
            "busybox", "quay.io/org/fraud:1", model, custom_oci_backend=Tool().definition(is_available=False)
        )


def test_what_a_tool_leaves_that_is_no_image_is_refused(model: Path):
    broken = BackendDefinition(
        is_available=lambda: True,
        pull=lambda _base, dest, **_params: (dest / "index.json").write_text("{}"),
        push=lambda *_args, **_params: None,
    )

    with pytest.raises((InvalidInput, StorageError)):
        save_to_oci_registry("busybox", "quay.io/org/fraud:1", model, custom_oci_backend=broken)


def test_a_tool_that_pulls_nothing_pushes_nothing(model: Path):
    pushed: list[object] = []
    idle = BackendDefinition(
        is_available=lambda: True,
        pull=lambda *_args, **_params: None,
        push=lambda *args, **_params: pushed.append(args),
    )

    with pytest.raises(InvalidInput, match="pulled no image"):
        save_to_oci_registry("busybox", "quay.io/org/fraud:1", model, custom_oci_backend=idle)

    assert pushed == []


class TestLogin:
    def test_without_any_the_settings_stay(self):
        assert OCISettings().logged_in(env={}) == OCISettings()
        assert OCISettings().logged_in(username="ann", env={}) == OCISettings()

    def test_a_variable_comes_before_a_password(self):
        found = OCISettings().logged_in(username="ann", password="s3cret", env={".dockerconfigjson": "{}"})

        assert (found.auth_config, found.username) == ("{}", None)

    def test_a_password_is_taken_with_its_user(self):
        found = OCISettings().logged_in(username="ann", password="s3cret", env={})

        assert (found.username, found.password) == ("ann", "s3cret")
        assert "s3cret" not in repr(attrs.evolve(StorageSettings(), oci=found))
