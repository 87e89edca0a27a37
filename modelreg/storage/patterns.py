"""Which files of a tree ``allow_patterns`` and ``ignore_patterns`` select."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from fnmatch import translate
from typing import TypeAlias

#: One pattern, several, or none.
Patterns: TypeAlias = "str | Iterable[str] | None"


def as_patterns(patterns: Patterns) -> tuple[str, ...] | None:
    """Return ``patterns`` as a tuple, ``None`` if there are none to apply.

    A pattern that ends in ``/`` stands for everything below that folder.

    Example:
        >>> as_patterns("*.bin"), as_patterns(["logs/"]), as_patterns(None)
        (('*.bin',), ('logs/*',), None)
    """
    if patterns is None:
        return None
    given = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    return tuple(f"{pattern}*" if pattern.endswith("/") else pattern for pattern in given)


def selects(path: str, *, allow_patterns: Patterns = None, ignore_patterns: Patterns = None) -> bool:
    """Return whether a file is selected: some allow pattern matches (or there are none), and no ignore pattern does.

    Args:
        path: Relative path of the file; ``*`` matches across ``/``, case counts on every platform.
        allow_patterns: Shell patterns of files to keep; ``None`` keeps all.
        ignore_patterns: Shell patterns of files to leave out; they win.

    Example:
        >>> selects("model/weights.bin", allow_patterns="*.bin")
        True
        >>> selects("model/weights.bin", allow_patterns="*.bin", ignore_patterns=["model/*"])
        False
    """
    allow = as_patterns(allow_patterns)
    if allow is not None and not any(_matcher(pattern).match(path) for pattern in allow):
        return False
    return not any(_matcher(pattern).match(path) for pattern in as_patterns(ignore_patterns) or ())


@functools.lru_cache(maxsize=256)
def _matcher(pattern: str) -> re.Pattern[str]:
    # fnmatch.fnmatch folds case on Windows alone; the same patterns must select the same files everywhere.
    return re.compile(translate(pattern))
