"""The one place that takes credentials out of text before anyone can read it.

Whatever goes into a message, a log line, a ``repr``, a journal or a cache record passes through here first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, urlsplit

#: What stands where a credential stood.
REDACTED = "***"

# Compared in lower case, by substring: X-Amz-Security-Token, sig (Azure SAS), AWSAccessKeyId, X-Goog-Signature ...
_SECRET_PARAMETER = re.compile(
    r"sig|token|secret|passw|pwd|credential|access_?key|api_?key|authorization|code|session", re.IGNORECASE
)
_SECRET_HEADER = re.compile(r"auth|token|secret|cookie|key|password|credential", re.IGNORECASE)
# A URL inside running text: up to white space or a closing quote or bracket.
# A scheme is short: without a limit, the time that a long word takes would grow with the square of its length.
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s'\"<>]+")
# What follows the '?' of a URL that is told without its host, as urllib3 does of one that it cannot reach.
_QUERY_IN_TEXT = re.compile(r"\?([^\s?'\"<>=&]{1,100}=[^\s'\"<>]*)")
# AWS repeats a session token in its errors, as XML; other servers repeat the header.
_SESSION_TOKEN = re.compile(r"(<Token-\d+>|x-amz-security-token['\"]?\s?:\s?['\"]?)[^\s<>'\",]+", re.IGNORECASE)
_BEARER_IN_TEXT = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def redact_url(url: str) -> str:
    """Return ``url`` without user info and without the values of query parameters that hold credentials.

    Example:
        >>> redact_url("https://ann:pw@host/path?X-Amz-Signature=abc&versionId=1")
        'https://***@host/path?X-Amz-Signature=***&versionId=1'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # What cannot be parsed cannot be cleaned: keep the scheme alone.
        return url.split("://", 1)[0] + "://" + REDACTED
    query = _clean_query(parts.query)
    # Not geturl(): of sqlite:////path and s3:///key it makes another URL.
    prefix = f"{parts.scheme}://{_clean_netloc(parts)}" if "://" in url else ""
    return f"{prefix}{parts.path}{'?' if query else ''}{query}"


def _clean_netloc(parts: SplitResult) -> str:
    user, at, host = parts.netloc.rpartition("@")
    if parts.scheme == "model-registry" and ":" not in user and not parts.path:
        # A model and its alias; nobody logs in there.
        return parts.netloc
    return f"{REDACTED}@{host}" if at else host


def _clean_query(query: str) -> str:
    return "&".join(_clean_parameter(parameter) for parameter in query.split("&")) if query else ""


def _clean_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    return f"{name}={REDACTED}" if equals and value and _SECRET_PARAMETER.search(name) else parameter


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return ``headers`` with the values of those that carry credentials replaced.

    Example:
        >>> redact_headers({"Authorization": "Bearer abc", "Accept": "*/*"})
        {'Authorization': '***', 'Accept': '*/*'}
    """
    return {name: REDACTED if _SECRET_HEADER.search(name) else value for name, value in headers.items()}


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` with every URL in it redacted, every bearer or basic credential, and what is known to be secret.

    Args:
        text: What somebody else wrote.
        secrets: Texts that must not be in it.

    Example:
        >>> redact_text("GET https://ann:pw@host/x failed")
        'GET https://***@host/x failed'
        >>> redact_text("no answer from /model?X-Amz-Signature=abc&versionId=1", ["answer"])
        'no *** from /model?X-Amz-Signature=***&versionId=1'
    """
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = _URL_IN_TEXT.sub(lambda match: redact_url(match.group()), text)
    text = _QUERY_IN_TEXT.sub(lambda match: f"?{_clean_query(match.group(1))}", text)
    text = _SESSION_TOKEN.sub(lambda match: f"{match.group(1)}{REDACTED}", text)
    return _BEARER_IN_TEXT.sub(lambda match: f"{match.group(1)} {REDACTED}", text)


def keeps_secrets(error: BaseException | None, secrets: Iterable[str] = ()) -> bool:
    """Return whether ``error``, or what caused it, says something that is redacted.

    Args:
        error: What a foreign library raised; it must not be shown by a traceback then.
        secrets: Texts that must not be in it.
    """
    known = tuple(secrets)
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if redact_text(str(error), known) != str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
