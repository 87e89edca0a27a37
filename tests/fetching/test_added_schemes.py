"""A package that adds a scheme by an entry point is asked for its URIs, and for no others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import modelreg
from modelreg.exceptions import UnknownScheme
from modelreg.storage.backends import known_schemes

FILES = {"config.json": b"{}", "weights/part-1.bin": b"one"}

# A storage of files below the folder that the URI names, as another package would write it.
_PACKAGE = """
from pathlib import Path

from modelreg.storage import Backend, RemoteFile
from modelreg.storage.backends.base import Listed


class ShelfBackend(Backend):
    ranged = False

    def _root(self):
        return Path("/", self.uri.text.removeprefix("shelf://"))

    def location(self, name):
        return str(self._root() / name)

    def filesystem(self):
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem()

    def filesystem_path(self):
        return str(self._root())

    def _stat_file(self, uri):
        return None

    def _listed(self, uri):
        root = self._root()
        files = [path for path in root.rglob("*") if path.is_file()]
        return [Listed(str(path), path.relative_to(root).as_posix(), path.stat().st_size, "v1") for path in files]

    def _stat(self, location):
        return Listed(location, location, Path(location).stat().st_size, "v1")

    def _read(self, file):
        return Path(file.location).read_bytes()

    def _stream(self, file, offset, length):
        yield self._read(file)[offset:]

    def _translate(self, error, what):
        return None
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is installed."""
    site = tmp_path / "site-packages"
    (site / "shelves-1.0.dist-info").mkdir(parents=True)
    (site / "shelves.py").write_text(_PACKAGE)
    (site / "shelves-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: shelves\nVersion: 1.0\n")
    (site / "shelves-1.0.dist-info/entry_points.txt").write_text("[modelreg.storage]\nshelf = shelves:ShelfBackend\n")
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("shelves", None)


def test_what_the_package_answers_for_is_fetched(
    installed: None, folder: Callable[[dict[str, bytes]], Path], read_folder: Callable[[Path], dict[str, bytes]]
):
    source = folder(FILES)

    assert read_folder(modelreg.fetch(f"shelf://{source.as_posix().lstrip('/')}")) == FILES
    assert "shelf" in known_schemes()


def test_one_level_is_told_by_what_it_lists(installed: None, folder: Callable[[dict[str, bytes]], Path]):
    source = folder(FILES)

    with modelreg.storage.open_backend(f"shelf://{source.as_posix().lstrip('/')}") as backend:
        level = backend.level()

    assert (level.folders, [file.path for file in level.files]) == (("weights",), ["config.json"])


def test_it_cannot_be_pushed_to_unless_it_says_how(installed: None, folder: Callable[[dict[str, bytes]], Path]):
    source = folder(FILES)

    with pytest.raises(modelreg.exceptions.ReadOnlyStorage, match="shelf"):
        modelreg.push(source, f"shelf://{source.as_posix().lstrip('/')}/copy")


def test_without_the_package_the_scheme_is_unknown():
    with pytest.raises(UnknownScheme, match="shelf://"):
        modelreg.fetch("shelf://model")
