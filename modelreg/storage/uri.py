"""The URI grammar: one parser for every scheme, and the one text that stands for a URI in the cache.

Kept to the standard library and light, because answering from the cache starts here.

- Object stores (``s3://``, ``gs://``, ``az://``, ``abfs://``): the key is taken as it stands, nothing is unescaped.
  What follows the last ``?`` are options if it reads as ``name=value``; a key that itself ends that way is followed by
  one more ``?``.
- ``http(s)://``: a URL, escaped as URLs are. Azure's blob hosts are recognised and become ``az``.
- ``oci://`` is a registry's reference, with a tag or a digest; ``?platform=linux/arm64`` chooses of several.
- ``file://`` is unescaped; everything without a scheme, Windows drives included, is a path.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from modelreg.exceptions import InvalidURI
from modelreg.redact import redact_url

_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_OPTIONS = re.compile(r"[A-Za-z]\w*=[^&?]*(&[A-Za-z]\w*=[^&?]*)*")
_AZURE_HOST = re.compile(
    r"(?P<account>[a-z0-9-]+)\.(?:blob|dfs)\."
    r"(?:core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net|storage\.azure\.net|localhost)"
)
# Parameters of signed URLs (AWS, Google, Azure, CloudFront): they say who may read, not what is read.
_SIGNATURE = re.compile(
    r"x-(amz|goog)-(algorithm|credential|date|expires|signedheaders|signature|security-token)"
    r"|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy"
    r"|sig|se|sp|sv|sr|st|spr|sip|skoid|sktid|skt|ske|sks|skv",
    re.IGNORECASE,
)
_HIDDEN = re.compile(r"sha256-[0-9a-f]{32}")
_SIGNED = re.compile(r"(?:^|&)(x-amz-signature|x-goog-signature|signature|sig)=", re.IGNORECASE)

#: Options that an object store URI may carry: name as written -> name in :attr:`StorageURI.options`.
_S3_OPTIONS = {
    "endpoint": "endpoint",
    "endpointUrl": "endpoint",
    "defaultRegion": "region",
    "region": "region",
    "versionId": "version",
    "anonymous": "anonymous",
}
_GCS_OPTIONS = {"endpoint": "endpoint", "generation": "version", "versionId": "version", "anonymous": "anonymous"}
_AZURE_OPTIONS = {
    "account": "account",
    "endpoint": "endpoint",
    "versionid": "version",
    "versionId": "version",
    "anonymous": "anonymous",
}
_OCI_OPTIONS = {"platform": "platform", "artifact": "artifact"}
_PLATFORM = re.compile(r"[a-z0-9_]+/[a-z0-9_]+(/[a-z0-9_.]+)?")
# How each option is written back.
_WRITTEN = {"region": "defaultRegion", "version": "versionId"}


class StorageURI(NamedTuple):
    """A parsed URI.

    Attributes:
        scheme: Lower case, aliases resolved (``gcs`` is ``gs``; ``abfs``, ``abfss`` and Azure's https are ``az``).
        bucket: Bucket, container, volume claim, repository or host; empty for local paths.
        path: What follows, without a leading ``/``; the whole path for local files; escaped for ``http(s)``.
        options: Options of the URI by their canonical name (``endpoint``, ``region``, ``version``, ``account``, ...).
        normalised: One spelling for all URIs that mean the same, without credentials.
        text: What a client is given; may hold credentials, and is left out of the ``repr``.
    """

    scheme: str
    bucket: str
    path: str
    options: Mapping[str, str]
    normalised: str
    text: str

    def __repr__(self) -> str:
        return f"StorageURI({self.normalised!r})"

    def __str__(self) -> str:
        return self.normalised

    def __reduce__(self) -> tuple[Callable[..., StorageURI], tuple[Any, ...]]:
        # A view of a mapping, as the options are, is neither pickled nor copied.
        return _made_again, (*self[:3], dict(self.options), *self[4:])

    @property
    def is_folder(self) -> bool:
        """Whether it is written as a folder: with a slash at its end, or without any path; what images hold is one."""
        return (
            self.scheme == "oci"
            or not self.path
            or (self.text if self.scheme == "file" else self.path).endswith(("/", os.sep))
        )

    @property
    def name(self) -> str:
        """The last segment of the path, unescaped; the bucket where there is no path."""
        last = (self.path.replace("\\", "/").rstrip("/") or self.bucket).rpartition("/")[2]
        return unquote(last) if self.scheme in {"http", "https"} else last


def _made_again(scheme: str, bucket: str, path: str, options: dict[str, str], *texts: str) -> StorageURI:
    return StorageURI(scheme, bucket, path, MappingProxyType(options), *texts)


def parse_uri(uri: str | os.PathLike[str]) -> StorageURI:
    """Return ``uri`` parsed; whether a storage answers for its scheme is for :func:`open_backend` to say.

    Args:
        uri: A URI, or a local path.

    Raises:
        InvalidURI: It is empty, or malformed for its scheme.

    Example:
        >>> uri = parse_uri("s3://models/fraud/1.0.0?endpoint=http://minio:9000&defaultRegion=eu-1")
        >>> uri.scheme, uri.bucket, uri.path, dict(uri.options)
        ('s3', 'models', 'fraud/1.0.0', {'endpoint': 'http://minio:9000', 'region': 'eu-1'})
        >>> parse_uri("https://acme.blob.core.windows.net/models/fraud").normalised
        'az://models/fraud?account=acme'
    """
    text = os.fspath(uri)
    if not text:
        raise InvalidURI("a storage URI must not be empty")
    _check_text(text, text)
    match = _SCHEME.fullmatch(text)
    if match is None or not match[2].startswith("//"):
        # file:/path is a URL of RFC 8089; everything else without '//' is a path, whatever colons it has.
        if match is not None and match[1].lower() == "file" and match[2].startswith("/"):
            return _parse_file(text, match[2])
        return _local(os.path.expanduser(text))  # noqa: PTH111 - pathlib is not needed on the way to a cache hit
    return _parse_remote(text)


def _check_text(text: str, shown: str) -> None:
    """Refuse what no address and no path can hold.

    Raises:
        InvalidURI: It holds a NUL, or characters that are none.
    """
    if "\0" in text:
        raise InvalidURI(f"the URI {redact_url(shown)!r} holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # As os.fsdecode makes it of a name that is not UTF-8. Not chained: the error keeps the whole text.
            raise InvalidURI(f"the URI {redact_url(shown)!r} is not valid Unicode") from None


@lru_cache(maxsize=512)
def _parse_remote(text: str) -> StorageURI:
    """Return the URI ``text`` parsed: kept, as the text alone decides, and a program asks for the same few again."""
    scheme, _, rest = text.partition("://")
    return _PARSERS.get(scheme.lower(), _parse_other)(text, rest)


def _split_options(text: str, rest: str, known: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the key in ``rest`` and the options that follow its last ``?``."""
    key, question, query = rest.rpartition("?")
    if not question:
        return rest, {}
    if not query:
        return key, {}
    if not _OPTIONS.fullmatch(query):
        return rest, {}
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise InvalidURI(
                f"the URI {redact_url(text)!r} has an unknown option {name!r}",
                next_step=f"known are {', '.join(sorted(known))}; a key that ends in '?name=value' needs one more '?'",
            )
        options[known[name]] = value
    return key, options


def _join(scheme: str, bucket: str, key: str, options: Mapping[str, str]) -> str:
    written = {_WRITTEN.get(name, name): value for name, value in sorted(options.items())}
    # A key whose own tail would be read as options is closed by a '?' of its own.
    _, mark, tail = key.rpartition("?")
    ambiguous = bool(mark) and (not tail or _OPTIONS.fullmatch(tail) is not None)
    question = "?" if written or ambiguous else ""
    return f"{scheme}://{bucket}/{key}{question}{urlencode(written, quote_via=quote)}"


def _bucket_and_key(text: str, rest: str, what: str) -> tuple[str, str]:
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise InvalidURI(f"the URI {redact_url(text)!r} names no {what}")
    if "@" in bucket and ":" in bucket:
        raise InvalidURI(
            f"the URI {redact_url(text)!r} has credentials before its {what}",
            next_step="give them in the environment, as the storage's own tools take them",
        )
    return bucket, key


def _object_store(scheme: str, bucket: str, key: str, options: Mapping[str, str]) -> StorageURI:
    normalised = _join(scheme, bucket, key, options)
    return StorageURI(scheme, bucket, key, MappingProxyType(dict(options)), normalised, normalised)


def _parse_s3(text: str, rest: str) -> StorageURI:
    rest, options = _split_options(text, rest, _S3_OPTIONS)
    bucket, key = _bucket_and_key(text, rest, "bucket")
    return _object_store("s3", bucket, key, _checked_endpoint(text, options))


def _parse_gcs(text: str, rest: str) -> StorageURI:
    rest, options = _split_options(text, rest, _GCS_OPTIONS)
    bucket, key = _bucket_and_key(text, rest, "bucket")
    key, hash_, generation = key.rpartition("#")
    if hash_ and generation.isdigit():
        # gsutil writes a generation as gs://bucket/key#123
        options["version"] = generation
    else:
        key = f"{key}{hash_}{generation}"
    return _object_store("gs", bucket, key, _checked_endpoint(text, options))


def _parse_azure(text: str, rest: str) -> StorageURI:
    rest, options = _split_options(text, rest, _AZURE_OPTIONS)
    authority, key = _bucket_and_key(text, rest, "container")
    container, at, host = authority.partition("@")
    if at:
        # abfss://container@account.dfs.core.windows.net/path, as Hadoop and Azure's own tools write it
        match = _AZURE_HOST.fullmatch(host.lower().partition(":")[0])
        if match is None or not container:
            raise InvalidURI(f"the URI {redact_url(text)!r} does not name a container at an Azure storage account")
        options.setdefault("account", match["account"])
    return _object_store("az", container, key, _checked_endpoint(text, options))


def _checked_endpoint(text: str, options: dict[str, str]) -> dict[str, str]:
    endpoint = options.get("endpoint")
    if endpoint is None:
        return options
    parts = _split(text, endpoint if "://" in endpoint else f"https://{endpoint}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidURI(f"the URI {redact_url(text)!r} has an endpoint that is not an http(s) address")
    if parts.username or parts.password:
        raise InvalidURI(f"the URI {redact_url(text)!r} has an endpoint with credentials in it")
    return {**options, "endpoint": urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", ""))}


def _split(text: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidURI(f"the URI {redact_url(text)!r} cannot be parsed: {error}") from error
    if "\\" in parts.netloc:
        # Clients disagree on which side of it the host is: one would be checked, and another asked.
        raise InvalidURI(f"the URI {redact_url(text)!r} holds a backslash before its path")
    return parts


def _parse_http(text: str, rest: str) -> StorageURI:
    del rest
    parts = _split(text, text)
    port = parts.port
    if not parts.hostname:
        raise InvalidURI(f"the URI {redact_url(text)!r} names no host")
    if any(character.isspace() for character in text):
        raise InvalidURI(f"the URI {redact_url(text)!r} holds white space", next_step="write a space as %20")
    host = parts.hostname.lower()
    match = _AZURE_HOST.fullmatch(host)
    if match is not None:
        return _azure_url(text, parts, match["account"])
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        netloc = f"{netloc}:{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    normalised = urlunsplit((parts.scheme, netloc, path, _public_query(parts.query), ""))
    location = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    return StorageURI(parts.scheme, netloc, path[1:], _NO_OPTIONS, normalised, location)


def _azure_url(text: str, parts: SplitResult, account: str) -> StorageURI:
    container, _, key = unquote(parts.path).lstrip("/").partition("/")
    if not container:
        raise InvalidURI(f"the URI {redact_url(text)!r} names no container")
    options = {"account": account}
    if (parts.hostname or "").endswith(".localhost") or parts.port is not None:
        options["endpoint"] = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    version = next((value for name, value in parse_qsl(parts.query) if name.lower() == "versionid"), None)
    if version:
        options["version"] = version
    normalised = _join("az", container, key, options)
    if _SIGNED.search(parts.query):
        options["sas_token"] = parts.query
    return StorageURI("az", container, key, MappingProxyType(options), normalised, text)


def _public_query(query: str) -> str:
    """Return ``query`` without what signs it; other secrets stand as a digest, for they may choose what is answered."""
    if not query:
        return ""
    signed = _SIGNED.search(query) is not None
    kept = []
    for parameter in query.split("&"):
        name, equals, value = parameter.partition("=")
        if signed and _SIGNATURE.fullmatch(unquote(name)):
            continue
        # A '#' here is part of the query; what is a digest already is the value of a normal form.
        shown = f"x://x/?{parameter.replace('#', '%23')}"
        if value and not _HIDDEN.fullmatch(value) and redact_url(shown) != shown:
            value = "sha256-" + hashlib.sha256(value.encode()).hexdigest()[:32]
        kept.append(f"{name}{equals}{value}")
    return "&".join(kept)


def _parse_file(text: str, rest: str) -> StorageURI:
    host, slash, path = rest.partition("/") if not rest.startswith("/") else ("", "/", rest.lstrip("/"))
    if host not in {"", "localhost"} or not slash:
        problem = f"names the host {host!r}" if host not in {"", "localhost"} else "names no path"
        raise InvalidURI(f"the URI {redact_url(text)!r} {problem}", next_step="write file:///absolute/path")
    path = unquote(path)
    _check_text(path, text)
    return _local(path if re.match(r"[A-Za-z]:", path) and os.name == "nt" else slash + path)


def _local(path: str) -> StorageURI:
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path.resolve follows links, Path.absolute keeps '..'
    slashed = absolute.replace(os.sep, "/")
    normalised = "file://" + quote(slashed if slashed.startswith("/") else f"/{slashed}", safe="/:")
    text = f"{absolute.rstrip(os.sep)}{os.sep}" if path.endswith(("/", os.sep)) else absolute
    return StorageURI("file", "", absolute, _NO_OPTIONS, normalised, text)


def _parse_pvc(text: str, rest: str) -> StorageURI:
    name, path = _bucket_and_key(text, rest, "volume claim")
    segments = [segment for segment in path.split("/") if segment]
    if name in {".", ".."} or "\\" in rest or any(segment in {".", ".."} for segment in segments):
        raise InvalidURI(f"the URI {text!r} leaves its volume claim")
    path = "/".join(segments) + ("/" if segments and path.endswith("/") else "")
    normalised = f"pvc://{name}/{path}"
    return StorageURI("pvc", name, path, _NO_OPTIONS, normalised, normalised)


def _parse_registered(text: str, rest: str) -> StorageURI:
    base, question, query = rest.partition("?")
    first, _, path = base.partition("/")
    # model-registry://fraud@champion has an alias; an '@' before a host, or with a ':' before it, has credentials.
    if "@" in first and (path or ":" in first):
        raise InvalidURI(
            f"the URI {redact_url(text)!r} has credentials before its host, or both an alias and a version",
            next_step="write MODEL@ALIAS or MODEL/VERSION; the token of a registry is never part of its URIs",
        )
    normalised = f"model-registry://{base}{question}{_public_query(query)}"
    return StorageURI("model-registry", first, path, _NO_OPTIONS, normalised, normalised)


def _parse_hub(text: str, rest: str) -> StorageURI:
    from modelreg.storage.hub_uri import parse_hub_uri

    return parse_hub_uri(text, rest)


def _parse_oci(text: str, rest: str) -> StorageURI:
    from modelreg.storage.oci.reference import parse_reference

    # As a flag, it is written without a value.
    rest, options = _split_options(text, re.sub(r"([?&]artifact)(?=&|$)", r"\1=true", rest), _OCI_OPTIONS)
    platform = options.get("platform")
    if platform is not None and not _PLATFORM.fullmatch(platform):
        raise InvalidURI(f"the URI {redact_url(text)!r} names no platform", next_step="write ?platform=linux/arm64")
    if options.get("artifact", "true") not in {"true", "false"}:
        raise InvalidURI(f"the URI {redact_url(text)!r} says neither ?artifact=true nor ?artifact=false")
    reference = parse_reference(rest)
    path = str(reference).partition("/")[2]
    # Whether it is written as an artifact is no part of what it is called.
    chosen = "" if platform is None else f"?platform={platform}"
    normalised = f"oci://{reference}{chosen}"
    return StorageURI("oci", reference.host, path, MappingProxyType(options), normalised, normalised)


def _parse_other(text: str, rest: str) -> StorageURI:
    scheme = text.partition(":")[0].lower()
    authority, _, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    # Whatever a filesystem makes of '#', it stays: two files must not have one normal form.
    base, question, query = path.partition("?")
    normalised = f"{scheme}://{host}/{base}{question}{_public_query(query)}"
    return StorageURI(scheme, host, path, _NO_OPTIONS, normalised, f"{scheme}://{rest}")


_PARSERS: Mapping[str, Callable[[str, str], StorageURI]] = {
    "s3": _parse_s3,
    "s3a": _parse_s3,
    "gs": _parse_gcs,
    "gcs": _parse_gcs,
    "az": _parse_azure,
    "abfs": _parse_azure,
    "abfss": _parse_azure,
    "http": _parse_http,
    "https": _parse_http,
    "file": _parse_file,
    "hf": _parse_hub,
    "model-registry": _parse_registered,
    "oci": _parse_oci,
    "pvc": _parse_pvc,
}
