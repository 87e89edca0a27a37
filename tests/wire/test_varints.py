from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.types.elements import Malformed
from modelreg.wire.varints import packed_integers, read_varint, write_varint

integers = st.integers(0, 2**64 - 1) | st.integers(0, 300)


@given(integers, st.binary(max_size=3), st.binary(max_size=3))
def test_an_integer_is_read_as_it_was_written(value: int, before: bytes, behind: bytes):
    written = write_varint(value)

    assert read_varint(before + written + behind, len(before)) == (value, len(before) + len(written))


@given(st.lists(integers))
def test_packed_integers_are_read_as_they_were_written(values: list[int]):
    assert packed_integers(b"".join(map(write_varint, values))).tolist() == values


@given(st.binary())
def test_any_bytes_are_integers_or_malformed(data: bytes):
    try:
        values = packed_integers(data)
    except Malformed:
        return

    assert len(values) == sum(byte < 0x80 for byte in data)


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\xff" * 10 + b"\x01"])
def test_an_integer_without_an_end_or_of_too_many_bits_is_malformed(data: bytes):
    with pytest.raises(Malformed):
        packed_integers(data)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11])
def test_one_integer_without_an_end_is_malformed(data: bytes):
    with pytest.raises(Malformed):
        read_varint(data, 0)
