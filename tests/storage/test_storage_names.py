"""Names from elsewhere: which may become local paths."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import UnsafeName
from modelreg.storage.names import check_tree, safe_relative_path
from modelreg.storage.patterns import selects


@pytest.mark.parametrize(
    "name",
    [
        *("", "/a", "//server/share", "a/", "/", "a//b"),
        *(".", "..", "a/../b", "../a", "a/..", "./a", "a/./b"),
        *("C:", "C:a", "c:/a", "C:\\a", "\\\\server\\share\\a", "a\\b", "..\\a"),
        *("a\0b", "a\nb", "\x7f", "a\x85"),
        *("con", "NUL.txt", "com1", "LPT9.tar.gz", "a/aux/b", "prn .txt", "COM\u00b9", "CONIN$"),
        *("a.", "a ", "a./b", "..."),
        *("x" * 256, "\u00e9" * 128, "/".join(["a" * 200] * 11)),
        "\ud800",
    ],
)
def test_a_name_that_is_unsafe_anywhere_is_refused_everywhere(name: str) -> None:
    with pytest.raises(UnsafeName):
        safe_relative_path(name, windows=False)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a/b.c",
        "with space",
        "ünïcode-名前",
        ".hidden",
        "...a",
        "a..b",
        "100%",
        "a?b",
        "2024-01-01T10:00",
        "x" * 255,
    ],
)
def test_an_ordinary_name_is_kept(name: str) -> None:
    assert safe_relative_path(name, windows=False) == name


@pytest.mark.parametrize("name", ["a:b", "a?b", "a*", "a|b", 'a"b', "<a>"])
def test_what_windows_cannot_store_is_refused_there(name: str) -> None:
    with pytest.raises(UnsafeName):
        safe_relative_path(name, windows=True)


@given(st.text(max_size=300))
def test_a_name_that_passes_stays_below_its_folder_on_every_platform(name: str) -> None:
    try:
        safe_relative_path(name, windows=True)
    except UnsafeName:
        return
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
        assert "/".join(path.parts) == name


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("Model.bin", "model.bin"),
        ("A/x", "a/y"),
        ("\u00e9", "e\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("a", "a/b"),
        ("a/b/c", "a/b"),
        ("A", "a/b"),
    ],
)
def test_names_that_cannot_lie_together_are_refused(names: tuple[str, str]) -> None:
    for order in (names, names[::-1]):
        with pytest.raises(UnsafeName):
            check_tree(order)


def test_a_tree_is_accepted() -> None:
    check_tree(["a/b", "a/c", "ab", "b/a"])


@pytest.mark.parametrize(
    ("allow", "ignore", "selected"),
    [
        (None, None, True),
        ("*.bin", None, True),
        ("*.json", None, False),
        (["*.json", "sub/*"], None, True),
        ("sub/", None, True),
        (None, "sub/", False),
        ("*", ["*.bin"], False),
        ("*.BIN", None, False),
        ([], None, False),
        (None, [], True),
    ],
)
def test_patterns_select(allow: str | list[str] | None, ignore: str | list[str] | None, selected: bool) -> None:
    assert selects("sub/model.bin", allow_patterns=allow, ignore_patterns=ignore) is selected
