from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project() -> dict[str, Any]:
    if sys.version_info < (3, 11):
        pytest.skip("reads pyproject.toml with tomllib, new in Python 3.11")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned(name: str) -> list[str]:
    return sorted(re.findall(r"^[^#\s].*$", (ROOT / "tests" / name).read_text(encoding="utf-8"), re.MULTILINE))


def floors(requirements: list[str]) -> list[str]:
    return sorted(requirement.partition(",")[0].replace(">=", "==") for requirement in requirements)


def test_the_lowest_versions_that_are_tested_are_the_floors_of_the_core_dependencies(project: dict[str, Any]):
    assert floors(project["dependencies"]) == pinned("lowest-versions.txt")


def test_the_lowest_versions_that_serving_is_tested_with_are_the_floors_of_its_extra(project: dict[str, Any]):
    assert floors(project["optional-dependencies"]["serve"]) == pinned("lowest-versions-serve.txt")
