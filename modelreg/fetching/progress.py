"""Progress: a bar where a person watches, a callback where a program does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from modelreg.storage.transfer import Progress, TransferProgress

#: ``True`` for a bar, ``False`` for none, ``None`` for one on a terminal, or a callable that is told.
ProgressOption: TypeAlias = "bool | Callable[[TransferProgress], object] | None"
# Characters of the title, so that the bar and its figures fit beside it on 80 columns.
_TITLE_WIDTH = 30


@contextmanager
def shown(progress: ProgressOption, title: str) -> Iterator[Progress | None]:
    """Yield what a transfer is to call, for as long as which a bar is shown if one is to be.

    Args:
        progress: What was asked for.
        title: What is moved.
    """
    if callable(progress):
        yield progress
    elif progress or (progress is None and sys.stderr.isatty()):
        with _bar(title) as told:
            yield told
    else:
        yield None


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        # The end of a long URI tells more than its beginning.
        task = bars.add_task(title if len(title) <= _TITLE_WIDTH else f"…{title[1 - _TITLE_WIDTH :]}")

        def tell(done: TransferProgress) -> None:
            bars.update(task, completed=done.bytes_done, total=done.bytes_total)

        yield tell
