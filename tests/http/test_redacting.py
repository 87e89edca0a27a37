"""What is taken out of running text, and which causes of an error must not be shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.redact import keeps_secrets, redact_headers, redact_text, redact_url

VALUES = st.text("abcdefABCDEF0123456789%+/=_.~-", min_size=8, max_size=40).map(lambda text: f"Zq9{text}")
PARAMETERS = st.sampled_from(
    ["X-Amz-Signature", "X-Goog-Credential", "sig", "token", "AWSAccessKeyId", "api_key", "X-Amz-Security-Token"]
)


@given(PARAMETERS, VALUES, st.sampled_from(["https://host", "HTTP://h:80", "s3://b", ""]))
def test_no_signed_query_stays_in_a_text(name: str, value: str, host: str):
    text = redact_text(f"cannot reach {host}/model.bin?versionId=7&{name}={value} (Caused by: refused)")

    assert value not in text
    assert "/model.bin?versionId=7&" in text
    assert text.endswith("(Caused by: refused)")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET https://ann:pw@host/x failed", "GET https://***@host/x failed"),
        ("<Token-0>FwoGZXIvYXdz</Token-0>", "<Token-0>***</Token-0>"),
        ("{'x-amz-security-token': 'FwoGZXIvYXdz'}", "{'x-amz-security-token': '***'}"),
        ("X-Amz-Security-Token: FwoGZXIvYXdz", "X-Amz-Security-Token: ***"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("model-registry://fraud@champion", "model-registry://fraud@champion"),
        ("model-registry://ann:pw@host/fraud", "model-registry://***@host/fraud"),
        ("model-registry://s3cret@host/fraud", "model-registry://***@host/fraud"),
        ("is it there? yes=no", "is it there? yes=no"),
        ("what?versionId=3&page=2", "what?versionId=3&page=2"),
    ],
)
def test_what_looks_like_a_credential_is_taken_out_and_nothing_else(text: str, clean: str):
    assert redact_text(text) == clean


def test_what_is_known_to_be_secret_is_taken_out_wherever_it_stands():
    assert redact_text("signed by AKIA0000 with wJalrXUt", ["wJalrXUt"]) == "signed by AKIA0000 with ***"


def test_what_cannot_be_parsed_keeps_its_scheme_alone():
    assert redact_url("https://[ann:pw@host") == "https://***"


def test_headers_that_carry_credentials_are_told_by_name():
    headers = {"Authorization": "Bearer x", "X-Api-Key": "x", "Cookie": "x", "Accept": "x"}

    assert redact_headers(headers) == {"Authorization": "***", "X-Api-Key": "***", "Cookie": "***", "Accept": "x"}


def raised(*messages: str) -> Exception:
    """An error with causes, the last of them first."""
    error = RuntimeError(messages[0])
    for message in messages[1:]:
        cause, error = error, RuntimeError(message)
        error.__cause__ = cause
    return error


def test_an_error_keeps_a_secret_if_one_of_its_causes_does():
    assert keeps_secrets(raised("GET /m?sig=abc", "it failed"))
    assert keeps_secrets(raised("hunter22 is wrong", "it failed"), ["hunter22"])
    assert not keeps_secrets(raised("GET /m?page=2", "it failed"), ["hunter22"])
    assert not keeps_secrets(None)


def test_causes_that_go_in_a_circle_are_looked_at_once():
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first

    assert not keeps_secrets(first)


@pytest.mark.parametrize("text", ["?" * 200_000, "?a=" * 70_000, "a" * 300_000, "<Token-0>" * 30_000])
def test_a_long_text_takes_time_in_proportion(text: str):
    started = time.perf_counter()
    redact_text(text)

    assert time.perf_counter() - started < 5
