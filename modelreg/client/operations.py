"""What the operations of the registry have in common: get, find, list, create, update."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from modelreg.exceptions import DuplicateError, InvalidInput, MissingMetadata, NotFound, ServerError, StoreError
from modelreg.http.session import RegistrySession
from modelreg.types.artifacts import Artifact
from modelreg.types.base import BaseResource
from modelreg.types.options import ListOptions, Page
from modelreg.wire.registry_json import (
    structure,
    structure_artifact,
    structure_page,
    unstructure,
    unstructure_create,
    unstructure_update,
)

# What there is none of, and where to look; the rest is called as in the contract.
_ABSENT = {
    "registered_model": ("there is no model {!r}", "'modelreg models list' lists those there are"),
    "model_version": ("the model has no version {!r}", "'modelreg versions list MODEL' lists those there are"),
}

R = TypeVar("R", bound=BaseResource)
T = TypeVar("T")

# How often a create is posted at most, each time after a look that did not find it.
_ATTEMPTS = 3

#: Where the contract's operations are, and modelreg's own.
CONTRACT = "/api/model_registry/v1alpha3"
ADDITIONS = "/api/modelreg/v1"


def _absent(path: str, name: str) -> NotFound:
    message, next_step = _ABSENT.get(path, (f"there is no {path.replace('_', ' ')} {{!r}}", ""))
    return NotFound(message.format(name), next_step=next_step)


class Operations:
    """Some of a registry's operations.

    Args:
        session: What carries requests to the registry.
    """

    def __init__(self, session: RegistrySession) -> None:
        self._session = session

    @property
    def session(self) -> RegistrySession:
        """What carries requests to the registry."""
        return self._session

    def _get(self, cls: type[R], path: str) -> R:
        return read_resource(cls, self._session.get(f"{CONTRACT}/{path}"))

    def _find(self, cls: type[R], path: str, **criteria: str | None) -> R:
        try:
            return read_resource(cls, self._session.get(f"{CONTRACT}/{path}", _parameters(criteria)))
        except NotFound as error:
            if criteria.get("name") is None or error.message.startswith("more than one"):
                raise
            # What a server says of it names neither the thing nor the next step.
            raise _absent(path, str(criteria["name"])) from error

    def _list(self, cls: type[R], path: str, options: ListOptions | None, **filters: Any) -> Page[R]:
        answer = self._session.get(f"{CONTRACT}/{path}", list_parameters(options, **filters))
        return understood(lambda: structure_page(cls, answer))

    def _update(self, cls: type[R], path: str, resource: R, only: Collection[str] | None = None) -> R:
        """Return the resource after its editable fields were written, or ``only`` those of these names."""
        fields = resource.editable if only is None else [name for name in resource.editable if name in only]
        body = unstructure_update(resource, fields)
        return read_resource(cls, self._session.patch(f"{CONTRACT}/{path}/{resource_id(resource)}", body))

    def _create(self, cls: type[R], path: str, resource: R, *, find: Callable[..., R], **scope: str | None) -> R:
        """Return the new resource.

        Args:
            cls: Its class.
            path: Where it is posted.
            resource: What to create.
            find: Finds it, by its name within ``scope`` or by its external id.
            scope: Where its name is unique, as arguments of ``find``.
        """
        return self._post(cls, path, unstructure_create(resource), find=finder(find, resource, **scope))

    def _post(self, cls: type[R], path: str, body: dict[str, Any], *, find: Callable[[], R] | None) -> R:
        """Return the new resource. Where the answer is lost it is looked up, and posted again only if it is not there.

        Args:
            cls: Its class.
            path: Where it is posted.
            body: What to post.
            find: Finds what ``body`` describes; ``None`` where nothing can, so that a lost answer stays lost.
        """
        lost: StoreError | None = None
        attempt = 0
        while True:
            attempt += 1
            try:
                return read_resource(cls, self._session.post(f"{CONTRACT}/{path}", body))
            except StoreError as error:
                # Taken, after an answer was lost: perhaps by that very request.
                is_ours = isinstance(error, DuplicateError) and lost is not None
                if find is None or not (error.maybe_done or is_ours):
                    raise
                lost = error
            try:
                return _same(find(), body, lost)
            except NotFound:
                if attempt == _ATTEMPTS:
                    raise lost from None


def finder(find: Callable[..., R], resource: BaseResource, **scope: str | None) -> Callable[[], R] | None:
    """Return what finds a resource: by its name where that is unique, else by its external id, ``None`` without both.

    Args:
        find: An operation that finds one.
        resource: What to find.
        scope: Where its name is unique, as arguments of ``find``; a ``None`` says that this is not known.
    """
    name = resource_name(resource)
    if name and None not in scope.values():
        return partial(find, name=name, **scope)
    return partial(find, external_id=resource.external_id) if resource.external_id else None


def read_resource(cls: type[R], answer: Any) -> R:
    """Return the resource that an answer holds.

    Raises:
        ServerError: The answer is not what the contract says.
    """
    if cls is Artifact:
        return understood(lambda: structure_artifact(answer))  # type: ignore[return-value] # cls is Artifact
    return understood(lambda: structure(cls, answer))


def understood(read: Callable[[], T]) -> T:
    """Return what ``read`` makes of an answer.

    Raises:
        ServerError: The answer is not what the contract says.
    """
    try:
        return read()
    except InvalidInput as error:
        raise ServerError(
            f"the answer cannot be understood: {error.message}", status=200, next_step="check the address"
        ) from error


def resource_id(resource: BaseResource) -> str:
    """Return the id of a resource, quoted for a path.

    Raises:
        MissingMetadata: It has none.
    """
    if not resource.id:
        raise MissingMetadata(
            f"this {type(resource).__name__} has no id", next_step="use one that the registry returned"
        )
    return quoted(resource.id)


def resource_name(resource: BaseResource) -> str | None:
    """Return the name of a resource, if it has one."""
    name: str | None = getattr(resource, "name", None)
    return name


def quoted(text: str | None) -> str:
    """Return an id as one segment of a path.

    Raises:
        InvalidInput: It is empty, or one that would lead elsewhere.
    """
    if not text or text in {".", ".."}:
        raise InvalidInput(f"{text!r} is not an id", next_step="use one that the registry returned")
    return quote(str(text), safe="")


def list_parameters(options: ListOptions | None, **filters: Any) -> dict[str, str]:
    """Return the query of a listing."""
    options = ListOptions() if options is None else options
    return _parameters(
        {
            "pageSize": options.page_size,
            "orderBy": options.order_by,
            "sortOrder": options.sort_order,
            "nextPageToken": options.next_page_token,
            "filterQuery": options.filter_query,
            **filters,
        }
    )


def _parameters(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _same(found: R, body: Mapping[str, Any], lost: StoreError) -> R:
    """Return what was found if it says all that was posted: whoever posted it, it is what was asked for.

    Raises:
        DuplicateError: It is another's.
    """
    there = unstructure(found)
    if all(there.get(name) == value for name, value in body.items()):
        return found
    raise DuplicateError(f"{resource_name(found)!r} is taken by another {type(found).__name__}") from lost
