"""Which addresses a URI from elsewhere may lead to."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from modelreg.exceptions import AccessDenied
from modelreg.storage.uri import StorageURI, parse_uri

# Names under which clouds answer with the machine's own credentials.
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
# Metadata services that are not link-local: Alibaba Cloud, AWS over IPv6, Oracle Cloud's older one.
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(address) for address in ("100.100.100.200", "fd00:ec2::254", "192.0.0.192")
)
_LOCAL_SCHEMES = frozenset({"file", "local"})
_WRAPPING_SCHEMES = frozenset(
    {"simplecache", "filecache", "blockcache", "reference", "zip", "tar", "dir", "git", "hdfs_local", "sftp", "smb"}
)


def check_registry_uri(
    uri: StorageURI | str, *, allow_local: bool = False, allow_link_local: bool = False, resolve: bool = True
) -> StorageURI:
    """Return ``uri`` parsed if one that a registry gave may be followed.

    A registry says where a model lies to everyone who asks; it must not make them read their own disk or the service
    that hands out the credentials of the machine they run on.

    Args:
        uri: What the registry said.
        allow_local: Also follow ``file:`` and plain paths.
        allow_link_local: Also follow link-local and metadata addresses.
        resolve: Look names of hosts up, to know their addresses.

    Raises:
        AccessDenied: It must not be followed.
        InvalidURI: It cannot be parsed.

    Example:
        >>> check_registry_uri("s3://models/fraud").bucket
        'models'
        >>> check_registry_uri("file:///models/fraud", allow_local=True).scheme
        'file'
    """
    parsed = parse_uri(uri) if isinstance(uri, str) else uri
    if not allow_local and (
        parsed.scheme in _LOCAL_SCHEMES or parsed.scheme in _WRAPPING_SCHEMES or "::" in parsed.text
    ):
        raise AccessDenied(
            f"the registry names a local file, {parsed.normalised}",
            next_step="set MODELREG_REGISTRY_ALLOW=local if you trust the registry with this disk",
        )
    for host in _hosts(parsed) if not allow_link_local else ():
        if is_link_local(host, resolve=resolve):
            raise AccessDenied(
                f"the registry names the address {host}, which only this machine's platform answers",
                next_step="set MODELREG_REGISTRY_ALLOW=link-local if you trust it with this machine's credentials",
            )
    return parsed


def is_link_local(host: str, *, resolve: bool = False) -> bool:
    """Return whether ``host`` is a link-local address or a cloud's metadata service.

    Args:
        host: A name or an address.
        resolve: Also look a name up, and judge every address that it has.

    Example:
        >>> is_link_local("169.254.169.254"), is_link_local("0xA9FEA9FE"), is_link_local("10.0.0.1")
        (True, True, False)
    """
    name = host.strip("[]").rstrip(".").lower()
    if name in _METADATA_HOSTS:
        return True
    return any(_is_metadata(address) for address in _addresses(name, resolve=resolve))


def _hosts(uri: StorageURI) -> list[str]:
    """Return every host that a backend may ask for ``uri``."""
    hosts = [urlsplit(uri.options["endpoint"]).hostname] if "endpoint" in uri.options else []
    if uri.scheme not in {"s3", "gs", "az", "hf", "pvc", "file"}:
        try:
            hosts.append(urlsplit(uri.text).hostname)
        except ValueError:
            hosts.append(uri.bucket)
    return [host for host in hosts if host]


def _addresses(name: str, *, resolve: bool) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
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


def _is_metadata(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_link_local or (mapped or address) in _METADATA_ADDRESSES
