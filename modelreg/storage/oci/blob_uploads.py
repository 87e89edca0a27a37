"""Blobs on their way to a registry, gone on with where the registry kept what came of one that broke off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from modelreg.exceptions import InvalidInput, ObjectChanged, ObjectNotFound, StorageRefused
from modelreg.storage.oci.transport import Transport

_CHUNK_BYTES = 1 << 20
# Up to here a blob is sent by the request that ends its upload, which is one less.
_IN_ONE_BYTES = 4 << 20
_BINARY = {"Content-Type": "application/octet-stream"}


class BlobUpload:
    """One blob on its way; each call of :meth:`send` goes on where the one before was cut off.

    Args:
        transport: How the registry is asked.
        source: The blob's bytes, from where it stands on.
        digest: ``sha256:<hex>`` of them.
        size: How many there are.
        what: What to call it in messages.
    """

    def __init__(self, transport: Transport, source: BinaryIO, *, digest: str, size: int, what: str) -> None:
        self._transport = transport
        self._source = source
        self._start = source.tell()
        self._digest = digest
        self._size = size
        self._what = what
        # Where the registry wants it; empty before it was asked.
        self._location = ""
        # Bytes that the registry has.
        self._sent = 0

    def send(self) -> None:
        """Send what the registry has not kept of an earlier try.

        Raises:
            AccessDenied: The credentials do not allow it.
            InvalidInput: The source ends early.
            StorageError: The registry failed or could not be reached.
        """
        if self._location:
            self._ask_what_is_kept()
        if not self._location:
            with self._request("POST", "blobs/uploads/") as answer:
                self._location = location_of(answer, self._what)
        # What came of the request that ends an upload is never kept, so one of some size has a request of its own.
        in_one = self._size <= _IN_ONE_BYTES and not self._sent
        if not in_one and self._sent < self._size:
            self._send_rest()
        separator = "&" if urlsplit(self._location).query else "?"
        url = f"{self._location}{separator}digest={self._digest}"
        with self._request("PUT", url, headers=_BINARY, body=self._rest if in_one else bytes):
            pass

    def _send_rest(self) -> None:
        # Of the whole, no range is told: so do the clients that every registry is made for.
        headers = {"Content-Range": f"{self._sent}-{self._size - 1}"} if self._sent else {}
        with self._request("PATCH", self._location, headers={**_BINARY, **headers}, body=self._rest) as answer:
            self._location = location_of(answer, self._what)
        self._sent = self._size

    def _request(self, method: str, path: str, **more: Any) -> Any:
        return self._transport.request(method, path, what=self._what, **more)

    def _ask_what_is_kept(self) -> None:
        """Find out how many bytes the registry has; an upload that it has forgotten is begun anew."""
        try:
            with self._request("GET", self._location) as answer:
                kept = answer.headers.get("Range", "").rpartition("-")[2]
                # An upload that has nothing says 0-0, and so does one of a single byte: that one is sent again.
                if kept.isdigit() and 0 < int(kept) < self._size:
                    self._location = location_of(answer, self._what, default=self._location)
                    self._sent = int(kept) + 1
                    return
        except (ObjectNotFound, ObjectChanged, StorageRefused):
            # What keeps the registry from going on does not keep it from taking the blob again.
            pass
        self._location, self._sent = "", 0

    def _rest(self) -> Any:
        """Return what is still to be sent, as requests takes it."""
        self._source.seek(self._start + self._sent)
        # Nothing at all is not a stream: its length would not be told.
        return _Body(self._source, self._size - self._sent) if self._sent < self._size else b""


class _Body:
    """So many bytes of a file, from where it stands on, in pieces that are larger than those of http.client."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source = source
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        while left:
            chunk = self._source.read(min(_CHUNK_BYTES, left))
            if not chunk:
                raise InvalidInput(f"what is to be uploaded ended {left} bytes early")
            left -= len(chunk)
            yield chunk


def location_of(answer: Any, what: str, *, default: str = "") -> str:
    """Return where an upload goes on.

    Args:
        answer: What the registry answered.
        what: What is uploaded, to tell.
        default: Where it is if the answer does not say.

    Raises:
        StorageRefused: It does not say, and there is no default.
    """
    location = answer.headers.get("Location", default)
    if not location:
        raise StorageRefused(f"the registry did not say where to send {what}", status=answer.status_code)
    return str(urljoin(answer.url, location))
