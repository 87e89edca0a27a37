"""Bodies over HTTP: limits, compression, and places for those who send slowly."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidInput, PayloadTooLarge, TooManyRequests, UnsupportedMediaType
from modelreg.serving.bodies import (
    LARGE,
    BodyLimits,
    Buffers,
    Places,
    accepts_gzip,
    decoded,
    gzipped,
    is_large,
    read_body,
)


def request(body: bytes, **environ: Any) -> dict[str, Any]:
    return {"wsgi.input": io.BytesIO(body), **environ}


def announced(body: bytes, **environ: Any) -> dict[str, Any]:
    return request(body, CONTENT_LENGTH=str(len(body)), **environ)


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


ENCODERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}


def test_a_body_is_read_whether_its_length_is_announced_or_not() -> None:
    limits = BodyLimits(10)

    assert read_body(announced(b"0123456789"), limits) == b"0123456789"
    assert read_body(request(b"0123456789"), limits) == b"0123456789"
    assert read_body(announced(b""), limits) == read_body(request(b""), limits) == b""


@pytest.mark.parametrize("make", [announced, request])
def test_a_body_above_the_limit_is_refused_whether_its_length_is_announced_or_not(make: Any) -> None:
    with pytest.raises(PayloadTooLarge, match="at most 9") as refused:
        read_body(make(b"0123456789"), BodyLimits(9))

    assert refused.value.status == 413


def test_a_body_that_ends_early_is_refused() -> None:
    with pytest.raises(InvalidInput, match="3 of 10 bytes"):
        read_body(request(b"012", CONTENT_LENGTH="10"), BodyLimits())


@pytest.mark.parametrize("length", ["-1", "1_0", "ten", "+1", "٣", "1.0"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(InvalidInput, match="Content-Length"):
        read_body(request(b"0", CONTENT_LENGTH=length), BodyLimits())


@given(st.binary(max_size=300), st.sampled_from([*ENCODERS]))
def test_a_compressed_body_is_decompressed(data: bytes, encoding: str) -> None:
    body = announced(ENCODERS[encoding](data), HTTP_CONTENT_ENCODING=encoding.upper())

    assert read_body(body, BodyLimits()) == data


@given(st.binary(max_size=300))
def test_deflate_without_a_header_is_read_as_some_clients_send_it(data: bytes) -> None:
    assert decoded(raw_deflate(data), "deflate", max_bytes=300) == data


def test_several_gzip_members_are_one_body() -> None:
    assert decoded(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", max_bytes=4) == b"abcd"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("members", [1, 3])
def test_a_bomb_stops_at_the_limit(encoding: str, members: int) -> None:
    bomb = ENCODERS[encoding](bytes(1 << 20))
    bombs = bomb * members if encoding == "gzip" else bomb

    with pytest.raises(PayloadTooLarge, match="decompressed"):
        decoded(bombs, encoding, max_bytes=(1 << 20) * members - 1 if encoding == "gzip" else (1 << 20) - 1)


def test_decompressed_bodies_have_a_limit_of_their_own() -> None:
    body = announced(gzip.compress(bytes(1000)), HTTP_CONTENT_ENCODING="gzip")

    with pytest.raises(PayloadTooLarge, match="more than 999"):
        read_body(body, BodyLimits(500, max_decoded_bytes=999))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"\0" + data, lambda data: data + b"rest"])
def test_a_damaged_body_is_refused(encoding: str, damage: Any) -> None:
    with pytest.raises(InvalidInput, match=encoding):
        decoded(damage(ENCODERS[encoding](b"data" * 100)), encoding, max_bytes=1000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "aws-chunked"])
def test_other_encodings_are_not_read(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="gzip or deflate"):
        decoded(b"", encoding, max_bytes=1)


def test_identity_is_no_encoding() -> None:
    assert decoded(b"data", " Identity ", max_bytes=1) == b"data"


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_bytes": 1, "max_decoded_bytes": 0}])
def test_limits_below_a_byte_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="at least 1 byte"):
        BodyLimits(**limits)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.3, *", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; q = 0.000", False),
        ("br", False),
        ("", False),
    ],
)
def test_answers_are_compressed_for_those_who_say_that_they_want_gzip(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


def test_answers_are_compressed_as_one_whatever_their_parts() -> None:
    parts = [b"a" * 1000, memoryview(b"b" * 1000)]

    compressed = gzipped(parts)

    assert compressed is not None
    assert gzip.decompress(compressed) == b"a" * 1000 + b"b" * 1000


def test_answers_that_compression_would_not_shrink_are_left_alone() -> None:
    assert gzipped([b"a" * 100]) is None


def test_as_many_places_are_given_as_there_are_and_again_once_given_back() -> None:
    places = Places(2)
    taken = [places.take(), places.take()]

    with pytest.raises(TooManyRequests) as refused:
        places.take()
    places.give_back(taken[0])

    assert refused.value.retry_after_s == 1
    assert places.take() == taken[0]


@pytest.mark.parametrize("length", [LARGE, 1 << 20, 5 << 20])
def test_a_large_body_is_read_whole_into_memory_that_is_used_again(length: int) -> None:
    buffers = Buffers()
    bodies = [bytes([number]) * (length - number) for number in range(3)]

    for body in bodies:
        with buffers.body(announced(body), BodyLimits()) as held:
            assert held == body


def test_large_bodies_at_once_do_not_share_memory() -> None:
    buffers = Buffers()

    with (
        buffers.body(announced(b"a" * LARGE), BodyLimits()) as one,
        buffers.body(announced(b"b" * LARGE), BodyLimits()) as other,
    ):
        assert (one[0], other[0]) == (ord("a"), ord("b"))


@pytest.mark.parametrize("length", [LARGE + 1, LARGE * 2, LARGE * 8])
def test_a_body_of_another_size_than_the_last_one_is_read_whole(length: int) -> None:
    buffers = Buffers()

    with buffers.body(announced(b"a" * LARGE * 4), BodyLimits()):
        pass
    with buffers.body(announced(b"b" * length), BodyLimits()) as body:
        assert body == b"b" * length


def test_a_large_body_that_ends_early_is_refused() -> None:
    asked = request(b"012", CONTENT_LENGTH=str(LARGE))

    with pytest.raises(InvalidInput, match=f"3 of {LARGE} bytes"), Buffers().body(asked, BodyLimits()):
        raise AssertionError("the body is not there")


def test_a_large_body_that_does_not_come_takes_no_memory() -> None:
    asked = request(b"", CONTENT_LENGTH=str(200 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="after 0 of"), Buffers().body(asked, BodyLimits()):
            raise AssertionError("the body is not there")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 1 << 20


def test_a_large_body_above_the_limit_is_refused() -> None:
    with pytest.raises(PayloadTooLarge), Buffers().body(announced(b"0" * LARGE), BodyLimits(9)):
        raise AssertionError("the body is not there")


def test_a_body_is_large_by_its_length_where_it_comes_as_it_is() -> None:
    assert is_large(announced(b"0" * LARGE))
    assert not is_large(announced(b"0" * (LARGE - 1)))
    assert not is_large(announced(b"0" * LARGE, HTTP_CONTENT_ENCODING="gzip"))
    assert not is_large(request(b"0" * LARGE))
