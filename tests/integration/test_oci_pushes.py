"""Images that modelreg pushes to docker-registry, as skopeo, oras and KServe's own download see them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import modelreg
from file_trees import write_tree
from modelreg.testing.storage_place import read_tree
from modelreg.utils import BackendDefinition, save_to_oci_registry
from real_servers.oci import OCIServer

FILES = {"config.json": b"{}", "weights/large.bin": b"0123456789abcdef" * (1 << 20), "empty": b""}
# What KServe's storage initializer runs.
KSERVE_DOWNLOAD = "import sys; from kserve_storage import Storage; Storage.download(sys.argv[1], sys.argv[2])"
# KServe's package brings the client.
ORAS_PULL = """
import sys; from oras.client import OrasClient
OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])
"""
Skopeo = Callable[..., str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model."""
    return write_tree(tmp_path / "model", FILES)


@pytest.fixture
def base(docker_registry: OCIServer, run_skopeo: Skopeo, tmp_path: Path) -> str:
    """A base image in the form of Docker, put into the registry by skopeo."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "note.txt").write_text("from the base")
    save_to_oci_registry("scratch", f"{docker_registry.host}/bases/oci:1", tmp_path / "root")
    run_skopeo(
        *("copy", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false"),
        *(f"docker://{docker_registry.host}/bases/oci:1", f"docker://{docker_registry.host}/bases/docker:1"),
    )
    return f"{docker_registry.host}/bases/docker:1"


def test_skopeo_inspects_and_copies_an_image(
    docker_registry: OCIServer, run_skopeo: Skopeo, model: Path, tmp_path: Path
) -> None:
    reference = f"docker://{docker_registry.host}/push/image:1"

    modelreg.push(model, f"oci://{docker_registry.host}/push/image:1")

    seen = json.loads(run_skopeo("inspect", "--tls-verify=false", reference))
    assert (seen["Os"], len(seen["Layers"])) == ("linux", 2)
    for architecture in ("amd64", "arm64"):
        config = run_skopeo("--override-arch", architecture, "inspect", "--config", "--tls-verify=false", reference)
        assert json.loads(config)["architecture"] == architecture
    # It verifies every digest, and that the configuration tells of the layers as they are when unpacked.
    run_skopeo("copy", "--all", "--src-tls-verify=false", reference, f"oci:{tmp_path / 'copy'}:1")
    run_skopeo("copy", "--src-tls-verify=false", reference, f"docker-archive:{tmp_path / 'copy.tar'}:copy:1")


def test_skopeo_copies_an_artifact(docker_registry: OCIServer, run_skopeo: Skopeo, model: Path, tmp_path: Path) -> None:
    modelreg.push(model, f"oci://{docker_registry.host}/push/artifact:1?artifact")

    reference = f"docker://{docker_registry.host}/push/artifact:1"
    run_skopeo("copy", "--src-tls-verify=false", reference, f"oci:{tmp_path / 'copy'}:1")


def test_oras_pulls_an_artifact(
    docker_registry: OCIServer, kserve_storage_python: str, model: Path, tmp_path: Path
) -> None:
    modelreg.push(model, f"oci://{docker_registry.host}/push/oras:1?artifact")

    target = tmp_path / "target"
    subprocess.run(
        [kserve_storage_python, "-c", ORAS_PULL, f"{docker_registry.host}/push/oras:1", str(target)],
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert read_tree(target) == FILES


@pytest.mark.parametrize("form", ["", "?artifact"])
def test_what_was_pushed_is_fetched(docker_registry: OCIServer, model: Path, form: str) -> None:
    pushed = modelreg.push(model, f"oci://{docker_registry.host}/push/fetched{len(form)}:1{form}")

    assert read_tree(modelreg.fetch(pushed.uri, digest=pushed.digest)) == FILES


def test_kserve_downloads_an_image_on_a_base_with_a_card(
    docker_registry: OCIServer, kserve_storage_python: str, base: str, model: Path, tmp_path: Path
) -> None:
    card = tmp_path / "README.md"
    card.write_text("# Fraud")
    uri = save_to_oci_registry(base, f"{docker_registry.host}/push/kserve:1", model, modelcard=card)

    target = tmp_path / "target"
    subprocess.run(
        [kserve_storage_python, "-c", KSERVE_DOWNLOAD, uri, str(target)],
        env={"KSERVE_OCI_INSECURE_REGISTRY": "true", "HOME": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert read_tree(target) == {**FILES, "README.md": b"# Fraud", "note.txt": b"from the base"}


def test_skopeo_copies_an_image_on_a_base_of_docker(
    docker_registry: OCIServer, run_skopeo: Skopeo, base: str, model: Path, tmp_path: Path
) -> None:
    uri = save_to_oci_registry(base, f"{docker_registry.host}/push/based:1", model)

    reference = f"docker://{uri.removeprefix('oci://')}"
    run_skopeo("copy", "--src-tls-verify=false", reference, f"docker-archive:{tmp_path / 'copy.tar'}:copy:1")
    assert len(json.loads(run_skopeo("inspect", "--tls-verify=false", reference))["Layers"]) == 3


def test_skopeo_moves_an_image_as_a_backend_of_ones_own(
    docker_registry: OCIServer, run_skopeo: Skopeo, base: str, model: Path
) -> None:
    backend = BackendDefinition(
        is_available=lambda: True,
        pull=lambda image, dest, **_: run_skopeo(
            "copy", "--src-tls-verify=false", f"docker://{image}", f"oci:{dest}:latest"
        ),
        push=lambda src, ref, **_: run_skopeo(
            "copy", "--dest-tls-verify=false", f"oci:{src}:latest", f"docker://{ref}"
        ),
    )

    uri = save_to_oci_registry(base, f"{docker_registry.host}/push/custom:1", model, custom_oci_backend=backend)

    assert read_tree(modelreg.fetch(uri)) == {**FILES, "note.txt": b"from the base"}
