"""Every item of a listing as a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from modelreg.types.options import ListOptions, Page
from modelreg.types.pager import PageWalk

T = TypeVar("T")


def iterate_pages(read_page: Callable[[ListOptions], Page[T]], options: ListOptions | None = None) -> Iterator[list[T]]:
    """Yield the items of each page, also of an empty one in the middle.

    The walk ends at a page without a token, or with one that was seen before.

    Args:
        read_page: Returns the page that the options describe.
        options: Where to start, and how long a page is; never changed.
    """
    start = ListOptions() if options is None else options
    walk = PageWalk(start.next_page_token)
    while not walk.ended:
        page = read_page(attrs.evolve(start, next_page_token=walk.token))
        yield page.items
        walk.move_on(page.next_page_token)


def iterate(read_page: Callable[[ListOptions], Page[T]], options: ListOptions | None = None) -> Iterator[T]:
    """Yield every item of a listing; see :func:`iterate_pages`.

    Example:
        >>> list(iterate(lambda options: Page(["b"]) if options.next_page_token else Page(["a"], "2")))
        ['a', 'b']
    """
    for items in iterate_pages(read_page, options):
        yield from items
