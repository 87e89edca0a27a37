"""``modelreg cache``: what the cache holds, whether it is right, and what of it to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from modelreg.cli.output import Group, Output
from modelreg.exceptions import NotCached

if TYPE_CHECKING:
    from modelreg.cache.prune import Pruned
    from modelreg.cache.refs import Ref
    from modelreg.cache.store import Cache

_COLUMNS = ("uri", "options", "size", "files", "used_time_since_epoch", "pinned")
_FILE_COLUMNS = ("path", "size", "sha256", "executable")
_DAY_S = 86400.0

_uris = click.argument("uris", nargs=-1, required=True, metavar="URI...")


@click.group(cls=Group)
def cache() -> None:
    """Show, verify, pin and remove what was fetched."""


@cache.command()
@click.pass_obj
def path(output: Output) -> None:
    """Print the path of the cache's folder."""
    opened = _open()
    output.done(opened.layout.root, {"path": opened.layout.root, "exists": opened.layout.check_version()})


@cache.command()
@click.pass_obj
def info(output: Output) -> None:
    """Show how much the cache holds, in bytes, and how much it may hold."""
    from modelreg.cache.layout import FORMAT_VERSION
    from modelreg.cacheconfig import CacheSettings

    opened = _open()
    limit = CacheSettings.from_env().max_size
    usage = opened.pruner.usage()._asdict()
    output.record({"path": opened.layout.root, "format": FORMAT_VERSION, "max_size": limit, **usage})


@cache.command("ls")
@click.pass_obj
def list_answers(output: Output) -> None:
    """List what was fetched, by URI."""
    opened = _open()
    rows = [_row(opened, key, ref) for key, ref in opened.refs]
    output.table(sorted(rows, key=lambda row: str(row["uri"])), _COLUMNS, empty="the cache is empty")


@cache.command()
@click.argument("uri")
@click.pass_obj
def show(output: Output, *, uri: str) -> None:
    """Show what the cache holds of URI: its files, and whether they look as they should."""
    opened = _open()
    answers = [{**_row(opened, key, ref), "entries": _entries(opened, ref)} for key, ref in _find(opened, uri)]
    if output.as_json:
        output.table(answers, ())
        return
    for answer in answers:
        entries = answer.pop("entries")
        output.record(answer)
        output.blank()
        output.table(entries, _FILE_COLUMNS, empty="its manifest is damaged: the next fetch mends it")


@cache.command()
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Hash everything, and put right what is not what its digest says.

    What cannot be put right from inside the cache is fetched again when it is asked for; then the exit code is 1.
    """
    output: Output = ctx.obj
    opened = _open()
    uris = {ref.tree: ref.uri for _, ref in opened.refs}
    found = opened.pruner.verify()
    damaged = [uris.get(tree, tree) for tree in found.damaged]
    hashed = f"{_count(found.trees, 'tree', 'trees')} and {_count(found.blobs, 'content', 'contents')} beside them"
    message = f"verified {hashed}; mended {_count(len(found.mended), 'tree', 'trees')}"
    output.done(
        f"{message}, and to be fetched again: {', '.join(damaged)}" if damaged else message,
        {**found._asdict(), "fetch_again": damaged},
    )
    ctx.exit(1 if damaged else 0)


@cache.command()
@click.option("--max-size", metavar="SIZE", help="Keep at most this, such as 50GB; by default MODELREG_CACHE_MAX_SIZE.")
@click.option("--unused-days", type=click.FloatRange(min=0), help="Remove what was not used for so many days.")
@click.pass_obj
def prune(output: Output, *, max_size: str | None, unused_days: float | None) -> None:
    """Remove what nothing needs, and what was longest unused; what is pinned or in use stays."""
    from modelreg.cacheconfig import CacheSettings, parse_size

    limit = CacheSettings.from_env().max_size if max_size is None else parse_size(max_size, name="--max-size")
    opened = _open()
    with _writing(opened):
        pruned = opened.pruner.prune(max_size=limit, unused_s=None if unused_days is None else unused_days * _DAY_S)
    output.done(_removed(pruned), {"size": pruned.size, "uris": pruned.refs})


@cache.command()
@_uris
@click.pass_obj
def rm(output: Output, *, uris: tuple[str, ...]) -> None:
    """Remove what the cache holds of each URI, pinned or not; what other URIs share with it stays."""
    opened = _open()
    keys = [key for uri in uris for key, _ in _find(opened, uri)]
    with _writing(opened):
        removed = opened.pruner.remove(dict.fromkeys(keys))
    output.done(_removed(removed), {"size": removed.size, "uris": removed.refs})


@cache.command()
@_uris
@click.pass_obj
def pin(output: Output, *, uris: tuple[str, ...]) -> None:
    """Keep what the cache holds of each URI, whatever else must go."""
    _set_pinned(output, uris, pinned=True)


@cache.command()
@_uris
@click.pass_obj
def unpin(output: Output, *, uris: tuple[str, ...]) -> None:
    """Let what the cache holds of each URI go again when room is needed."""
    _set_pinned(output, uris, pinned=False)


def _set_pinned(output: Output, uris: tuple[str, ...], *, pinned: bool) -> None:
    opened = _open()
    found = [answer for uri in uris for answer in _find(opened, uri)]
    with _writing(opened):
        for key, _ in found:
            (opened.refs.pin if pinned else opened.refs.unpin)(key)
    verb = "pinned" if pinned else "unpinned"
    output.done(f"{verb} {', '.join(ref.uri for _, ref in found)}", {verb: [ref.uri for _, ref in found]})


def _open() -> Cache:
    """Return the environment's cache, if this version can read it."""
    from modelreg.fetching.hits import open_cache

    opened = open_cache()
    opened.layout.check_version()
    return opened


def _writing(opened: Cache) -> Any:
    """Return a context in which what the disk refuses becomes an error of the cache."""
    from modelreg.cache.files import translated

    return translated(opened.layout.root)


def _find(opened: Cache, uri: str) -> list[tuple[str, Ref]]:
    """Return every answer to a question about ``uri``.

    Raises:
        NotCached: There is none.
    """
    from modelreg.storage.uri import parse_uri

    normalised = parse_uri(uri).normalised
    found = [(key, ref) for key, ref in opened.refs if ref.uri == normalised]
    if not found:
        raise NotCached(f"the cache does not hold {normalised}", next_step="see 'modelreg cache ls' for what it holds")
    return found


def _row(opened: Cache, key: str, ref: Ref) -> dict[str, Any]:
    return {
        "uri": ref.uri,
        "options": ref.options,
        "digest": ref.digest,
        "size": ref.size,
        "files": ref.files,
        "path": opened.path(ref),
        "intact": opened.is_intact(ref),
        "pinned": opened.refs.is_pinned(key),
        "immutable": ref.immutable,
        "fetched_time_since_epoch": int(ref.fetched * 1000),
        "checked_time_since_epoch": int(ref.checked * 1000),
        "used_time_since_epoch": int(ref.used * 1000),
        "key": key,
    }


def _entries(opened: Cache, ref: Ref) -> list[dict[str, Any]]:
    manifest = opened.manifest(ref)
    return [] if manifest is None else [entry._asdict() for entry in manifest.entries]


def _removed(pruned: Pruned) -> str:
    return f"removed {_count(len(pruned.refs), 'entry', 'entries')}, {_count(pruned.size, 'byte', 'bytes')}"


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"
