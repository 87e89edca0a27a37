"""The part of the registry that registers models of the Hugging Face hub, where they lie."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from urllib.parse import quote

from modelreg.exceptions import InvalidInput
from modelreg.registry.registering import RegisteringMethods, renamed_description
from modelreg.registry.registration import IfExists
from modelreg.types.artifacts import DIGEST_PROPERTY, SIZE_PROPERTY
from modelreg.types.base import SupportedTypes
from modelreg.types.models import RegisteredModel

if TYPE_CHECKING:
    from modelreg.storage.backends.hf import HubRepository
    from modelreg.storage.hub_uri import HubAddress
    from modelreg.storage.model import RemoteTree

#: What the custom property ``model_origin`` and the artifact's kind of source say.
ORIGIN = "huggingface_hub"

# The registry's integers have 32 bits.
_INTEGERS = range(-(2**31), 2**31)


class HubMethods(RegisteringMethods):
    """How :class:`~modelreg.ModelRegistry` registers models of the hub."""

    def register_hf_model(  # noqa: PLR0917 - the order in which the predecessor documents them
        self,
        repo: str,
        path: str,
        version: str,
        model_format_name: str,
        model_format_version: str,
        model_name: str | None = None,
        author: str | None = None,
        *,
        owner: str | None = None,
        version_description: str | None = None,
        description: str | None = None,
        git_ref: str = "main",
        if_exists: IfExists = "error",
    ) -> RegisteredModel:
        """Return the model, once it has a version whose files lie on the Hugging Face hub; they are not moved.

        The version is pinned to the commit that ``git_ref`` is at now, so that it stays what it is when the repository
        goes on. The hub's card, as far as its values are plain, becomes the version's custom properties, beside
        ``repo``, ``source_uri``, ``model_origin``, ``model_author``, ``git_ref`` and ``commit``. Where the hub lists a
        digest for the file, it is recorded, and a fetch of the version verifies it.

        Args:
            repo: Id of the repository, such as ``ibm-granite/granite-3.1-8b-base``.
            path: Path of the model's file or folder in it; empty for all of it.
            version: Name of the version, new to the model.
            model_format_name: Name of the format, such as ``onnx``.
            model_format_version: Version of the format.
            model_name: Name of the model; the repository's id by default.
            author: Who made the version; the repository's owner by default.
            owner: Owner of the model where it is created; the registry's author by default.
            version_description: Free text about the version.
            description: The old name of ``version_description``.
            git_ref: Branch, tag or commit.
            if_exists: What to do where the version exists with its artifact: ``"error"``, or ``"reuse"`` it as it is.

        Raises:
            InvalidInput: If an argument cannot be registered; nothing was sent to the registry.
            ObjectNotFound: If the hub has no such repository, revision or file, or it is private.
            AccessDenied: If the repository is gated.
            StorageError: If the hub fails or cannot be reached.
            DuplicateError: If the model has that version, and ``if_exists`` is ``"error"``; nothing was changed.
            StoreError: If the registry fails.
        """
        found, pinned, tree, endpoint = _looked_up(repo, path, git_ref)
        author = author or found.author or _unknown_author(repo)
        uri = f"{endpoint}/{pinned.resolve(path)}" if tree.is_file else str(tree.uri)
        told: dict[str, SupportedTypes] = {
            "repo": repo,
            "source_uri": uri,
            "model_origin": ORIGIN,
            "model_author": author,
            "git_ref": git_ref,
            "commit": found.commit,
        }
        return self.register_model(
            model_name or found.id,
            uri,
            version,
            model_format_name,
            model_format_version,
            storage_path=path or None,
            author=author,
            owner=owner,
            version_description=renamed_description(version_description, description),
            metadata={**_plain(found), **told},
            model_source_kind=ORIGIN,
            model_source_class=pinned.kind,
            model_source_group=found.author,
            model_source_id=quote(f"{found.id}@{found.commit}", safe="/@"),
            model_source_name=f"{found.id}:{git_ref}",
            artifact_metadata=_vouched(tree),
            if_exists=if_exists,
        )


def _looked_up(repo: str, path: str, git_ref: str) -> tuple[HubRepository, HubAddress, RemoteTree, str]:
    """Return what the hub says of a repository, its address at one commit, what lies at ``path``, and the hub."""
    from modelreg.storage.backends.hf import HubBackend
    from modelreg.storage.hub_uri import address_of, hub_uri
    from modelreg.storage.uri import parse_uri
    from modelreg.storageconfig import StorageSettings

    named = parse_uri(f"hf://{repo}")
    if named.path or address_of(named).page != repo or not git_ref:
        raise InvalidInput(
            f"{repo!r} at {git_ref!r} names no repository", next_step="give OWNER/NAME, and a branch, tag or commit"
        )
    settings = StorageSettings.from_env()
    address = address_of(named)._replace(revision=git_ref)
    with HubBackend(hub_uri(address), settings=settings) as backend:
        found = backend.repository()
        pinned = address._replace(revision=found.commit)
        tree = backend.snapshot(hub_uri(pinned, path))
    return found, pinned, tree, settings.hf.endpoint


def _unknown_author(repo: str) -> str:
    # The stack up to the caller: this function, and the method.
    warnings.warn(f"the hub names no author of {repo}: it has no owner; give author=", stacklevel=3)
    return "unknown"


def _plain(found: HubRepository) -> dict[str, SupportedTypes]:
    """Return what the card says in values that a registry can hold."""
    plain = {name: value for name, value in found.card.items() if isinstance(value, (bool, int, float, str))}
    return {name: _number(value) if type(value) is int else value for name, value in plain.items()}


def _vouched(tree: RemoteTree) -> dict[str, SupportedTypes]:
    """Return what a fetch is to verify, where the hub lists it: the digest of a single large file."""
    file = tree.files[0]
    if not tree.is_file or file.sha256 is None or file.size is None:
        return {}
    return {DIGEST_PROPERTY: f"sha256:{file.sha256}", SIZE_PROPERTY: _number(file.size)}


def _number(value: int) -> int | float:
    return value if value in _INTEGERS else float(value)
