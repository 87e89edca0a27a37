"""Tokens: where they come from, in which order, when they are read again, and that nobody else sees them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelreg.config import RegistrySettings
from modelreg.exceptions import InvalidInput, Unauthorized
from modelreg.http.auth import CallableToken, FileToken, FixedToken, NoToken, TokenSource, token_source
from modelreg.http.session import RegistrySession

NO_SETTINGS = RegistrySettings()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    return path


class TestSources:
    @pytest.mark.parametrize("user_token", [b"token", 5, ["token"]])
    def test_what_is_no_source_of_a_token_is_refused_without_being_shown(self, user_token: Any) -> None:
        with pytest.raises(InvalidInput, match=f"user_token is a {type(user_token).__name__} "):
            token_source(user_token, settings=NO_SETTINGS)

    def test_the_order_is_argument_variable_settings_pod_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("settings", "pod"):
            (tmp_path / name).write_text(f"from-{name}")
        monkeypatch.setenv("MY_TOKEN", "from-variable")
        settings = RegistrySettings(token_path=str(tmp_path / "settings"))
        pod, nowhere = tmp_path / "pod", tmp_path / "nowhere"

        found = [
            token_source("from-argument", "MY_TOKEN", settings=settings, service_account_token=pod),
            token_source(None, "MY_TOKEN", settings=settings, service_account_token=pod),
            token_source(settings=settings, service_account_token=pod),
            token_source(settings=NO_SETTINGS, service_account_token=pod),
            token_source(settings=NO_SETTINGS, service_account_token=nowhere),
        ]

        assert [source.token() for source in found] == [
            *("from-argument", "from-variable", "from-settings", "from-pod"),
            None,
        ]

    def test_an_argument_is_text_a_path_or_a_function(self, token_file: Path) -> None:
        arguments: list[Any] = ["  text\n", token_file, lambda: "called"]

        tokens = [token_source(argument, settings=NO_SETTINGS).token() for argument in arguments]

        assert tokens == ["text", "from-file", "called"]

    def test_a_variable_may_name_the_file_of_the_token(
        self, home: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (home / "token").write_text("from-home")
        monkeypatch.chdir(token_file.parent)
        tokens = []
        for value in (str(token_file), token_file.name, f"~{os.sep}token"):
            monkeypatch.setenv("MY_TOKEN", value)
            tokens.append(token_source(None, "MY_TOKEN", settings=NO_SETTINGS).token())

        assert tokens == ["from-file", "from-file", "from-home"]

    def test_a_variable_may_name_a_file_that_is_mounted_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MY_TOKEN", str(tmp_path / "later"))
        source = token_source(None, "MY_TOKEN", settings=NO_SETTINGS)
        (tmp_path / "later").write_text("mounted")

        assert source.token() == "mounted"

    def test_a_token_may_be_longer_than_any_file_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_TOKEN", "x" * 5000)

        assert token_source(None, "MY_TOKEN", settings=NO_SETTINGS).token() == "x" * 5000

    def test_a_variable_that_is_not_set_is_named(self) -> None:
        with pytest.raises(InvalidInput, match="MY_TOKEN is not set"):
            token_source(None, "MY_TOKEN", settings=NO_SETTINGS)

    @pytest.mark.parametrize("token", ["", " \n", "two\nlines", "tökén", "nul\0", 7])
    def test_what_no_header_can_hold_is_refused_without_repeating_it(self, token: Any) -> None:
        for source in (lambda: FixedToken(token), CallableToken(lambda: token).token):
            with pytest.raises(InvalidInput) as raised:
                source()

            assert not str(token).strip() or str(token).strip() not in str(raised.value)


class TestFiles:
    def test_a_file_that_changes_is_read_again(self, token_file: Path) -> None:
        source = FileToken(token_file)
        before = source.token()
        token_file.write_text("longer than before")

        assert (before, source.token()) == ("from-file", "longer than before")

    def test_a_file_that_is_replaced_is_read_again_even_with_the_same_size_and_time(self, token_file: Path) -> None:
        source = FileToken(token_file)
        source.token()
        newer = token_file.with_name("newer")
        newer.write_text("from-fil2\n")
        stat = token_file.stat()
        os.utime(newer, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        newer.replace(token_file)

        assert source.token() == "from-fil2"

    def test_what_looks_unchanged_is_read_again_once_it_was_refused(self, token_file: Path) -> None:
        source = FileToken(token_file)
        source.token()
        stat = token_file.stat()
        token_file.write_text("from-fil2\n")
        os.utime(token_file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        before = source.token()
        source.forget()

        assert (before, source.token()) == ("from-file", "from-fil2")

    @pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"two\nlines"])
    def test_a_file_without_a_token_is_named(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "token"
        if content is not None:
            path.write_bytes(content)

        with pytest.raises(Unauthorized, match=r"no token can be read from .*token"):
            FileToken(path).token()


class TestRefusals:
    """What a session does when the server answers 401."""

    @pytest.fixture
    def server(self, loopback: Any) -> Any:
        """A server that lets in whoever has the token ``good-token``."""

        def guard(seen: Any) -> Any:
            if seen.headers.get("Authorization") == "Bearer good-token":
                return loopback.reply()
            return loopback.reply(401, json.dumps({"code": "Unauthorized", "message": "token expired"}))

        return loopback.server(guard)

    def test_a_file_is_read_again_once_and_the_request_sent_with_the_newer_token(
        self, server: Any, connect: Callable[..., RegistrySession], token_file: Path
    ) -> None:
        session = connect(server.url, auth=FileToken(token_file))
        server.replies.insert(0, lambda seen: (token_file.write_text("good-token"), server.replies[-1](seen))[1])

        assert session.post("/models", {"name": "fraud"}) == {}
        assert [request.headers["Authorization"] for request in server.requests] == [
            "Bearer from-file",
            "Bearer good-token",
        ]
        assert server.requests[0].body == server.requests[1].body == b'{"name":"fraud"}'

    def test_a_file_with_the_same_token_is_not_tried_again(
        self, server: Any, connect: Callable[..., RegistrySession], token_file: Path
    ) -> None:
        with pytest.raises(Unauthorized, match="token expired"):
            connect(server.url, auth=FileToken(token_file)).get("/models")

        assert len(server.requests) == 1

    def test_a_function_is_asked_for_each_request_and_after_a_refusal(
        self, server: Any, connect: Callable[..., RegistrySession]
    ) -> None:
        tokens = iter(["good-token", "stale-token", "good-token"])
        session = connect(server.url, auth=CallableToken(lambda: next(tokens)))

        assert [session.get("/a"), session.get("/b")] == [{}, {}]
        assert server.lines == ["GET /a", "GET /b", "GET /b"]

    def test_a_second_refusal_is_final(self, server: Any, connect: Callable[..., RegistrySession]) -> None:
        tokens = iter(["stale-1", "stale-2", "good-token"])

        with pytest.raises(Unauthorized, match="token expired"):
            connect(server.url, auth=CallableToken(lambda: next(tokens))).get("/a")

        assert len(server.requests) == 2

    @pytest.mark.parametrize("auth", [None, FixedToken("stale")], ids=["no token", "fixed token"])
    def test_without_another_token_a_refusal_is_final_at_once(
        self, server: Any, connect: Callable[..., RegistrySession], auth: TokenSource | None
    ) -> None:
        with pytest.raises(Unauthorized, match="give user_token, or a newer one"):
            connect(server.url, auth=auth).get("/a")

        assert len(server.requests) == 1
        assert ("Authorization" in server.requests[0].headers) is (auth is not None)


class TestPlainHttp:
    """A token never goes unencrypted to another machine by mistake."""

    @pytest.mark.parametrize("url", ["http://registry.test:8080", "HTTP://registry.test", "http://10.0.0.1"])
    def test_a_token_over_plain_http_to_another_machine_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidInput, match="a token would go unencrypted"):
            RegistrySession(url, auth=FixedToken("s3cret"))

    def test_it_is_allowed_where_the_user_says_so(self) -> None:
        session = RegistrySession("http://registry.test:8080", auth=FixedToken("s3cret"), is_secure=False)

        assert session.base_url == "http://registry.test:8080"

    @pytest.mark.parametrize(
        ("url", "auth"),
        [
            ("http://127.0.0.1:8080", FixedToken("s3cret")),
            ("http://localhost:8080", FixedToken("s3cret")),
            ("https://registry.test", FixedToken("s3cret")),
            ("http://registry.test:8080", NoToken()),
            ("http://registry.test:8080", None),
        ],
    )
    def test_tls_this_machine_and_no_token_need_no_leave(self, url: str, auth: TokenSource | None) -> None:
        assert RegistrySession(url, auth=auth).base_url == url


def test_no_source_shows_its_token(token_file: Path) -> None:
    token_file.write_text("s3cret")
    sources = [NoToken(), FixedToken("s3cret"), FileToken(token_file), CallableToken(lambda: "s3cret")]
    for source in sources:
        source.token()
        source.forget()

    assert "s3cret" not in repr(sources)
