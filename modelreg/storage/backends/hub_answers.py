"""What the answers of the Hugging Face hub mean: its listings, and its errors in our tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs

from modelreg.exceptions import AccessDenied, ObjectNotFound, StorageError
from modelreg.redact import redact_text
from modelreg.storage.backends import errors
from modelreg.storage.hops import seconds_of
from modelreg.storage.hub_uri import HubAddress

# Seconds until requests are let through again, in the header that the hub sends with a 429.
_RATE_LIMIT = re.compile(r"\bt\s*=\s*(\d+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 300
# What the hub says of a token that it does not know. Other texts of a 401 do for what is missing or private as well.
_BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - a message


@attrs.frozen
class Entry:
    """One line of a listing.

    Attributes:
        path: Path in the repository.
        is_folder: It is a folder.
        size: Bytes.
        oid: Id in git.
        sha256: Hex digest, of files that are kept as large ones.
    """

    path: str
    is_folder: bool
    size: int
    oid: str
    sha256: str | None


class Answer(NamedTuple):
    """A JSON answer.

    Attributes:
        document: What it says.
        next_page: Address of what follows; ``None`` at the end.
    """

    document: Any
    next_page: str | None = None


#: The answer where nothing is.
NOTHING = Answer([])


class Hub(NamedTuple):
    """Who answers.

    Attributes:
        endpoint: Address of the hub.
        has_token: Whether it was shown an access token.
    """

    endpoint: str
    has_token: bool


def entries(document: Any) -> Iterator[Entry]:
    """Yield the files and folders of a listing.

    Raises:
        StorageError: It is no listing.
    """
    try:
        for item in document:
            lfs = item.get("lfs") or {}
            sha256 = str(lfs.get("oid", "")).lower()
            yield Entry(
                path=str(item["path"]),
                is_folder=item["type"] != "file",
                size=int(lfs.get("size", item.get("size", 0))),
                oid=str(item["oid"]),
                sha256=sha256 if _SHA256.fullmatch(sha256) else None,
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(
            "the hub answered with what is not a listing", next_step="check HF_ENDPOINT and the proxy"
        ) from error


def says_no_entry(answer: Any) -> bool:
    """Return whether the hub says that the repository has no such file or folder."""
    return bool(answer.status_code == 404 and answer.headers.get("X-Error-Code") == "EntryNotFound")


def check(answer: Any, address: HubAddress, hub: Hub) -> None:
    """Refuse an answer by which the hub says that it does not do what it was asked.

    Raises:
        ObjectNotFound: There is no such repository, revision or file, or it is private.
        AccessDenied: The repository is gated or disabled, or the token is not accepted.
        StorageRefused: The hub failed.
    """
    if answer.status_code < 400:
        return
    code = answer.headers.get("X-Error-Code", "")
    said = redact_text(answer.headers.get("X-Error-Message", ""))[:_LONGEST]
    page = f"{hub.endpoint}/{address.page}"
    if code == "GatedRepo":
        raise _gated(page, said, has_token=hub.has_token)
    if code == "RevisionNotFound":
        raise ObjectNotFound(
            f"{page} has no revision {address.revision!r}", next_step="name a branch, a tag or a commit after @"
        )
    if code == "EntryNotFound":
        raise ObjectNotFound(f"{page} has no such file at revision {address.revision!r}")
    if answer.status_code == 401 and said == _BAD_TOKEN:
        raise AccessDenied(
            f"the hub at {hub.endpoint} does not accept the access token",
            next_step="set HF_TOKEN to one that is valid, or run 'hf auth login'",
        )
    # Without a token, the hub does not tell what is private from what is not there.
    if code == "RepoNotFound" or answer.status_code in {401, 404}:
        raise _not_found(page, has_token=hub.has_token)
    check_status(answer, page, said)


def check_status(answer: Any, what: str, said: str = "") -> None:
    """Refuse an answer whose status is an error.

    Raises:
        StorageError: It is one.
    """
    if answer.status_code >= 400:
        raise errors.from_status(answer.status_code, what, said or answer.reason or "", _retry_after_s(answer))


def _gated(page: str, said: str, *, has_token: bool) -> AccessDenied:
    ask = f"ask for access on {page}"
    return AccessDenied(
        f"{page} is gated{f': {said}' if said else ''}",
        next_step=f"{ask} with the account of the token" if has_token else f"{ask}, and set HF_TOKEN",
    )


def _not_found(page: str, *, has_token: bool) -> ObjectNotFound:
    return ObjectNotFound(
        f"{page} does not exist, or is private",
        next_step="check the name, and that the token's account may see it"
        if has_token
        else "check the name; for a private one set HF_TOKEN, or run 'hf auth login'",
    )


def _retry_after_s(answer: Any) -> float | None:
    after = seconds_of(answer.headers.get("Retry-After", ""))
    limit = _RATE_LIMIT.search(answer.headers.get("RateLimit", ""))
    return after if after is not None or limit is None or answer.status_code != 429 else float(limit[1])
