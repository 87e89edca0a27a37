"""Images and artifacts pushed to a folder that holds images, as to a registry's repository."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from file_trees import write_tree
from modelreg.exceptions import (
    DigestMismatch,
    InvalidInput,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
    UnsafeName,
)
from modelreg.storage.model import LocalFile
from modelreg.storage.oci.bases import read_image
from modelreg.storage.oci.images import canonical, empty_image
from modelreg.storage.oci.layers import TAR, TAR_GZIP
from modelreg.storage.oci.layout import ImageLayout
from modelreg.storage.oci.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of
from modelreg.storage.oci.pushing import Base, ImagePusher, PushedImage
from modelreg.storage.transfer import TransferProgress
from modelreg.storageconfig import TransferSettings

SETTINGS = TransferSettings(concurrency=3, backoff_s=0.001)
FILES = {"config.json": b"{}", "sub/weights.bin": b"1234"}


@pytest.fixture
def source(tmp_path: Path) -> list[LocalFile]:
    """The files of a model."""
    return written(tmp_path / "model", FILES)


@pytest.fixture
def layout(tmp_path: Path) -> ImageLayout:
    """An empty folder of images."""
    return ImageLayout(tmp_path / "layout")


def written(folder: Path, contents: dict[str, bytes]) -> list[LocalFile]:
    write_tree(folder, contents)
    return [
        LocalFile(folder / name, name, len(content), (folder / name).stat().st_mtime_ns)
        for name, content in contents.items()
    ]


def pusher(target: Any, **options: Any) -> ImagePusher:
    return ImagePusher(target, settings=SETTINGS, **options)


def document(layout: ImageLayout, reference: str) -> dict[str, Any]:
    return layout.manifest(reference).document


def config_of(layout: ImageLayout, manifest: dict[str, Any]) -> dict[str, Any]:
    return json.loads(layout.blob(manifest["config"]["digest"], most=1 << 20))


def store(layout: ImageLayout, content: bytes) -> dict[str, Any]:
    layout.upload_blob(io.BytesIO(content), digest_of(content), len(content))
    return {"digest": digest_of(content), "size": len(content)}


def stored_image(
    layout: ImageLayout, *, layers: list[dict[str, Any]], config: dict[str, Any], docker: bool = False
) -> dict[str, Any]:
    """Store an image as another tool would have made it; return its descriptor."""
    config_type = (
        "application/vnd.docker.container.image.v1+json" if docker else "application/vnd.oci.image.config.v1+json"
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": {"mediaType": config_type, **store(layout, canonical(config))},
        "layers": layers,
    }
    body = canonical(manifest)
    return {
        "mediaType": manifest["mediaType"],
        "digest": layout.put_manifest(digest_of(body), "", body),
        "size": len(body),
    }


def base_layer(layout: ImageLayout, content: bytes = b"a layer", media_type: str = TAR_GZIP) -> dict[str, Any]:
    return {"mediaType": media_type, **store(layout, content)}


def test_an_image_has_the_files_below_models_for_every_architecture(source: list[LocalFile], layout: ImageLayout):
    pushed = pusher(layout).push_image(source, "1")

    index = document(layout, "1")
    manifests = [document(layout, entry["digest"]) for entry in index["manifests"]]
    [[layer], [other]] = [manifest["layers"] for manifest in manifests]
    with tarfile.open(fileobj=io.BytesIO(layout.blob(layer["digest"], most=1 << 20))) as tar:
        names = [member.name for member in tar if member.isfile()]
    assert layer == other
    assert names == ["models/config.json", "models/sub/weights.bin"]
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    assert [config_of(layout, manifest)["architecture"] for manifest in manifests] == ["amd64", "arm64"]
    assert config_of(layout, manifests[0])["rootfs"]["diff_ids"] == [layer["digest"]]
    assert [file.path for file in pushed.files] == ["config.json", "sub/weights.bin"]
    assert pushed.digest == layout.manifest("1").digest


def test_the_same_files_make_the_same_image(tmp_path: Path):
    pushed = [
        pusher(ImageLayout(tmp_path / f"layout {number}")).push_image(written(tmp_path / f"model {number}", FILES), "1")
        for number in range(2)
    ]

    assert pushed[0] == pushed[1]


def test_an_artifact_has_each_file_as_it_is(source: list[LocalFile], layout: ImageLayout):
    pushed = pusher(layout).push_artifact(source, "1")

    manifest = document(layout, "1")
    assert manifest["artifactType"] == "application/x-mlmodel"
    assert {
        layer["annotations"]["org.opencontainers.image.title"]: layout.blob(layer["digest"], most=99)
        for layer in manifest["layers"]
    } == FILES
    assert layout.blob(manifest["config"]["digest"], most=99) == b"{}"
    assert [f"sha256:{file.sha256}" for file in pushed.files] == [layer["digest"] for layer in manifest["layers"]]


def test_files_with_one_content_are_one_blob(tmp_path: Path, layout: ImageLayout):
    told: list[TransferProgress] = []

    pusher(layout, progress=told.append).push_artifact(written(tmp_path, {"a": b"1", "b": b"1", "c": b""}), "1")

    assert len(document(layout, "1")["layers"]) == 3
    assert told[-1] == TransferProgress(bytes_done=2, bytes_total=2, files_done=3, files_total=3)


def test_an_artifact_of_more_files_than_a_manifest_can_name_is_refused(tmp_path: Path, layout: ImageLayout):
    [file] = written(tmp_path, {"a": b"1"})
    files = [LocalFile(file.path, f"{number:05}{'x' * 200}", 1, file.mtime_ns) for number in range(12000)]

    with pytest.raises(InvalidInput, match="too many files for an artifact"):
        pusher(layout).push_artifact(files, "1")


def test_a_card_is_the_topmost_layer_and_the_manifest_points_at_it(tmp_path: Path, layout: ImageLayout):
    files = written(tmp_path / "model", {**FILES, "README.md": b"# Fraud"})

    pushed = pusher(layout).push_image(files, "1", card=tmp_path / "model" / "README.md")

    manifest = document(layout, document(layout, "1")["manifests"][0]["digest"])
    assert manifest["layers"][-1]["mediaType"] == TAR_GZIP
    assert manifest["annotations"]["io.opendatahub.layers.modelcard"] == manifest["layers"][-1]["digest"]
    assert [file.path for file in pushed.files] == ["README.md", "config.json", "sub/weights.bin"]


def test_a_card_whose_name_another_file_has_by_another_case_is_refused(tmp_path: Path, layout: ImageLayout):
    card = tmp_path / "config.JSON"
    card.write_bytes(b"# Fraud")

    with pytest.raises(UnsafeName):
        pusher(layout).push_image(written(tmp_path / "model", FILES), "1", card=card)


def test_layers_go_on_top_of_a_base_image(source: list[LocalFile], tmp_path: Path, layout: ImageLayout):
    where = ImageLayout(tmp_path / "base")
    base_config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
        "history": [{"created_by": "ADD"}, {"created_by": "CMD", "empty_layer": True}],
    }
    base = base_layer(where)
    entry = stored_image(where, layers=[base], config=base_config)

    pusher(layout).push_image(source, "1", base=Base(read_image(where, entry["digest"]), where))

    manifest = document(layout, "1")
    config = config_of(layout, manifest)
    assert manifest["layers"][0] == base
    assert layout.blob(base["digest"], most=99) == b"a layer"
    assert config["config"] == {"Cmd": ["sh"]}
    assert config["rootfs"]["diff_ids"] == ["sha256:" + "0" * 64, manifest["layers"][1]["digest"]]
    assert [step["created_by"] for step in config["history"]] == ["ADD", "CMD", "modelreg 2 files"]


def test_a_history_that_does_not_tell_of_every_layer_is_left_out(source: list[LocalFile], layout: ImageLayout):
    entry = stored_image(
        layout, layers=[base_layer(layout)], config={"rootfs": {"diff_ids": ["sha256:1"]}, "history": []}
    )

    pusher(layout).push_image(source, "1", base=Base(read_image(layout, entry["digest"]), layout))

    assert "history" not in config_of(layout, document(layout, "1"))


def test_a_base_image_of_docker_becomes_one_of_oci(source: list[LocalFile], layout: ImageLayout):
    layer = base_layer(layout, media_type="application/vnd.docker.image.rootfs.diff.tar.gzip")
    entry = stored_image(layout, layers=[layer], config={"architecture": "amd64", "os": "linux"}, docker=True)
    body = canonical(
        {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [{**entry, "platform": {"os": "linux"}}]}
    )
    layout.put_manifest("base", DOCKER_LIST, body)

    pusher(layout).push_image(source, "1", base=Base(read_image(layout, "base"), layout))

    index = document(layout, "1")
    [listed] = index["manifests"]
    manifest = document(layout, listed["digest"])
    assert (index["mediaType"], listed["mediaType"], manifest["mediaType"]) == (OCI_INDEX, OCI_MANIFEST, OCI_MANIFEST)
    assert listed["platform"] == {"os": "linux"}
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == [TAR_GZIP, TAR]


def test_every_platform_of_a_base_gets_the_layers_and_attestations_are_left_out(
    source: list[LocalFile], layout: ImageLayout
):
    entries = [
        {
            **stored_image(layout, layers=[base_layer(layout)], config={"architecture": architecture, "os": "linux"}),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for architecture in ("amd64", "s390x")
    ]
    attestation = {
        **stored_image(layout, layers=[], config={}),
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [*entries, attestation],
        "annotations": {"a": "b"},
    }
    layout.put_manifest("base", OCI_INDEX, canonical(index))

    pusher(layout).push_image(source, "1", base=Base(read_image(layout, "base"), layout))

    pushed = document(layout, "1")
    assert [entry["platform"]["architecture"] for entry in pushed["manifests"]] == ["amd64", "s390x"]
    assert [len(document(layout, entry["digest"])["layers"]) for entry in pushed["manifests"]] == [2, 2]
    assert pushed["annotations"] == {"a": "b"}


def test_a_base_whose_layer_cannot_be_checked_is_refused(layout: ImageLayout):
    entry = stored_image(layout, layers=[{"mediaType": TAR, "digest": "md5:0", "size": 1}], config={})

    with pytest.raises(StorageError, match="digest cannot be checked"):
        read_image(layout, entry["digest"])


def test_a_base_with_as_many_layers_as_an_image_may_have_is_refused(source: list[LocalFile], layout: ImageLayout):
    entry = stored_image(layout, layers=[base_layer(layout)] * 120, config={})

    with pytest.raises(InvalidInput, match="at most 120 layers"):
        pusher(layout).push_image(source, "1", base=Base(read_image(layout, entry["digest"]), layout))


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        ({"mediaType": OCI_INDEX, "manifests": []}, InvalidInput),
        (
            {"mediaType": OCI_MANIFEST, "config": {"mediaType": "application/vnd.oci.empty.v1+json"}, "layers": []},
            InvalidInput,
        ),
        ({"mediaType": OCI_MANIFEST, "layers": []}, InvalidInput),
        ({"mediaType": OCI_INDEX, "manifests": [1]}, StorageError),
        ({"mediaType": OCI_MANIFEST, "config": {}, "layers": []}, StorageError),
    ],
)
def test_what_is_no_container_image_is_no_base(layout: ImageLayout, manifest: dict[str, Any], error: type[Exception]):
    layout.put_manifest("base", "", canonical(manifest))

    with pytest.raises(error, match="the base image base"):
        read_image(layout, "base")


@pytest.mark.parametrize("content", [b"[]", b"no JSON", b'{"rootfs": []}', b'{"history": {}}'])
def test_a_base_whose_configuration_cannot_be_one_is_refused(layout: ImageLayout, content: bytes):
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", **store(layout, content)}
    layout.put_manifest("base", "", canonical({"mediaType": OCI_MANIFEST, "config": config, "layers": []}))

    with pytest.raises(StorageError, match="the configuration of the base image base is"):
        read_image(layout, "base")


class Elsewhere:
    """A repository that another one's blobs can be mounted from, and whose streams break off at first.

    Args:
        layout: What is in it.
        failures: How often reading a blob fails.
    """

    def __init__(self, layout: ImageLayout, *, failures: int = 0) -> None:
        self.layout = layout
        self.failures = failures

    def manifest(self, reference: str) -> Any:
        return self.layout.manifest(reference)

    def blob(self, digest: str, *, most: int) -> bytes:
        return self.layout.blob(digest, most=most)

    def read_blob(self, digest: str) -> Iterator[bytes]:
        if self.failures:
            self.failures -= 1
            raise StorageUnreachable("reset")
        yield from self.layout.read_blob(digest)


class Recording:
    """A target that notes what it is asked to do.

    Args:
        layout: Where it goes.
    """

    def __init__(self, layout: ImageLayout) -> None:
        self.layout = layout
        self.asked: list[tuple[str, str]] = []

    def blob_exists(self, digest: str) -> int | None:
        return self.layout.blob_exists(digest)

    def upload_blob(self, source: BinaryIO, digest: str, size: int) -> None:
        self.asked.append(("blob", digest))
        self.layout.upload_blob(source, digest, size)

    def mount_blob(self, digest: str, from_repository: str) -> bool:
        self.asked.append(("mount", from_repository))
        return True

    def put_manifest(self, reference: str, media_type: str, body: bytes) -> str:
        self.asked.append(("manifest", reference))
        return self.layout.put_manifest(reference, media_type, body)


def test_a_layer_of_the_base_that_breaks_off_is_copied_again(
    source: list[LocalFile], tmp_path: Path, layout: ImageLayout
):
    where = Elsewhere(ImageLayout(tmp_path / "base"), failures=2)
    base = base_layer(where.layout)
    entry = stored_image(where.layout, layers=[base], config={})

    pusher(layout).push_image(source, "1", base=Base(read_image(where, entry["digest"]), where))

    assert layout.blob(base["digest"], most=99) == b"a layer"


def test_a_layer_of_the_base_that_cannot_be_read_fails_the_push(
    source: list[LocalFile], tmp_path: Path, layout: ImageLayout
):
    where = Elsewhere(ImageLayout(tmp_path / "base"), failures=99)
    entry = stored_image(where.layout, layers=[base_layer(where.layout)], config={})

    with pytest.raises(StorageUnreachable):
        pusher(layout).push_image(source, "1", base=Base(read_image(where, entry["digest"]), where))


def test_layers_of_a_base_in_the_same_registry_are_mounted(
    source: list[LocalFile], tmp_path: Path, layout: ImageLayout
):
    where = ImageLayout(tmp_path / "base")
    base = base_layer(where)
    entry = stored_image(where, layers=[base], config={})
    target = Recording(layout)

    pusher(target).push_image(
        source, "1", base=Base(read_image(where, entry["digest"]), where, mount_from="library/base")
    )

    assert ("mount", "library/base") in target.asked
    assert ("blob", base["digest"]) not in target.asked


def test_layers_that_no_registry_holds_are_not_copied(source: list[LocalFile], tmp_path: Path, layout: ImageLayout):
    where = ImageLayout(tmp_path / "base")
    foreign = {"mediaType": TAR, "digest": digest_of(b"x"), "size": 1, "urls": ["https://example.com/x"]}
    entry = stored_image(where, layers=[foreign], config={})

    pusher(layout).push_image(source, "1", base=Base(read_image(where, entry["digest"]), where))

    assert document(layout, "1")["layers"][0] == foreign


def test_the_tag_moves_after_everything_that_it_names_is_there(source: list[LocalFile], layout: ImageLayout):
    target = Recording(layout)

    pushed = pusher(target).push_image(source, "1")

    kinds = [kind for kind, _ in target.asked]
    assert kinds == sorted(kinds)
    assert target.asked[-1] == ("manifest", "1")
    assert pushed.digest == layout.manifest("1").digest


def test_an_image_without_a_tag_is_known_by_its_digest(source: list[LocalFile], layout: ImageLayout):
    pushed = pusher(layout).push_image(source, None)

    assert layout.entries() == []
    assert layout.manifest(pushed.digest).is_index


def test_progress_is_told_as_bytes_and_files_are_there(tmp_path: Path, layout: ImageLayout):
    told: list[TransferProgress] = []
    files = written(tmp_path / "model", {"large": bytes(20 << 20), "small": b"1"})

    pusher(layout, progress=told.append).push_image(files, "1")

    done = [one.bytes_done for one in told]
    assert len(done) > 10
    assert done == sorted(done)
    assert told[-1] == TransferProgress((20 << 20) + 1, (20 << 20) + 1, 2, 2)


def test_a_push_can_be_cancelled(source: list[LocalFile], layout: ImageLayout):
    cancel = threading.Event()
    cancel.set()

    with pytest.raises(KeyboardInterrupt):
        pusher(layout, cancel=cancel).push_image(source, "1")

    assert layout.entries() == []


def test_a_file_that_changed_since_it_was_found_leaves_nothing_under_the_tag(
    source: list[LocalFile], layout: ImageLayout
):
    source[0].path.write_bytes(b"other")

    with pytest.raises(InvalidInput, match="changed while it was pushed"):
        pusher(layout).push_image(source, "1")

    assert layout.entries() == []


def test_a_tag_names_the_last_image_that_got_it(tmp_path: Path, layout: ImageLayout):
    pushed: list[PushedImage] = [
        pusher(layout).push_artifact(written(tmp_path / str(number), {"a": b"%d" % number}), "1") for number in range(2)
    ]

    assert layout.manifest("1").digest == pushed[1].digest
    assert len(layout.entries()) == 1


def test_an_image_has_no_layers_at_first():
    assert [variant.layers for variant in empty_image().variants] == [[], []]


def test_a_folder_of_something_else_holds_no_images(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(InvalidInput, match="no image layout"):
        ImageLayout(tmp_path)


def test_a_folder_of_images_is_found_again(tmp_path: Path, source: list[LocalFile]):
    pusher(ImageLayout(tmp_path / "here")).push_image(source, "1")

    assert ImageLayout(tmp_path / "here").manifest("1").is_index


@pytest.mark.parametrize("tag", ["1", None])
def test_a_manifest_that_does_not_say_what_it_is_is_what_it_is_listed_as(layout: ImageLayout, tag: str | None):
    body = canonical({"schemaVersion": 2, "config": {}, "layers": []})

    digest = layout.put_manifest(tag or digest_of(body), OCI_MANIFEST, body)

    assert layout.manifest(digest).media_type == OCI_MANIFEST


@pytest.mark.parametrize("index", ["[]", "no JSON", '{"manifests": [{}]}', '{"manifests": [1]}'])
def test_an_index_that_cannot_be_read_is_said(tmp_path: Path, layout: ImageLayout, index: str):
    (tmp_path / "layout" / "index.json").write_text(index)

    with pytest.raises(StorageError, match="no index that can be read"):
        layout.entries()


def test_what_a_folder_does_not_hold_is_not_found(layout: ImageLayout):
    for reference in ("2", f"sha256:{'0' * 64}"):
        with pytest.raises(ObjectNotFound):
            layout.manifest(reference)
    assert layout.blob_exists("../../etc/passwd") is None


def test_a_blob_that_is_not_what_it_is_called_is_not_kept(tmp_path: Path, layout: ImageLayout):
    with pytest.raises(DigestMismatch):
        layout.upload_blob(io.BytesIO(b"x"), digest_of(b"y"), 1)

    assert list((tmp_path / "layout" / "blobs" / "sha256").iterdir()) == []


def test_a_blob_that_was_damaged_is_not_believed(tmp_path: Path, layout: ImageLayout):
    digest = store(layout, b"content")["digest"]
    (tmp_path / "layout" / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(b"CONTENT")

    with pytest.raises(DigestMismatch):
        layout.blob(digest, most=99)


def test_a_folder_of_images_has_no_other_repositories(layout: ImageLayout):
    assert not layout.mount_blob(digest_of(b"x"), "library/base")


def test_a_blob_that_is_too_long_to_be_read_is_not(layout: ImageLayout):
    digest = store(layout, b"content")["digest"]

    with pytest.raises(StorageError, match="longer than 3 bytes"):
        layout.blob(digest, most=3)
