"""One pooled session per registry: authentication, retries, TLS, and one error for every failure."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import LocationValueError

from modelreg._version import __version__
from modelreg.exceptions import InvalidInput, StoreError
from modelreg.hosts import is_link_local
from modelreg.http.address import is_loopback
from modelreg.http.auth import NoToken, TokenSource
from modelreg.http.errors import decode, from_exception, from_response, is_cut_short, shown_cause, truncated
from modelreg.http.retry import RetryPolicy
from modelreg.redact import redact_url

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

#: Seconds for a connection, and for each silence of the server.
DEFAULT_TIMEOUT_S = (5.0, 60.0)

_REPEATABLE = frozenset({"GET", "PATCH", "DELETE"})
_HEADERS = {"Accept": "application/json", "User-Agent": f"modelreg/{__version__}"}
# Threads that share a session each have a connection of their own, up to so many.
_POOL_SIZE = 32


class RegistrySession:
    """A session with one registry server. It may be used from any number of threads, and after a fork.

    Args:
        base_url: URL of the server, as :func:`~modelreg.http.address.server_url` returns it.
        auth: Where the bearer token comes from.
        timeout: Seconds for a connection, and for each silence of the server.
        retry: How often a request is tried, and the pauses in between.
        verify: Path of a file with the certificates of the authorities to trust; ``None`` for ``REQUESTS_CA_BUNDLE``,
            else those of the ``certifi`` package.
        is_secure: ``False`` allows a token over plain http to another machine.
        adapter: What carries the requests instead of the network, such as a
            :class:`~modelreg.http.wsgi_adapter.WSGIAdapter`.

    Raises:
        InvalidInput: ``verify`` is no file, or a token would go over plain http to another machine.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: TokenSource | None = None,
        timeout: float | tuple[float, float] = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        verify: str | os.PathLike[str] | None = None,
        is_secure: bool | None = None,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._auth = NoToken() if auth is None else auth
        self._timeout = timeout
        self._retry = RetryPolicy() if retry is None else retry
        self._adapter = adapter
        self._options = _send_options(self._base_url, verify)
        # One pool per process: a socket that a fork shares would mix up the answers of parent and child.
        self._pools: dict[int, requests.Session] = {}
        if is_secure is not False:
            _refuse_plain_token(self._base_url, self._auth)

    @property
    def base_url(self) -> str:
        """URL of the server, without credentials."""
        return redact_url(self._base_url)

    def __repr__(self) -> str:
        return f"RegistrySession({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of this process; a later request opens new ones."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Return the JSON value that a GET answers with; see :meth:`request`."""
        return self.request("GET", path, params=params)

    def post(self, path: str, body: Any, *, repeatable: bool = False) -> Any:
        """Return the JSON value that a POST answers with; see :meth:`request`."""
        return self.request("POST", path, body=body, repeatable=repeatable)

    def patch(self, path: str, body: Any) -> Any:
        """Return the JSON value that a PATCH answers with; see :meth:`request`."""
        return self.request("PATCH", path, body=body)

    def delete(self, path: str) -> Any:
        """Return the JSON value that a DELETE answers with, or ``None``; see :meth:`request`."""
        return self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        repeatable: bool | None = None,
    ) -> Any:
        """Return the JSON value that the server answers with, ``None`` for an empty answer.

        Args:
            method: HTTP method.
            path: Path below the server's URL, quoted.
            params: Query parameters.
            body: JSON value to send.
            repeatable: Whether the request does the same when it is done twice, so that it can be sent again when its
                answer was lost; by default GET, PATCH and DELETE are.

        Raises:
            InvalidInput: The request cannot be written; nothing was sent.
            RegistryError: The server answered with an error status, or with something that is not JSON.
            Unreachable: No answer came; ``maybe_done`` tells whether the request may have arrived.
        """
        url = f"{self._base_url}{path}?{urlencode(params)}" if params else f"{self._base_url}{path}"
        content = None if body is None else _encode(body)
        send = partial(self._send_authorised, method, url, content)
        return self._repeat(send, repeatable=method in _REPEATABLE if repeatable is None else repeatable)

    def _repeat(self, send: Callable[[], Any], *, repeatable: bool) -> Any:
        attempt = 1
        while True:
            try:
                return send()
            except StoreError as error:
                delay_s = self._retry.delay_s(error, attempt, repeatable=repeatable)
                if delay_s is None:
                    raise
                logger.info("attempt %d failed, trying again in %.1f s: %s", attempt, delay_s, error)
                self._retry.sleep(delay_s)
            attempt += 1

    def _send_authorised(self, method: str, url: str, content: bytes | None) -> Any:
        token = self._auth.token()
        response = self._send(method, url, content, token)
        if response.status_code == 401 and token is not None:
            self._auth.forget()
            newer = self._auth.token()
            if newer != token:
                token = newer
                response = self._send(method, url, content, token)
        if response.status_code >= 300:
            raise from_response(response, secret=token)
        return decode(response, secret=token)

    def _send(self, method: str, url: str, content: bytes | None, token: str | None) -> requests.Response:
        headers = dict(_HEADERS)
        if content is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            request = requests.PreparedRequest()
            request.prepare(method=method, url=url, headers=headers, data=content)
            response = self._pool().send(request, timeout=self._timeout, stream=True, **self._options)
        except (requests.RequestException, LocationValueError, UnicodeError) as error:
            raise from_exception(error, method=method, url=url) from shown_cause(error)
        with response:
            return _read_whole(response)

    def _pool(self) -> requests.Session:
        pid = os.getpid()
        pool = self._pools.get(pid)
        # setdefault is atomic: of two threads that come first, both get the same pool.
        return self._pools.setdefault(pid, _Pool(self._adapter)) if pool is None else pool


class _Pool(requests.Session):
    """The connections of one process; whoever follows a redirect keeps the method, and no netrc adds credentials."""

    def __init__(self, adapter: BaseAdapter | None) -> None:
        super().__init__()
        self.trust_env = False
        carrier = HTTPAdapter(pool_connections=4, pool_maxsize=_POOL_SIZE) if adapter is None else adapter
        self.mount("http://", carrier)
        self.mount("https://", carrier)

    def rebuild_method(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Refuse to turn a POST into a GET, as browsers do: a create would silently become a listing."""
        if response.status_code in {301, 302, 303} and prepared_request.method not in {"GET", "HEAD"}:
            raise from_response(response)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer redirects to; refuse what is no address of the web, or one of the machine's own."""
        try:
            target = super().get_redirect_target(resp)
            parts = urlsplit(target or "")
        except ValueError as error:
            raise from_response(resp) from error
        if parts.scheme and (parts.scheme not in {"http", "https"} or not parts.netloc or "\\" in parts.netloc):
            raise from_response(resp)
        if is_link_local(parts.hostname or "") and not is_link_local(urlsplit(resp.url).hostname or ""):
            raise from_response(resp)
        return target


def _read_whole(response: requests.Response) -> requests.Response:
    try:
        response.content  # noqa: B018 - reads the body, which the response then keeps
    except requests.RequestException as error:
        if is_cut_short(error):
            raise truncated(response, f"the answer was cut short: {error}") from error
        raise from_exception(error, method=response.request.method or "", url=response.url) from shown_cause(error)
    return response


def _encode(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"this cannot be written as JSON: {error}") from error


def _send_options(base_url: str, verify: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return proxies and certificates, read from the environment once rather than for each request."""
    given = None if verify is None else os.fspath(verify)
    options = requests.Session().merge_environment_settings(base_url, {}, None, given, None)
    trusted = options["verify"]
    if isinstance(trusted, str) and not Path(trusted).exists():
        raise InvalidInput(f"there are no certificates at {trusted}", next_step="give the path of a PEM file")
    return {"proxies": options["proxies"], "verify": trusted}


def _refuse_plain_token(base_url: str, auth: TokenSource) -> None:
    if isinstance(auth, NoToken) or not base_url.lower().startswith("http://") or is_loopback(base_url):
        return
    raise InvalidInput(
        f"a token would go unencrypted to {redact_url(base_url)}",
        next_step="give an https:// address, or is_secure=False if the network is trusted",
    )
