"""The grammar of ``hf://``: what a URI names on the Hugging Face hub.

``hf://[models/|datasets/|spaces/]OWNER/NAME[@REVISION|:REVISION][/PATH]``, and ``hf://NAME`` for the old models that
have no owner. ``@`` is how the hub's own client writes a revision, ``:`` how KServe does. A ``/`` in a revision is
written ``%2F``, save in ``refs/pr/N`` and ``refs/convert/NAME``. The path stands as it is: nothing is unescaped.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from modelreg.exceptions import InvalidURI
from modelreg.redact import redact_url
from modelreg.storage.uri import StorageURI

#: The revision that is meant where none is named.
DEFAULT_REVISION = "main"

_GRAMMAR = "write hf://[datasets/]OWNER/NAME[@REVISION][/PATH]"
_KINDS = ("models", "datasets", "spaces")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
# A revision that holds a slash of its own, and any other.
_REVISION = r"refs/(?:pr/\d+|convert/[\w.-]+)|[^/]+"
# A name without an owner is followed by a path only after its revision: the path's first step would be the name.
_REPO = rf"{_NAME}/{_NAME}|{_NAME}(?=[@:]|/?\Z)"
_URI = re.compile(
    rf"(?:(?P<kind>{'|'.join(_KINDS)})/)?(?P<repo>{_REPO})(?:[@:](?P<revision>{_REVISION}))?(?:/(?P<path>.*))?",
    re.DOTALL,
)
_WEB_PATH = re.compile(
    rf"/(?:(?P<kind>datasets|spaces)/)?(?P<repo>{_NAME}(?:/{_NAME})?)/(?:resolve|blob)/(?P<revision>{_REVISION})/(?P<path>.+)"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubAddress(NamedTuple):
    """A repository of the hub at one revision.

    Attributes:
        kind: ``models``, ``datasets`` or ``spaces``.
        repo: Its id, ``OWNER/NAME``.
        revision: A branch, a tag, a commit or a ref such as ``refs/pr/1``.
    """

    kind: str
    repo: str
    revision: str = DEFAULT_REVISION

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a whole commit, which never means anything else."""
        return is_commit(self.revision)

    @property
    def page(self) -> str:
        """Path of its page on the hub; models have no prefix."""
        return self.repo if self.kind == "models" else f"{self.kind}/{self.repo}"

    @property
    def api(self) -> str:
        """Path of what the hub's API says of it."""
        return f"api/{self.kind}/{self.repo}"

    def resolve(self, path: str) -> str:
        """Return the path by which the hub hands out the file at ``path``."""
        return f"{self.page}/resolve/{quote(self.revision, safe='')}/{quote(path)}"


def is_commit(revision: str) -> bool:
    """Return whether ``revision`` is the whole id of a commit.

    Example:
        >>> is_commit("0123456789abcdef0123456789abcdef01234567"), is_commit("main")
        (True, False)
    """
    return _COMMIT.fullmatch(revision) is not None


def parse_hub_uri(text: str, rest: str) -> StorageURI:
    """Return the URI ``text`` parsed.

    Args:
        text: All of it.
        rest: What follows ``hf://``.

    Raises:
        InvalidURI: It names no repository.

    Example:
        >>> uri = parse_hub_uri("", "acme/iris:v1/onnx/model.onnx")
        >>> uri.bucket, uri.path, address_of(uri).revision
        ('acme/iris', 'onnx/model.onnx', 'v1')
        >>> parse_hub_uri("", "models/acme/iris@main")
        StorageURI('hf://acme/iris')
    """
    match = _URI.fullmatch(rest)
    if match is None:
        raise InvalidURI(f"the URI {redact_url(text)!r} names no repository of the hub", next_step=_GRAMMAR)
    revision = unquote(match["revision"] or DEFAULT_REVISION)
    return hub_uri(HubAddress(match["kind"] or "models", match["repo"], revision), match["path"] or "")


def hub_uri(address: HubAddress, path: str = "") -> StorageURI:
    """Return the URI of the file or folder at ``path`` of a repository.

    Example:
        >>> hub_uri(HubAddress("datasets", "acme/flowers", "refs/pr/1"), "train.csv")
        StorageURI('hf://datasets/acme/flowers@refs%2Fpr%2F1/train.csv')
    """
    is_plain = address.revision == DEFAULT_REVISION and ("/" in address.repo or not path)
    at = "" if is_plain else f"@{quote(address.revision, safe='')}"
    text = f"hf://{address.page}{at}{'/' if path else ''}{path}"
    options = MappingProxyType({"revision": address.revision})
    return StorageURI("hf", address.page, path, options, text, text)


def address_of(uri: StorageURI) -> HubAddress:
    """Return the repository that a parsed ``hf://`` URI names."""
    kind, _, repo = uri.bucket.partition("/")
    if kind not in _KINDS or not repo:
        kind, repo = "models", uri.bucket
    return HubAddress(kind, repo, uri.options["revision"])


def from_web(url: str, endpoint: str) -> StorageURI | None:
    """Return the ``hf://`` URI of the file whose web address, or page, ``url`` is; ``None`` where it is neither.

    Args:
        url: Any address.
        endpoint: Address of the hub.

    Example:
        >>> from_web("https://huggingface.co/acme/iris/resolve/v1/model.onnx", "https://huggingface.co")
        StorageURI('hf://acme/iris@v1/model.onnx')
    """
    if not url.startswith(f"{endpoint}/"):
        return None
    match = _WEB_PATH.fullmatch(urlsplit(url).path.removeprefix(urlsplit(endpoint).path))
    if match is None:
        return None
    address = HubAddress(match["kind"] or "models", match["repo"], unquote(match["revision"]))
    return hub_uri(address, unquote(match["path"]))
