"""How a listing is filtered, ordered and cut into pages."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from modelreg.types.states import ArtifactTypeQueryParam, OrderByField, SortOrder

# The first is here for those who import it from where the predecessor has it.
__all__ = ["ArtifactTypeQueryParam", "ListOptions", "OrderByField", "Page", "SortOrder"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class ListOptions:
    """How a listing is filtered, ordered and cut into pages.

    Attributes:
        page_size: Items per page; ``None`` leaves it to the server.
        order_by: Field to order by; ``None`` leaves it to the server (by id).
        sort_order: ``ASC`` or ``DESC``.
        next_page_token: Where to go on; from an earlier page.
        filter_query: SQL-like filter, such as ``accuracy > 0.9 AND state = "LIVE"``.

    Example:
        >>> attrs.evolve(ListOptions(page_size=10), order_by=OrderByField.ID).page_size
        10
    """

    page_size: int | None = None
    order_by: OrderByField | None = None
    sort_order: SortOrder | None = None
    next_page_token: str | None = None
    filter_query: str | None = None


@attrs.frozen
class Page(Generic[T]):
    """One page of a listing.

    Attributes:
        items: The page's items.
        next_page_token: Where the next page starts; empty on the last page.
    """

    items: list[T]
    next_page_token: str = ""
