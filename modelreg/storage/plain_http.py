"""Ranges of objects over plain http, read right into buffers that are used again.

For endpoints such as those of clusters (``http://minio:9000``) alone. Over TLS Python gets 16 KiB at a time from its
library, so that its lock changes hands for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from modelreg.storage.buffers import Buffers

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse


class PlainReader:
    """Reads ranges of what one server has, over connections that are kept between requests.

    Safe to be used by several threads at once.

    Args:
        connect_timeout_s: Seconds that making a connection may take.
        stall_timeout_s: Seconds without a byte after which a read is given up.
    """

    def __init__(self, *, connect_timeout_s: float, stall_timeout_s: float) -> None:
        self.buffers = Buffers()
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._idle: deque[HTTPConnection] = deque()
        self._closed = False

    def ranged(
        self, url: str, *, offset: int, length: int, size: int | None, tag: str | None
    ) -> Iterator[memoryview] | None:
        """Return the pieces of a range of ``url``; ``None`` if the server answers with anything else.

        Args:
            url: What is asked for; it grants the right to read by itself.
            offset: Where the range begins.
            length: Bytes of it.
            size: Bytes of the whole.
            tag: The entity tag that it must have; ``None``: any.

        Raises:
            OSError: The server cannot be reached, or broke off.
        """
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        if tag is not None:
            headers["If-Match"] = tag
        connection, answer = self._answered(urlsplit(url), headers)
        if not _is_range(answer, f"bytes {offset}-{offset + length - 1}/{size}", tag):
            _end(connection, answer)
            return None
        return self._pieces(connection, answer, length)

    def close(self) -> None:
        """Close the connections, those in use once they are free."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _pieces(self, connection: HTTPConnection, answer: HTTPResponse, length: int) -> Iterator[memoryview]:
        try:
            yield from self.buffers.filled(answer.readinto, length)
        finally:
            # One whose answer was not read to its end cannot be asked anything else.
            if self._closed or not answer.isclosed():
                _end(connection, answer)
            else:
                self._idle.append(connection)

    def _answered(self, url: SplitResult, headers: Mapping[str, str]) -> tuple[HTTPConnection, HTTPResponse]:
        from http.client import HTTPConnection, HTTPException

        target = f"{url.path}?{url.query}"
        try:
            connection = self._idle.pop()
        except IndexError:
            pass
        else:
            try:
                return connection, _ask(connection, target, headers)
            except (ConnectionError, HTTPException):
                # The server closed it while it was idle.
                connection.close()
            except BaseException:
                connection.close()
                raise
        connection = HTTPConnection(url.netloc, timeout=self._connect_timeout_s)
        try:
            connection.connect()
            connection.sock.settimeout(self._stall_timeout_s)
            return connection, _ask(connection, target, headers)
        except HTTPException as error:
            connection.close()
            raise ConnectionError(f"{url.netloc} does not answer in HTTP: {type(error).__name__}") from error
        except BaseException:
            connection.close()
            raise


def _ask(connection: HTTPConnection, target: str, headers: Mapping[str, str]) -> HTTPResponse:
    connection.request("GET", target, headers=dict(headers))
    return connection.getresponse()


def _end(connection: HTTPConnection, answer: HTTPResponse) -> None:
    # A connection that the server means to close has left its socket to the answer.
    answer.close()
    connection.close()


def _is_range(answer: HTTPResponse, expected: str, tag: str | None) -> bool:
    """Return whether ``answer`` brings the range that was asked for, of the object that was meant."""
    found = answer.headers.get("ETag", tag or "")
    return (
        answer.status == 206
        and answer.headers.get("Content-Range", "") == expected
        and (tag is None or found.strip('"') == tag.strip('"'))
    )


def is_direct(url: SplitResult) -> bool:
    """Return whether the environment names no proxy for ``url``."""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return not (proxies.get(url.scheme) or proxies.get("all")) or bool(proxy_bypass(url.hostname or ""))
