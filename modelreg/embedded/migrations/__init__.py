"""The steps that bring a registry database from any earlier schema to this version's.

Each ``NNNN_name.sql`` is one step, run in one transaction and never changed after a release. The statements are the
same for every database but for the words in ``${}``, which each database fills in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

_FOLDER = Path(__file__).parent


def statements_after(version: int, words: Mapping[str, str]) -> list[str]:
    """Return the statements that bring a database at schema ``version`` to the newest one.

    Args:
        version: The schema's number; 0 for an empty database.
        words: What stands for each ``${word}`` in this database.
    """
    steps = sorted(path for path in _FOLDER.glob("[0-9]*.sql") if int(path.name[:4]) > version)
    text = "".join(Template(path.read_text("utf-8")).substitute(words) for path in steps)
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]
