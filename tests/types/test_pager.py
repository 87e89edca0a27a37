"""A pager: every item once, however the server answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidInput
from modelreg.types import ListOptions, OrderByField, Page, Pager, RegisteredModel, SortOrder

# Long enough for the slowest machine; reached only by a test that fails.
PATIENCE_S = 30


class Listing:
    """A listing of the numbers from 0, two a page unless asked otherwise, which notes what it was asked."""

    def __init__(self, count: int = 5) -> None:
        self.count = count
        self.asked: list[ListOptions] = []

    def __call__(self, options: ListOptions) -> Page[int]:
        self.asked.append(options)
        start = int(options.next_page_token or 0)
        end = start + (options.page_size or 2)
        return Page([*range(start, min(end, self.count))], str(end) if end < self.count else "")

    @property
    def tokens(self) -> list[str | None]:
        return [options.next_page_token for options in self.asked]


class Script:
    """A listing whose pages are given by their tokens; the first has the token ``None``."""

    def __init__(self, pages: dict[str | None, Page[Any]]) -> None:
        self.pages = pages
        self.tokens: list[str | None] = []

    def __call__(self, options: ListOptions) -> Page[Any]:
        self.tokens.append(options.next_page_token)
        return self.pages[options.next_page_token]


@pytest.fixture
def listing() -> Listing:
    return Listing()


class TestIteration:
    def test_it_gives_every_item_once_in_order(self, listing: Listing):
        assert list(Pager(listing)) == [0, 1, 2, 3, 4]
        assert listing.tokens == [None, "2", "4"]

    def test_it_is_an_iterator_of_itself(self, listing: Listing):
        pager = Pager(listing)

        assert iter(pager) is pager
        assert pager.__aiter__() is pager

    def test_nothing_is_read_before_the_first_step(self, listing: Listing):
        Pager(listing).page_size(2).limit(3).filter("a = 1").restart()

        assert listing.asked == []

    def test_a_page_is_read_when_it_is_needed(self, listing: Listing):
        pager = Pager(listing)

        assert [next(pager), next(pager)] == [0, 1]
        assert len(listing.asked) == 1
        assert next(pager) == 2
        assert len(listing.asked) == 2

    def test_at_the_end_it_stays_ended_and_asks_no_more(self, listing: Listing):
        pager = Pager(listing)
        list(pager)

        assert (list(pager), next(pager, "end")) == ([], "end")
        assert len(listing.asked) == 3

    def test_an_empty_listing_has_no_items(self):
        listing = Listing(0)

        assert list(Pager(listing)) == []
        assert len(listing.asked) == 1

    def test_a_loop_inside_a_loop_goes_on_where_the_outer_is(self, listing: Listing):
        pager = Pager(listing)

        assert [(outer, [*pager]) for outer in pager] == [(0, [1, 2, 3, 4])]

    def test_two_pagers_of_one_listing_go_their_own_ways(self, listing: Listing):
        pairs = [(one, other) for one in Pager(listing).limit(2) for other in Pager(listing).limit(2)]

        assert pairs == [(0, 0), (0, 1), (1, 0), (1, 1)]

    @given(st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=8))
    def test_pages_of_any_size_give_all_their_items(self, pages: list[list[int]]):
        names: list[str | None] = [None, *(f"page {number}" for number in range(1, len(pages)))]
        following = [*(str(name) for name in names[1:]), ""]
        listing = Script({name: Page(page, then) for name, page, then in zip(names, pages, following, strict=True)})

        assert list(Pager(listing)) == [item for page in pages for item in page]
        assert listing.tokens == names

    @pytest.mark.parametrize(
        "pages",
        [
            {None: Page([1], "a"), "a": Page([2], "a")},
            {None: Page([1], "a"), "a": Page([], "b"), "b": Page([2], "a")},
            {None: Page([1], "a"), "a": Page([2], "b"), "b": Page([], "b")},
        ],
    )
    def test_a_server_whose_tokens_repeat_is_asked_for_each_page_once(self, pages: dict[str | None, Page[int]]):
        listing = Script(pages)

        assert list(Pager(listing)) == [1, 2]
        assert listing.tokens == [*pages]

    def test_a_server_that_repeats_the_token_it_was_first_asked_for_ends_the_listing(self):
        listing = Script({"start": Page([1], "start")})

        assert list(Pager(listing, ListOptions(next_page_token="start"))) == [1]

    def test_a_page_without_a_token_is_the_last(self):
        assert list(Pager(Script({None: Page([1], None)}))) == [1]  # type: ignore[arg-type] # what a reader of its own may give

    def test_a_page_that_cannot_be_read_is_tried_again_by_the_next_step(self, listing: Listing):
        failures = iter([None, ConnectionError("reset"), None, None])

        def read(options: ListOptions) -> Page[int]:
            if failure := next(failures):
                raise failure
            return listing(options)

        pager = Pager(read)

        assert [next(pager), next(pager)] == [0, 1]
        with pytest.raises(ConnectionError, match="reset"):
            next(pager)
        assert list(pager) == [2, 3, 4]


class TestOptions:
    @pytest.mark.parametrize(
        ("change", "asked"),
        [
            (lambda pager: pager.page_size(7), {"page_size": 7}),
            (lambda pager: pager.order_by_creation_time(), {"order_by": OrderByField.CREATE_TIME}),
            (lambda pager: pager.order_by_update_time(), {"order_by": OrderByField.LAST_UPDATE_TIME}),
            (lambda pager: pager.order_by_id(), {"order_by": OrderByField.ID}),
            (lambda pager: pager.ascending(), {"sort_order": SortOrder.ASC}),
            (lambda pager: pager.descending(), {"sort_order": SortOrder.DESC}),
            (lambda pager: pager.filter("a > 1"), {"filter_query": "a > 1"}),
            (lambda pager: pager.filter("a > 1").filter(""), {"filter_query": None}),
            (lambda pager: pager.descending().page_size(7), {"sort_order": SortOrder.DESC, "page_size": 7}),
            (lambda pager: pager.descending().ascending(), {"sort_order": SortOrder.ASC}),
        ],
    )
    def test_an_option_is_asked_of_the_server_and_gives_the_pager(
        self, listing: Listing, change: Callable[[Pager[int]], Pager[int]], asked: dict[str, Any]
    ):
        pager = Pager(listing)

        assert change(pager) is pager
        next(pager)
        assert listing.asked == [ListOptions(**asked)]

    def test_every_page_is_asked_with_the_same_options(self, listing: Listing):
        list(Pager(listing).descending().filter("a > 1"))

        assert {attrs.evolve(options, next_page_token=None) for options in listing.asked} == {
            ListOptions(sort_order=SortOrder.DESC, filter_query="a > 1")
        }

    @pytest.mark.parametrize(
        "change",
        [
            lambda pager: pager.page_size(2),
            lambda pager: pager.limit(9),
            lambda pager: pager.order_by_id(),
            lambda pager: pager.descending(),
            lambda pager: pager.filter("a > 1"),
            lambda pager: pager.restart(),
        ],
    )
    @pytest.mark.parametrize("steps", [1, 2, 3, 5])
    def test_an_option_set_midway_begins_anew(
        self, listing: Listing, change: Callable[[Pager[int]], Pager[int]], steps: int
    ):
        pager = Pager(listing)
        for _ in range(steps):
            next(pager)

        assert list(change(pager)) == [0, 1, 2, 3, 4]

    def test_an_ended_pager_gives_everything_again_after_a_restart(self, listing: Listing):
        pager = Pager(listing).page_size(3)

        assert list(pager) == list(pager.restart()) == [0, 1, 2, 3, 4]
        assert [options.page_size for options in listing.asked] == [3] * 4

    def test_the_callers_options_are_kept_and_never_changed(self, listing: Listing):
        options = ListOptions(page_size=3, filter_query="a > 1")

        list(Pager(listing, options).descending().page_size(2).limit(4))

        assert options == ListOptions(page_size=3, filter_query="a > 1")
        assert listing.asked[0] == ListOptions(page_size=2, filter_query="a > 1", sort_order=SortOrder.DESC)

    def test_it_starts_at_the_callers_token_each_time(self, listing: Listing):
        pager = Pager(listing, ListOptions(next_page_token="2"))

        assert list(pager) == list(pager.restart()) == [2, 3, 4]

    @pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, "3", True, None, [1]])
    @pytest.mark.parametrize("option", ["page_size", "limit"])
    def test_a_size_that_is_no_positive_integer_is_refused_at_the_call(self, listing: Listing, option: str, value: Any):
        pager = Pager(listing)
        first = next(pager)

        with pytest.raises(InvalidInput, match=rf"^{option} is .*integer of 1 or more"):
            getattr(pager, option)(value)
        assert [first, *pager] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("query", [None, 5, b"a > 1", {"a": 1}])
    def test_a_filter_that_is_not_text_is_refused_at_the_call(self, listing: Listing, query: Any):
        with pytest.raises(InvalidInput, match="a filter is text"):
            Pager(listing).filter(query)


class TestLimit:
    @given(st.integers(0, 12), st.integers(1, 15), st.none() | st.integers(1, 6))
    def test_it_gives_the_first_items_and_asks_for_no_larger_pages(self, count: int, limit: int, size: int | None):
        listing = Listing(count)
        pager = Pager(listing, ListOptions(page_size=size)).limit(limit)

        assert list(pager) == list(range(count))[:limit]
        assert list(pager.restart()) == list(range(count))[:limit]
        assert all(1 <= (options.page_size or 0) <= min(limit, size or limit) for options in listing.asked)

    def test_no_page_is_read_after_the_last_item(self, listing: Listing):
        assert list(Pager(listing).page_size(2).limit(2)) == [0, 1]
        assert len(listing.asked) == 1

    def test_a_server_that_sends_more_than_it_was_asked_for_changes_nothing(self):
        listing = Script({None: Page([1, 2, 3], "a"), "a": Page([4, 5, 6], "b")})

        assert list(Pager(listing).page_size(1).limit(4)) == [1, 2, 3, 4]

    def test_all_of_a_page_larger_than_asked_for_is_given_where_there_is_no_limit(self):
        assert list(Pager(Script({None: Page([1, 2, 3], "")})).page_size(1)) == [1, 2, 3]

    def test_a_large_limit_does_not_make_large_pages(self, listing: Listing):
        list(Pager(listing).limit(100_000))

        assert [options.page_size for options in listing.asked] == [100]


class TestNextPage:
    def test_it_gives_one_page_after_the_other_and_then_nothing(self, listing: Listing):
        pager = Pager(listing)

        assert [pager.next_page() for _ in range(5)] == [[0, 1], [2, 3], [4], [], []]
        assert len(listing.asked) == 3

    def test_the_rest_of_a_begun_page_comes_first(self, listing: Listing):
        pager = Pager(listing)
        next(pager)

        assert pager.next_page() == [1]
        assert next(pager) == 2
        assert pager.next_page() == [3]

    def test_a_page_without_items_in_the_middle_is_passed_over(self):
        pager = Pager(Script({None: Page([], "a"), "a": Page([1], "b"), "b": Page([], "")}))

        assert [pager.next_page(), pager.next_page()] == [[1], []]

    def test_it_keeps_to_the_limit(self, listing: Listing):
        pager = Pager(listing).page_size(2).limit(3)

        assert [pager.next_page() for _ in range(3)] == [[0, 1], [2], []]
        assert pager.restart().next_page() == [0, 1]


class TestAsync:
    def test_it_gives_every_item_once(self, listing: Listing):
        pager = Pager(listing)

        async def read() -> list[list[int]]:
            return [[item async for item in pager], [item async for item in pager]]

        assert asyncio.run(read()) == [[0, 1, 2, 3, 4], []]

    def test_it_keeps_to_the_limit_and_passes_over_empty_pages(self):
        listing = Script({None: Page([1], "a"), "a": Page([], "b"), "b": Page([2, 3], "c")})

        async def read() -> list[int]:
            return [item async for item in Pager(listing).limit(2)]

        assert asyncio.run(read()) == [1, 2]

    def test_the_loop_goes_on_while_a_page_is_read(self, listing: Listing):
        asked, ticked = threading.Event(), threading.Event()

        def read(options: ListOptions) -> Page[int]:
            asked.set()
            # Only a loop that is not blocked by this lets the other task answer.
            assert ticked.wait(PATIENCE_S)
            return listing(options)

        async def tick() -> None:
            assert await asyncio.to_thread(asked.wait, PATIENCE_S)
            ticked.set()

        async def both() -> list[int]:
            ticking = asyncio.create_task(tick())
            items = [item async for item in Pager(read)]
            await ticking
            return items

        assert asyncio.run(both()) == [0, 1, 2, 3, 4]

    def test_a_page_that_cannot_be_read_raises_in_the_loop_and_is_tried_again(self, listing: Listing):
        failures = iter([ConnectionError("reset"), None, None, None])

        def read(options: ListOptions) -> Page[int]:
            if failure := next(failures):
                raise failure
            return listing(options)

        async def twice() -> list[int]:
            pager = Pager(read)
            with pytest.raises(ConnectionError, match="reset"):
                await anext(pager)
            return [item async for item in pager]

        assert asyncio.run(twice()) == [0, 1, 2, 3, 4]

    def test_tasks_that_share_a_pager_share_its_items(self, listing: Listing):
        answer = threading.Event()

        def read(options: ListOptions) -> Page[int]:
            assert answer.wait(PATIENCE_S)
            return listing(options)

        async def consume(pager: Pager[int]) -> list[int]:
            return [item async for item in pager]

        async def share() -> list[list[int]]:
            pager = Pager(read)
            tasks = [asyncio.create_task(consume(pager)) for _ in range(3)]
            # After this turn of the loop each of them waits for the first page.
            await asyncio.sleep(0)
            answer.set()
            return await asyncio.gather(*tasks)

        assert sorted(item for items in asyncio.run(share()) for item in items) == [0, 1, 2, 3, 4]
        assert listing.tokens == [None, "2", "4"]

    def test_a_step_that_is_cancelled_loses_nothing(self, listing: Listing):
        asked, answer = threading.Event(), threading.Event()

        def read(options: ListOptions) -> Page[int]:
            asked.set()
            assert answer.wait(PATIENCE_S)
            return listing(options)

        async def cancel_and_go_on() -> list[int]:
            pager = Pager(read)
            step = asyncio.ensure_future(anext(pager))
            assert await asyncio.to_thread(asked.wait, PATIENCE_S)
            step.cancel()
            await asyncio.wait([step])
            rest = asyncio.create_task(collect(pager))
            await asyncio.sleep(0)
            answer.set()
            return await rest

        async def collect(pager: Pager[int]) -> list[int]:
            return [item async for item in pager]

        assert asyncio.run(cancel_and_go_on()) == [0, 1, 2, 3, 4]
        assert listing.tokens == [None, "2", "4"]

    def test_a_page_that_comes_after_a_restart_is_not_among_the_new_items(self, listing: Listing):
        asked, answer = threading.Event(), threading.Event()

        def read(options: ListOptions) -> Page[int]:
            if not asked.is_set():
                asked.set()
                assert answer.wait(PATIENCE_S)
            return listing(options)

        async def restart_midway() -> list[int]:
            pager = Pager(read)
            step = asyncio.ensure_future(anext(pager))
            assert await asyncio.to_thread(asked.wait, PATIENCE_S)
            step.cancel()
            await asyncio.wait([step])
            pager.restart()
            answer.set()
            return [item async for item in pager]

        assert asyncio.run(restart_midway()) == [0, 1, 2, 3, 4]


class TestWhatComesAgain:
    def test_a_resource_is_given_once_however_often_the_server_repeats_its_page(self) -> None:
        fraud, churn = RegisteredModel("fraud", id="1"), RegisteredModel("churn", id="2")
        pages = {None: Page([fraud], "a"), "a": Page([fraud], "b"), "b": Page([churn, fraud], "a")}

        assert list(Pager(Script(pages))) == [fraud, churn]

    def test_a_limit_counts_what_was_given(self) -> None:
        models = [RegisteredModel(f"model-{n}", id=str(n)) for n in range(3)]
        pages = {None: Page(models[:1], "a"), "a": Page([models[0], *models[1:]])}

        assert list(Pager(Script(pages)).limit(2)) == models[:2]

    def test_items_without_an_id_and_those_of_another_walk_are_new(self) -> None:
        pager = Pager(Script({None: Page([RegisteredModel("fraud", id="1"), RegisteredModel("churn")] * 2)}))

        assert [model.name for model in pager] == ["fraud", "churn", "churn"]
        assert [model.name for model in pager.restart()] == ["fraud", "churn", "churn"]
