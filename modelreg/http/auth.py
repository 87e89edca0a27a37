"""Bearer tokens: from a string, a file that may be rotated, or a function."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from modelreg.config import RegistrySettings, named_variable
from modelreg.exceptions import InvalidInput, Unauthorized

#: Where Kubernetes puts the token of a pod's service account.
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class TokenSource(Protocol):
    """What knows the bearer token of the moment."""

    def token(self) -> str | None:
        """Return the token to send, or ``None`` to send none."""
        ...

    def forget(self) -> None:
        """Drop a token that is kept from before, because the server refused it."""
        ...


class NoToken:
    """A source that has no token."""

    def token(self) -> str | None:
        """Return ``None``."""
        return None

    def forget(self) -> None:
        """Do nothing: nothing is kept."""


class FixedToken:
    """A token given as text.

    Raises:
        InvalidInput: It cannot be a token.
    """

    def __init__(self, token: str) -> None:
        self._token = _checked(token, "the token")

    def token(self) -> str | None:
        """Return the token."""
        return self._token

    def forget(self) -> None:
        """Do nothing: there is no other token."""


class FileToken:
    """A token in a file, read again when the file changes and when the server refuses what was read before.

    Args:
        path: The file; it may be replaced at any time, as Kubernetes does.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser()
        self._read: tuple[tuple[int, int, int], str] | None = None

    def token(self) -> str | None:
        """Return the token in the file.

        Raises:
            Unauthorized: The file cannot be read, or holds no token.
        """
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, _checked(self._path.read_text(encoding="utf-8"), f"the token in {self._path}")
        except (OSError, UnicodeDecodeError, InvalidInput) as error:
            raise Unauthorized(
                f"no token can be read from {self._path}: {error}", next_step="write a token to it, or give user_token"
            ) from error
        return self._read[1]

    def forget(self) -> None:
        """Read the file again the next time, even if it looks unchanged."""
        self._read = None


class CallableToken:
    """A token that a function returns; it is called for each request, and should keep a token while it is good."""

    def __init__(self, get_token: Callable[[], str]) -> None:
        self._get_token = get_token

    def token(self) -> str | None:
        """Return what the function returns."""
        return _checked(self._get_token(), "the token that user_token() returned")

    def forget(self) -> None:
        """Do nothing: the function is asked each time."""


def token_source(
    user_token: str | os.PathLike[str] | Callable[[], str] | None = None,
    user_token_envvar: str | None = None,
    *,
    settings: RegistrySettings,
    service_account_token: Path = SERVICE_ACCOUNT_TOKEN,
) -> TokenSource:
    """Return the first source of a token that there is: argument, variable, ``KF_PIPELINES_SA_TOKEN_PATH``, pod.

    Args:
        user_token: The token, the path of its file as a ``Path``, or a function that returns it.
        user_token_envvar: Variable that holds the token, or the path of its file.
        settings: What the environment says.
        service_account_token: Where a pod's token lies.

    Raises:
        InvalidInput: The variable is not set, or an argument cannot be a token.
    """
    if user_token is not None:
        return _from_argument(user_token)
    if user_token_envvar is not None:
        return _from_variable(user_token_envvar)
    if settings.token_path is not None:
        return FileToken(settings.token_path)
    if service_account_token.is_file():
        return FileToken(service_account_token)
    return NoToken()


def _from_argument(user_token: str | os.PathLike[str] | Callable[[], str]) -> TokenSource:
    if isinstance(user_token, str):
        return FixedToken(user_token)
    if isinstance(user_token, os.PathLike):
        return FileToken(user_token)
    if callable(user_token):
        return CallableToken(user_token)
    raise InvalidInput(
        f"user_token is a {type(user_token).__name__}",
        next_step="give the token as text, the path of its file as a Path, or a function that returns it",
    )


def _from_variable(name: str) -> TokenSource:
    value = named_variable(name)
    path = os.path.expanduser(value)  # noqa: PTH111 - pathlib's is_file() raises on a token longer than a file name may be
    # A token never looks like an absolute path: what does names a file, one that may yet be mounted.
    is_path = os.path.isabs(path) or os.path.isfile(path)  # noqa: PTH113, PTH117 - as above
    return FileToken(path) if is_path else FixedToken(value)


def _checked(token: object, what: str) -> str:
    if not isinstance(token, str):
        raise InvalidInput(f"{what} is a {type(token).__name__}, not text")
    token = token.strip()
    if not token:
        raise InvalidInput(f"{what} is empty")
    if not (token.isascii() and token.isprintable()):
        raise InvalidInput(f"{what} has characters that a header cannot hold")
    return token
