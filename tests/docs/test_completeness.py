"""The documentation tells of everything that it promises to tell of."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def test_every_decision_is_in_the_index_under_its_title():
    for page in sorted((DOCS / "explanation" / "adr").glob("[0-9]*.md")):
        number, title = re.match(r"# (\d{4}): (.+)\n", page.read_text(encoding="utf-8")).groups()
        assert page.name.startswith(f"{number}-")
        assert f"| [{number}]({page.name}) | {title} |" in text("explanation/adr/index.md")


def test_no_two_decisions_have_one_number():
    numbers = [page.name[:4] for page in (DOCS / "explanation" / "adr").glob("[0-9]*.md")]

    assert len(numbers) == len(set(numbers))


def test_every_variable_of_its_own_that_modelreg_reads_is_documented_and_no_other():
    names = re.compile(r"\bMODELREG_[A-Z][A-Z_]*[A-Z]\b")
    read = {
        name for path in (ROOT / "modelreg").rglob("*.py") for name in names.findall(path.read_text(encoding="utf-8"))
    }

    assert set(names.findall(text("reference/environment.md"))) == read


def test_every_measured_section_names_a_script_that_is_there():
    scripts = re.findall(r"tests/benchmarks/\w+\.py", text("benchmarks.md"))

    assert [script for script in scripts if not (ROOT / script).is_file()] == []
