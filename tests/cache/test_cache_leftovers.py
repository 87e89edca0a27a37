"""What dead processes leave outside of any answer is collected; what the living are at work on is not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelreg.cache.layout import Layout
from modelreg.cache.leases import lock
from modelreg.cache.leftovers import KEPT_S, remove_leftovers
from modelreg.cache.machine import owner_name
from modelreg.cache.partials import ABANDONED_AFTER_S

KEY = "a" * 64
DEAD = owner_name().rsplit("-", 2)[0] + "-999999999-1"
ELSEWHERE = f"{'e' * 16}-12-34"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "cache"))
    layout.create()
    return layout


def left(layout: Layout) -> set[str]:
    root = Path(layout.root)
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return names - {"CACHEDIR.TAG", "VERSION"}


@pytest.mark.parametrize("folder", ["", "refs/", "manifests/sha256/", "trees/sha256/"])
def test_a_file_that_was_being_made_goes_after_a_day(layout: Layout, folder: str) -> None:
    name = f"{folder}{KEY}.json.12.ab12.tmp"
    (Path(layout.root) / name).write_bytes(b"{")

    remove_leftovers(layout, now=time.time() + KEPT_S - 60)
    assert left(layout) == {name}

    remove_leftovers(layout, now=time.time() + KEPT_S + 60)
    assert left(layout) == set()


@pytest.mark.parametrize("suffix", ["files", "pin"])
def test_a_part_of_an_answer_goes_once_the_answer_is_gone(layout: Layout, suffix: str) -> None:
    (Path(layout.refs) / f"{KEY}.json").write_bytes(b"{}")
    (Path(layout.refs) / f"{KEY}.{suffix}").touch()
    later = time.time() + KEPT_S + 60

    remove_leftovers(layout, now=later)
    assert left(layout) == {f"refs/{KEY}.json", f"refs/{KEY}.{suffix}"}

    (Path(layout.refs) / f"{KEY}.json").unlink()
    remove_leftovers(layout, now=later)
    assert left(layout) == set()


@pytest.mark.parametrize(
    ("owner", "after_s", "is_kept"),
    [
        pytest.param(DEAD, 0.0, False, id="a process of this machine that is gone"),
        pytest.param(ELSEWHERE, ABANDONED_AFTER_S - 60, True, id="one elsewhere that gave a sign of life"),
        pytest.param(ELSEWHERE, ABANDONED_AFTER_S + 60, False, id="one elsewhere that is silent"),
        pytest.param("", ABANDONED_AFTER_S - 60, True, id="one that has not said who it is yet"),
        pytest.param("", ABANDONED_AFTER_S + 60, False, id="one that never said who it is"),
    ],
)
def test_a_lock_stays_as_long_as_its_owner_may_live(layout: Layout, owner: str, after_s: float, is_kept: bool) -> None:
    path = Path(layout.leases) / f"{KEY}.lock"
    path.write_text(owner)

    remove_leftovers(layout, now=time.time() + after_s)

    assert path.exists() == is_kept


def test_a_lock_that_is_held_stays(layout: Layout) -> None:
    with lock(layout, KEY, is_done=lambda: False):
        remove_leftovers(layout, now=time.time() + 10 * KEPT_S)

        assert [path.name for path in Path(layout.leases).iterdir()] == [f"{KEY}.lock"]


def test_a_cache_that_was_never_filled_has_none(tmp_path: Path) -> None:
    remove_leftovers(Layout(str(tmp_path / "absent")), now=time.time())

    assert not (tmp_path / "absent").exists()
