"""``modelreg storage-init``: KServe's storage initializer, which fills a pod's volumes before its server starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from modelreg.cli.output import Command, Output
from modelreg.exceptions import InvalidInput

# Where files arrive when there is no cache to keep them in: on the volume itself, so that they need only be renamed,
# and under a name that does not change, so that a container that was killed goes on where it stopped.
_SCRATCH = ".modelreg-storage-init"


class Placed(NamedTuple):
    """What was put into a folder.

    Attributes:
        source: Where it came from, without credentials.
        target: The folder.
        files: How many files it is.
        size: Their bytes.
    """

    source: str
    target: str
    files: int
    size: int


@click.command("storage-init", cls=Command)
@click.argument("pairs", metavar="SRC DST [SRC DST]...", nargs=-1, required=True)
@click.pass_obj
def storage_init(output: Output, *, pairs: tuple[str, ...]) -> None:
    """Put the files of each URI SRC into the folder DST beside it, as KServe's storage initializer does.

    Archives are unpacked. Files that are in DST under the same names are replaced, and others left alone. With
    MODELREG_CACHE_DIR set, what is there is not fetched again; without it nothing is kept but what is in DST.
    """
    if len(pairs) % 2:
        raise click.UsageError("each SRC needs a DST")
    placed = [fill(source, Path(target)) for source, target in zip(pairs[::2], pairs[1::2], strict=True)]
    output.table(placed, ("source", "target", "files", "size"))


def fill(source: str, folder: Path) -> Placed:
    """Put the files of a URI into a folder, which is made where it does not exist.

    Args:
        source: Any URI that :func:`modelreg.fetch` takes.
        folder: The folder; a single file keeps its name in it.

    Raises:
        InvalidInput: The folder cannot be written, or a file's name is in the way of the initializer's own.
        ModelRegError: The source cannot be fetched.
    """
    from modelreg.cache.files import remove_tree
    from modelreg.cacheconfig import CacheSettings
    from modelreg.fetching import fetch
    from modelreg.storage.uri import parse_uri

    settings = CacheSettings.from_env()
    scratch = folder.absolute() / _SCRATCH
    is_kept = settings.root is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = fetch(source, unpack=True, settings=settings if is_kept else settings._replace(root=str(scratch)))
        placed = [_place(path, name, folder, move=not is_kept) for name in _names(path)]
    except OSError as error:
        if error.filename is None or not Path(os.fsdecode(error.filename)).is_relative_to(folder):
            raise
        raise InvalidInput(f"the folder {folder} cannot be written: {error.strerror}") from error
    if not is_kept:
        remove_tree(str(scratch))
    return Placed(parse_uri(source).normalised, str(folder), len(placed), sum(placed))


def _names(path: Path) -> Iterator[str]:
    """Yield the relative names of what was fetched; the empty one for a single file."""
    from modelreg.cache.files import walk

    if path.is_file():
        yield ""
        return
    for name in walk(str(path)):
        if name.split("/", 1)[0] == _SCRATCH:
            raise InvalidInput(f"the source holds {name!r}, which is in the way", next_step="rename the folder there")
        yield name


def _place(path: Path, name: str, folder: Path, *, move: bool) -> int:
    """Put one file where it belongs, whole or not at all, and return its bytes."""
    from modelreg.cache.files import clone_or_copy

    source = path / name if name else path
    target = folder / (name or path.name)
    status = source.stat()
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    target.parent.mkdir(parents=True, exist_ok=True)
    if move:
        source.replace(target)
    else:
        copied = target.with_name(f".{target.name[:100]}.{os.getpid()}")
        try:
            clone_or_copy(str(source), str(copied), mode=mode)
            copied.replace(target)
        except BaseException:
            copied.unlink(missing_ok=True)
            raise
    # What is in a cache is read-only; this is the pod's own, whatever user its server runs as.
    target.chmod(mode)
    return status.st_size
