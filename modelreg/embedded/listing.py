"""How a listing is asked for and answered: pages, their order, and the tokens that lead from one to the next."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import attrs

from modelreg.embedded.fields import INT32, INT64, integer, wrong
from modelreg.exceptions import BadRequest

T = TypeVar("T")

#: Items of a page whose size the client left open.
DEFAULT_PAGE_SIZE = 1000

_ORDERS = {"ID": "id", "CREATE_TIME": "created", "LAST_UPDATE_TIME": "updated"}


@attrs.frozen
class Order:
    """The order of a listing.

    Attributes:
        column: ``id``, ``created`` or ``updated``.
        descending: Whether the greatest comes first.
    """

    column: str = "id"
    descending: bool = False


@attrs.frozen
class Position:
    """Where a page ended: the last item's value in the ordering column, and its id."""

    value: int
    id: int


@attrs.frozen(kw_only=True)
class Listing:
    """What a client asks of a listing.

    Attributes:
        page_size: As the client gave it, or 0.
        order: The order of the items.
        after: Where the page before ended; ``None`` for the first.
        filter_query: The filter's text, empty for none.
        name: Only items of this name, where given.
        external_id: Only the item with this external id, where given.
    """

    page_size: int = 0
    order: Order = Order()
    after: Position | None = None
    filter_query: str = ""
    name: str | None = None
    external_id: str | None = None

    @property
    def limit(self) -> int:
        """The most items that the page may have."""
        return self.page_size if self.page_size > 0 else DEFAULT_PAGE_SIZE


def read_listing(params: Mapping[str, str]) -> Listing:
    """Return the listing that a request's query asks for; an order that is not known is left out.

    Raises:
        BadRequest: The page size is no number, or the token is not one of this registry for this order.
    """
    order = Order(_ORDERS.get(params.get("orderBy", ""), "id"), params.get("sortOrder") == "DESC")
    size = params.get("pageSize", "")
    page_size = integer(size, INT32) if size else 0
    if page_size is None:
        raise wrong("pageSize", "a 32-bit integer")
    token = params.get("nextPageToken", "")
    return Listing(
        page_size=page_size,
        order=order,
        after=_read_token(token, order) if token else None,
        filter_query=params.get("filterQuery", ""),
        name=params.get("name"),
        external_id=params.get("externalId"),
    )


def render_page(
    rows: Sequence[T], listing: Listing, render: Callable[[T], str], position: Callable[[T], Position]
) -> str:
    """Return a page as JSON.

    Args:
        rows: Its rows, and one more where another page follows.
        listing: What was asked for.
        render: Makes the JSON of one row.
        position: Tells where a row stands in the order.
    """
    shown = rows[: listing.limit]
    token = _write_token(position(shown[-1]), listing.order) if len(rows) > len(shown) else ""
    items = ",".join(map(render, shown))
    return f'{{"items":[{items}],"nextPageToken":"{token}","pageSize":{listing.page_size},"size":{len(shown)}}}'


def _write_token(position: Position, order: Order) -> str:
    text = f"{_signature(order)}:{position.value}:{position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str, order: Order) -> Position:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _bad_token() from error
    parts = text.split(":")
    numbers = [integer(part, INT64) for part in parts[1:]]
    if parts[0] != _signature(order) or len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise _bad_token()
    return Position(numbers[0], numbers[1])


def _signature(order: Order) -> str:
    return f"1{order.column}{'-' if order.descending else '+'}"


def _bad_token() -> BadRequest:
    return BadRequest(
        "nextPageToken is not one that this listing gave for this order",
        field="nextPageToken",
        next_step="start again without it",
    )
