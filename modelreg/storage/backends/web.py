"""Files behind plain http(s) addresses.

Every redirect is followed here, one by one: headers that the settings name for a host go to that host alone, and never
from an encrypted connection to one that is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from modelreg.exceptions import ModelRegError, ObjectChanged, StorageError
from modelreg.redact import redact_url
from modelreg.storage.backends import errors
from modelreg.storage.backends.base import Backend, Listed, reject_version
from modelreg.storage.hops import follow, is_same_origin, meaning, seconds_of, session_of, trusting
from modelreg.storage.model import RemoteFile
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import StorageSettings

_CHUNK_BYTES = 1 << 20
# Servers that answer HEAD with one of these often answer GET: signed URLs are signed for one method.
_HEAD_REFUSED = frozenset({400, 401, 403, 404, 405, 501})
# The statuses that bring a file; the second is that of a proxy which changed something beside it.
_WHOLE = frozenset({200, 203})
# What needs a package to be unpacked, or that none unpacks. Whatever else is told is no packing, such as a charset.
_PACKINGS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_PAGES = (".html", ".htm", ".xhtml")


class WebBackend(Backend):
    """One file behind an http(s) address."""

    keeps_deadlines = True
    _ranges_ignored = False

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        super().__init__(uri, settings=settings)
        # Answers whose content nobody has read yet, by location.
        self._begun: dict[str, Any] = {}

    def close(self) -> None:
        """Let go of answers that nobody reads."""
        while self._begun:
            self._begun.popitem()[1].close()

    def location(self, name: str) -> str:
        """Return the URL."""
        return urljoin(f"{self.uri.text.rstrip('/')}/", name) if name else self.uri.text

    def filesystem(self) -> Any:
        """Return a :class:`fsspec.implementations.http.HTTPFileSystem`."""
        from fsspec.implementations.http import HTTPFileSystem

        # What aiohttp takes with each request: it reads the environment's proxies, and not its certificates.
        options: dict[str, Any] = {"headers": self._headers_for(urlsplit(self.uri.text))}
        if self.settings.proxy:
            options["proxy"] = self.settings.proxy
        if self.settings.ca_bundle:
            options["ssl"] = trusting(self.settings.ca_bundle)
        return HTTPFileSystem(client_kwargs={"trust_env": True}, **options)

    def filesystem_path(self) -> str:
        """Return the URL."""
        return self.uri.text

    def _named(self, location: str) -> str:
        return redact_url(location)

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        reject_version(uri)
        return self._seen(uri.text, _file_name(uri))

    def _open_file(self, uri: StorageURI) -> Listed:
        """Return what the server says of the file as it begins to send it, which spares the question before."""
        reject_version(uri)
        with _closed_on_error(self._request("GET", uri.text)) as answer:
            found = self._described(answer, uri.text, _file_name(uri))
        self._begun[found.location] = answer
        if self.ranged and found.size is not None and found.size > self.settings.transfer.small_bytes:
            # It comes by ranges, several at once.
            self.close()
        return found

    def _listed(self, uri: StorageURI) -> list[Listed]:
        del uri
        return []

    def _stat(self, location: str) -> Listed | None:
        return self._seen(location, "")

    def _seen(self, url: str, relative: str) -> Listed | None:
        """Return what the server says of the file, without reading it."""
        with self._request("HEAD", url) as answer:
            refused = answer.status_code in _HEAD_REFUSED
            if not refused:
                return self._described(answer, url, relative)
        with self._request("GET", url) as answer:
            return self._described(answer, url, relative)

    def _described(self, answer: Any, url: str, relative: str) -> Listed:
        _check_status(answer, url)
        _check_packing(answer, url)
        _check_is_no_page(answer, url)
        size = _length(answer)
        identity = _identity(answer)
        said = answer.headers.get("Accept-Ranges", "").lower() == "bytes" and _validator(identity) is not None
        self.ranged = said and not self._ranges_ignored
        return Listed(location=url, relative=relative, size=size, identity=identity)

    def _read(self, file: RemoteFile) -> bytes:
        with self._whole(file) as answer:
            # At once: read by pieces, the content would be copied from one buffer to another.
            return cast("bytes", answer.raw.read(decode_content=_is_packed(answer)))

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[bytes]:
        with self._whole(file) if length is None else self._range(file, offset, length) as answer:
            packed = _is_packed(answer)
            while chunk := answer.raw.read(_CHUNK_BYTES, decode_content=packed):
                yield chunk

    def _whole(self, file: RemoteFile) -> Any:
        """Return the answer that brings all of a file."""
        begun = self._begun.pop(file.location, None)
        with _closed_on_error(self._request("GET", file.location) if begun is None else begun) as answer:
            self._check_same(answer, file)
        return answer

    def _range(self, file: RemoteFile, offset: int, length: int) -> Any:
        """Return the answer that brings ``length`` bytes of a file from ``offset`` on."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        validator = _validator(file.identity)
        if validator is not None:
            headers["If-Range"] = validator
        with _closed_on_error(self._request("GET", file.location, headers)) as answer:
            self._check_same(answer, file, is_part=True)
            self._check_range(answer, file, offset, length)
        return answer

    def _check_same(self, answer: Any, file: RemoteFile, *, is_part: bool = False) -> None:
        _check_status(answer, file.location, is_part=is_part)
        _check_packing(answer, file.location)
        if file.identity and _identity(answer) != file.identity:
            raise ObjectChanged(f"{redact_url(file.location)} changed while it was read")
        _check_is_no_page(answer, file.location)

    def _check_range(self, answer: Any, file: RemoteFile, offset: int, length: int) -> None:
        expected = f"bytes {offset}-{offset + length - 1}/{file.size}"
        if answer.status_code == 206 and answer.headers.get("Content-Range", "").lower() == expected:
            return
        # The server says that it serves ranges and does not: from now on the file is read as a whole.
        self._ranges_ignored = True
        raise ObjectChanged(f"{redact_url(file.location)} did not come as the range that was asked for")

    def _request(self, method: str, url: str, headers: dict[str, str] | None = None) -> Any:
        """Return the answer to a request, after its redirects; close it when done."""
        transfer = self.settings.transfer
        first = urlsplit(url)

        def send(at: SplitResult) -> Any:
            may_see = _may_see_credentials(first, at)
            known = self._headers_for(at) if may_see else {}
            logs_in = may_see and "authorization" not in map(str.lower, known)
            return session_of(self.settings).ask(
                method,
                urlunsplit(at),
                headers={**(headers or {}), **known},
                # Without any, requests puts a login from .netrc in the place of the header.
                auth=None if logs_in else _nobody,
                timeout=(transfer.connect_timeout_s, transfer.stall_timeout_s),
            )

        return follow(url, send, carries_secrets=self._knows_secrets)

    def _knows_secrets(self, parts: SplitResult) -> bool:
        from requests.utils import get_netrc_auth

        return bool(parts.username or self._headers_for(parts) or get_netrc_auth(urlunsplit(parts)))

    def _headers_for(self, parts: SplitResult) -> dict[str, str]:
        return dict(self.settings.headers.get((parts.hostname or "").lower(), {}))

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        return meaning(error, what)


@contextmanager
def _closed_on_error(answer: Any) -> Iterator[Any]:
    """Yield an answer, which is closed if it is not what was asked for."""
    try:
        yield answer
    except BaseException:
        answer.close()
        raise


def _file_name(uri: StorageURI) -> str:
    """Return the name that the file at an address gets."""
    return uri.name if uri.path.rstrip("/") else "download"


def _is_packed(answer: Any) -> bool:
    """Return whether the content is packed although nobody asked for that: it is unpacked, and its length not known."""
    return "Content-Encoding" in answer.headers


def _nobody(request: Any) -> Any:
    """Log nobody in."""
    return request


def _may_see_credentials(first: SplitResult, at: SplitResult) -> bool:
    """Return whether ``at``, where redirects from ``first`` led, may be sent what is known for its host."""
    return is_same_origin(first, at) or (at.hostname != first.hostname and at.scheme == "https")


def _check_status(answer: Any, url: str, *, is_part: bool = False) -> None:
    """Refuse an answer that is no file: a part where nobody asked for one, and a redirect to nowhere, are none."""
    if answer.status_code in _WHOLE or (is_part and answer.status_code == 206):
        return
    if answer.status_code < 400:
        raise StorageError(f"{redact_url(url)} was answered without the file (status {answer.status_code})")
    retry_after_s = seconds_of(answer.headers.get("Retry-After", ""))
    raise errors.from_status(answer.status_code, redact_url(url), answer.reason or "", retry_after_s)


def _check_packing(answer: Any, url: str) -> None:
    """Refuse what is packed in a way that would be taken for the file itself."""
    from urllib3.response import HTTPResponse

    packings = {one.strip().lower() for one in answer.headers.get("Content-Encoding", "").split(",")}
    unreadable = sorted(packings & _PACKINGS - set(HTTPResponse.CONTENT_DECODERS))
    if unreadable:
        raise StorageError(
            f"{redact_url(url)} was answered packed with {unreadable[0]}, which was not asked for",
            next_step="have the server send it as it is, or install what unpacks it, such as brotli or zstandard",
        )


def _check_is_no_page(answer: Any, url: str) -> None:
    """Refuse a page for people, such as a login or an error that calls itself success, where a file was asked for."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"} and not urlsplit(url).path.lower().endswith(_PAGES):
        raise StorageError(
            f"{redact_url(url)} was answered with an HTML page instead of a file",
            next_step="it may want a login: give its headers in the variable <host>-headers",
        )


def _identity(answer: Any) -> str:
    etag = answer.headers.get("ETag")
    if etag:
        return f"etag:{etag}"
    modified = answer.headers.get("Last-Modified")
    return f"modified:{modified}" if modified else ""


def _validator(identity: str) -> str | None:
    """Return what ``If-Range`` takes for ``identity``, ``None`` if it takes nothing: a weak tag says too little."""
    kind, _, value = identity.partition(":")
    return value if value and not (kind == "etag" and value.startswith("W/")) else None


def _length(answer: Any) -> int | None:
    """Return the bytes of the whole file, ``None`` where the answer does not say."""
    if _is_packed(answer) or "Transfer-Encoding" in answer.headers:
        return None
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None
