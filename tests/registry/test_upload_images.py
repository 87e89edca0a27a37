"""upload_artifact_and_register_model with OCIParams: a model becomes an image, and is registered with its digest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import modelreg
from modelreg import ModelRegistry
from modelreg.exceptions import InvalidInput
from modelreg.registry.uploading import upload
from modelreg.storage.oci.layout import ImageLayout
from modelreg.storage.oci.pushing import ImagePusher
from modelreg.storageconfig import TransferSettings
from modelreg.testing.oci_registry import OCITestRegistry, oci_registry
from modelreg.types import ModelArtifact
from modelreg.utils import BackendDefinition, OCIParams


@pytest.fixture
def images() -> Iterator[OCITestRegistry]:
    with oci_registry() as running:
        yield running


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "nested").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"\x00\x01" * 50)
    (folder / "nested" / "README.md").write_text("# inner")
    (folder / "README.md").write_text("# old")
    return folder


def registered(registry: ModelRegistry, source: Path, params: OCIParams | str) -> ModelArtifact:
    registry.upload_artifact_and_register_model("fraud", source, params, "1", "onnx", "1")
    artifact = registry.get_model_artifact("fraud", "1")
    assert artifact is not None
    return artifact


def fetched(artifact: ModelArtifact) -> dict[str, bytes]:
    root = modelreg.fetch(str(artifact.uri), digest=str(artifact.custom_properties["modelreg.digest"]))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_becomes_an_image_that_is_fetched_verified(
    registry: ModelRegistry, images: OCITestRegistry, model_folder: Path
) -> None:
    artifact = registered(registry, model_folder, OCIParams("scratch", f"{images.host}/models/fraud:1"))

    assert artifact.uri == f"oci://{images.host}/models/fraud:1"
    assert fetched(artifact) == {
        "README.md": b"# old",
        "nested/README.md": b"# inner",
        "weights.bin": b"\x00\x01" * 50,
    }


def test_the_card_is_in_the_image_in_place_of_a_file_of_its_name(
    registry: ModelRegistry, images: OCITestRegistry, model_folder: Path, tmp_path: Path
) -> None:
    card = tmp_path / "README.md"
    card.write_text("# new")
    params = OCIParams("scratch", f"{images.host}/models/fraud:1", modelcard=card)

    artifact = registered(registry, model_folder, params)

    assert fetched(artifact)["README.md"] == b"# new"


def test_a_single_file_is_in_the_folder_of_the_image(
    registry: ModelRegistry, images: OCITestRegistry, model_folder: Path
) -> None:
    artifact = registered(registry, model_folder / "weights.bin", OCIParams("scratch", f"{images.host}/fraud:1"))

    assert list(fetched(artifact)) == ["weights.bin"]


def test_an_image_may_be_named_by_its_uri_alone(
    registry: ModelRegistry, images: OCITestRegistry, model_folder: Path
) -> None:
    artifact = registered(registry, model_folder / "weights.bin", f"oci://{images.host}/models/fraud:1")

    assert list(fetched(artifact)) == ["weights.bin"]


def test_the_credentials_are_those_of_the_parameters(
    registry: ModelRegistry, images: OCITestRegistry, model_folder: Path
) -> None:
    images.credentials = ("ann", "s3cret")
    params = OCIParams("scratch", f"{images.host}/fraud:1", oci_username="ann", oci_password="s3cret")

    assert registered(registry, model_folder, params).custom_properties["modelreg.size"] == 112


def test_files_of_runs_go_into_images_as_well(images: OCITestRegistry, model_folder: Path) -> None:
    stored = upload(model_folder, OCIParams("scratch", f"{images.host}/fraud:1"))

    assert (stored.uri, stored.size) == (f"oci://{images.host}/fraud:1", 112)


def test_a_tool_that_is_not_there_is_found_before_anything_is_read(registry: ModelRegistry, tmp_path: Path) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("not available, and used")

    tool = BackendDefinition(is_available=lambda: False, pull=never, push=never)

    with pytest.raises(InvalidInput, match="not available"):
        registered(registry, tmp_path, OCIParams("scratch", "localhost/fraud:1", custom_oci_backend=tool))


def test_what_changes_while_a_tool_moves_it_is_not_registered(registry: ModelRegistry, model_folder: Path) -> None:
    def pull(_base: str, folder: Path) -> None:
        (model_folder / "weights.bin").write_bytes(b"other")
        layout = ImageLayout(folder)
        image = layout.manifest(ImagePusher(layout, settings=TransferSettings()).push_image([], None).digest)
        entry = {"digest": image.digest, "mediaType": image.media_type, "size": len(image.body)}
        layout.set_entries([entry])

    tool = BackendDefinition(is_available=lambda: True, pull=pull, push=lambda *_: None)
    params = OCIParams("base", "localhost/fraud:1", custom_oci_backend=tool)

    with pytest.raises(InvalidInput, match="changed while it was pushed"):
        registered(registry, model_folder, params)

    assert list(registry.get_registered_models()) == []
