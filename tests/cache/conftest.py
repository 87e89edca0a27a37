"""A cache in a folder of the test's own, and what puts whole answers into it."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from modelreg.cache.manifests import Entry, Manifest
from modelreg.cache.refs import Ref
from modelreg.cache.store import Cache

NOBODY = 65534
# What the cache imports once it is used: another user may not be able to read it.
_LATE = tuple(f"modelreg.cache.{name}" for name in ("blobs", "filling", "leases", "prune", "trees"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Clock:
    """The time, and as much later as the test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Shelf:
    """A cache whose answers go by short names, and come and go whole, as fetching has them."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.clock: Clock = options.pop("clock", None) or Clock()
        self.cache = Cache(str(root), clock=self.clock, **options)

    @staticmethod
    def key(name: str) -> str:
        return sha256(name.encode())

    def put(self, name: str, files: Mapping[str, bytes], *, executable: Collection[str] = ()) -> Ref:
        """Bring ``files`` and file them as the answer ``name``."""
        entries = [Entry(path, sha256(data), len(data), path in executable) for path, data in files.items()]
        with self.cache.filling(self.key(name)) as filling:
            filling.reserve(sum(entry.size for entry in entries))
            for entry in entries:
                filling.add(entry, identity=f"etag:{entry.sha256}", data=files[entry.path])
            manifest = Manifest.of(entries)
            assert filling.publish(manifest) == []
            ref = self._ref(name, manifest)
            filling.commit(ref)
        return ref

    def _ref(self, name: str, manifest: Manifest) -> Ref:
        alone = manifest.entries[0] if len(manifest.entries) == 1 else None
        now = self.clock()
        return Ref(
            uri=f"test://{name}",
            options={},
            tree=manifest.digest,
            file=alone.path if alone else None,
            sha256=alone.sha256 if alone else None,
            size=manifest.size,
            files=len(manifest.entries),
            identity=f"etag:{manifest.digest}",
            immutable=False,
            fetched=now,
            checked=now,
        )

    def get(self, name: str) -> dict[str, bytes] | None:
        """Return the files of an answer, ``None`` if the cache has not got all of them."""
        ref = self.cache.lookup(self.key(name))
        if ref is None or (not self.cache.is_intact(ref) and self.cache.mend(ref)):
            return None
        self.cache.used(self.key(name), ref)
        return self.seen(ref)

    def seen(self, ref: Ref) -> dict[str, bytes]:
        """Return what lies where an answer is said to lie."""
        tree = Path(self.cache.layout.tree(ref.tree))
        return {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}

    def blob(self, data: bytes) -> Path:
        """Return where the content ``data`` lies, or would."""
        return Path(self.cache.layout.blob(sha256(data)))

    def left_over(self) -> list[str]:
        """Return what lies where only unfinished work does."""
        return [path.name for folder in ("tmp", "leases", "partial") for path in (self.root / folder).iterdir()]

    def wrong_blobs(self) -> list[str]:
        """Return the contents that are not what their names say."""
        blobs = (path for path in (self.root / "blobs/sha256").glob("*/*"))
        return [path.name for path in blobs if sha256(path.read_bytes()) != path.name]


def overwrite(path: Path, data: bytes) -> None:
    """Replace a file by one with other bytes, as an editor does; the blob it may be a link to is left alone."""
    path.unlink()
    path.write_bytes(data)
    _let_a_second_pass(path)


def damage(path: Path, data: bytes) -> None:
    """Write other bytes into a file where it is, whatever its mode says: every link to it changes."""
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(data)
    _let_a_second_pass(path)


def _let_a_second_pass(path: Path) -> None:
    """Make a file that was written just now one that was written later: clocks of file systems tick slowly."""
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


@pytest.fixture
def make_shelf() -> Callable[..., Shelf]:
    return Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "cache")


@pytest.fixture(name="overwrite")
def _overwrite() -> Callable[[Path, bytes], None]:
    return overwrite


@pytest.fixture(name="damage")
def _damage() -> Callable[[Path, bytes], None]:
    return damage


@pytest.fixture(name="sha256")
def _sha256() -> Callable[[bytes], str]:
    return sha256


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine can reach, which ``tmp_path`` is not."""
    folder = Path(tempfile.mkdtemp(prefix="modelreg-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def _as_user(uid: int, gid: int, *, umask: int = 0o022) -> Iterator[None]:
    for name in _LATE:
        importlib.import_module(name)
    old_umask = os.umask(umask)
    old_gid, old_groups = os.getegid(), os.getgroups()
    try:
        os.setgroups([])
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(old_gid)
        os.setgroups(old_groups)
        os.umask(old_umask)


@pytest.fixture
def as_user() -> Callable[..., AbstractContextManager[None]]:
    """Act as another user, by number, for as long as a context lasts."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    return _as_user


@contextmanager
def _unwritable(root: Path) -> Iterator[None]:
    if os.geteuid() == 0:
        with _as_user(NOBODY, NOBODY):
            yield
        return
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.fixture
def unwritable() -> Callable[[Path], AbstractContextManager[None]]:
    """Make a folder and all in it one that this process cannot write, for as long as a context lasts."""
    if not hasattr(os, "geteuid"):
        pytest.skip("folders have no modes here")
    return _unwritable
