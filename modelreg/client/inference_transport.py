"""HTTP to model servers: pooled connections, retries of what is safe, and one error for every failure."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase

from modelreg._version import __version__
from modelreg.exceptions import DeadlineExceeded, InferenceError, InvalidInput, ServerUnreachable, StoreError, TimedOut
from modelreg.http.errors import from_exception, shown_cause
from modelreg.http.retry import RetryPolicy, parse_retry_after
from modelreg.redact import redact_url

logger = logging.getLogger(__name__)

Seconds = float | tuple[float, float] | None
Timeout = Seconds | Literal["default"]

# With these a server refuses a request before it has begun with it.
_REFUSED = frozenset({429, 503})
# Threads that share a client each have a connection of their own, up to so many.
_POOL_SIZE = 32


@attrs.frozen
class RESTConfig:
    """How a client reaches model servers; the arguments that KServe's has, too, are named as there.

    Args:
        protocol: ``"v1"`` or ``"v2"``; ``None`` lets the data tell: :class:`~modelreg.types.inference.InferRequest`
            and dictionaries with ``inputs`` go over V2, other dictionaries over V1.
        retries: How often a request is sent again that the server cannot have begun with: no connection came about, or
            it answered 429 or 503.
        timeout: Seconds for a connection, and for each silence of the server; a pair sets them apart, ``None`` is for
            ever.
        cert: Path of a client certificate with its key, or a pair of paths.
        verify: Path of the certificates of the authorities to trust; ``True`` for ``REQUESTS_CA_BUNDLE``, else those of
            the ``certifi`` package; ``False`` trusts anyone.
        auth: A pair of user and password, or what else requests takes.
        verbose: Whether every request is logged, at the level INFO.
        binary: Whether tensors go in binary form over V2; ``None`` asks each server once whether it knows that form.
        retry: The pauses before a request is sent again; by default exponential, or what the server asks for.
        adapter: What carries the requests instead of the network, such as a
            :class:`~modelreg.http.wsgi_adapter.WSGIAdapter`.

    Raises:
        InvalidInput: There is no such protocol.
    """

    protocol: str | None = attrs.field(default=None, kw_only=True)
    retries: int = attrs.field(default=3, kw_only=True)
    timeout: Seconds = attrs.field(default=60.0, kw_only=True)
    cert: str | tuple[str, str] | None = attrs.field(default=None, kw_only=True)
    verify: bool | str | os.PathLike[str] = attrs.field(default=True, kw_only=True)
    auth: AuthBase | tuple[str, str] | None = attrs.field(default=None, kw_only=True, repr=False)
    verbose: bool = attrs.field(default=False, kw_only=True)
    binary: bool | None = attrs.field(default=None, kw_only=True)
    retry: RetryPolicy = attrs.field(
        default=attrs.Factory(lambda self: RetryPolicy(attempts=self.retries + 1), takes_self=True), kw_only=True
    )
    adapter: BaseAdapter | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.protocol not in {None, "v1", "v2"}:
            raise InvalidInput(f"there is no protocol {self.protocol!r}", next_step="use 'v1' or 'v2', or leave it out")


@attrs.frozen
class Answer:
    """What a server answered.

    Attributes:
        status: HTTP status code.
        headers: Its headers, to be looked up in any case.
        content: The body, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class InferenceTransport:
    """Sends requests to model servers. It may be used from any number of threads, and after a fork.

    Args:
        config: How servers are reached.
    """

    def __init__(self, config: RESTConfig) -> None:
        self._config = config
        # One pool per process: a socket that a fork shares would mix up the answers of parent and child.
        self._pools: dict[int, requests.Session] = {}
        self._options_by_origin: dict[tuple[str, str], Mapping[str, Any]] = {}

    def close(self) -> None:
        """Close the connections of this process; a later request opens new ones."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = "default",
        patient: bool = False,
    ) -> Answer:
        """Return the answer to a request, whatever its status.

        Args:
            method: HTTP method.
            url: The whole URL.
            content: The body.
            headers: Its headers.
            timeout: Seconds, as in the configuration; ``"default"`` for those.
            patient: Whether to try again when the server refuses for the moment.

        Raises:
            InvalidInput: The URL or a header cannot be sent.
            DeadlineExceeded: No answer came in time.
            ServerUnreachable: No answer came.
        """
        attempt = 1
        while True:
            try:
                answer = self._send(method, url, content, headers, timeout)
            except StoreError as error:
                # Whoever waited in vain is not made to wait again; a GET whose connection broke does no harm twice.
                repeatable = method == "GET" and not isinstance(error, TimedOut)
                delay_s = self._config.retry.delay_s(error, attempt, repeatable=repeatable)
                if delay_s is None:
                    raise _of_server(error) from error
            else:
                delay_s = self._pause_after(answer, attempt) if patient else None
                if delay_s is None:
                    return answer
            logger.info("%s %s: attempt %d failed, trying again in %.1f s", method, redact_url(url), attempt, delay_s)
            self._config.retry.sleep(delay_s)
            attempt += 1

    def _pause_after(self, answer: Answer, attempt: int) -> float | None:
        """Return the seconds to wait after a refusal before the next attempt, or ``None`` if there should be none."""
        retry = self._config.retry
        if answer.status not in _REFUSED or attempt >= retry.attempts:
            return None
        asked_s = parse_retry_after(answer.headers.get("Retry-After"))
        if asked_s is None:
            return retry.pause_s(attempt)
        return asked_s if asked_s <= retry.max_retry_after_s else None

    def _send(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str] | None, timeout: Timeout
    ) -> Answer:
        pool = self._pool()
        try:
            request = requests.PreparedRequest()
            request.prepare(
                method=method,
                url=url,
                headers={"User-Agent": f"modelreg/{__version__}", **(headers or {})},
                data=content,
                auth=self._config.auth,
            )
            response = pool.send(
                request,
                timeout=self._config.timeout if timeout == "default" else timeout,
                # A redirected POST would become a GET, or take credentials elsewhere.
                allow_redirects=False,
                **self._options(pool, url),
            )
        except (requests.RequestException, UnicodeError) as error:
            raise from_exception(error, method=method, url=url) from shown_cause(error)
        if self._config.verbose:
            logger.info("%s %s: %d", method, redact_url(url), response.status_code)
        return Answer(response.status_code, response.headers, response.content)

    def _options(self, pool: requests.Session, url: str) -> Mapping[str, Any]:
        """Return proxies and certificates, read from the environment once for each server."""
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        if origin not in self._options_by_origin:
            verify = self._config.verify
            given = verify if isinstance(verify, bool) else os.fspath(verify)
            options = pool.merge_environment_settings(url, {}, None, given, self._config.cert)
            self._options_by_origin[origin] = {**options, "stream": False}
        return self._options_by_origin[origin]

    def _pool(self) -> requests.Session:
        pid = os.getpid()
        pool = self._pools.get(pid)
        # setdefault is atomic: of two threads that come first, both get the same pool.
        return self._pools.setdefault(pid, _new_pool(self._config.adapter)) if pool is None else pool


def _new_pool(adapter: BaseAdapter | None) -> requests.Session:
    pool = requests.Session()
    carrier = HTTPAdapter(pool_connections=4, pool_maxsize=_POOL_SIZE) if adapter is None else adapter
    pool.mount("http://", carrier)
    pool.mount("https://", carrier)
    return pool


def _of_server(error: StoreError) -> InferenceError:
    """Return the error of inference for one that the seam to HTTP tells as a registry's."""
    kind = DeadlineExceeded if isinstance(error, TimedOut) else ServerUnreachable
    return kind(error.message, next_step="check the address, that the server runs, and the timeout")


def checked_url(base_url: str) -> str:
    """Return ``base_url`` without a slash at its end.

    Raises:
        InvalidInput: It is no address of an HTTP server.

    Example:
        >>> checked_url("http://models.local/fraud/")
        'http://models.local/fraud'
    """
    try:
        parts = urlsplit(base_url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise InvalidInput(
            f"{redact_url(base_url)!r} is no address of a model server", next_step="give one such as http://host:8080"
        )
    return base_url.rstrip("/")
