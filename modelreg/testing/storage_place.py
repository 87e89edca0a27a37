"""Where a storage contract test works: a folder of a storage, and the names and checks that the suites share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import attrs
import pytest

from modelreg.exceptions import ModelRegError

E = TypeVar("E", bound=ModelRegError)

#: Names that clients, URLs and shells like to get wrong; each is legal on every platform.
AWKWARD_NAMES = (
    "with space.bin",
    "per%20cent%.bin",
    "plus+and&.bin",
    "h#sh.bin",
    "ünïcode-名前.bin",
    "[brackets] {braces}.bin",
    "quote' and ~.bin",
    "equals=at@.bin",
    ".hidden",
)
#: Keys that another client can write and that must not become local paths.
HOSTILE_NAMES = (
    "../escaped",
    "a/../../escaped",
    "a/./b",
    "a//b",
    "back\\slash",
    "..\\escaped",
    "C:escaped",
    "nul",
    "com1.bin",
    "ends in dot.",
    "ends in space ",
    "bell\x07",
)


@attrs.frozen(kw_only=True)
class Place:
    """An empty folder of a storage, and how another client writes there.

    Attributes:
        uri: The folder's URI, without a slash at its end.
        put: Writes a file, given its relative name and its content, with no client of ours.
        escape: Turns a relative name into what a URI says; URLs escape, object keys do not.
        missing_bucket: URI in a bucket that does not exist; ``None`` where there are no buckets.
        denied: Makes the credentials wrong within its block; ``None`` where there are none.
        secrets: Credentials in use, and parts of them, which no error and no log may hold.
        hostile_names: Names that ``put`` can write as they are and that a fetch must refuse.
        filesystem_path: The folder as the storage's fsspec filesystem takes it; ``None`` where it takes the URI.
        creates_buckets: Whether a write to a missing bucket makes it.
        detects_same_size: Whether the storage tells that a file changed whose size did not, however soon.
        large_bytes: Size of the file that stands for large ones, in bytes, a multiple of 16 MiB; less than a gigabyte
            for a server that copies the whole file for each range of it.
    """

    uri: str
    put: Callable[[str, bytes], object]
    escape: Callable[[str], str] = str
    missing_bucket: str | None = None
    denied: Callable[[], AbstractContextManager[object]] | None = None
    secrets: tuple[str, ...] = ()
    hostile_names: tuple[str, ...] = ()
    filesystem_path: str | None = None
    creates_buckets: bool = False
    detects_same_size: bool = True
    large_bytes: int = 1 << 30

    def at(self, name: str) -> str:
        """Return the URI of ``name`` in this folder."""
        return f"{self.uri}/{self.escape(name)}"

    def put_all(self, files: dict[str, bytes]) -> None:
        """Write ``files``: content by relative name."""
        for name, content in files.items():
            self.put(name, content)


def escape_url(name: str) -> str:
    """Return ``name`` as a URL has it."""
    return quote(name)


def pattern_bytes(size: int) -> bytes:
    """Return ``size`` bytes in which no two places are alike, the same at every call."""
    return hashlib.shake_128().digest(size)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder``: content by relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def raises(error: type[E] | tuple[type[E], ...], place: Place, *, match: str = "") -> Iterator[pytest.ExceptionInfo[E]]:
    """Expect ``error`` in the block, with no credential in its text nor in that of what caused it.

    Args:
        error: What is expected.
        place: Whose secrets may not be told.
        match: Regular expression that the error's text holds.
    """
    with pytest.raises(error, match=match or None) as caught:
        yield caught
    said = [repr(one) + str(one) for one in _chain(caught.value)]
    if any(secret in text for secret in place.secrets for text in said):
        pytest.fail("an error tells a credential")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
