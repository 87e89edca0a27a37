"""``modelreg fetch``, ``push``, ``ls`` and ``cp``: files from anywhere, to anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from modelreg.cli.output import Command, Output, plain

if TYPE_CHECKING:
    from modelreg.storage import Backend, RemoteFile
    from modelreg.storage.model import RemoteLevel

F = TypeVar("F", bound=Callable[..., object])

_progress_option = click.option(
    "--progress/--no-progress", default=None, help="Show a bar, or none; by default one on a terminal."
)


def _pattern_options(command: F) -> F:
    allow = click.option("--allow", multiple=True, metavar="PATTERN", help="Keep only paths like this; repeatable.")
    ignore = click.option("--ignore", multiple=True, metavar="PATTERN", help="Leave paths like this out; repeatable.")
    return allow(ignore(command))


@click.command(cls=Command)
@click.argument("uri")
@click.option("--to", type=click.Path(), help="Put a copy there: the path of the file or folder itself.")
@_pattern_options
@click.option("--digest", metavar="sha256:HEX", help="Refuse any other content.")
@click.option(
    "--offline/--online", default=None, help="Answer from the cache alone; by default as MODELREG_OFFLINE says."
)
@click.option("--revalidate", type=float, metavar="SECONDS", help="Do not ask the source within this time again.")
@click.option("--force", is_flag=True, help="Move the bytes again, whatever the cache holds.")
@click.option("--unpack", is_flag=True, help="Give the folder of what is in an archive.")
@_progress_option
@click.pass_obj
def fetch(
    output: Output, /, *, uri: str, allow: tuple[str, ...], ignore: tuple[str, ...], unpack: bool, **options: Any
) -> None:
    """Print the local path of a file or folder: from the cache where that is current, else from its source."""
    from modelreg.fetching.hits import fetch as fetch_uri
    from modelreg.fetching.hits import open_cache
    from modelreg.fetching.questions import Question, patterns
    from modelreg.storage.uri import parse_uri

    path = fetch_uri(uri, allow_patterns=allow or None, ignore_patterns=ignore or None, unpack=unpack, **options)
    question = Question(parse_uri(uri), patterns(allow or None), patterns(ignore or None), unpack)
    ref = open_cache().lookup(question.key)
    details = {} if ref is None else {"digest": ref.digest, "size": ref.size, "files": ref.files}
    output.done(str(path), {"uri": question.uri.normalised, "path": path, **details})


@click.command(cls=Command)
@click.argument("source", type=click.Path())
@click.argument("uri")
@_progress_option
@click.pass_obj
def push(output: Output, *, source: str, uri: str, progress: bool | None) -> None:
    """Upload the file or folder SOURCE to URI.

    A URI that ends in / is a folder: a single file keeps its name in it.
    """
    from modelreg.fetching import push as push_files

    result = push_files(source, uri, progress=progress)
    output.done(f"pushed {_amount(len(result.files), result.size)} to {result.uri}, {result.digest}", result)


@click.command(cls=Command)
@click.argument("uri")
@click.option("--recursive", "-r", is_flag=True, help="List the files below folders, too.")
@_pattern_options
@click.pass_obj
def ls(output: Output, *, uri: str, recursive: bool, allow: tuple[str, ...], ignore: tuple[str, ...]) -> None:
    """List the files and folders right at URI, with the sizes of the files in bytes; nothing is fetched.

    With patterns, a folder is shown if they select something below it, with the bytes of that.
    """
    rows: Iterable[Any]
    with _opened(uri) as backend:
        if allow or ignore:
            files = backend.snapshot(allow_patterns=allow or None, ignore_patterns=ignore or None).listing()
            rows = files if recursive else _top_level(files)
        else:
            rows = backend.snapshot().listing() if recursive else _rows(backend.level())
    output.table(rows, ("path", "size", "identity"))


@click.command(cls=Command)
@click.argument("source")
@click.argument("target")
@_progress_option
@click.pass_obj
def cp(output: Output, *, source: str, target: str, progress: bool | None) -> None:
    """Copy a file or folder from one URI or path to another, through the cache.

    A target that ends in / is a folder: a single file keeps its name in it. Files that the target holds besides are
    left alone.
    """
    from modelreg.fetching import fetch as fetch_uri
    from modelreg.fetching import push as push_files
    from modelreg.storage.uri import parse_uri

    parsed = parse_uri(source)
    # What lies on this disk need not pass through the cache.
    path = parsed.path if parsed.scheme == "file" else fetch_uri(source, progress=progress)
    result = push_files(path, target, progress=progress)
    message = f"copied {_amount(len(result.files), result.size)} from {parsed.normalised} to {result.uri}"
    output.done(message, {"source": parsed.normalised, **plain(result)})


def _opened(uri: str) -> Backend:
    from modelreg.fetching.misses import Fetcher
    from modelreg.fetching.questions import SCHEME
    from modelreg.fetching.resolving import resolve
    from modelreg.storage import open_backend, parse_uri

    parsed = parse_uri(uri)
    if parsed.scheme != SCHEME:
        return open_backend(parsed)
    found = resolve(parsed)
    opened = open_backend if found.link_local else Fetcher().open_registered
    return opened(parse_uri(found.uri))


def _rows(level: RemoteLevel) -> Iterator[dict[str, Any]]:
    """Yield what is right in a folder: how much is below the folders in it is not known."""
    yield from (_row(f"{name}/", None, "") for name in level.folders)
    yield from (_row(file.path, file.size, file.identity) for file in level.files)


def _top_level(files: Iterable[RemoteFile]) -> Iterator[dict[str, Any]]:
    """Yield what is right in a folder: its files, and each folder in it with the bytes of all that is below."""
    folders: dict[str, dict[str, Any]] = {}
    for file in files:
        first, *rest = PurePosixPath(file.path).parts
        if not rest:
            yield _row(file.path, file.size, file.identity)
            continue
        folder = folders.setdefault(first, _row(f"{first}/", 0, ""))
        folder["size"] += file.size or 0
    yield from folders.values()


def _row(path: str, size: int | None, identity: str) -> dict[str, Any]:
    return {"path": path, "size": size, "identity": identity}


def _amount(files: int, size: int) -> str:
    return f"{files:,} {'file' if files == 1 else 'files'} ({size:,} bytes)"
