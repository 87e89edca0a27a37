"""Trying again: when it may help and cannot harm, after a pause that spreads clients out or that the server names."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import (
    BadRequest,
    InvalidInput,
    RateLimited,
    RegistryError,
    ServerError,
    StoreError,
    TimedOut,
    Unreachable,
)
from modelreg.http.retry import RetryPolicy, is_transient, parse_retry_after
from modelreg.http.session import RegistrySession

Connect = Callable[..., RegistrySession]
REPEATABLE = ["GET", "PATCH", "DELETE"]


class TestPauses:
    def test_pauses_double_up_to_a_limit(self) -> None:
        policy = RetryPolicy(first_delay_s=0.2, max_delay_s=1.0, jitter=lambda: 1.0)

        assert [policy.pause_s(attempt) for attempt in (1, 2, 3, 4, 50)] == [0.2, 0.4, 0.8, 1.0, 1.0]

    @given(attempt=st.integers(1, 60), jitter=st.floats(0, 1))
    def test_jitter_takes_off_up_to_half_of_a_pause(self, attempt: int, jitter: float) -> None:
        full = RetryPolicy(jitter=lambda: 1.0).pause_s(attempt)

        assert full / 2 <= RetryPolicy(jitter=lambda: jitter).pause_s(attempt) <= full

    def test_clients_that_failed_together_come_back_apart(self) -> None:
        assert len({RetryPolicy().pause_s(3) for _ in range(20)}) > 1

    @pytest.mark.parametrize(("asked_s", "expected"), [(0.0, 0.0), (7.0, 7.0), (60.0, 60.0), (61.0, None)])
    def test_the_server_may_name_the_pause_up_to_a_limit(self, asked_s: float, expected: float | None) -> None:
        error = RateLimited("slow down")
        error.retry_after_s = asked_s

        assert RetryPolicy().delay_s(error, 1, repeatable=False) == expected


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("120", 120.0),
            (" 0 ", 0.0),
            ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
            ("Thursday, 01-Jan-70 00:02:00 GMT", 20.0),
            (None, None),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
            ("Thu, 01 Jan 1970 00:02:00 -0000", 20.0),
            ("Thu, 01 Jan 1970 00:02:00", 20.0),
            ("Fri, 31 Dec 9999 23:59:59 +0000", 253402300699.0),
        ],
    )
    def test_it_is_seconds_or_a_date(self, value: str | None, seconds: float | None) -> None:
        assert parse_retry_after(value, clock=lambda: 100.0) == seconds

    @given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d [-+]?\w{3,4}"))
    def test_whatever_it_says_is_a_pause_or_nothing(self, value: str) -> None:
        seconds = parse_retry_after(value)

        assert seconds is None or seconds >= 0

    @given(st.integers(0, 4_000_000_000), st.integers(0, 4_000_000_000))
    def test_a_date_is_as_far_away_as_the_clock_says(self, now: int, then: int) -> None:
        header = email.utils.formatdate(then, usegmt=True)

        assert parse_retry_after(header, clock=lambda: float(now)) == max(0, then - now)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unreachable("refused"), True),
        (TimedOut("silence"), True),
        (RateLimited("slow down"), True),
        *((ServerError("trouble", status=status), True) for status in (502, 503, 504)),
        (ServerError("bug"), False),
        (ServerError("a web page", status=200), False),
        (BadRequest("no"), False),
        (StoreError("something else"), False),
    ],
    ids=str,
)
def test_only_trouble_that_passes_is_worth_another_attempt(error: StoreError, *, expected: bool) -> None:
    assert is_transient(error) is expected


class TestRequests:
    """What a session sends again over real connections."""

    @pytest.mark.parametrize("method", REPEATABLE)
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_what_may_be_repeated_is_sent_until_the_trouble_is_over(
        self, loopback: Any, connect: Connect, pauses: list[float], method: str, status: int
    ) -> None:
        server = loopback.server(loopback.reply(status), loopback.reply(status), loopback.reply(200, '{"id": "1"}'))

        assert connect(server.url).request(method, "/models/1", body={"name": "fraud"}) == {"id": "1"}
        assert server.lines == [f"{method} /models/1"] * 3
        assert {request.body for request in server.requests} == {b'{"name":"fraud"}'}
        assert pauses == [0.2, 0.4]

    @pytest.mark.parametrize("broken", ["silently", "in the headers", "in the body", "in a chunk", "in the JSON"])
    def test_a_connection_that_breaks_at_any_place_is_made_anew(
        self, loopback: Any, connect: Connect, broken: str
    ) -> None:
        sent = {
            "silently": b"",
            "in the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
            "in the body": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":',
            "in a chunk": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"id":\r\n20\r\nab',
            "in the JSON": b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"id":',
        }
        server = loopback.server(loopback.breaks(sent[broken]), loopback.reply(200, '{"id": "1"}'))

        assert connect(server.url).get("/models/1") == {"id": "1"}
        assert server.lines == ["GET /models/1"] * 2

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 501, 505])
    def test_what_would_fail_again_is_sent_once(
        self, loopback: Any, connect: Connect, pauses: list[float], status: int
    ) -> None:
        server = loopback.server(loopback.reply(status))

        with pytest.raises(RegistryError):
            connect(server.url).get("/models/1")

        assert (len(server.requests), pauses) == (1, [])

    def test_attempts_come_to_an_end(self, loopback: Any, connect: Connect, pauses: list[float]) -> None:
        server = loopback.server(loopback.reply(503))

        with pytest.raises(ServerError) as raised:
            connect(server.url).get("/models/1")

        assert (raised.value.status, len(server.requests), pauses) == (503, 4, [0.2, 0.4, 0.8])

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_post_that_a_gateway_lost_is_not_sent_again(self, loopback: Any, connect: Connect, status: int) -> None:
        server = loopback.server(loopback.reply(status), loopback.reply())

        with pytest.raises(ServerError) as raised:
            connect(server.url).post("/models", {})

        assert (raised.value.maybe_done, len(server.requests)) == (True, 1)

    @pytest.mark.parametrize("reply", ["nothing", "half an answer"])
    def test_a_post_whose_answer_was_lost_is_not_sent_again(self, loopback: Any, connect: Connect, reply: str) -> None:
        half = b"" if reply == "nothing" else b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"
        server = loopback.server(loopback.breaks(half), loopback.reply())

        with pytest.raises(StoreError) as raised:
            connect(server.url).post("/models", {})

        assert (raised.value.maybe_done, len(server.requests)) == (True, 1)

    def test_a_post_that_was_turned_away_unread_is_sent_again(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.reply(429), loopback.reply(201))

        assert connect(server.url).post("/models", {}) == {}
        assert len(server.requests) == 2

    def test_a_post_that_does_the_same_twice_is_sent_again(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server(loopback.breaks(), loopback.reply(503), loopback.reply())

        assert connect(server.url).post("/batch", {}, repeatable=True) == {}
        assert len(server.requests) == 3

    def test_a_post_that_never_connected_is_sent_once_the_server_is_there(self, loopback: Any) -> None:
        server = loopback.server(start=False)
        policy = RetryPolicy(sleep=lambda _: server.start())

        with RegistrySession(server.url, retry=policy) as session:
            assert session.post("/models", {}) == {}

        assert server.lines == ["POST /models"]

    def test_the_pause_that_the_server_names_is_kept(
        self, loopback: Any, connect: Connect, pauses: list[float]
    ) -> None:
        soon = email.utils.formatdate(time.time() + 30, usegmt=True)
        server = loopback.server(
            loopback.reply(429, Retry_After="7"), loopback.reply(503, Retry_After=soon), loopback.reply()
        )

        connect(server.url).get("/models")

        assert pauses[0] == 7
        assert 5 < pauses[1] <= 30

    def test_a_server_that_wants_too_long_a_pause_is_not_waited_for(
        self, loopback: Any, connect: Connect, pauses: list[float]
    ) -> None:
        server = loopback.server(loopback.reply(429, Retry_After="3600"))

        with pytest.raises(RateLimited) as raised:
            connect(server.url).get("/models")

        assert (raised.value.retry_after_s, len(server.requests), pauses) == (3600, 1, [])

    def test_what_cannot_be_written_is_not_sent_at_all(self, loopback: Any, connect: Connect) -> None:
        server = loopback.server()

        for body in ({"value": float("nan")}, {"value": object()}):
            with pytest.raises(InvalidInput, match="cannot be written as JSON"):
                connect(server.url).post("/models", body)

        assert server.requests == []
