"""The code blocks of the predecessors' reference pages (``tests/reference_pages``), and how they are changed.

A block is changed in two ways alone: names of imports become modelreg's, and what the page leaves to its reader (a path
of theirs, their credentials, dots) is filled in. Each of the latter is written down beside the block's heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "reference_pages"

# A longer name first, as a shorter one may be part of it.
RENAMED = {"kserve_storage": "modelreg.storage", "model_registry": "modelreg", "kserve": "modelreg.serving"}


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        heading: The headings that it stands below, without the page's own, joined by `` / ``; a second block there
            ends in `` #2``, and so on.
        language: What the page says that it is in; empty where it does not.
        code: Its text.
    """

    heading: str
    language: str
    code: str

    def renamed(self) -> str:
        """Return its text with modelreg's names in the place of the predecessors' in imports."""
        imported = re.compile(rf"^(\s*(?:from|import) )({'|'.join(RENAMED)})\b", re.MULTILINE)
        return imported.sub(lambda found: found[1] + RENAMED[found[2]], self.code)

    def filled_in(self, given: Mapping[str, str]) -> str:
        """Return its renamed text, with what the page leaves to its reader.

        Args:
            given: What to put in, by the text that stands there on the page.

        Raises:
            ValueError: The page does not have one of the texts.
        """
        code = self.renamed()
        for left_open, text in given.items():
            if left_open not in code:
                raise ValueError(f"{left_open!r} is not in the block below {self.heading!r}")
            code = code.replace(left_open, text)
        return code


def blocks(page: str) -> dict[str, Block]:
    """Return the blocks of a page in their order, by their headings."""
    found: dict[str, Block] = {}
    for heading, language, code in _read((PAGES / page).read_text(encoding="utf-8")):
        number = sum(one.partition(" #")[0] == heading for one in found) + 1
        name = heading if number == 1 else f"{heading} #{number}"
        found[name] = Block(name, language, code)
    return found


def _read(text: str) -> Iterator[tuple[str, str, str]]:
    headings: dict[int, str] = {}
    language, code = "", None
    for line in text.splitlines(keepends=True):
        if line.startswith("```"):
            if code is not None:
                yield " / ".join(headings[level] for level in sorted(headings)), language, code
            language, code = (line[3:].strip(), "") if code is None else ("", None)
        elif code is not None:
            code += line
        elif heading := re.match(r"(##+) (.+)", line):
            level = len(heading[1])
            headings = {above: text for above, text in headings.items() if above < level} | {level: heading[2]}
