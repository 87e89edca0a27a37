"""``fetch`` of images and artifacts: what their layers make together, verified, and brought once."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import modelreg
from modelreg.cache.store import Cache
from modelreg.cacheconfig import CacheSettings
from modelreg.exceptions import (
    AccessDenied,
    ArchiveError,
    CacheFull,
    DigestMismatch,
    InvalidInput,
    NotCached,
    ObjectNotFound,
    StorageError,
    UnsafeName,
)
from modelreg.fetching.hits import open_cache
from modelreg.storage import open_backend
from modelreg.storage.oci.manifests import OCI_INDEX, OCI_MANIFEST
from modelreg.testing.oci_registry import OCITestRegistry, oci_registry

ReadFolder = Callable[[Path], dict[str, bytes]]
REPOSITORY = "models/iris"
TAR = "application/vnd.oci.image.layer.v1.tar"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
BASE = {"etc/passwd": b"root", "bin/sh": b"\x7fELF", "usr/share/\\weird:name.": b"not ours"}
MODEL = {"models/config.json": b"{}", "models/1/weights.bin": bytes(range(256)) * 1000}
FILES = {"config.json": b"{}", "1/weights.bin": bytes(range(256)) * 1000}


@attrs.frozen
class Layer:
    """One layer: its archive, what it is sent as, and what says so."""

    archive: bytes
    packed: bytes
    kind: str


def plain(content: bytes) -> bytes:
    return content


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def a_layer(
    files: dict[str, bytes | tarfile.TarInfo], pack: Callable[[bytes], bytes] = gzipped, kind: str = "+gzip"
) -> Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.name = name
            if isinstance(content, bytes):
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return Layer(buffer.getvalue(), pack(buffer.getvalue()), TAR + kind)


def a_link(kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, target
    return member


@attrs.frozen
class Registry:
    """A registry, and the images that tests put there."""

    server: OCITestRegistry

    def uri(self, name: str = ":1") -> str:
        return f"oci://{self.server.host}/{REPOSITORY}{name}"

    def image(self, *layers: Layer, tag: str = "1", **config: Any) -> str:
        """Store an image; return its digest."""
        diffs = [f"sha256:{hashlib.sha256(layer.archive).hexdigest()}" for layer in layers]
        body = json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}, **config}).encode()
        return self.manifest(
            [self.blob(layer.packed, layer.kind) for layer in layers], self.blob(body, IMAGE_CONFIG), tag
        )

    def artifact(self, *layers: dict[str, Any], tag: str = "1") -> str:
        """Store an artifact; return its digest."""
        return self.manifest(list(layers), self.blob(b"{}", "application/vnd.oci.empty.v1+json"), tag)

    def manifest(self, layers: Any, config: Any, tag: str = "1") -> str:
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        return self.server.add_manifest(REPOSITORY, tag, OCI_MANIFEST, document)

    def index(self, *manifests: dict[str, Any], tag: str = "1") -> str:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return self.server.add_manifest(REPOSITORY, tag, OCI_INDEX, document)

    def blob(self, content: bytes, kind: str, **annotations: str) -> dict[str, Any]:
        digest = self.server.add_blob(REPOSITORY, content)
        return {"mediaType": kind, "digest": digest, "size": len(content), "annotations": annotations}

    def titled(self, title: str, content: bytes, kind: str = "application/octet-stream", **more: str) -> dict[str, Any]:
        return self.blob(content, kind, **{"org.opencontainers.image.title": title}, **more)

    def bytes_asked_for(self) -> int:
        """Return how many requests for blobs there were, configurations left out."""
        known = self.server.blobs[REPOSITORY]
        return sum(
            1 for path in self.server.asked("GET", "/blobs/") if not known[path.rpartition("/")[2]].startswith(b"{")
        )


@pytest.fixture
def registry() -> Iterator[Registry]:
    with oci_registry() as server:
        yield Registry(server)


@pytest.fixture
def cache() -> Cache:
    return open_cache()


def test_an_image_stands_for_what_it_has_under_models(registry: Registry, read_folder: ReadFolder):
    registry.image(a_layer(BASE), a_layer(MODEL))
    assert read_folder(modelreg.fetch(registry.uri())) == FILES


@pytest.mark.parametrize(("pack", "kind"), [(plain, ""), (gzipped, "+gzip"), (gzipped, ".gzip")])
def test_layers_may_be_packed_or_not(registry: Registry, read_folder: ReadFolder, pack: Any, kind: str):
    registry.image(a_layer(MODEL, pack, kind))
    assert read_folder(modelreg.fetch(registry.uri())) == FILES


def test_layers_packed_with_zstd_may_have_several_frames(registry: Registry, read_folder: ReadFolder):
    zstandard = pytest.importorskip("zstandard")

    def pack(content: bytes) -> bytes:
        skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00note"
        frames = (content[:1000], content[1000:])
        return skippable.join(zstandard.ZstdCompressor().compress(frame) for frame in frames)

    registry.image(a_layer(MODEL, pack, "+zstd"))
    assert read_folder(modelreg.fetch(registry.uri())) == FILES


def test_upper_layers_cover_and_take_away(registry: Registry, read_folder: ReadFolder):
    lower = a_layer({"models/a": b"1", "models/b": b"1", "models/c/d": b"1", "models/e/f": b"1"})
    upper = a_layer({"models/a": b"2", "models/.wh.b": b"", "models/c/.wh..wh..opq": b"", "models/c/g": b"2"})
    registry.image(lower, upper)
    assert read_folder(modelreg.fetch(registry.uri())) == {"a": b"2", "c/g": b"2", "e/f": b"1"}


def test_a_layer_may_take_all_models_away(registry: Registry, read_folder: ReadFolder):
    registry.image(a_layer(MODEL), a_layer({".wh.models": b""}), a_layer({"models/new": b"2"}))
    assert read_folder(modelreg.fetch(registry.uri())) == {"new": b"2"}


def test_links_within_a_layer_are_copies_and_what_may_run_may_run(registry: Registry, read_folder: ReadFolder):
    run = tarfile.TarInfo()
    run.mode = 0o755
    links = {"models/to": a_link(tarfile.SYMTYPE, "1/weights.bin"), "models/abs": a_link(tarfile.SYMTYPE, "/models/to")}
    hard = {"models/hard": a_link(tarfile.LNKTYPE, "models/config.json"), "models/run": run}
    registry.image(a_layer({**MODEL, **links, **hard}))
    path = modelreg.fetch(registry.uri())
    weights = FILES["1/weights.bin"]
    assert read_folder(path) == {**FILES, "to": weights, "abs": weights, "hard": b"{}", "run": b""}
    assert (path / "run").stat().st_mode & 0o100


@pytest.mark.parametrize(
    "hostile",
    [
        {"models/../../escaped": b"x"},
        {"models/a\\b": b"x"},
        {"models/nul": b"x"},
        {"models/to": a_link(tarfile.SYMTYPE, "/etc/passwd"), "etc/passwd": b""},
        {"models/to": a_link(tarfile.SYMTYPE, "../../../../etc/passwd")},
        {"models/to": a_link(tarfile.LNKTYPE, "etc/passwd"), "etc/passwd": b""},
        {"models/pipe": a_link(tarfile.FIFOTYPE, "")},
        {"models/a": b"x", "models/A": b"y"},
        {"models": b"a file"},
    ],
)
def test_hostile_names_and_links_are_refused(registry: Registry, hostile: Any):
    registry.image(a_layer(hostile))
    with pytest.raises(UnsafeName):
        modelreg.fetch(registry.uri())


def test_names_of_two_layers_must_go_together(registry: Registry):
    registry.image(a_layer({"models/a": b"x"}), a_layer({"models/A": b"y"}))
    with pytest.raises(UnsafeName, match="one file on some platforms"):
        modelreg.fetch(registry.uri())


@pytest.mark.parametrize("folder", ["models", "usr"])
def test_an_archive_that_unpacks_without_end_is_refused(registry: Registry, folder: str):
    registry.image(a_layer({f"{folder}/zeros": bytes(70 << 20)}))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        modelreg.fetch(registry.uri())


def test_a_layer_that_is_no_archive_is_refused(registry: Registry):
    registry.image(Layer(b"no archive" * 100, b"no archive" * 100, TAR))
    with pytest.raises(ArchiveError):
        modelreg.fetch(registry.uri())


def test_a_layer_that_is_not_its_digest_is_refused(registry: Registry):
    registry.image(a_layer(MODEL))
    blobs = registry.server.blobs[REPOSITORY]
    [digest] = [one for one, content in blobs.items() if not content.startswith(b"{")]
    blobs[digest] = blobs[digest][:-1] + b"\x01"
    with pytest.raises(DigestMismatch):
        modelreg.fetch(registry.uri())


def test_a_layer_that_holds_another_archive_than_the_image_says_is_refused(registry: Registry):
    layer = a_layer(MODEL)
    registry.image(attrs.evolve(layer, archive=b"another"))
    with pytest.raises(DigestMismatch, match="packed in sha256"):
        modelreg.fetch(registry.uri())
    registry.image(layer, tag="2")
    modelreg.fetch(registry.uri(":2"))
    with pytest.raises(DigestMismatch, match="packed in sha256"):
        modelreg.fetch(registry.uri())


def test_an_image_without_models_says_so(registry: Registry):
    registry.image(a_layer(BASE))
    with pytest.raises(ObjectNotFound, match="no files under /models"):
        modelreg.fetch(registry.uri())


def test_patterns_select_among_the_files_of_all_layers(registry: Registry, read_folder: ReadFolder):
    registry.image(a_layer({"models/a.bin": b"1", "models/b.txt": b"1"}), a_layer({"models/c.bin": b"2"}))
    path = modelreg.fetch(registry.uri(), allow_patterns="*.bin", ignore_patterns="a*")
    assert read_folder(path) == {"c.bin": b"2"}
    with pytest.raises(ObjectNotFound, match="no pattern selects any of the 3 files"):
        modelreg.fetch(registry.uri(), allow_patterns="*.onnx")


def test_a_second_image_brings_only_the_layers_that_are_new(registry: Registry, read_folder: ReadFolder):
    registry.image(a_layer(BASE), a_layer(MODEL))
    modelreg.fetch(registry.uri())
    registry.image(a_layer(BASE), a_layer(MODEL), a_layer({"models/new": b"2"}), tag="2")
    before = registry.bytes_asked_for()
    assert read_folder(modelreg.fetch(registry.uri(":2"))) == {**FILES, "new": b"2"}
    assert registry.bytes_asked_for() == before + 1


def test_a_layer_is_kept_by_what_is_in_it_alone(registry: Registry, cache: Cache):
    registry.image(a_layer(MODEL))
    modelreg.fetch(registry.uri())
    assert {entry.name for entry in cache.blobs} == {hashlib.sha256(one).hexdigest() for one in FILES.values()}


def test_a_layer_whose_files_were_lost_is_brought_again(registry: Registry, cache: Cache, read_folder: ReadFolder):
    registry.image(a_layer(MODEL))
    modelreg.fetch(registry.uri())
    for entry in list(cache.blobs):
        cache.blobs.remove(entry.name)
    registry.image(a_layer(MODEL), a_layer({"models/new": b"2"}), tag="2")
    assert read_folder(modelreg.fetch(registry.uri(":2"))) == {**FILES, "new": b"2"}


def test_an_image_that_has_not_changed_is_not_brought_again(registry: Registry):
    registry.image(a_layer(MODEL))
    path = modelreg.fetch(registry.uri())
    before = registry.bytes_asked_for()
    requests = len(registry.server.requests)
    assert modelreg.fetch(registry.uri()) == path
    assert len(registry.server.requests) == requests + 1
    modelreg.fetch(registry.uri(), force=True)
    assert registry.bytes_asked_for() == before + 1


def test_a_tag_that_was_moved_is_fetched_anew(registry: Registry, read_folder: ReadFolder):
    registry.image(a_layer(MODEL))
    modelreg.fetch(registry.uri())
    registry.image(a_layer({"models/new": b"2"}))
    assert read_folder(modelreg.fetch(registry.uri())) == {"new": b"2"}


def test_a_digest_is_never_asked_for_again(registry: Registry):
    digest = registry.image(a_layer(MODEL))
    path = modelreg.fetch(registry.uri(f"@{digest}"))
    before = len(registry.server.requests)
    assert modelreg.fetch(registry.uri(f"@{digest}")) == path
    assert modelreg.fetch(registry.uri(f"@{digest}"), offline=True) == path
    assert len(registry.server.requests) == before
    with pytest.raises(NotCached):
        modelreg.fetch(registry.uri(":2"), offline=True)


def test_a_fetch_that_was_cut_off_goes_on(registry: Registry, monkeypatch: pytest.MonkeyPatch, read_folder: ReadFolder):
    monkeypatch.setenv("MODELREG_TRANSFER_CONCURRENCY", "1")
    large = {"models/large": bytes(range(256)) * (100 << 10)}
    registry.image(a_layer(MODEL), a_layer(large, plain, ""))

    def refuse_the_last_part(handler: Any) -> bool:
        refused = handler.headers.get("Range", "").startswith("bytes=25165824-")
        if refused:
            handler.refuse(403, "DENIED", "your time is up")
        return bool(refused)

    registry.server.intercept = refuse_the_last_part
    with pytest.raises(AccessDenied):
        modelreg.fetch(registry.uri())
    registry.server.intercept = None
    registry.server.requests.clear()
    assert read_folder(modelreg.fetch(registry.uri())) == {**FILES, "large": large["models/large"]}
    ranges = [headers["range"] for _, _, headers in registry.server.requests if "range" in headers]
    assert [one.partition("-")[0] for one in ranges] == ["bytes=25165824"]


def test_a_layer_that_had_come_is_not_brought_again(registry: Registry, read_folder: ReadFolder):
    first, second = a_layer(MODEL), a_layer({"models/new": b"2"})
    registry.image(first, second)
    blobs = registry.server.blobs[REPOSITORY]
    digest = next(one for one, content in blobs.items() if content == second.packed)
    del blobs[digest]
    with pytest.raises(ObjectNotFound):
        modelreg.fetch(registry.uri())
    blobs[digest] = second.packed
    assert read_folder(modelreg.fetch(registry.uri())) == {**FILES, "new": b"2"}


def test_the_quota_of_the_cache_holds_for_layers(registry: Registry, tmp_path: Path):
    registry.image(a_layer(MODEL, plain, ""))
    with pytest.raises(CacheFull):
        modelreg.fetch(registry.uri(), settings=CacheSettings(root=str(tmp_path / "cache"), max_size=100_000))


def an_entry(digest: str, system: str, machine: str, variant: str | None = None) -> dict[str, Any]:
    platform = {"os": system, "architecture": machine, **({"variant": variant} if variant else {})}
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "platform": platform}


def test_an_index_stands_for_the_image_of_a_platform(registry: Registry, read_folder: ReadFolder):
    arm = registry.image(a_layer({"models/arm": b""}), tag="")
    v7 = registry.image(a_layer({"models/v7": b""}), tag="")
    proof = registry.image(a_layer({"models/proof": b""}), tag="")
    registry.index(
        an_entry(proof, "unknown", "unknown"), an_entry(arm, "plan9", "mips"), an_entry(v7, "linux", "arm", "v7")
    )
    assert read_folder(modelreg.fetch(registry.uri(":1?platform=plan9/mips"))) == {"arm": b""}
    assert read_folder(modelreg.fetch(registry.uri(":1?platform=linux/arm/v7"))) == {"v7": b""}
    assert read_folder(modelreg.fetch(registry.uri(":1?platform=linux/arm"))) == {"v7": b""}
    with pytest.raises(ObjectNotFound, match=r"for linux/s390x.*one of linux/arm/v7, plan9/mips"):
        modelreg.fetch(registry.uri(":1?platform=linux/s390x"))


def test_an_index_of_several_is_looked_through_for_this_machine(registry: Registry, read_folder: ReadFolder):
    others = [an_entry(registry.image(a_layer({f"models/{n}": b""}), tag=""), "plan9", f"m{n}") for n in range(2)]
    registry.index(*others)
    with pytest.raises(ObjectNotFound, match=r"\?platform="):
        modelreg.fetch(registry.uri())
    amd = an_entry(registry.image(a_layer({"models/amd": b""}), tag=""), "linux", "amd64")
    arm = an_entry(registry.image(a_layer({"models/arm": b""}), tag=""), "linux", "arm64")
    registry.index(*others, amd, arm)
    assert len(read_folder(modelreg.fetch(registry.uri()))) == 1


def test_the_only_image_of_an_index_is_meant(registry: Registry, read_folder: ReadFolder):
    inner = registry.index(an_entry(registry.image(a_layer(MODEL), tag=""), "plan9", "mips"), tag="")
    outer = registry.index({"mediaType": OCI_INDEX, "digest": inner, "size": 1})
    assert read_folder(modelreg.fetch(registry.uri())) == FILES
    # What an index stands for depends on the machine, and a cache may be shared.
    before = len(registry.server.requests)
    modelreg.fetch(registry.uri(f"@{outer}"))
    modelreg.fetch(registry.uri(f"@{outer}"))
    assert len(registry.server.requests) > before + 1


def test_indexes_that_name_indexes_without_end_are_refused(registry: Registry):
    digest = registry.image(a_layer(MODEL), tag="")
    for _ in range(4):
        digest = registry.index({"mediaType": OCI_INDEX, "digest": digest, "size": 1})
    with pytest.raises(StorageError, match="name indexes"):
        modelreg.fetch(registry.uri())


def test_an_artifact_stands_for_its_files(registry: Registry, read_folder: ReadFolder):
    registry.artifact(
        registry.titled("config.json", b"{}"),
        # The type that ORAS gives to files of no type.
        registry.titled("1/weights.bin", FILES["1/weights.bin"], TAR),
        registry.titled("model.tar.gz", b"as it is", f"{TAR}+gzip"),
    )
    assert read_folder(modelreg.fetch(registry.uri())) == {**FILES, "model.tar.gz": b"as it is"}
    assert read_folder(modelreg.fetch(registry.uri(), allow_patterns="*.json")) == {"config.json": b"{}"}


def test_folders_of_an_artifact_are_unpacked(registry: Registry, read_folder: ReadFolder):
    oras = a_layer({"sub/a": b"1"})
    unpack = {
        "io.deis.oras.content.unpack": "true",
        "io.deis.oras.content.digest": f"sha256:{hashlib.sha256(oras.archive).hexdigest()}",
    }
    weights = a_layer({"weights.bin": b"2"}, plain, "")
    registry.artifact(
        registry.titled("sub", oras.packed, oras.kind, **unpack),
        registry.blob(weights.packed, "application/vnd.cncf.model.weight.v1.tar", **{"org.cncf.model.filepath": "x"}),
        registry.blob(a_layer({"c": b"3"}).packed, "application/vnd.kitops.modelkit.model.v1.tar+gzip"),
        registry.titled("d", b"4"),
    )
    assert read_folder(modelreg.fetch(registry.uri())) == {"sub/a": b"1", "weights.bin": b"2", "c": b"3", "d": b"4"}


def test_a_folder_of_an_artifact_must_be_what_it_was_packed_from(registry: Registry):
    digest = {"io.deis.oras.content.unpack": "true", "io.deis.oras.content.digest": "sha256:" + "0" * 64}
    layer = a_layer({"sub/a": b"1"})
    registry.artifact(registry.titled("sub", layer.packed, layer.kind, **digest))
    with pytest.raises(DigestMismatch):
        modelreg.fetch(registry.uri())


def test_files_of_an_artifact_do_not_cover_each_other(registry: Registry):
    registry.artifact(registry.titled("a", b"1"), registry.blob(a_layer({"a": b"2"}).packed, "application/x.tar+gzip"))
    with pytest.raises(UnsafeName, match="comes twice"):
        modelreg.fetch(registry.uri())


@pytest.mark.parametrize("title", ["../escaped", "/etc/passwd", "a\\b", "nul"])
def test_hostile_titles_are_refused(registry: Registry, title: str):
    registry.artifact(registry.titled(title, b"x"))
    with pytest.raises(UnsafeName):
        modelreg.fetch(registry.uri())


def test_an_artifact_may_hold_a_file_with_the_bytes_of_a_layer(registry: Registry, read_folder: ReadFolder):
    layer = a_layer(MODEL)
    registry.artifact(registry.titled("layer.tar.gz", layer.packed))
    modelreg.fetch(registry.uri())
    registry.image(layer, tag="2")
    before = registry.bytes_asked_for()
    assert read_folder(modelreg.fetch(registry.uri(":2"))) == FILES
    assert registry.bytes_asked_for() == before
    assert read_folder(modelreg.fetch(registry.uri(), offline=True)) == {"layer.tar.gz": layer.packed}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"layers": "none"}, "its layers are no list"),
        ({"layers": [{"digest": "md5:1", "size": 1}]}, "no sha256"),
        ({"layers": [{"digest": "sha256:" + "0" * 64, "size": -1}]}, "has no title"),
        ({"layers": [{"digest": "sha256:" + "0" * 64, "size": -1, "mediaType": "a.tar"}]}, "-1 bytes"),
        ({"layers": [{"digest": "sha256:" + "0" * 64, "annotations": "x"}]}, "has no title"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(registry: Registry, change: dict[str, Any], why: str):
    config = registry.blob(b"{}", "application/json")
    registry.manifest(change["layers"], config)
    with pytest.raises(StorageError, match=why):
        modelreg.fetch(registry.uri())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b"no json", "does not say what its layers are"),
        (b"{}", "does not say what its layers are"),
        (b'{"rootfs": {"diff_ids": ["md5:1"]}}', "cannot be checked"),
        (b'{"rootfs": {"diff_ids": []}}', "it has 1 layers, and its configuration 0"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(registry: Registry, config: bytes, why: str):
    layer = a_layer(MODEL)
    registry.manifest([registry.blob(layer.packed, layer.kind)], registry.blob(config, IMAGE_CONFIG))
    with pytest.raises(StorageError, match=why):
        modelreg.fetch(registry.uri())


def test_a_layer_that_cannot_be_unpacked_is_told_of(registry: Registry):
    registry.image(attrs.evolve(a_layer(MODEL), kind="application/vnd.oci.image.layer.v1.tar+gzip+encrypted"))
    with pytest.raises(StorageError, match="cannot be unpacked"):
        modelreg.fetch(registry.uri())


def test_what_is_not_there_is_not_found(registry: Registry):
    with pytest.raises(ObjectNotFound, match=f"{REPOSITORY}:1 does not exist"):
        modelreg.fetch(registry.uri())


def test_an_image_cannot_be_looked_into_and_says_how_to_see_it(registry: Registry):
    registry.image(a_layer(MODEL))
    for look in (modelreg.open, modelreg.filesystem):
        with pytest.raises(InvalidInput, match=r"modelreg\.fetch"):
            look(registry.uri())
    with open_backend(registry.uri()) as backend:
        assert backend.filesystem_path() == registry.uri().removeprefix("oci://")
        with pytest.raises(InvalidInput, match="cannot be listed"):
            backend.level()
        with pytest.raises(InvalidInput, match="cannot be listed"):
            backend.snapshot().listing()


def test_the_files_of_an_artifact_can_be_listed(registry: Registry):
    registry.artifact(registry.titled("a", b"1"), registry.titled("sub/b", b"22"))
    with open_backend(registry.uri()) as backend:
        level = backend.level()
        [file] = level.files
        assert (level.folders, file.path, file.size) == (("sub",), "a", 1)
        assert backend.stat(file) == file
        assert backend.read(file) == b"1"


def test_a_registry_without_ranges_is_read_from_the_start(registry: Registry, read_folder: ReadFolder):
    large = {"models/large": bytes(range(256)) * (100 << 10)}
    registry.image(a_layer(large, plain, ""))

    def ignore_ranges(handler: Any) -> bool:
        if "Range" in handler.headers:
            handler.headers.replace_header("Range", "")
        return False

    registry.server.intercept = ignore_ranges
    assert read_folder(modelreg.fetch(registry.uri())) == {"large": large["models/large"]}
