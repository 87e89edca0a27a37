"""Credentials of registries: where container tools keep them, and how a registry wants them shown."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from modelreg.exceptions import AccessDenied, InvalidInput, StorageError
from modelreg.hosts import is_link_local
from modelreg.redact import redact_text, redact_url
from modelreg.storage.backends import errors
from modelreg.storage.hops import follow, is_same_origin, seconds_of
from modelreg.storage.oci.reference import DOCKER_HUB, Reference
from modelreg.storageconfig import OCISettings

# How Docker Hub is named in credential files, and to credential helpers.
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PARAMETER = re.compile(r'([A-Za-z_][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# What helpers give instead of a user's name where the secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 - a marker, no secret
_CLIENT = "modelreg"
_MOST_ANSWER_BYTES = 1 << 20
# What a token is good for where the registry does not say; the API's own default.
_DEFAULT_LIFE_S = 60.0
# A token is not begun to be used so shortly before its end.
_MARGIN_S = 5.0


@attrs.frozen
class Credential:
    """What somebody logs in to a registry with.

    Attributes:
        username: The user's name; empty for an identity token.
        secret: The password, or the identity token.
    """

    username: str
    secret: str = attrs.field(repr=False)

    @property
    def basic(self) -> str:
        """The header of basic authentication."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.secret}'.encode()).decode()}"


def find_credential(reference: Reference, settings: OCISettings) -> Credential | None:
    """Return what the settings, a credential helper or a file hold for the registry of ``reference``; else ``None``.

    Args:
        reference: What is to be read or written; some files tell repositories of one registry apart.
        settings: A user's name and password, the text of a file, or where files are.

    Raises:
        InvalidInput: A file of credentials is malformed.
        AccessDenied: A credential helper failed.
    """
    if settings.username is not None and settings.password is not None:
        return Credential(settings.username, settings.password)
    for config, where in _configs(settings):
        helper = _helper_of(config, reference.host)
        found = _ask_helper(helper, reference.host, settings.helper_timeout_s) if helper else None
        found = found or _listed(config.get("auths"), reference, where)
        if found is not None:
            return found
    return None


def _configs(settings: OCISettings) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each document of credentials there is, and where it is."""
    if settings.auth_config is not None:
        yield _parsed(settings.auth_config, "the docker configuration that was given"), "it"
    for name in settings.auth_files:
        path = Path(name).expanduser()
        try:
            text = path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the file of credentials {path} cannot be read: {type(error).__name__}") from error
        yield _parsed(text, f"the file of credentials {path}"), str(path)


def _parsed(text: str, what: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        # Not chained: a JSON error keeps the whole text that it could not read, and this one holds passwords.
        document = None
    if not isinstance(document, dict):
        raise InvalidInput(f"{what} does not hold a JSON object")
    return document


def _helper_of(config: Mapping[str, Any], host: str) -> str | None:
    helpers = config.get("credHelpers")
    for key, name in helpers.items() if isinstance(helpers, dict) else ():
        if _place_of(key) == host:
            return str(name)
    store = config.get("credsStore")
    return str(store) if store else None


def _ask_helper(name: str, host: str, timeout_s: float) -> Credential | None:
    """Return what the credential helper ``name`` has for ``host``.

    Raises:
        AccessDenied: It is not installed, failed, or did not answer in time.
    """
    import shutil
    import subprocess

    program = shutil.which(f"docker-credential-{name}") if _HELPER_NAME.fullmatch(name) else None
    if program is None:
        raise _helper_failed(name, "it is not installed")
    server = _DOCKER_HUB_KEY if host == DOCKER_HUB else host
    try:
        done = subprocess.run(  # noqa: S603 - the user's own configuration names it
            [program, "get"], input=server.encode(), capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _helper_failed(name, f"it did not answer within {timeout_s:g} seconds") from error
    except OSError as error:
        raise _helper_failed(name, str(error)) from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        if "credentials not found" in said:
            return None
        raise _helper_failed(name, redact_text(said.partition("\n")[0])[:200] or f"status {done.returncode}")
    return _helped(name, done.stdout)


def _helped(name: str, answer: bytes) -> Credential | None:
    document = _parsed(answer.decode("utf-8", "replace"), f"the answer of docker-credential-{name}")
    username, secret = str(document.get("Username") or ""), str(document.get("Secret") or "")
    return Credential("" if username == _TOKEN_USER else username, secret) if secret else None


def _helper_failed(name: str, why: str) -> AccessDenied:
    return AccessDenied(
        f"the credential helper docker-credential-{name} failed: {why}",
        next_step="install or repair it, or take it out of the docker configuration",
    )


def _listed(auths: object, reference: Reference, where: str) -> Credential | None:
    """Return what a file's list has for the longest name that ``reference`` lies under."""
    if not isinstance(auths, dict):
        return None
    entries = {_place_of(key): entry for key, entry in auths.items() if isinstance(entry, dict)}
    name = reference.name
    while name:
        found = _credential(entries[name], where) if name in entries else None
        if found is not None:
            return found
        name = name.rpartition("/")[0]
    return None


def _credential(entry: Mapping[str, Any], where: str) -> Credential | None:
    if entry.get("identitytoken"):
        return Credential("", str(entry["identitytoken"]))
    if entry.get("auth"):
        try:
            username, colon, secret = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise InvalidInput(f"an entry of {where} is not base64 of a user's name and password")
        # Some tools fill the text up with NULs.
        return Credential(username, secret.strip("\0"))
    if entry.get("username") and entry.get("password"):
        return Credential(str(entry["username"]), str(entry["password"]))
    return None


def _place_of(key: str) -> str:
    """Return the registry, and the repositories of it, that a name in a file stands for.

    Example:
        >>> _place_of("https://index.docker.io/v1/"), _place_of("quay.io/team")
        ('docker.io', 'quay.io/team')
    """
    rest = key.partition("://")[2] or key
    host, slash, path = rest.rstrip("/").partition("/")
    if path in {"v1", "v2"}:
        slash, path = "", ""
    host = host.lower()
    return (DOCKER_HUB if host in {"index.docker.io", "registry-1.docker.io"} else host) + slash + path


@attrs.frozen
class _Challenge:
    """What a registry asks for.

    Attributes:
        scheme: ``basic`` or ``bearer``.
        realm: Where tokens are given out.
        service: Whom the token is for.
    """

    scheme: str
    realm: str = ""
    service: str = ""


@attrs.frozen
class _Token:
    value: str = attrs.field(repr=False)
    until: float


class Authorizer:
    """What is shown to one registry, and to nobody else; safe to be used by several threads at once.

    Args:
        reference: What is to be read or written.
        settings: Where credentials are.
        send: Sends a request (method, URL, headers, form) without following redirects, and returns the answer.
        plain_http: Whether the registry is reached without TLS; then its tokens may be, too.
        clock: Seconds.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        settings: OCISettings,
        send: Callable[[str, str, dict[str, str], dict[str, str] | None], Any],
        plain_http: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._send = send
        self._plain_http = plain_http
        self._clock = clock
        self._lock = threading.RLock()
        self._challenge: _Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        # What the registry asked for besides, by what we ask for.
        self._asked: dict[tuple[str, ...], str] = {}
        self._credential: Credential | None = None
        self._looked = False

    def header(self, scopes: tuple[str, ...]) -> str | None:
        """Return the ``Authorization`` header for ``scopes``; ``None`` where nothing is known to be wanted.

        Raises:
            AccessDenied: The registry does not take the credentials.
            StorageError: What gives out tokens failed or could not be reached.
        """
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                found = self._found()
                return found.basic if found is not None else None
            token = self._tokens.get(scopes)
            if token is None or token.until - _MARGIN_S < self._clock():
                token = self._tokens[scopes] = self._new_token(self._challenge, scopes)
            return f"Bearer {token.value}"

    def learn(self, challenges: str, scopes: tuple[str, ...], *, refused: str | None) -> bool:
        """Take note of what a registry asked for when it refused; return whether it is worth to ask again.

        Args:
            challenges: The ``WWW-Authenticate`` header.
            scopes: What was asked for.
            refused: The ``Authorization`` header that was refused, if there was one.
        """
        with self._lock:
            found = _challenge(challenges)
            if found is None:
                return False
            self._challenge, asked = found
            if asked:
                self._asked[scopes] = asked
            token = self._tokens.get(scopes)
            # Unless another thread has a newer one by now.
            if token is not None and refused == f"Bearer {token.value}":
                del self._tokens[scopes]
            if self._challenge.scheme == "bearer":
                return True
            credential = self._found()
            return credential is not None and credential.basic != refused

    def _found(self) -> Credential | None:
        """Return the credential, looked for once and only when one is wanted: a helper may ask its user."""
        if not self._looked:
            self._credential = find_credential(self._reference, self._settings)
            self._looked = True
        return self._credential

    def _new_token(self, challenge: _Challenge, scopes: tuple[str, ...]) -> _Token:
        self._check_realm(challenge.realm)
        wanted = sorted({*scopes, *self._asked.get(scopes, "").split()})
        credential = self._found()
        if credential is not None and not credential.username:
            answer = self._exchange(challenge, wanted, credential)
        else:
            answer = self._ask(challenge, wanted, credential)
        with answer:
            return self._token(answer, challenge)

    def _check_realm(self, realm: str) -> None:
        """Refuse to ask for tokens where nobody should be asked.

        Raises:
            AccessDenied: The address is not encrypted, or a service of this machine's platform.
        """
        parts = urlsplit(realm)
        host = self._reference.api_host
        shown = f"the registry {host} has its tokens given out by {redact_url(realm)}"
        if parts.scheme not in ({"https", "http"} if self._plain_http else {"https"}) or not parts.hostname:
            raise AccessDenied(f"{shown}, which is not an https address")
        if is_link_local(parts.hostname) and not is_link_local(urlsplit(f"//{host}").hostname or ""):
            raise AccessDenied(f"{shown}, an address that only this machine's platform answers")

    def _ask(self, challenge: _Challenge, scopes: list[str], credential: Credential | None) -> Any:
        """Return the answer to a request for a token, with a password or with nothing."""
        realm = urlsplit(challenge.realm)
        query = [*parse_qsl(realm.query, keep_blank_values=True)]
        query += [("service", challenge.service)] if challenge.service else []
        query += [("scope", scope) for scope in scopes]
        url = urlunsplit(realm._replace(query=urlencode(query)))
        secret = {} if credential is None else {"Authorization": credential.basic}

        def send(at: SplitResult) -> Any:
            return self._send("GET", urlunsplit(at), secret if is_same_origin(realm, at) else {}, None)

        return follow(url, send, carries_secrets=lambda at: bool(secret) and is_same_origin(realm, at))

    def _exchange(self, challenge: _Challenge, scopes: list[str], credential: Credential) -> Any:
        """Return the answer to a request for a token in exchange for an identity token; it is never redirected."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credential.secret,
            "service": challenge.service,
            "scope": " ".join(scopes),
            "client_id": _CLIENT,
        }
        return self._send("POST", challenge.realm, {}, form)

    def _token(self, answer: Any, challenge: _Challenge) -> _Token:
        what = f"a token of {redact_url(challenge.realm)}"
        if answer.status_code in {401, 403}:
            raise AccessDenied(
                f"the registry {self._reference.host} does not take the credentials (status {answer.status_code})",
                next_step=f"log in again: docker login {self._reference.host}",
            )
        if not 200 <= answer.status_code < 300:
            wait_s = seconds_of(answer.headers.get("Retry-After", ""))
            raise errors.from_status(answer.status_code, what, answer.reason or "", wait_s)
        try:
            document = json.loads(answer.raw.read(_MOST_ANSWER_BYTES, decode_content=True))
            value = document.get("token") or document.get("access_token")
            life_s = float(document.get("expires_in") or _DEFAULT_LIFE_S)
        except (ValueError, TypeError, AttributeError):
            # Not chained: the error quotes what may be a token.
            value = None
        if not isinstance(value, str) or not value.isprintable():
            raise StorageError(f"{what} was asked for, and something else was answered")
        return _Token(value, self._clock() + max(life_s, _DEFAULT_LIFE_S))


def _challenge(header: str) -> tuple[_Challenge, str] | None:
    """Return what a ``WWW-Authenticate`` header asks for, and for which scope; a token rather than a password.

    Example:
        >>> _challenge('Bearer realm="https://a.example/token",service="a.example",scope="repository:x:pull"')
        (_Challenge(scheme='bearer', realm='https://a.example/token', service='a.example'), 'repository:x:pull')
        >>> _challenge("Negotiate") is None
        True
    """
    bearer = re.search(r"\bbearer\s+(.*)", header, re.IGNORECASE | re.DOTALL)
    if bearer is not None:
        named = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(bearer[1])}
        if named.get("realm"):
            return _Challenge("bearer", named["realm"], named.get("service", "")), named.get("scope", "")
    return (_Challenge("basic"), "") if re.search(r"\bbasic\b", header, re.IGNORECASE) else None
