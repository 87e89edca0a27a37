"""Every item of a listing, one page at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from threading import Lock
from typing import Any, TypeVar

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.types.options import ListOptions, Page
from modelreg.types.states import OrderByField, SortOrder

T = TypeVar("T")

# Items per page where only a limit is given: no more than the limit, and no page that takes long.
_PAGE_SIZE_UNDER_LIMIT = 100


class PageWalk:
    """Where a walk over the pages of a listing stands.

    A walk ends at a page without a token, and at a token seen before: a server that hands out its tokens in a circle
    would never end it.

    Args:
        start: Token of the page to start at; ``None`` for the first.
    """

    def __init__(self, start: str | None = None) -> None:
        self.token = start
        self.ended = False
        self._seen = {start}

    def move_on(self, token: str | None) -> None:
        """Go on to the page that ``token`` names."""
        self.ended = not token or token in self._seen
        self._seen.add(token)
        self.token = token


class Pager(Iterator[T], AsyncIterator[T]):
    """An iterator over every item of a listing, which reads a page when it needs one.

    It yields each item once, also one that comes again because it was changed meanwhile or because the server repeats
    a page (a resource is known by its id); :meth:`restart` begins anew, and so does every option set after the first
    page. A page that cannot be read raises, and the next step of the iteration tries it again. ``async for`` reads each
    page in a thread, so the event loop goes on meanwhile. Tasks may share a pager, and a step that is cancelled loses
    nothing.

    Args:
        read_page: Returns the page that the options describe.
        options: Where to start from; never changed.

    Example:
        >>> pager = Pager(lambda options: Page(["a", "b"], "") if options.next_page_token else Page(["c"], "2"))
        >>> list(pager.page_size(2))
        ['c', 'a', 'b']
    """

    def __init__(self, read_page: Callable[[ListOptions], Page[T]], options: ListOptions | None = None) -> None:
        self._read_page = read_page
        self._options = ListOptions() if options is None else options
        self._limit: int | None = None
        self._reading = Lock()
        self.restart()

    def restart(self) -> Pager[T]:
        """Begin anew at the first page; the options stay."""
        self._walk = PageWalk(self._options.next_page_token)
        self._items: deque[T] = deque()
        self._seen: set[str] = set()
        self._given = 0
        return self

    def page_size(self, n: int) -> Pager[T]:
        """Ask for ``n`` items per page.

        Raises:
            InvalidInput: ``n`` is not a positive integer.
        """
        return self._with(page_size=_positive("page_size", n))

    def limit(self, n: int) -> Pager[T]:
        """Stop after ``n`` items.

        Raises:
            InvalidInput: ``n`` is not a positive integer.
        """
        self._limit = _positive("limit", n)
        return self.restart()

    def order_by_creation_time(self) -> Pager[T]:
        """Order the items by when they were created."""
        return self._with(order_by=OrderByField.CREATE_TIME)

    def order_by_update_time(self) -> Pager[T]:
        """Order the items by when they were last changed."""
        return self._with(order_by=OrderByField.LAST_UPDATE_TIME)

    def order_by_id(self) -> Pager[T]:
        """Order the items by their ids."""
        return self._with(order_by=OrderByField.ID)

    def ascending(self) -> Pager[T]:
        """Give the smallest or oldest item first."""
        return self._with(sort_order=SortOrder.ASC)

    def descending(self) -> Pager[T]:
        """Give the largest or newest item first."""
        return self._with(sort_order=SortOrder.DESC)

    def filter(self, query: str) -> Pager[T]:
        """Give only the items that match ``query``, such as ``accuracy > 0.9 AND state = "LIVE"``.

        Raises:
            InvalidInput: ``query`` is not text.
        """
        if not isinstance(query, str):
            raise InvalidInput(f"a filter is text, not {query!r}")
        return self._with(filter_query=query or None)

    def next_page(self) -> list[T]:
        """Return the items of the next page that has any; the rest of a page that iteration has begun comes first.

        Returns:
            The items, or an empty list at the end.
        """
        while not self._items and not self._ended:
            self._fetch()
        page = list(self._items)
        self._items.clear()
        self._given += len(page)
        return page

    def __iter__(self) -> Pager[T]:
        return self

    def __next__(self) -> T:
        while not self._items:
            if self._ended:
                raise StopIteration
            self._fetch()
        return self._take()

    def __aiter__(self) -> Pager[T]:
        return self

    async def __anext__(self) -> T:
        import asyncio

        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            await asyncio.to_thread(self._fetch)
        return self._take()

    @property
    def _ended(self) -> bool:
        return self._walk.ended or self._left == 0

    @property
    def _left(self) -> int | None:
        """How many items may still be given; ``None`` means all."""
        return None if self._limit is None else self._limit - self._given

    def _take(self) -> T:
        self._given += 1
        return self._items.popleft()

    def _fetch(self) -> None:
        # One at a time: tasks that share the pager, and a step after a cancelled one, whose thread still reads.
        with self._reading:
            walk, items, seen = self._walk, self._items, self._seen
            if items or self._ended:
                return
            page = self._read_page(self._page_options(walk.token))
            walk.move_on(page.next_page_token)
            items.extend([item for item in page.items if _is_new(item, seen)][: self._left])

    def _page_options(self, token: str | None) -> ListOptions:
        size = self._options.page_size
        if self._limit is not None:
            size = min(_PAGE_SIZE_UNDER_LIMIT if size is None else size, self._limit)
        return attrs.evolve(self._options, next_page_token=token, page_size=size)

    def _with(self, **changes: Any) -> Pager[T]:
        self._options = attrs.evolve(self._options, **changes)
        return self.restart()


def _is_new(item: object, seen: set[str]) -> bool:
    """Return whether an item was not seen before; what has no id always is."""
    identity: str | None = getattr(item, "id", None)
    if not identity:
        return True
    is_new = identity not in seen
    seen.add(identity)
    return is_new


def _positive(name: str, n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidInput(f"{name} is {n!r}", next_step="give an integer of 1 or more")
    return n
