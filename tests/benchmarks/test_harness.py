from __future__ import annotations

from pathlib import Path

import pytest

from harness import Contender, interleave, markdown_table, milliseconds, per_second, ratio, write_section


def test_contenders_take_turns_and_warm_up_uncounted():
    calls: list[str] = []

    timings = interleave(
        [Contender("a", lambda: calls.append("a")), Contender("b", lambda: calls.append("b"))], rounds=2, warmups=1
    )

    assert "".join(calls) == "ababab"
    assert [(timing.name, len(timing.runs)) for timing in timings] == [("a", 2), ("b", 2)]


def test_what_comes_before_a_run_is_called_each_time():
    calls: list[str] = []

    interleave(
        [Contender("a", lambda: calls.append("run"), before=lambda: calls.append("before"))], rounds=2, warmups=0
    )

    assert calls == ["before", "run", "before", "run"]


def test_a_contender_may_bring_figures_of_its_own():
    seconds = iter([3.0, 1.0, 2.0])
    [timed, counted] = interleave(
        [Contender("timed", lambda: next(seconds)), Contender("counted", lambda: {"requests": 7.0})],
        rounds=3,
        warmups=0,
    )

    assert timed.median() == 2.0
    assert timed.spread() == (1.0, 3.0)
    assert counted.median("requests") == 7.0


def test_a_section_is_replaced_between_its_markers_and_nothing_else(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: x -->\nold\n<!-- /measured: x -->\nafter\n")

    write_section("x", "new", path=page)
    write_section("x", "newer", path=page)

    assert page.read_text() == "before\n<!-- measured: x -->\n\nnewer\n\n<!-- /measured: x -->\nafter\n"


def test_a_page_without_the_markers_is_left_alone(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")

    with pytest.raises(ValueError, match="<!-- measured: x -->"):
        write_section("x", "new", path=page)

    assert page.read_text() == "nothing\n"


def test_tables_and_figures_read_as_people_write_them():
    assert markdown_table(("what", "ms"), [("a", "1")]) == "| what | ms |\n| --- | ---: |\n| a | 1 |"
    assert [milliseconds(s) for s in (1.2345, 0.0123, 0.00123)] == ["1,234", "12.3", "1.23"]
    assert per_second(0.5, count=1000) == "2,000"
    assert ratio(1.0, 2.5) == "2.5x"
