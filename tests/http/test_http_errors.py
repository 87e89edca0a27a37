"""Each failure of a request is one error that says what was asked, of whom, and what came of it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import (
    BadRequest,
    Conflict,
    DuplicateError,
    Forbidden,
    InvalidInput,
    ModelRegError,
    NotFound,
    RateLimited,
    RegistryError,
    ServerError,
    StoreError,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from modelreg.http.errors import from_exception
from modelreg.http.retry import RetryPolicy
from modelreg.http.session import RegistrySession

URL = "https://registry.test"
Ask = Callable[..., RegistryError]


@pytest.fixture
def session() -> RegistrySession:
    return RegistrySession(URL, retry=RetryPolicy(attempts=1))


@pytest.fixture
def failure(session: RegistrySession) -> Ask:
    """Returns the error that an answer becomes."""

    def failure(status: int, body: bytes | str | dict[str, Any], method: str = "GET", **headers: str) -> RegistryError:
        content = json.dumps(body) if isinstance(body, dict) else body
        headers = {"Content-Type": "application/json"} | {key.replace("_", "-"): headers[key] for key in headers}
        content_type = headers.pop("Content-Type")
        with responses.RequestsMock() as registry:
            registry.add(
                method, f"{URL}/models", body=content, status=status, headers=headers, content_type=content_type
            )
            with pytest.raises(RegistryError) as raised:
                session.request(method, "/models", params={"name": "fraud", "token": "s3cret"})
        return raised.value

    return failure


class TestStatuses:
    @pytest.mark.parametrize(
        ("status", "method", "kind"),
        [
            (400, "POST", BadRequest),
            (401, "GET", Unauthorized),
            (403, "GET", Forbidden),
            (404, "GET", NotFound),
            (405, "GET", RegistryError),
            (408, "GET", RegistryError),
            (409, "POST", DuplicateError),
            (409, "PATCH", Conflict),
            (418, "GET", RegistryError),
            (422, "POST", BadRequest),
            (429, "GET", RateLimited),
            (500, "POST", ServerError),
            (501, "GET", ServerError),
            (502, "GET", ServerError),
            (503, "GET", ServerError),
            (504, "GET", ServerError),
            (599, "GET", ServerError),
        ],
    )
    def test_each_status_is_an_error_with_all_that_is_known(
        self, failure: Ask, status: int, method: str, kind: type[RegistryError]
    ) -> None:
        error = failure(status, {"code": "some code", "message": "the reason"}, method)

        assert type(error) is kind
        assert isinstance(error, StoreError)
        assert (error.message, error.status, error.method, error.url) == (
            *("the reason", status, method),
            f"{URL}/models?name=fraud&token=***",
        )
        assert str(error).startswith(f"{method} {URL}/models?name=fraud&token=***: {status}: the reason")

    @pytest.mark.parametrize("said", ["name already exists", "duplicate key", "violates unique", "'a' is taken"])
    def test_a_change_to_what_is_taken_is_a_duplicate(self, failure: Ask, said: str) -> None:
        assert type(failure(409, {"message": said}, "PATCH")) is DuplicateError

    @pytest.mark.parametrize(("status", "maybe_done"), [(500, False), (502, True), (503, True), (504, True)])
    def test_what_a_gateway_says_leaves_open_what_was_done(
        self, failure: Ask, status: int, *, maybe_done: bool
    ) -> None:
        assert failure(status, {"message": "trouble"}, "POST").maybe_done is maybe_done

    def test_the_pause_that_is_asked_for_is_kept(self, failure: Ask) -> None:
        assert failure(429, {}, Retry_After="7").retry_after_s == 7
        assert failure(429, {}).retry_after_s is None


class TestMessages:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"message": "wrong", "field": "name"}, "name"),
            ({"message": "required field 'registeredModelId' is zero value"}, "registeredModelId"),
            ({"message": 'json: unknown field "nam"'}, "nam"),
            ({"message": "the field: state is wrong"}, "state"),
            ({"message": "wrong", "field": ["name"]}, None),
            ({"message": "all is wrong"}, None),
        ],
    )
    def test_the_field_that_the_server_names_is_in_the_error(
        self, failure: Ask, body: dict[str, Any], field: str | None
    ) -> None:
        assert failure(400, body, "POST").field == field

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"message": "the message", "error": "the error", "code": "the code"}, "the message"),
            ({"error": "the error", "code": "the code"}, "the error"),
            ({"code": "the code"}, "the code"),
            ({"message": {"nested": 1}}, "{'nested': 1}"),
            ({}, "no message"),
            ("[1, 2]", "[1, 2]"),
            ("no such path", "no such path"),
            ("", "Bad Request"),
            ("   ", "Bad Request"),
            (b"\xff\xfe", "\ufffd\ufffd"),
            ("{" * 100_000, "{" * 500),
            ("[" * 100_000, "[" * 500),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_a_message_is_what_the_server_says_at_a_length_that_can_be_read(
        self, failure: Ask, body: Any, message: str
    ) -> None:
        assert failure(400, body).message == message

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("<html><title>\n 404 Not\tFound</title></html>", "the answer is a web page titled '404 Not\\tFound'"),
            ("  <!doctype html><p>Sign in", "the answer is a web page, not the registry's"),
            ("Sign in", "the answer is a web page, not the registry's"),
        ],
    )
    def test_a_web_page_is_told_by_its_title(self, failure: Ask, body: str, message: str) -> None:
        assert failure(404, body, Content_Type="text/html; charset=utf-8").message.startswith(message)

    @pytest.mark.parametrize(
        "body",
        [
            {"message": "m" * 1_000_000},
            {"message": "field" + " " * 1_000_000},
            "<title>" + " " * 1_000_000,
            "<title" * 200_000,
            "bearer" + " " * 1_000_000,
        ],
        ids=lambda body: str(body)[:20],
    )
    @pytest.mark.timeout(20)
    def test_a_long_answer_is_read_in_a_time_that_grows_with_its_length(self, failure: Ask, body: Any) -> None:
        assert len(failure(400, body).message) <= 500

    def test_credentials_in_a_message_are_taken_out(self, failure: Ask) -> None:
        error = failure(500, {"message": "GET https://ann:hunter22@db/?sig=hunter22 with Bearer hunter22hunter22"})

        assert error.message == "GET https://***@db/?sig=*** with Bearer ***"

    @given(st.binary(max_size=200))
    def test_no_answer_is_too_odd_for_an_error(self, body: bytes) -> None:
        session = RegistrySession(URL, retry=RetryPolicy(attempts=1))
        with responses.RequestsMock() as registry:
            registry.get(f"{URL}/models", body=body, status=400)
            with pytest.raises(BadRequest) as raised:
                session.get("/models")

        assert raised.value.message


class TestSuccesses:
    """Answers that say 200 and are none."""

    @pytest.fixture
    def answer(self, session: RegistrySession) -> Callable[..., Any]:
        def answer(body: bytes | str, status: int = 200, **headers: str) -> Any:
            with responses.RequestsMock() as registry:
                registry.get(f"{URL}/models", body=body, status=status, **headers)
                return session.get("/models")

        return answer

    def test_an_answer_may_say_that_it_has_no_body(self, answer: Callable[..., Any]) -> None:
        assert answer("", 204) is None
        assert answer("", 200, headers={"Content-Length": "0"}) is None

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("", "the answer has no body"),
            ('{"id": ', "the answer is not JSON, or was cut short"),
            ("id: 1", "the answer is not JSON, or was cut short"),
            (b"\xff\xfe\x00", "the answer is not JSON, or was cut short"),
            ("[" * 100_000, "the answer is not JSON, or was cut short"),
        ],
    )
    def test_half_an_answer_leaves_open_what_was_done(
        self, answer: Callable[..., Any], body: Any, message: str
    ) -> None:
        with pytest.raises(ServerError, match=message) as raised:
            answer(body)

        assert (raised.value.maybe_done, raised.value.status, raised.value.url) == (True, 200, f"{URL}/models")

    def test_a_web_page_is_not_the_registry(self, answer: Callable[..., Any]) -> None:
        with pytest.raises(ServerError, match=r"titled 'Sign in', not the registry's \(check the address\)") as raised:
            answer("<title>Sign in</title>", content_type="text/html")

        assert not raised.value.maybe_done


class TestNoAnswer:
    """What requests raises, as a user of the session sees it."""

    POOL = urllib3.HTTPSConnectionPool("registry.test")

    @pytest.mark.parametrize(
        ("error", "kind", "message", "maybe_done"),
        [
            (requests.ConnectTimeout("slow"), TimedOut, "no connection in time", False),
            (requests.ReadTimeout("slow"), TimedOut, "no answer in time", True),
            (requests.ConnectionError("Connection aborted."), Unreachable, "the connection broke: Conn", True),
            (
                requests.ConnectionError(
                    urllib3.exceptions.MaxRetryError(
                        POOL, "/", urllib3.exceptions.NameResolutionError("registry.test", POOL, OSError("unknown"))
                    )
                ),
                *(Unreachable, "cannot connect: .*registry.test", False),
            ),
            (
                requests.exceptions.ProxyError(
                    urllib3.exceptions.MaxRetryError(
                        POOL,
                        "/",
                        urllib3.exceptions.ProxyError(
                            "cannot", urllib3.exceptions.ConnectTimeoutError(POOL, "the proxy is slow")
                        ),
                    )
                ),
                *(Unreachable, "cannot connect through the proxy: .*the proxy is slow", False),
            ),
            (
                requests.exceptions.SSLError(
                    urllib3.exceptions.MaxRetryError(POOL, "/", ssl.SSLError("self-signed certificate"))
                ),
                *(Unreachable, "TLS failed: .*self-signed certificate", False),
            ),
            (requests.exceptions.InvalidURL("bad label"), InvalidInput, "bad label", None),
            (requests.exceptions.InvalidHeader("odd"), InvalidInput, "odd", None),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_each_trouble_on_the_way_has_its_error(
        self, session: RegistrySession, error: Exception, kind: type[Exception], message: str, maybe_done: Any
    ) -> None:
        with responses.RequestsMock() as registry:
            registry.post(f"{URL}/models", body=error)
            with pytest.raises(kind, match=message) as raised:
                session.post("/models", {})

        assert type(raised.value) is kind
        assert raised.value.__cause__ is error
        assert getattr(raised.value, "maybe_done", None) is maybe_done
        assert str(raised.value).startswith(f"POST {URL}/models: ")

    def test_an_address_that_no_request_can_have_is_an_error_of_the_caller(self) -> None:
        with pytest.raises(InvalidInput, match="check the address and the token"):
            RegistrySession("http://*.test").get("/models")

    def test_a_body_that_cannot_be_unpacked_was_cut_short(self, session: RegistrySession) -> None:
        with responses.RequestsMock() as registry:
            registry.get(f"{URL}/models", body=b"not gzip", headers={"Content-Encoding": "gzip"})
            with pytest.raises(ServerError, match="cut short") as raised:
                session.get("/models")

        assert raised.value.maybe_done

    @given(st.lists(st.sampled_from(["ann:pw-hunter22@", "?token=hunter22", "&sig=hunter22"]), max_size=3))
    def test_no_error_shows_the_credentials_of_a_url(self, parts: list[str]) -> None:
        user = "".join(part for part in parts if "@" in part)[:17]
        query = "".join(part for part in parts if "@" not in part).replace("?", "&").replace("&", "?", 1)
        url = f"https://{user}registry.test/{query}"

        errors: list[ModelRegError] = [
            from_exception(error(f"trouble at {url}"), method="GET", url=url)
            for error in (requests.ConnectionError, requests.Timeout, requests.TooManyRedirects, UnicodeError)
        ]

        assert "hunter22" not in "".join(str(error) + repr(error) for error in errors)
