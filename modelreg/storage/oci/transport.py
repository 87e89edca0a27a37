"""How one repository of a registry is asked: redirects, credentials, errors and second tries, for every request."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

from modelreg.exceptions import AccessDenied, ModelRegError, StorageError, StorageRefused, StorageUnreachable
from modelreg.redact import keeps_secrets
from modelreg.storage.backends import errors
from modelreg.storage.hops import follow, is_same_origin, meaning, seconds_of, session_of
from modelreg.storage.oci.auth import Authorizer
from modelreg.storage.oci.reference import Reference
from modelreg.storage.retrying import Attempts
from modelreg.storageconfig import StorageSettings

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20
# What is read of an answer that says why something failed.
_MOST_ERROR_BYTES = 64 << 10


class Transport:
    """Sends requests to one repository of a registry; safe to be used by several threads at once.

    Args:
        reference: What is to be read or written.
        settings: How registries are reached.
    """

    def __init__(self, reference: Reference, *, settings: StorageSettings) -> None:
        self._reference = reference
        self._settings = settings
        host = reference.api_host
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        plain = {one.lower() for one in settings.oci.plain_http}
        self._base = f"{'http' if {host, name, reference.host} & plain else 'https'}://{host}"
        self._auth = Authorizer(
            reference, settings=settings.oci, send=self._send_form, plain_http=self._base.startswith("http:")
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Callable[[], Any] | None = None,
        scopes: tuple[str, ...] | None = None,
        what: str,
    ) -> Any:
        """Return the answer to a request that was done; close it when done.

        Args:
            method: GET, HEAD, POST, PUT, PATCH or DELETE.
            path: Below the repository, or a whole URL.
            headers: To send.
            body: Makes what to send, anew for each try.
            scopes: What a token must allow; by default what the method needs.
            what: What it is about, to tell.

        Raises:
            ObjectNotFound: There is no such thing.
            AccessDenied: The credentials do not allow it.
            StorageError: The registry failed or could not be reached.
        """
        url = path if "://" in path else f"{self._base}/v2/{self._reference.repository}/{path}"
        scopes = scopes or self.scopes(method)
        send = functools.partial(self._send, method, headers=headers or {}, body=body, scopes=scopes)
        with self.translated(what):
            answer = follow(url, send, carries_secrets=self._is_own)
            if answer.status_code == 401 and self._is_own(urlsplit(answer.url)):
                refused = answer.request.headers.get("Authorization")
                if self._auth.learn(answer.headers.get("WWW-Authenticate", ""), scopes, refused=refused):
                    answer.close()
                    answer = follow(url, send, carries_secrets=self._is_own)
        if answer.status_code >= 300:
            with answer:
                raise self._refused(answer, what)
        return answer

    def _send(
        self,
        method: str,
        at: SplitResult,
        *,
        headers: dict[str, str],
        body: Callable[[], Any] | None,
        scopes: tuple[str, ...],
    ) -> Any:
        sent = dict(headers)
        # Blobs are often elsewhere, and who holds them must not see what the registry is shown.
        if self._is_own(at) and (header := self._auth.header(scopes)) is not None:
            sent["Authorization"] = header
        return self._asked(method, urlunsplit(at), sent, body() if body is not None else None)

    def _send_form(self, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None) -> Any:
        with self.translated(f"a token for {self._reference.name}"):
            return self._asked(method, url, headers, form)

    def _asked(self, method: str, url: str, headers: dict[str, str], body: Any) -> Any:
        transfer = self._settings.transfer
        return session_of(self._settings).request(
            method,
            url,
            headers=headers,
            data=body,
            stream=True,
            allow_redirects=False,
            timeout=(transfer.connect_timeout_s, transfer.stall_timeout_s),
            # Otherwise requests puts what it finds in ~/.netrc in the place of the header.
            auth=_as_it_is,
        )

    def _is_own(self, at: SplitResult) -> bool:
        """Return whether an address is the registry's own."""
        return is_same_origin(urlsplit(self._base), at)

    def scopes(self, method: str) -> tuple[str, ...]:
        """Return what a token for ``method`` must allow."""
        actions = "pull" if method in {"GET", "HEAD"} else "pull,push"
        return (f"repository:{self._reference.repository}:{actions}",)

    def _refused(self, answer: Any, what: str) -> StorageError:
        """Return what an answer that is no success means."""
        detail = _detail(answer) or answer.reason or ""
        if answer.status_code in {401, 403}:
            host = self._reference.host
            return AccessDenied(
                f"the registry denies access to {what} (status {answer.status_code}: {detail})",
                next_step=f"check the name, and log in if it is not public: docker login {host}",
            )
        return errors.from_status(answer.status_code, what, detail, seconds_of(answer.headers.get("Retry-After", "")))

    @contextlib.contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Let foreign errors leave as one of ours."""
        try:
            yield
        except ModelRegError as error:
            errors.without(self._settings.secrets(), error)
            raise
        except Exception as error:
            meant = meaning(error, what)
            if meant is None:
                raise
            secrets = self._settings.secrets()
            # A foreign error that quotes a signed URL must not be shown by a traceback either.
            raise errors.without(secrets, meant) from (None if keeps_secrets(error, secrets) else error)

    def tried(self, call: Callable[[], T], what: str) -> T:
        """Return ``call()``, tried again while its failure may pass."""
        attempts = Attempts(self._settings.transfer, threading.Event())
        while True:
            try:
                with self.translated(what):
                    return call()
            except StorageError as error:  # noqa: PERF203 - failures are what the loop is for
                attempts.failed(error)


def _as_it_is(request: Any) -> Any:
    """Return a request of requests with the credentials that it has."""
    return request


def read_limited(answer: Any, most: int, what: str) -> bytes:
    """Return the body of an answer, if it is not longer than ``most`` bytes."""
    parts, size = [], 0
    while size <= most and (part := answer.raw.read(_CHUNK_BYTES, decode_content=True)):
        parts.append(part)
        size += len(part)
    if size > most:
        raise StorageRefused(f"{what} is longer than {most} bytes", status=200)
    length = answer.headers.get("Content-Length", "")
    if length.isdigit() and "Content-Encoding" not in answer.headers and int(length) != size:
        raise StorageUnreachable(f"{what} ended after {size} of {length} bytes")
    return b"".join(parts)


def _detail(answer: Any) -> str:
    """Return what a registry says about an error, cut and redacted; empty if it says nothing that can be read."""
    try:
        body = answer.raw.read(_MOST_ERROR_BYTES, decode_content=True)
        [first, *_] = json.loads(body)["errors"]
        return errors.quoted(StorageError(f"{first.get('code')}: {first.get('message')}"))
    except (ValueError, TypeError, KeyError, AttributeError, LookupError):
        return ""
