"""Layers that cover each other, as OCI's specification of images has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.storage.packs import below, overlaid

NAMES = st.sampled_from(["a", "b", "a/b", "a/c", "b/a/c", "b/a"])
LAYERS = st.dictionaries(NAMES, st.integers(1, 9), max_size=4)


def test_a_whiteout_takes_a_file_away():
    assert overlaid({"a": 1, "b": 2}, {".wh.a": 0}) == {"b": 2}


def test_a_whiteout_takes_a_folder_away_with_all_that_is_in_it():
    assert overlaid({"a/b/c": 1, "ab": 2}, {".wh.a": 0}) == {"ab": 2}


def test_an_opaque_folder_hides_what_it_held_before_and_not_what_the_layer_brings():
    assert overlaid({"a/b": 1, "a/c/d": 2, "e": 3}, {"a/.wh..wh..opq": 0, "a/new": 4}) == {"a/new": 4, "e": 3}


def test_an_opaque_root_hides_everything():
    assert overlaid({"a/b": 1, "c": 2}, {".wh..wh..opq": 0, "d": 3}) == {"d": 3}


def test_a_whiteout_does_not_hide_what_its_own_layer_brings():
    assert overlaid({"a": 1}, {".wh.a": 0, "a": 2}) == {"a": 2}


def test_a_file_takes_the_place_of_a_folder():
    assert overlaid({"a/b": 1, "a/c": 2}, {"a": 3}) == {"a": 3}


def test_a_folder_takes_the_place_of_a_file():
    assert overlaid({"a": 1}, {"a/b": 2}) == {"a/b": 2}


@given(LAYERS, LAYERS)
def test_what_a_layer_brings_is_seen_and_nothing_is_file_and_folder_at_once(
    lower: dict[str, int], layer: dict[str, int]
):
    layer = {path: size for path, size in layer.items() if not any(other.startswith(f"{path}/") for other in layer)}
    seen = overlaid(overlaid({}, lower), layer)
    assert layer.items() <= seen.items()
    assert not any(other.startswith(f"{path}/") for path in layer for other in seen)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("models/a", "a"),
        ("/models/a/b", "a/b"),
        ("./models/a", "a"),
        ("models", ""),
        ("modelsx/a", None),
        ("etc/models/a", None),
        ("models/../etc/passwd", "../etc/passwd"),
        (".wh.models", ".wh..wh..opq"),
        (".wh..wh..opq", ".wh..wh..opq"),
        (".wh.etc", None),
    ],
)
def test_members_belong_below_the_folder_that_is_wanted(name: str, place: str | None):
    assert below("models")(name) == place
