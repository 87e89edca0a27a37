"""Where a registry server is: scheme, port and host from one address."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from modelreg.exceptions import InvalidInput
from modelreg.redact import redact_url

# https has the port that the scheme implies; plain http the one that registries listen on.
_HTTP_PORT = 8080
# Names in any script; a dot in front is the mark of a path.
_HOST = re.compile(r"[^\s.][^\s]*$")


def server_url(address: str, port: int | None = None, *, is_secure: bool | None = None) -> str:
    """Return the URL of the registry server that the arguments of a client name.

    Args:
        address: ``https://host``, ``http://host:8080/prefix`` or just a host name.
        port: Port, where the address has none; by default 443 for https and 8080 for http.
        is_secure: Whether a mere host name means https (by default yes).

    Raises:
        InvalidInput: The address is no such address, or the arguments contradict each other.

    Example:
        >>> server_url("http://registry.local"), server_url("registry.local", 8443)
        ('http://registry.local:8080', 'https://registry.local:8443')
    """
    if not isinstance(address, str):
        raise InvalidInput(
            f"the address of a registry is {address!r}, not text",
            next_step="give one such as https://registry.example.com",
        )
    if "://" not in address:
        address = f"{'http' if is_secure is False else 'https'}://{address}"
    parts = _split(address)
    if parts.scheme == "http" and is_secure:
        raise InvalidInput(
            f"{redact_url(address)} is plain http, but is_secure=True asks for TLS",
            next_step="give an https:// address, or leave is_secure out",
        )
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    number = _port(parts, port)
    return f"{parts.scheme}://{host}{f':{number}' if number else ''}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Return whether ``url`` points at this very machine.

    Example:
        >>> is_loopback("http://127.0.0.1:8080"), is_loopback("http://registry.local")
        (True, False)
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        hostname, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"{redact_url(address)} is not an address: {error}") from error
    is_server = parts.scheme in {"http", "https"} and _HOST.match(hostname or "")
    if not is_server or parts.query or parts.fragment:
        raise InvalidInput(
            f"{redact_url(address)} is not the address of a registry server",
            next_step="give one such as https://registry.example.com, or sqlite:///path for a database",
        )
    if "@" in parts.netloc:
        raise InvalidInput(
            f"the address {redact_url(address)} holds credentials", next_step="give a token as user_token instead"
        )
    return parts


def _port(parts: SplitResult, port: int | None) -> int | None:
    for number in (port, parts.port):
        if number is not None and (type(number) is not int or not 0 < number < 65536):
            raise InvalidInput(f"port is {number!r}", next_step="give an integer from 1 to 65535")
    if port is not None and parts.port not in {None, port}:
        raise InvalidInput(
            f"{redact_url(parts.geturl())} names port {parts.port}, but port={port} was given",
            next_step="give the port once",
        )
    return port or parts.port or (_HTTP_PORT if parts.scheme == "http" else None)
