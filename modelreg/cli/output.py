"""How commands speak: results on stdout as tables or JSON, errors on stderr as one line, exit codes 0, 1 and 2.

Every command gets ``--json`` and ``--verbose`` and finds an :class:`Output` in ``ctx.obj``::

    @click.group(cls=Group)
    def things() -> None: ...

    @things.command("list")
    @click.pass_obj
    def list_things(output: Output) -> None:
        output.table([{"id": 1, "name": "a"}], ["id", "name"])
"""

from __future__ import annotations

import errno
import json
import math
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from enum import Enum
from typing import IO, Any, NamedTuple

import click

from modelreg.exceptions import InvalidInput, ModelRegError

# Columns by which a tree moves each line to the right of the one above it.
_INDENT = 4


class Branch(NamedTuple):
    """A line of a tree, and the lines below it.

    Attributes:
        text: What it says.
        branches: What belongs to it.
    """

    text: str
    branches: Sequence[Branch] = ()


class Output(NamedTuple):
    """What a command writes its results to.

    Attributes:
        as_json: Whether ``--json`` was given: stdout then holds one JSON document and nothing else.
        verbose: Whether ``--verbose`` was given.
    """

    as_json: bool = False
    verbose: bool = False

    def table(
        self,
        rows: Iterable[Any],
        columns: Sequence[str],
        *,
        empty: str = "nothing to list",
        titles: Sequence[str] | None = None,
    ) -> None:
        """Write ``rows``, each a mapping or a resource: with ``--json`` whole, else the named ``columns`` of them.

        Args:
            rows: What to write.
            columns: Keys of the values that the table shows, in order.
            empty: What people are told where there are no rows.
            titles: What stands above the columns; by default what their keys say.
        """
        heads = [_title(column) for column in columns] if titles is None else [printable(title) for title in titles]
        records = [plain(row) for row in rows]
        if self.as_json:
            _write_json(records)
        elif not records:
            self.note(empty)
        elif sys.stdout.isatty():
            _write_rich_table(records, columns, heads)
        else:
            _write_plain_table(records, columns, heads)

    def record(self, data: Any) -> None:
        """Write one mapping or resource: with ``--json`` whole, else one ``key: value`` line for each that is set."""
        record = plain(data)
        if self.as_json:
            _write_json(record)
            return
        shown = {key: value for key, value in record.items() if value not in (None, {}, [])}
        width = max(map(len, shown), default=0)
        for key, value in shown.items():
            click.echo(f"{key + ':':<{width + 1}} {_cell(key, value)}")

    def tree(self, data: Any, root: Branch) -> None:
        """Write ``data`` with ``--json``, else the tree that people read it as."""
        if self.as_json:
            _write_json(plain(data))
        else:
            _write_tree(root)

    def done(self, message: str, data: Any) -> None:
        """Tell what was done: ``data`` with ``--json``, else ``message``."""
        if self.as_json:
            _write_json(plain(data))
        else:
            click.echo(printable(message))

    def blank(self) -> None:
        """Write an empty line between two things that people read; ``--json`` keeps it back."""
        if not self.as_json:
            click.echo()

    def note(self, message: str) -> None:
        """Tell people something that is no result, on stderr; ``--json`` keeps it back."""
        if not self.as_json:
            click.echo(printable(message), err=True)


class Command(click.Command):
    """A command with ``--json`` and ``--verbose``, whose errors become one line and an exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--json", "as_json"], is_flag=True, help="Write one JSON document."))
        self.params.append(click.Option(["--verbose"], is_flag=True, help="Show the trace of an error."))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with its :class:`Output` in ``ctx.obj``.

        Raises:
            Failure: If the command raises an error of modelreg's, or a file cannot be read or written.
        """
        ctx.obj = Output(as_json=ctx.params.pop("as_json"), verbose=ctx.params.pop("verbose"))
        try:
            return super().invoke(ctx)
        except ModelRegError as error:
            failure = UsageFailure if isinstance(error, InvalidInput) else Failure
            raise failure(error, verbose=ctx.obj.verbose) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                # Whoever reads has enough: click ends quietly.
                raise
            # Files that the user names, and stdout, are written here and there.
            raise Failure(ModelRegError(_of_system(error)), verbose=ctx.obj.verbose) from error


class Group(click.Group):
    """A group whose commands are :class:`Command`."""

    command_class = Command
    group_class = type


class Failure(click.ClickException):
    """An error of modelreg's on its way to the terminal.

    Args:
        error: What went wrong.
        verbose: Whether to show the trace as well.
    """

    def __init__(self, error: ModelRegError, *, verbose: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.verbose = verbose

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the error to stderr as one line, after its trace where that was asked for."""
        if self.verbose:
            click.echo("".join(traceback.format_exception(self.error)), file=file, err=True)
        click.echo(f"modelreg: {printable(' '.join(self.message.split()))}", file=file, err=True)


class UsageFailure(Failure):
    """An argument that modelreg refused: the command was called wrongly."""

    exit_code = 2


def _of_system(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else f"cannot write the output: {reason}"


def plain(value: Any) -> Any:
    """Return ``value`` as what JSON can hold: resources as mappings of their fields, paths and enumerations as text.

    Example:
        >>> plain({"loss": float("nan"), "steps": (1, 2)})
        {'loss': 'NaN', 'steps': [1, 2]}
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        # As the protocols' JSON has them; a bare NaN is not JSON.
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and not hasattr(value, "_fields"):
        return [plain(item) for item in value]
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if hasattr(value, "__attrs_attrs__"):
        record = {field.name: plain(getattr(value, field.name)) for field in value.__attrs_attrs__}
        tag = getattr(value, "artifact_type", "")
        return {"artifact_type": tag, **record} if tag else record
    return str(value)


def _write_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def _write_plain_table(records: list[dict[str, Any]], columns: Sequence[str], titles: list[str]) -> None:
    lines = [titles]
    lines += [[_cell(column, record.get(column)) for column in columns] for record in records]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _write_rich_table(records: list[dict[str, Any]], columns: Sequence[str], titles: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        # Text, not markup: a name may hold brackets.
        table.add_column(Text(title), overflow="fold")
    for record in records:
        table.add_row(*(Text(_cell(column, record.get(column))) for column in columns))
    Console().print(table)


def _write_tree(root: Branch) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def grown(branch: Branch) -> Tree:
        # Text, not markup: a name may hold brackets.
        tree = Tree(Text(printable(branch.text)))
        tree.children += [grown(child) for child in branch.branches]
        return tree

    # Wide enough for every line: a tree cuts what does not fit, and half a digest is none.
    width = max(Console().width, _width(root))
    Console(width=width).print(grown(root), soft_wrap=True)


def _width(branch: Branch, depth: int = 0) -> int:
    from rich.cells import cell_len

    own = _INDENT * depth + cell_len(printable(branch.text))
    return max([own, *(_width(child, depth + 1) for child in branch.branches)])


def _title(column: str) -> str:
    return printable(column.removesuffix("_since_epoch").replace("_", " ").upper())


def _cell(column: str, value: Any) -> str:
    """Return a value as people read it; columns that end in ``_since_epoch`` or ``timestamp`` are times in ms."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.endswith(("_since_epoch", "timestamp")) and isinstance(value, int):
        return _time(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell('', item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_cell("", item) for item in value)
    return printable(str(value))


def _time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        # Beyond what the platform's calendar holds: the number says it.
        return str(milliseconds)


def printable(text: str) -> str:
    r"""Return ``text`` with control characters escaped: names come from elsewhere and must not steer the terminal.

    Example:
        >>> printable("fraud\x1b[31m")
        'fraud\\x1b[31m'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
