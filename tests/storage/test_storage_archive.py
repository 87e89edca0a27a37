"""Archives: what is unpacked, and what is refused before it can do harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelreg.exceptions import ArchiveError, MissingExtra, UnsafeName
from modelreg.storage.archive import ArchiveLimits, is_archive, unpack, unpack_tar
from modelreg.testing.storage_place import read_tree

FILES = {"config.json": b"{}", "weights/a.bin": b"\x01" * 5000, "weights/empty": b""}

HOSTILE = {
    "dots": "../escaped",
    "inner dots": "a/../../escaped",
    "absolute": "/escaped",
    "drive": "C:/escaped",
    "drive without slash": "C:escaped",
    "UNC": "//server/share/escaped",
    "UNC with backslashes": "\\\\server\\share\\escaped",
    "backslash": "..\\escaped",
    "device": "nul.txt",
    "control character": "bell\x07",
    "trailing dot": "ends.",
    "overlong segment": "x" * 256,
    "overlong path": "/".join(["y" * 100] * 30),
}


def make_tar(path: Path, files: dict[str, bytes], *, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def make_zst(path: Path, files: dict[str, bytes]) -> Path:
    zstandard = pytest.importorskip("zstandard")
    plain = make_tar(path.with_name(f"{path.name}.plain"), files)
    path.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
    plain.unlink()
    return path


def make_members(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member)
    return path


def a_member(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    return member


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("m.zip", make_zip),
        ("m.tar", make_tar),
        ("m.tar.gz", lambda path, files: make_tar(path, files, mode="w:gz")),
        ("m.tgz", lambda path, files: make_tar(path, files, mode="w:gz")),
        ("m.tar.zst", make_zst),
    ],
)
def test_an_archive_is_unpacked(
    tmp_path: Path, folder: Path, name: str, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    assert unpack(make(tmp_path / name, FILES), folder) == sorted(FILES)

    assert is_archive(name)
    assert read_tree(folder) == FILES


def test_what_an_archive_is_is_told_by_its_content(tmp_path: Path, folder: Path) -> None:
    misnamed = make_zip(tmp_path / "m.tar.gz", FILES)

    unpack(misnamed, folder)

    assert read_tree(folder) == FILES


def test_a_zstd_archive_is_unpacked_or_names_what_it_needs(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "m.tar.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"\0" * 20)

    with pytest.raises((MissingExtra, ArchiveError), match=r"zst|archive"):
        unpack(path, folder)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("make", [make_tar, make_zip, make_zst])
def test_a_hostile_name_is_refused_and_writes_nothing_outside(
    tmp_path: Path, folder: Path, name: str, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    archive = make(tmp_path / "m", {name: b"hostile"})
    before = {path for path in tmp_path.rglob("*") if folder not in path.parents}

    with pytest.raises(UnsafeName):
        unpack(archive, folder)

    assert {path for path in tmp_path.rglob("*") if folder not in path.parents} == before


def test_a_name_with_a_nul_in_a_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    path = make_zip(tmp_path / "m.zip", {"goodX.txt": b"x"})
    path.write_bytes(path.read_bytes().replace(b"goodX.txt", b"good\0.txt"))

    with pytest.raises(UnsafeName):
        unpack(path, folder)


def test_a_name_with_a_nul_in_a_tar_is_refused(tmp_path: Path, folder: Path) -> None:
    with tarfile.open(tmp_path / "m.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("good.txt")
        member.pax_headers = {"path": "good\0.txt"}
        archive.addfile(member)

    with pytest.raises((UnsafeName, ArchiveError)):
        unpack(tmp_path / "m.tar", folder)


@pytest.mark.parametrize("target", ["/etc", "../outside", "C:\\Windows"])
def test_a_symbolic_link_that_leads_out_is_refused(tmp_path: Path, folder: Path, target: str) -> None:
    with pytest.raises(UnsafeName):
        unpack(make_members(tmp_path / "m.tar", a_member("link", tarfile.SYMTYPE, target)), folder)


def test_writing_through_a_symbolic_link_is_refused(tmp_path: Path, folder: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inner = make_members(
        tmp_path / "m.tar", a_member("link", tarfile.SYMTYPE, "inside"), a_member("link/file", tarfile.REGTYPE)
    )

    with pytest.raises(UnsafeName):
        unpack(inner, folder)

    assert not any(outside.iterdir())


def test_a_hard_link_that_leads_out_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UnsafeName):
        unpack(make_members(tmp_path / "m.tar", a_member("link", tarfile.LNKTYPE, "../outside")), folder)


def test_a_link_to_nothing_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UnsafeName):
        unpack(make_members(tmp_path / "m.tar", a_member("link", tarfile.SYMTYPE, "absent")), folder)


def test_links_in_a_circle_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UnsafeName):
        unpack(
            make_members(tmp_path / "m.tar", a_member("a", tarfile.SYMTYPE, "b"), a_member("b", tarfile.SYMTYPE, "a")),
            folder,
        )


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_to_a_file_of_the_archive_becomes_a_copy(tmp_path: Path, folder: Path, kind: bytes) -> None:
    path = tmp_path / "m.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(a_member("lib/lib.so", kind, "lib.so.1" if kind == tarfile.SYMTYPE else "lib/lib.so.1"))
        member = tarfile.TarInfo("lib/lib.so.1")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"code"))

    unpack(path, folder)

    assert read_tree(folder) == {"lib/lib.so": b"code", "lib/lib.so.1": b"code"}
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_symbolic_link_in_a_zip_that_leads_out_is_refused(tmp_path: Path, folder: Path) -> None:
    member = zipfile.ZipInfo("link")
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")

    with pytest.raises(UnsafeName):
        unpack(tmp_path / "m.zip", folder)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(tmp_path: Path, folder: Path, kind: bytes) -> None:
    with pytest.raises(UnsafeName):
        unpack(make_members(tmp_path / "m.tar", a_member("device", kind)), folder)


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize(
    "names",
    [("Model.bin", "model.bin"), ("A/x", "a/y"), ("\u00e9", "e\u0301"), ("a", "a/b"), ("a/b", "a")],
    ids=["case", "case of folders", "normalisation", "file then folder", "folder then file"],
)
def test_names_that_collide_are_refused(
    tmp_path: Path, folder: Path, names: tuple[str, str], make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    with pytest.raises(UnsafeName):
        unpack(make(tmp_path / "m", dict.fromkeys(names, b"x")), folder)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")

    with pytest.raises(UnsafeName):
        unpack(tmp_path / "m.zip", folder)


@pytest.mark.parametrize("make", [make_zip, make_zst, lambda path, files: make_tar(path, files, mode="w:gz")])
def test_a_bomb_is_refused(tmp_path: Path, folder: Path, make: Callable[[Path, dict[str, bytes]], Path]) -> None:
    bomb = make(tmp_path / "m", {"zeros": bytes(80 << 20)})

    with pytest.raises(ArchiveError, match="unpacks to more"):
        unpack(bomb, folder)


@pytest.mark.parametrize("make", [make_tar, make_zip, make_zst])
def test_limits_hold(tmp_path: Path, folder: Path, make: Callable[[Path, dict[str, bytes]], Path]) -> None:
    archive = make(tmp_path / "m", {"a": bytes(1000), "b": bytes(1000)})

    with pytest.raises(ArchiveError, match="1 members"):
        unpack(archive, folder, limits=ArchiveLimits(members=1))
    with pytest.raises(ArchiveError, match="1500 bytes"):
        unpack(archive, tmp_path / "other", limits=ArchiveLimits(size=1500))


def test_a_header_that_wants_memory_is_refused(tmp_path: Path, folder: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 31
    (tmp_path / "m.tar.gz").write_bytes(gzip.compress(header.tobuf() + bytes(1 << 20)))

    with pytest.raises(ArchiveError):
        unpack(tmp_path / "m.tar.gz", folder)


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tar.gz"])
def test_an_archive_that_was_cut_is_refused(tmp_path: Path, folder: Path, name: str) -> None:
    content = random.Random(7).randbytes(50_000)
    whole = make_zip if name == "m.zip" else lambda path, files: make_tar(path, files, mode=f"w:{name[6:]}")
    path = whole(tmp_path / name, {"a": content, "b": content})
    path.write_bytes(path.read_bytes()[:60_000])

    with pytest.raises(ArchiveError):
        unpack(path, folder)


@pytest.mark.parametrize("size", [20, 30_000, 60_000])
def test_a_zstd_archive_that_was_cut_is_refused(tmp_path: Path, folder: Path, size: int) -> None:
    path = make_zst(tmp_path / "m.tar.zst", {"a": random.Random(7).randbytes(100_000)})
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(ArchiveError):
        unpack(path, folder)


def test_a_zstd_archive_that_was_changed_is_refused(tmp_path: Path, folder: Path) -> None:
    path = make_zst(tmp_path / "m.tar.zst", FILES)
    content = bytearray(path.read_bytes())
    content[6:40] = b"\xff" * 34
    path.write_bytes(content)

    with pytest.raises(ArchiveError):
        unpack(path, folder)


def test_a_tar_without_its_end_is_refused(tmp_path: Path, folder: Path) -> None:
    path = make_tar(tmp_path / "m.tar", {"a": b"x" * 512, "b": b"y" * 512})
    path.write_bytes(path.read_bytes()[: 2 * 512])

    with pytest.raises(ArchiveError):
        unpack(path, folder)


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x1f\x8b rubbish", b"PK\x03\x04 rubbish"])
def test_what_is_no_archive_is_refused(tmp_path: Path, folder: Path, content: bytes) -> None:
    (tmp_path / "m.zip").write_bytes(content)

    with pytest.raises(ArchiveError):
        unpack(tmp_path / "m.zip", folder)


def test_a_file_that_may_be_executed_still_may(tmp_path: Path, folder: Path) -> None:
    member = tarfile.TarInfo("run.sh")
    member.mode = 0o755

    unpack(make_members(tmp_path / "m.tar", member), folder)

    assert (folder / "run.sh").stat().st_mode & stat.S_IXUSR


def test_a_part_of_an_archive_is_unpacked_and_all_of_it_is_hashed(tmp_path: Path, folder: Path):
    path = make_tar(tmp_path / "a.tar", {"keep/a": b"1", "other\\b": b"2", "keep/c/d": b"3"})
    plain = path.read_bytes()
    path.write_bytes(gzip.compress(plain))
    digest = unpack_tar(path, folder, place=lambda name: name[5:] if name.startswith("keep/") else None)
    assert read_tree(folder) == {"a": b"1", "c/d": b"3"}
    assert digest == hashlib.sha256(plain).hexdigest()


def test_zeros_after_the_end_of_an_archive_count_for_its_digest(tmp_path: Path, folder: Path):
    path = make_tar(tmp_path / "a.tar", FILES)
    path.write_bytes(path.read_bytes() + bytes(3 << 20))
    assert unpack_tar(path, folder, place=str) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_tree(folder) == FILES


def test_what_is_read_past_is_bounded(tmp_path: Path, folder: Path):
    path = make_tar(tmp_path / "a.tar", {"other": bytes(70 << 20)})
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        unpack_tar(path, folder, place=lambda _: None)


def test_a_link_out_of_the_wanted_part_is_refused(tmp_path: Path, folder: Path):
    path = make_members(tmp_path / "a.tar", a_member("keep/link", tarfile.SYMTYPE, "../other"))
    with pytest.raises(UnsafeName, match="leads out of it"):
        unpack_tar(path, folder, place=lambda name: name[5:] if name.startswith("keep/") else None)


def test_an_archive_of_several_zstd_frames_is_read_to_its_end(tmp_path: Path, folder: Path):
    zstandard = pytest.importorskip("zstandard")
    plain = make_tar(tmp_path / "plain", FILES).read_bytes()
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(part) for part in (plain[:700], plain[700:])))
    unpack(path, folder)
    assert read_tree(folder) == FILES
