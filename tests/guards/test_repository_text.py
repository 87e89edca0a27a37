"""What the text of the project may not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("modelreg", "tests", "docs", ".ci")
SUFFIXES = {".py", ".md", ".toml", ".ini", ".yml", ".yaml", ".txt", ".cfg", ".sh", ".sql", ".lark", ".json", ""}

UPPER_CASE_PAGE = re.compile(r"\b[A-Z][A-Z_-]+\.md\b")


def texts() -> Iterator[tuple[str, str]]:
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in files:
        if path.suffix in SUFFIXES and not path.name.startswith(".coverage"):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(?<![\w.:/])/(?:work|root|home|Users)/[\w.]", "a path of somebody's machine"),
        (r"\b(?:T[O]DO|F[I]XME)\b", "work left undone"),
        (r"^(?:<{7}|>{7}) ", "a merge left unfinished"),
    ],
)
def test_no_text_holds(pattern: str, why: str):
    found = [
        f"{name}: {line.strip()}" for name, text in texts() for line in text.splitlines() if re.search(pattern, line)
    ]

    assert found == [], why


def test_every_upper_case_page_that_is_named_is_in_the_project():
    pages = {path.name for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    named = {(name, page) for name, text in texts() for page in UPPER_CASE_PAGE.findall(text)}

    assert sorted(f"{name}: {page}" for name, page in named if page not in pages) == []
