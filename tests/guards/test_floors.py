from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_lowest_versions_that_are_tested_are_the_floors_of_the_core_dependencies():
    if sys.version_info < (3, 11):
        pytest.skip("reads pyproject.toml with tomllib, new in Python 3.11")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = re.findall(
        r"^[^#\s].*$", (ROOT / "tests" / "lowest-versions.txt").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert sorted(requirement.replace(">=", "==") for requirement in project["dependencies"]) == sorted(tested)
