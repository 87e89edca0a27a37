"""References: the names that OCI registries know images and artifacts by.

Kept to the standard library and light: the URI grammar reads ``oci://`` with it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from modelreg.exceptions import InvalidURI
from modelreg.redact import redact_url

#: How Docker Hub is named in references, and the host that answers for it.
DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"
_DOCKER_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io", _DOCKER_HUB_API, "registry.hub.docker.com"})
_DEFAULT_TAG = "latest"

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]+\])"
    r"(?::[0-9]{1,5})?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_REPOSITORY_BYTES = 255


class Reference(NamedTuple):
    """What a registry knows an image or an artifact by.

    Attributes:
        host: The registry, with its port if it has one, as people write it: ``docker.io`` for Docker Hub.
        repository: The repository's full name.
        tag: A name that may mean something else tomorrow; ``None`` where none was given.
        digest: ``sha256:<hex>`` of the one manifest that is meant; it wins over the tag.
    """

    host: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def reference(self) -> str:
        """What a manifest is asked for by: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or _DEFAULT_TAG

    @property
    def api_host(self) -> str:
        """The host that answers requests."""
        return _DOCKER_HUB_API if self.host == DOCKER_HUB else self.host

    @property
    def name(self) -> str:
        """The registry and the repository, without tag and digest."""
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.reference}"


def parse_reference(text: str) -> Reference:
    """Return the reference that ``text`` spells.

    The first segment is the registry if it has a dot, a port, or is ``localhost``; otherwise all of it is a repository
    of Docker Hub, as for every container tool.

    Args:
        text: ``[REGISTRY/]REPOSITORY[:TAG][@DIGEST]``.

    Raises:
        InvalidURI: It spells none.

    Example:
        >>> parse_reference("127.0.0.1:5000/models/iris:1")
        Reference(host='127.0.0.1:5000', repository='models/iris', tag='1', digest=None)
        >>> str(parse_reference("busybox"))
        'docker.io/library/busybox:latest'
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _invalid(text, f"the digest {digest!r} is not sha256: and 64 hex digits in lower case")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text, f"{tag!r} is not a tag")
    host, repository = _split_host(f"{head}{slash}{last}")
    if not _HOST.fullmatch(host) or _port(host) > 65535:
        raise _invalid(text, f"{host!r} is not a registry's address")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _MOST_REPOSITORY_BYTES:
        raise _invalid(text, f"{repository!r} is not a repository's name, which is lower case")
    return Reference(host, repository, tag or None, digest or None)


def is_digest(text: str) -> bool:
    """Return whether ``text`` is a digest that can be checked, ``sha256:<hex>``."""
    return _DIGEST.fullmatch(text) is not None


def _split_host(name: str) -> tuple[str, str]:
    host, slash, repository = name.partition("/")
    if slash and (host == "localhost" or "." in host or ":" in host):
        host = host.lower()
    else:
        host, repository = DOCKER_HUB, name
    if host not in _DOCKER_HUB_NAMES:
        return host, repository
    return DOCKER_HUB, repository if "/" in repository else f"library/{repository}"


def _port(host: str) -> int:
    port = host.rpartition(":")[2]
    return int(port) if port.isdigit() and not host.endswith("]") else 0


def _invalid(text: str, problem: str) -> InvalidURI:
    # One that holds a password is none that can be read.
    return InvalidURI(
        f"the reference {redact_url(f'oci://{text}')[6:]!r} cannot be read: {problem}",
        next_step="write REGISTRY/REPOSITORY:TAG or ...@sha256:...",
    )
