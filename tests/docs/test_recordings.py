"""The recordings of the command line in the documentation show what the commands show now."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import types
from collections.abc import Callable
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("a terminal of POSIX is recorded", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["cache", "lineage", "models", "plot", "runs"]


def shape(text: str) -> str:
    """What of a session is the same on every machine: not its numbers, nor how wide they make a column."""
    return re.sub(r"\s+|─+", " ", re.sub(r"\d+", "0", text)).strip()


@pytest.fixture(scope="module")
def script() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("recordings", ROOT / ".ci/recordings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def session(script: types.ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns what the commands of a recording show now."""
    folder = tmp_path_factory.mktemp("recorded")
    script.tell_story(folder)
    return lambda name: script.record(name, folder).plain


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_shows_what_its_commands_show(session: Callable[[str], str], name: str):
    if name == "plot":
        pytest.importorskip("plotext", reason="plots in a terminal need the extra plot")
    image = (ROOT / "docs/recordings" / f"{name}.svg").read_text(encoding="utf-8")
    described = html.unescape(re.search(r"<desc>(.*?)</desc>", image, re.DOTALL)[1])

    assert shape(session(name)) == shape(described), "tox -e recordings makes them anew"


def test_every_recording_is_shown_and_fetches_nothing(script: types.ModuleType):
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    images = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs/recordings").glob("*.svg")}

    assert sorted(images) == sorted(script.RECORDINGS) == NAMES
    assert [name for name in NAMES if f"recordings/{name}.svg" not in pages] == []
    assert [name for name, image in images.items() if re.search(r"url\((?!#)|@import|href=", image)] == []
