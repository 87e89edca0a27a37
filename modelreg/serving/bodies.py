"""Bodies of requests, read within limits and decompressed; bodies of answers, compressed where that is asked for."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from modelreg.exceptions import InvalidInput, PayloadTooLarge, TooManyRequests, UnsupportedMediaType

MIB = 1 << 20
#: Bytes of a body that a server reads by default, as they come and decompressed.
MAX_BODY_BYTES = 256 * MIB

#: Bytes from which it is worth it to read a body into memory that is used again.
LARGE = 64 << 10
# Bytes of a body that are read at once into such memory.
_PIECE = 256 << 10
# How much of such memory is kept: so many buffers, of at most so many bytes.
_KEPT_BUFFERS, _KEPT_BYTES = 16, 4 * MIB
# Bytes of a body too large that are read and dropped, so that a client that does not look for an answer while it still
# sends gets to see it.
_DROP_BYTES = 16 * MIB
_DROP_STEP = 64 << 10
# Answers below this size grow rather than shrink.
_WORTH_COMPRESSING = 1 << 10
# Window bits of zlib: either header is recognised; none (some clients send "deflate" so); a gzip header.
_GZIP_OR_ZLIB, _RAW, _GZIP = 47, -15, 31


@attrs.frozen
class BodyLimits:
    """How large the body of a request may be.

    Args:
        max_bytes: Bytes as they come, and, unless ``max_decoded_bytes`` says otherwise, decompressed.
        max_decoded_bytes: Bytes of a decompressed body.

    Raises:
        InvalidInput: A limit is below 1.
    """

    max_bytes: int = MAX_BODY_BYTES
    max_decoded_bytes: int | None = None

    def __attrs_post_init__(self) -> None:
        for limit in (self.max_bytes, self.decoded_bytes):
            if limit < 1:
                raise InvalidInput(f"a limit on bodies must be at least 1 byte, not {limit}")

    @property
    def decoded_bytes(self) -> int:
        """How many bytes a decompressed body may have."""
        return self.max_bytes if self.max_decoded_bytes is None else self.max_decoded_bytes


class Places:
    """A number of places for requests with a body, so that slow senders never take up every thread of a server.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        # Its operations are atomic, and cheaper than a semaphore's.
        self._free = deque(range(count))

    def take(self) -> int:
        """Return a place, to be given back.

        Raises:
            TooManyRequests: None is free.
        """
        try:
            return self._free.pop()
        except IndexError:
            raise TooManyRequests(
                f"{self._count} requests are being read or answered",
                retry_after_s=1,
                next_step="try again a little later",
            ) from None

    def give_back(self, place: int) -> None:
        """Give back a place that was taken."""
        self._free.append(place)


def read_body(environ: dict[str, Any], limits: BodyLimits) -> bytes:
    """Return the body of a request, decompressed.

    Args:
        environ: The request, as WSGI has it; its input must end where the body does.
        limits: How large the body may be.

    Raises:
        PayloadTooLarge: It is larger.
        UnsupportedMediaType: It is encoded in a way that is not read.
        InvalidInput: It ended early, or is not encoded as it says.
    """
    stream = environ["wsgi.input"]
    announced = environ.get("CONTENT_LENGTH")
    if announced:
        length = _length_within(limits, announced, stream)
        body: bytes = stream.read(length)
        if len(body) < length:
            raise _ended_early(len(body), length)
    else:
        body = stream.read(limits.max_bytes + 1)
        if len(body) > limits.max_bytes:
            raise _too_large(stream, f"more than {limits.max_bytes} bytes", limits.max_bytes)
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    return body if encoding is None else decoded(body, encoding, max_bytes=limits.decoded_bytes)


class Buffers:
    """Memory that large bodies are read into, one after the other.

    A body of megabytes that gets memory of its own gets it from the system, which takes as long as to read the body,
    and leaves some of it behind in the heap of its thread: with sixteen clients, hundreds of megabytes.
    """

    def __init__(self) -> None:
        self._free: deque[bytearray] = deque(maxlen=_KEPT_BUFFERS)

    @contextmanager
    def body(self, environ: dict[str, Any], limits: BodyLimits) -> Iterator[bytearray]:
        """Read the body of a request that :func:`is_large`; nothing may look into it after the block.

        Args:
            environ: The request, as WSGI has it.
            limits: How large the body may be.

        Raises:
            PayloadTooLarge: It is larger.
            InvalidInput: It ended early.
        """
        stream = environ["wsgi.input"]
        length = _length_within(limits, environ["CONTENT_LENGTH"], stream)
        body = self._take()
        _fill(body, stream, length)
        # It keeps its memory when it becomes shorter, unless that is less than half of it.
        del body[length:]
        yield body
        if length <= _KEPT_BYTES:
            self._free.append(body)

    def _take(self) -> bytearray:
        try:
            # The one that was used last is the likeliest to be in the processor's cache.
            return self._free.pop()
        except IndexError:
            return bytearray()


def is_large(environ: dict[str, Any]) -> bool:
    """Return whether the body of a request is large, and comes as it is.

    Raises:
        InvalidInput: Its length is not a number.
    """
    announced = environ.get("CONTENT_LENGTH") or "0"
    return _length(announced) >= LARGE and "HTTP_CONTENT_ENCODING" not in environ


def _fill(buffer: bytearray, stream: Any, length: int) -> None:
    """Read a body in pieces: what is read in one piece is put together by the server, at several times its size."""
    filled = 0
    while filled < length:
        piece = stream.read(min(_PIECE, length - filled))
        if not piece:
            raise _ended_early(filled, length)
        # At the end of the buffer this makes it longer: nobody takes up memory for a body that they only announce.
        buffer[filled : filled + len(piece)] = piece
        filled += len(piece)


def _ended_early(read: int, length: int) -> InvalidInput:
    return InvalidInput(f"the body ended after {read} of {length} bytes")


def _length_within(limits: BodyLimits, announced: str, stream: Any) -> int:
    length = _length(announced)
    if length > limits.max_bytes:
        raise _too_large(stream, f"{length} bytes", limits.max_bytes)
    return length


def _length(text: str) -> int:
    # int() would take signs, spaces and underscores.
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"the Content-Length {text!r} is not a number")
    return int(text)


def _too_large(stream: Any, size: str, limit: int) -> PayloadTooLarge:
    left = _DROP_BYTES
    while left > 0 and (dropped := stream.read(_DROP_STEP)):
        left -= len(dropped)
    return PayloadTooLarge(f"the body has {size}; at most {limit} are read")


def decoded(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Return a body decompressed.

    Args:
        body: The body as it came.
        encoding: The request's ``Content-Encoding``.
        max_bytes: Bytes that it may have decompressed.

    Raises:
        PayloadTooLarge: It has more.
        UnsupportedMediaType: ``encoding`` is not one that is read.
        InvalidInput: It is not encoded so.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in {"gzip", "x-gzip", "deflate"}:
        raise UnsupportedMediaType(f"bodies encoded as {encoding!r} are not read", next_step="send gzip or deflate")
    try:
        return _inflated(body, max_bytes, _GZIP_OR_ZLIB)
    except zlib.error as error:
        if name != "deflate":
            raise _not_encoded_so(encoding, error) from error
    try:
        return _inflated(body, max_bytes, _RAW)
    except zlib.error as error:
        raise _not_encoded_so(encoding, error) from error


def _inflated(body: bytes, max_bytes: int, window_bits: int) -> bytes:
    parts = []
    left = max_bytes
    while body:
        inflater = zlib.decompressobj(window_bits)
        part = inflater.decompress(body, left + 1)
        left -= len(part)
        if left < 0:
            raise PayloadTooLarge(
                f"the decompressed body has more than {max_bytes} bytes, which is the most that is read"
            )
        if not inflater.eof:
            raise zlib.error("it ends early")
        parts.append(part)
        # gzip allows several one after the other.
        body = inflater.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _not_encoded_so(encoding: str, error: zlib.error) -> InvalidInput:
    return InvalidInput(f"the body is not encoded as {encoding}: {error}")


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client that sent this ``Accept-Encoding`` wants gzip.

    Example:
        >>> accepts_gzip("br, gzip;q=0.5"), accepts_gzip("gzip;q=0"), accepts_gzip("identity")
        (True, False, False)
    """
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.partition(";")
        if name.strip() in {"gzip", "x-gzip"}:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def gzipped(parts: Iterable[bytes | memoryview]) -> bytes | None:
    """Return the parts of an answer compressed; ``None`` where they are too few bytes to be worth it."""
    pieces = [*parts]
    if sum(memoryview(piece).nbytes for piece in pieces) < _WORTH_COMPRESSING:
        return None
    # Over a network of a data centre the fastest level is what takes the least time in all.
    deflater = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return b"".join([*(deflater.compress(piece) for piece in pieces), deflater.flush()])
