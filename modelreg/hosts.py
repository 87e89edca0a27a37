"""Which hosts hand out a machine's own credentials: link-local addresses and the metadata services of clouds."""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
from collections.abc import Iterator
from typing import TypeAlias
from urllib.parse import unquote

_Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# Names under which clouds answer with the machine's own credentials.
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
# Metadata services that are not link-local: Alibaba Cloud, AWS over IPv6, Oracle Cloud's older one.
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(address) for address in ("100.100.100.200", "fd00:ec2::254", "192.0.0.192")
)
# Networks whose addresses end in one of IPv4, to which gateways and hosts pass on what is sent there.
_EMBEDDING = tuple(ipaddress.IPv6Network(network) for network in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))
# What resolvers take for a dot: full stops of East Asian scripts.
_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")


def is_link_local(host: str, *, resolve: bool = False) -> bool:
    """Return whether ``host`` is a link-local address or a cloud's metadata service, in any spelling.

    Args:
        host: A name or an address.
        resolve: Also look a name up, and judge every address that it has.

    Example:
        >>> is_link_local("169.254.169.254"), is_link_local("0xA9FEA9FE"), is_link_local("10.0.0.1")
        (True, True, False)
    """
    # As clients read it: some of them unescape a host, and all make plain digits and letters of others.
    name = unicodedata.normalize("NFKC", unquote(host).translate(_DOTS)).strip("[]").rstrip(".").lower()
    return name in _METADATA_HOSTS or any(_is_metadata(address) for address in _addresses(name, resolve=resolve))


def _addresses(name: str, *, resolve: bool) -> list[_Address]:
    try:
        return [ipaddress.ip_address(name.partition("%")[0])]
    except ValueError:
        pass
    try:
        # The short, octal and hexadecimal spellings that clients accept: 0xA9FEA9FE, 169.254.43518, 2852039166.
        return [ipaddress.IPv4Address(socket.inet_aton(name))]
    except (OSError, ValueError):
        pass
    if not resolve:
        return []
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # What cannot be looked up cannot be asked either; the transfer says so.
        return []
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _is_metadata(address: _Address) -> bool:
    return any(one.is_link_local or one in _METADATA_ADDRESSES for one in (address, *_embedded(address)))


def _embedded(address: _Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the addresses of IPv4 that one of IPv6 leads to: mapped, translated, or through a tunnel."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _EMBEDDING):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
