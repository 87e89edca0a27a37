"""Repositories of the Hugging Face hub.

What lies in one is read from the hub's documented API, and its files from the addresses that the hub resolves them to,
by the requests, deadlines, proxies and certificates of every other storage. The access token goes to the hub alone,
never along to the content network that it redirects to. ``huggingface_hub`` is what files are opened with by fsspec.

Whatever is read is verified: a large file against the sha256 that the hub lists for it, a small one against its id in
git, which is a digest of its content as well.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

import attrs

from modelreg.exceptions import (
    InvalidInput,
    MissingExtra,
    ModelRegError,
    ObjectChanged,
    ReadOnlyStorage,
    StorageError,
    StorageUnreachable,
)
from modelreg.redact import redact_url
from modelreg.storage.backends import hub_answers
from modelreg.storage.backends.base import Backend, Listed, relative_to
from modelreg.storage.hops import follow, is_same_origin, meaning, session_of
from modelreg.storage.hub_uri import HubAddress, address_of, from_web, is_commit
from modelreg.storage.model import RemoteFile
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import StorageSettings

_CHUNK_BYTES = 1 << 20
# More than the hub says of a repository with a million files.
_MOST_JSON_BYTES = 256 << 20
_GIT = "git:"


@attrs.frozen
class HubRepository:
    """What the hub says of a repository.

    Attributes:
        id: Its name now, ``OWNER/NAME``: the hub forwards old names.
        commit: Whole id of the commit that the revision is at.
        author: Who owns it; ``None`` for the old models without an owner.
        card: The head of its card (``README.md``), by name.
    """

    id: str
    commit: str
    author: str | None
    card: Mapping[str, object]


class HubBackend(Backend):
    """A repository of the hub at one revision.

    A branch is looked up once: all that one backend tells is of one commit.

    Raises:
        InvalidInput: The hub's address cannot be used.
        StorageUnreachable: The environment says that the hub is not to be asked.
    """

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        super().__init__(uri, settings=settings)
        if settings.hf.offline:
            raise StorageUnreachable(
                f"{uri.normalised} cannot be asked for: HF_HUB_OFFLINE is set",
                next_step="unset it, or fetch only what the cache holds",
            )
        self._endpoint = _checked_endpoint(settings.hf.endpoint)
        self._commits: dict[HubAddress, HubAddress] = {}
        # Where the content network has a file: asking the hub again for each range would double the requests.
        self._moved: dict[str, str] = {}

    def repository(self) -> HubRepository:
        """Return what the hub says of the repository.

        Raises:
            ObjectNotFound: There is no such repository or revision, or it is private.
            AccessDenied: It is gated, or the token is not accepted.
            StorageError: The hub failed or could not be reached.
        """
        return self._asked(self._repository, address_of(self.uri), what=self.uri.normalised)

    def location(self, name: str) -> str:
        """Return the address by which the hub hands out the file ``name``."""
        path = "/".join(part for part in (self.uri.path.rstrip("/"), name) if part)
        return f"{self._endpoint}/{address_of(self.uri).resolve(path)}"

    def filesystem(self) -> Any:
        """Return a :class:`huggingface_hub.HfFileSystem`.

        Raises:
            MissingExtra: huggingface_hub is not installed.
        """
        try:
            from huggingface_hub import HfFileSystem
        except ImportError as error:
            raise MissingExtra(
                "opening files of the hub needs huggingface_hub", next_step="pip install 'modelreg[hf]'"
            ) from error
        # ``False`` is how it is told to send no token of its own finding.
        return HfFileSystem(endpoint=self._endpoint, token=self._token or False)

    def filesystem_path(self) -> str:
        """Return the URI without its scheme."""
        return self.uri.text.partition("://")[2]

    @functools.cached_property
    def _token(self) -> str | None:
        return self.settings.hf.read_token()

    def _named(self, location: str) -> str:
        return str(from_web(location, self._endpoint) or redact_url(location))

    def _immutable(self, uri: StorageURI) -> bool:
        return address_of(uri).is_pinned

    def _stat_file(self, uri: StorageURI) -> Listed | None:
        if uri.is_folder:
            return None
        at = self._pinned(address_of(uri))
        answer = self._ask("POST", f"{at.api}/paths-info/{at.revision}", at, data={"paths": [uri.path]})
        for entry in hub_answers.entries(answer.document):
            if entry.path == uri.path and not entry.is_folder:
                return self._listing(at, entry, entry.path.rpartition("/")[2])
        return None

    def _stat(self, location: str) -> Listed | None:
        uri = from_web(location, self._endpoint)
        return None if uri is None else self._stat_file(uri)

    def _listed(self, uri: StorageURI) -> list[Listed]:
        return self._level_or_tree(uri, recursive=True)[1]

    def _level(self, uri: StorageURI) -> tuple[list[str], list[Listed]]:
        return self._level_or_tree(uri, recursive=False)

    def _level_or_tree(self, uri: StorageURI, *, recursive: bool) -> tuple[list[str], list[Listed]]:
        at, prefix = self._pinned(address_of(uri)), uri.path.rstrip("/")
        folders, files = [], []
        for entry in self._entries(at, prefix, recursive=recursive):
            name = relative_to(entry.path, prefix)
            if name and entry.is_folder:
                folders.append(name)
            elif name:
                files.append(self._listing(at, entry, name))
        return folders, files

    def _entries(self, at: HubAddress, prefix: str, *, recursive: bool) -> Iterator[hub_answers.Entry]:
        below = f"/{quote(prefix)}" if prefix else ""
        page: str | None = f"{at.api}/tree/{at.revision}{below}{'?recursive=true' if recursive else ''}"
        while page is not None:
            answer = self._ask("GET", page, at, missing=hub_answers.NOTHING)
            yield from hub_answers.entries(answer.document)
            page = self._next_page(answer.next_page)

    def _next_page(self, url: str | None) -> str | None:
        """Return the path of the next page; a page elsewhere would be sent the token."""
        if url is None or url.startswith(f"{self._endpoint}/"):
            return url and url.removeprefix(f"{self._endpoint}/")
        raise StorageError(
            f"the hub at {self._endpoint} continues a listing at {redact_url(url)}, which is not the hub"
        )

    def _listing(self, at: HubAddress, entry: hub_answers.Entry, relative: str) -> Listed:
        identity = f"{_GIT}{entry.oid}" if entry.sha256 is None else f"sha256:{entry.sha256}"
        location = f"{self._endpoint}/{at.resolve(entry.path)}"
        return Listed(location=location, relative=relative, size=entry.size, identity=identity, sha256=entry.sha256)

    def _pinned(self, address: HubAddress) -> HubAddress:
        """Return ``address`` at the commit of its revision."""
        if address.is_pinned:
            return address
        if address not in self._commits:
            self._commits[address] = address._replace(revision=self._repository(address).commit)
        return self._commits[address]

    def _repository(self, address: HubAddress) -> HubRepository:
        answer = self._ask("GET", f"{address.api}/revision/{quote(address.revision, safe='')}", address)
        found = answer.document if isinstance(answer.document, dict) else {}
        commit, author, card = found.get("sha"), found.get("author"), found.get("cardData")
        if not isinstance(commit, str) or not is_commit(commit):
            raise StorageError(
                f"the hub at {self._endpoint} names no commit of {address.page}", next_step="check HF_ENDPOINT"
            )
        return HubRepository(
            id=str(found.get("id") or address.repo),
            commit=commit,
            author=str(author) if author else None,
            card=MappingProxyType(card if isinstance(card, dict) else {}),
        )

    def _ask(
        self,
        method: str,
        path: str,
        address: HubAddress,
        *,
        data: Mapping[str, object] | None = None,
        missing: hub_answers.Answer | None = None,
    ) -> hub_answers.Answer:
        """Return the hub's JSON answer; ``missing`` where it says that there is no such path."""
        url = f"{self._endpoint}/{path}"
        with self._request(method, url, data=data) as answer:
            if missing is not None and hub_answers.says_no_entry(answer):
                return missing
            hub_answers.check(answer, address, self._hub)
            body = answer.raw.read(_MOST_JSON_BYTES + 1, decode_content=True)
            if len(body) > _MOST_JSON_BYTES:
                raise StorageError(f"the hub's answer to {redact_url(url)} is longer than {_MOST_JSON_BYTES} bytes")
            next_page = answer.links.get("next", {}).get("url")
        try:
            document = json.loads(body)
        except ValueError as error:
            raise StorageError(
                f"{redact_url(url)} was not answered with JSON", next_step="check HF_ENDPOINT and the proxy"
            ) from error
        return hub_answers.Answer(document, None if next_page is None else urljoin(url, next_page))

    @functools.cached_property
    def _hub(self) -> hub_answers.Hub:
        return hub_answers.Hub(self._endpoint, has_token=self._token is not None)

    def _write(self, location: str, source: BinaryIO, size: int, sha256: str | None) -> None:
        del source, size, sha256
        raise ReadOnlyStorage(
            f"cannot write {self._named(location)}: modelreg only reads the hub",
            next_step=f"upload with 'hf upload {address_of(self.uri).repo} FOLDER'",
        )

    def _read(self, file: RemoteFile) -> bytes:
        return b"".join(self._stream(file, 0, None))

    def _stream(self, file: RemoteFile, offset: int, length: int | None) -> Iterator[bytes]:
        if length is None or (offset, length) == (0, file.size):
            yield from self._whole(file)
            return
        wanted = f"{offset}-{offset + length - 1}"
        with self._open(file.location, {"Range": f"bytes={wanted}"}) as answer:
            self._check_file(answer, file)
            told = answer.headers.get("Content-Range", "").lower()
            if answer.status_code != 206 or told != f"bytes {wanted}/{file.size}":
                # From now on files are read as a whole.
                self.ranged = False
                raise ObjectChanged(f"{self._named(file.location)} did not come as the range that was asked for")
            yield from _chunks(answer)

    def _whole(self, file: RemoteFile) -> Iterator[bytes]:
        """Yield all of a file, which is what its id in git stands for if the hub lists no sha256."""
        digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
        with self._open(file.location, {}) as answer:
            self._check_file(answer, file)
            for chunk in _chunks(answer):
                # Where it lists one, the transfer compares that.
                if file.sha256 is None:
                    digest.update(chunk)
                yield chunk
        if file.sha256 is None and file.identity != f"{_GIT}{digest.hexdigest()}":
            raise ObjectChanged(f"{self._named(file.location)} came with other content than the hub lists")

    def _check_file(self, answer: Any, file: RemoteFile) -> None:
        if is_same_origin(urlsplit(answer.url), urlsplit(self._endpoint)):
            hub_answers.check(answer, address_of(self.uri), self._hub)
        hub_answers.check_status(answer, self._named(file.location))

    def _open(self, location: str, headers: Mapping[str, str]) -> Any:
        """Return the answer with a file's bytes, straight from the content network where that is known."""
        moved = self._moved.get(location)
        if moved is not None:
            answer = self._request("GET", moved, headers)
            if answer.status_code < 400:
                return answer
            # The address was signed for a while, and that is over.
            answer.close()
            self._moved.pop(location, None)
        answer = self._request("GET", location, headers)
        if answer.status_code < 300 and not is_same_origin(urlsplit(answer.url), urlsplit(self._endpoint)):
            self._moved[location] = answer.url
        return answer

    def _request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, data: Mapping[str, object] | None = None
    ) -> Any:
        """Return the answer to a request, after its redirects; close it when done."""
        transfer = self.settings.transfer

        def send(at: SplitResult) -> Any:
            return session_of(self.settings).request(
                method,
                urlunsplit(at),
                headers=dict(headers or {}),
                data=data,
                # Given as this, it is not overruled by a .netrc, which is for git.
                auth=self._sign,
                stream=True,
                allow_redirects=False,
                timeout=(transfer.connect_timeout_s, transfer.stall_timeout_s),
            )

        return follow(url, send, carries_secrets=lambda at: bool(self._credentials(at)))

    def _sign(self, request: Any) -> Any:
        request.headers.update(self._credentials(urlsplit(request.url)))
        return request

    def _credentials(self, at: SplitResult) -> dict[str, str]:
        if self._token is None or not is_same_origin(at, urlsplit(self._endpoint)):
            return {}
        return {"Authorization": f"Bearer {self._token}"}

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        return meaning(error, what)


def _checked_endpoint(endpoint: str) -> str:
    """Return ``endpoint``.

    Raises:
        InvalidInput: It is not an address of a hub.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise InvalidInput(
            f"the hub's address {redact_url(endpoint)!r} cannot be used",
            next_step="set HF_ENDPOINT to one that begins with https://, and the token in HF_TOKEN",
        )
    return endpoint


def _chunks(answer: Any) -> Iterator[bytes]:
    # What is packed all the same is unpacked.
    packed = "Content-Encoding" in answer.headers
    while chunk := answer.raw.read(_CHUNK_BYTES, decode_content=packed):
        yield chunk
