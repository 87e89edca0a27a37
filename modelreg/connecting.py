"""From an address to a registry that can be asked: a server over HTTP, or a database that this process opens."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import attrs

from modelreg.client.api import RegistryAPI
from modelreg.config import RegistrySettings, named_variable
from modelreg.exceptions import InvalidInput
from modelreg.http.address import server_url
from modelreg.http.auth import TokenSource, token_source
from modelreg.http.session import DEFAULT_TIMEOUT_S, RegistrySession
from modelreg.redact import redact_url

_DATABASES = ("sqlite", "postgresql", "postgres")
# What requests are addressed to inside of the process; no name is ever looked up.
_IN_PROCESS_URL = "http://modelreg.invalid"


@attrs.frozen(kw_only=True)
class Connection:
    """A registry that can be asked.

    Attributes:
        url: Its address, without credentials.
        api: Its REST operations.
        is_remote: Whether it is a server, which may not answer; a database was opened already.
        close: Gives back connections and files.
    """

    url: str
    api: RegistryAPI
    is_remote: bool
    close: Callable[[], None]


@attrs.frozen(kw_only=True)
class ServerOptions:
    """How a registry server is spoken to; a database needs none of it.

    Attributes:
        port: Port, where the address has none.
        is_secure: Whether to speak TLS, where the address has no scheme.
        user_token: Bearer token, the path of its file, or a function that returns it.
        user_token_envvar: Variable that holds the path of a file with the token.
        custom_ca: Path of a file with the certificates to trust.
        custom_ca_envvar: Variable that holds that path.
        timeout: Seconds for a connection and for each answer.
        auth: What knows the token, instead of all that is said above and by the environment.
    """

    port: int | None = None
    is_secure: bool | None = None
    user_token: str | os.PathLike[str] | Callable[[], str] | None = None
    user_token_envvar: str | None = None
    custom_ca: str | None = None
    custom_ca_envvar: str | None = None
    timeout: float | tuple[float, float] | None = None
    auth: TokenSource | None = None


def connect_to(address: str | None, options: ServerOptions, *, settings: RegistrySettings) -> Connection:
    """Return the registry at ``address``; nothing is sent to a server yet, a database is opened.

    Args:
        address: ``http(s)://`` address, ``sqlite:///path`` or ``postgresql://...``; ``None`` for what the settings
            name, else the database in the user's data folder.
        options: How to speak to a server.
        settings: What the environment says.

    Raises:
        InvalidInput: If the arguments contradict each other.
        DatabaseError: If the database cannot be opened.
    """
    address = address or settings.url
    if address is None:
        return _embedded(f"sqlite:///{settings.database}")
    scheme = _scheme(address)
    if scheme in _DATABASES:
        return _embedded(address)
    if scheme not in ("", "http", "https"):
        raise InvalidInput(
            f"{redact_url(address)} is no address of a registry",
            next_step="give http(s)://host, sqlite:///path or postgresql://...",
        )
    return _remote(address, options, settings)


def _remote(address: str, options: ServerOptions, settings: RegistrySettings) -> Connection:
    auth = options.auth
    if auth is None:
        auth = token_source(options.user_token, options.user_token_envvar, settings=settings)
    session = RegistrySession(
        server_url(address, options.port, is_secure=options.is_secure),
        auth=auth,
        timeout=_timeouts(options.timeout),
        verify=_certificates(options),
        is_secure=options.is_secure,
    )
    return Connection(url=session.base_url, api=RegistryAPI(session), is_remote=True, close=session.close)


def _embedded(url: str) -> Connection:
    from modelreg.embedded import open_app
    from modelreg.http.wsgi_adapter import WSGIAdapter

    app = open_app(url)
    session = RegistrySession(_IN_PROCESS_URL, adapter=WSGIAdapter(app))

    def close() -> None:
        session.close()
        app.close()

    return Connection(url=redact_url(url), api=RegistryAPI(session), is_remote=False, close=close)


def _timeouts(timeout: float | tuple[float, float] | None) -> tuple[float, float]:
    if timeout is None:
        return DEFAULT_TIMEOUT_S
    both: tuple[float, ...] = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if not (len(both) == 2 and all(map(_is_duration, both))):
        raise InvalidInput(
            f"timeout is {timeout!r}", next_step="give seconds, as one number above 0 or two: to connect, and to wait"
        )
    connect_s, read_s = both
    return connect_s, read_s


def _is_duration(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and 0 < seconds < math.inf


def _scheme(address: object) -> str:
    return address.partition("://")[0].lower() if isinstance(address, str) and "://" in address else ""


def _certificates(options: ServerOptions) -> str | None:
    if options.custom_ca is not None or options.custom_ca_envvar is None:
        return options.custom_ca
    return named_variable(options.custom_ca_envvar)
