"""A session of requests that asks the environment for proxies and certificates once for each host, not each request.

It leaves redirects alone: :mod:`modelreg.storage.hops` follows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_netrc_auth

# What requests, and urllib below it, take from the environment.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_VARIABLES = (*_PROXIES, *map(str.upper, _PROXIES), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Hosts whose settings are kept; a program that meets more asks again.
_MOST_HOSTS = 256


class Session(requests.Session):
    """A session whose look at the environment is kept for as long as its variables stay what they are.

    requests goes through every variable there is, twice, for each request: longer than the request itself takes on a
    fast line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[Any, Mapping[str, Any]] = {}

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
        auth: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None = None,
    ) -> requests.Response:
        """Return the answer to a request without a body, its own body unread; close it when done.

        The same as :meth:`requests.Session.request`, less what such a request does not need: cookies, hooks and forms,
        which take as long as the request itself.

        Args:
            method: The method.
            url: Where it goes.
            headers: What to send besides the session's own.
            timeout: Seconds for the connection, and for each wait for bytes.
            auth: Signs the request; ``None``: with the login in the URL or in ``.netrc``, if there is one.
        """
        request = requests.PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(url, None)
        merged = CaseInsensitiveDict(self.headers)
        merged.update(headers)
        request.prepare_headers(merged)
        request.prepare_auth(get_netrc_auth(url) if auth is None else auth)
        settings = self.merge_environment_settings(request.url, {}, True, None, None)
        return self.get_adapter(str(request.url)).send(request, timeout=timeout, **settings)

    def merge_environment_settings(
        self, url: Any, proxies: MutableMapping[str, str] | None, stream: bool | None, verify: Any, cert: Any
    ) -> Any:
        """Return the settings of one request, as :meth:`requests.Session.merge_environment_settings` finds them."""
        if proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc, stream, verify, cert, *map(os.environ.get, _VARIABLES))
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST_HOSTS:
                self._found.clear()
            found = super().merge_environment_settings(url, proxies, stream, verify, cert)
            self._found[key] = found
        return {**found, "proxies": dict(found["proxies"])}

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return ``None``: redirects are followed by whoever asked.

        requests looks at them even where it is told not to follow: it reads all of the answer's body, however long that
        is, and fails over what is no address.
        """
        del resp
        return None
