"""Requests over http(s), one hop after the other: the session they share, and where a redirect may lead.

requests follows redirects by itself; then nobody is asked whether the next address may see a credential.
"""

from __future__ import annotations

import functools
import os
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from modelreg.exceptions import AccessDenied, InvalidInput, ModelRegError, StorageError
from modelreg.hosts import is_link_local
from modelreg.redact import redact_url
from modelreg.storage.backends import errors
from modelreg.storageconfig import StorageSettings

_MOST_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def session_of(settings: StorageSettings) -> Any:
    """Return the requests session of this process for ``settings``: no cookies, no packing, redirects not followed."""
    transfer = settings.transfer
    return _session_of(os.getpid(), transfer.concurrency, settings.ca_bundle, settings.proxy, settings.link_local)


# A program fetches many files of one host: its connections outlive one fetch. Those of another process are not shared.
@functools.lru_cache(maxsize=4)
def _session_of(
    pid: int,  # noqa: ARG001 - one for each process
    concurrency: int,
    ca_bundle: str | None,
    proxy: str | None,
    link_local: bool,
) -> Any:
    from requests.adapters import HTTPAdapter

    from modelreg.storage.guarded import GuardedAdapter
    from modelreg.storage.sessions import Session

    session = Session()
    adapter = (HTTPAdapter if link_local else GuardedAdapter)(pool_connections=4, pool_maxsize=concurrency + 1)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # Lengths and ranges count the bytes of the file itself, not of some packing of it.
    session.headers["Accept-Encoding"] = "identity"
    # One answer's cookies are none of another's business.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    if ca_bundle:
        session.verify = ca_bundle
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    return session


def trusting(bundle: str) -> ssl.SSLContext:
    """Return what trusts the certificates in ``bundle``.

    Raises:
        InvalidInput: The file cannot be read, or holds none.
    """
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise InvalidInput(f"the file of certificates {bundle} cannot be read: {error}") from error


def follow(url: str, send: Callable[[SplitResult], Any], *, carries_secrets: Callable[[SplitResult], bool]) -> Any:
    """Return the answer to a request, after its redirects; close it when done.

    Args:
        url: Where it goes first.
        send: Sends it to one address, and returns the answer.
        carries_secrets: Whether what is sent to an address holds credentials.

    Raises:
        AccessDenied: A redirect leads where it must not be followed.
        StorageError: There are too many of them.
    """
    at = urlsplit(url)
    for _ in range(_MOST_REDIRECTS + 1):
        answer = send(at)
        target = answer.headers.get("Location")
        if answer.status_code not in _REDIRECTS or not target:
            return answer
        answer.close()
        at = _next_hop(at, target, secrets=carries_secrets(at))
    raise StorageError(f"{redact_url(url)} was redirected more than {_MOST_REDIRECTS} times")


def _next_hop(at: SplitResult, target: str, *, secrets: bool) -> SplitResult:
    """Return where a redirect leads.

    Raises:
        AccessDenied: It leads where it must not be followed.
    """
    shown = f"{redact_url(urlunsplit(at))} redirects to {redact_url(target)}"
    try:
        to = urlsplit(urljoin(urlunsplit(at), target))
    except ValueError as error:
        raise AccessDenied(f"{shown}, which is no address") from error
    # Of a backslash, clients disagree on which side of it the host is.
    if to.scheme not in {"http", "https"} or not to.hostname or "\\" in to.netloc:
        raise AccessDenied(f"{shown}, which is not an http(s) address")
    if _leads_astray(at, to):
        raise AccessDenied(f"{shown}, an address that only this machine's platform answers")
    if at.scheme == "https" and to.scheme == "http" and secrets:
        raise AccessDenied(
            f"{shown}, which would leave encryption behind with credentials at hand",
            next_step="ask for the https address of the file",
        )
    return to


def _leads_astray(at: SplitResult, to: SplitResult) -> bool:
    """Return whether an ordinary address redirects to a link-local one."""
    from requests.utils import get_environ_proxies

    # Behind a proxy it is the proxy that looks names up, and often nobody else can.
    resolve = not get_environ_proxies(urlunsplit(to))
    return is_link_local(to.hostname or "", resolve=resolve) and not is_link_local(at.hostname or "", resolve=resolve)


def is_same_origin(one: SplitResult, other: SplitResult) -> bool:
    """Return whether two URLs have one scheme, host and port."""
    return (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)


def meaning(error: Exception, what: str) -> ModelRegError | None:
    """Return what an ``error`` of requests or urllib3 means for ``what``; ``None`` for one that is not theirs."""
    import requests
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    from modelreg.storage.guarded import LedAstray

    if isinstance(error, LedAstray):
        return AccessDenied(
            f"{what} is at {error}, an address that only this machine's platform answers",
            next_step="set MODELREG_REGISTRY_ALLOW=link-local if you trust the registry with its credentials",
        )
    if isinstance(error, (requests.Timeout, ReadTimeoutError)):
        return errors.from_os_error(TimeoutError(errors.quoted(error)), what)
    if isinstance(error, (requests.ConnectionError, HTTPError)):
        return errors.from_os_error(ConnectionError(errors.quoted(error)), what)
    if isinstance(error, requests.RequestException):
        return errors.from_text(error, what)
    return errors.from_os_error(error, what) if isinstance(error, OSError) else None


def seconds_of(retry_after: str) -> float | None:
    """Return the seconds that a ``Retry-After`` header means, ``None`` if it is absent or senseless."""
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
