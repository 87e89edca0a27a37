"""Which addresses a URI from elsewhere may lead to."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from modelreg.exceptions import AccessDenied
from modelreg.hosts import is_link_local
from modelreg.storage.uri import StorageURI, parse_uri

# Schemes whose storages keep to themselves. What fsspec adds may read this disk, run a program or log in elsewhere.
_KNOWN_SCHEMES = frozenset({"s3", "gs", "az", "http", "https", "pvc", "hf", "oci", "model-registry"})
# Those whose URIs name no host; the second may name the address of its service.
_WITHOUT_HOST = frozenset({"s3", "gs", "az", "pvc", "file", "hf"})
# Services that are sent a bearer token or a signature that is good elsewhere; S3's requests are signed for one host.
_BEARING = frozenset({"gs", "az"})


def check_registry_uri(uri: StorageURI | str, *, allow: Collection[str] = (), resolve: bool = True) -> StorageURI:
    """Return ``uri`` parsed if one that a registry gave may be followed.

    A registry says where a model lies to everyone who asks; it must not make them read their own disk or the service
    that hands out the credentials of the machine they run on, nor show their own credentials to a server of its choice.

    Args:
        uri: What the registry said.
        allow: What is followed besides: ``local`` (``file:`` and plain paths), ``link-local`` (such addresses, and
            those of metadata services), ``endpoint`` (services of Google's and Azure's protocols at an address that
            the URI names), ``any-scheme`` (what fsspec reads besides modelreg).
        resolve: Look names of hosts up, to know their addresses.

    Raises:
        AccessDenied: It must not be followed.
        InvalidURI: It cannot be parsed.

    Example:
        >>> check_registry_uri("s3://models/fraud").bucket
        'models'
        >>> check_registry_uri("file:///models/fraud", allow={"local"}).scheme
        'file'
    """
    parsed = parse_uri(uri) if isinstance(uri, str) else uri
    if parsed.scheme == "file":
        if "local" not in allow:
            raise _refusal(f"a local file, {parsed.normalised}", "local", "if you trust the registry with this disk")
        return parsed
    if "any-scheme" not in allow and parsed.scheme not in _KNOWN_SCHEMES:
        raise _refusal(
            f"{parsed.normalised}, whose scheme is none of modelreg's own",
            "any-scheme",
            "if you trust it with what fsspec can reach from here",
        )
    if "endpoint" not in allow and parsed.scheme in _BEARING and "endpoint" in parsed.options:
        raise _refusal(
            f"{parsed.options['endpoint']} for {parsed.scheme}://, which would be shown this machine's credentials",
            "endpoint",
            "if you trust it with them, or register the URI without endpoint= and set the endpoint on this machine",
        )
    for host in _hosts(parsed) if "link-local" not in allow else ():
        if is_link_local(host, resolve=resolve):
            raise _refusal(
                f"the address {host}, which only this machine's platform answers",
                "link-local",
                "if you trust it with this machine's credentials",
            )
    return parsed


def _refusal(what: str, permission: str, condition: str) -> AccessDenied:
    return AccessDenied(f"the registry names {what}", next_step=f"set MODELREG_REGISTRY_ALLOW={permission} {condition}")


def _hosts(uri: StorageURI) -> list[str]:
    """Return every host that a backend may ask for ``uri``."""
    hosts = [urlsplit(uri.options["endpoint"]).hostname] if "endpoint" in uri.options else []
    if uri.scheme not in _WITHOUT_HOST:
        try:
            hosts.append(urlsplit(uri.text).hostname)
        except ValueError:
            hosts.append(uri.bucket)
    return [host for host in hosts if host]
