"""What the operations of the registry have in common: get, find, list, create, update."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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

R = TypeVar("R", bound=BaseResource)
T = TypeVar("T")

#: Where the contract's operations are, and modelreg's own.
CONTRACT = "/api/model_registry/v1alpha3"
ADDITIONS = "/api/modelreg/v1"


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
        return read_resource(cls, self._session.get(f"{CONTRACT}/{path}", _parameters(criteria)))

    def _list(self, cls: type[R], path: str, options: ListOptions | None, **filters: Any) -> Page[R]:
        answer = self._session.get(f"{CONTRACT}/{path}", list_parameters(options, **filters))
        return understood(lambda: structure_page(cls, answer))

    def _update(self, cls: type[R], path: str, resource: R, only: Collection[str] | None = None) -> R:
        """Return the resource after its editable fields were written, or ``only`` those of these names."""
        fields = resource.editable if only is None else [name for name in resource.editable if name in only]
        body = unstructure_update(resource, fields)
        return read_resource(cls, self._session.patch(f"{CONTRACT}/{path}/{resource_id(resource)}", body))

    def _create(self, cls: type[R], path: str, resource: R, *, find: Callable[[], R] | None) -> R:
        """Return the new resource.

        Args:
            cls: Its class.
            path: Where it is posted.
            resource: What to create.
            find: Finds it by its name; ``None`` where it has none, so that a lost answer stays lost.
        """
        body = unstructure_create(resource)
        return self._post(cls, path, body, find=find if resource_name(resource) else None)

    def _post(self, cls: type[R], path: str, body: dict[str, Any], *, find: Callable[[], R] | None) -> R:
        try:
            return read_resource(cls, self._session.post(f"{CONTRACT}/{path}", body))
        except StoreError as error:
            if not error.maybe_done or find is None:
                raise
            return self._resolve(cls, path, body, find, error)

    def _resolve(self, cls: type[R], path: str, body: dict[str, Any], find: Callable[[], R], lost: StoreError) -> R:
        """Find out what became of a create whose answer was lost: names are unique, so there is one object or none."""
        try:
            found = find()
        except NotFound:
            try:
                return read_resource(cls, self._session.post(f"{CONTRACT}/{path}", body))
            except DuplicateError:
                # The first request arrived after all, between the two.
                found = find()
        if not _says(found, body):
            raise DuplicateError(f"{body.get('name')!r} is taken by another {cls.__name__}") from lost
        return found


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
        InvalidInput: It is empty.
    """
    if not text:
        raise InvalidInput("the id is empty", next_step="use one that the registry returned")
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


def _says(resource: BaseResource, body: Mapping[str, Any]) -> bool:
    """Return whether a resource says all that ``body`` does."""
    there = unstructure(resource)
    return all(there.get(name) == value for name, value in body.items())
