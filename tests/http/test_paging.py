"""A listing as a generator: each page once, in order, however the server hands out its tokens."""

from __future__ import annotations

from modelreg.http.paging import iterate, iterate_pages
from modelreg.types import ListOptions, Page


class Listing:
    """Pages by their token; it keeps the options that it is asked with."""

    def __init__(self, pages: dict[str | None, Page[str]]) -> None:
        self._pages = pages
        self.asked: list[ListOptions] = []

    def __call__(self, options: ListOptions) -> Page[str]:
        self.asked.append(options)
        return self._pages[options.next_page_token]


def test_items_come_in_order_and_a_page_is_read_when_it_is_needed() -> None:
    listing = Listing({None: Page(["a", "b"], "2"), "2": Page(["c"], "")})
    items = iterate(listing)

    assert ([next(items), next(items)], len(listing.asked)) == (["a", "b"], 1)
    assert (list(items), len(listing.asked)) == (["c"], 2)


def test_a_page_may_be_empty_in_the_middle() -> None:
    listing = Listing({None: Page(["a"], "2"), "2": Page([], "3"), "3": Page(["b"])})

    assert list(iterate_pages(listing)) == [["a"], [], ["b"]]


def test_tokens_that_go_in_a_circle_end_the_walk() -> None:
    listing = Listing({None: Page(["a"], "2"), "2": Page(["b"], "3"), "3": Page(["c"], "2")})

    assert list(iterate(listing)) == ["a", "b", "c"]


def test_a_walk_starts_where_its_options_say_and_changes_none_of_them() -> None:
    options = ListOptions(page_size=1, next_page_token="2")
    listing = Listing({"2": Page(["b"], "3"), "3": Page(["c"])})

    assert list(iterate(listing, options)) == ["b", "c"]
    assert options == ListOptions(page_size=1, next_page_token="2")
    assert [asked.page_size for asked in listing.asked] == [1, 1]
