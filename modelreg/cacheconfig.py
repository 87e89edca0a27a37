"""The cache's settings: apart from :mod:`modelreg.config`, because a hit in the cache cannot afford to import attrs.

A hit reads these variables and two small files, and no more; importing attrs alone takes longer than all of it. Here
settings are named tuples; ``modelreg.config`` has the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from modelreg.exceptions import InvalidInput

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", re.IGNORECASE)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

# What else decides which object a URI means: the same s3:// URI at two endpoints is two objects. Where the URI does
# not say it itself, these do, so they are part of what the cache files an answer under.
_S3 = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT", "AWS_S3_ENDPOINT", "S3_USE_HTTPS"),
    *("STORAGE_CONFIG", "STORAGE_OVERRIDE_CONFIG"),
)
_AZURE = (
    *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ENDPOINT"),
    "AZURE_STORAGE_CONNECTION_STRING",
)
_LOCATING = {
    "s3": _S3,
    "gs": ("STORAGE_EMULATOR_HOST",),
    "gcs": ("STORAGE_EMULATOR_HOST",),
    "az": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "hf": ("HF_ENDPOINT",),
    "pvc": ("MODELREG_PVC_ROOT",),
    "model-registry": ("MODELREG_REGISTRY_URL", "MODELREG_DATA_DIR"),
}


class CacheSettings(NamedTuple):
    """Where the cache is and what it may do.

    Attributes:
        root: Its folder (``MODELREG_CACHE_DIR``); ``None`` means the platform's folder for caches.
        max_size: Bytes that it may hold (``MODELREG_CACHE_MAX_SIZE``, such as ``50GB``); ``None``: as many as fit.
        offline: Answer from the cache alone (``MODELREG_OFFLINE``).
        revalidate_s: Seconds for which a copy of something that can change is taken as current without asking its
            source (``MODELREG_CACHE_REVALIDATE``).
        locks: Let one process download what several want (``MODELREG_CACHE_LOCKS``); all end right without.
    """

    root: str | None = None
    max_size: int | None = None
    offline: bool = False
    revalidate_s: float = 0.0
    locks: bool = True

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> CacheSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable holds what it cannot mean.
        """
        max_size = env.get("MODELREG_CACHE_MAX_SIZE")
        offline = env.get("MODELREG_OFFLINE")
        revalidate = env.get("MODELREG_CACHE_REVALIDATE")
        locks = env.get("MODELREG_CACHE_LOCKS")
        return cls(
            env.get("MODELREG_CACHE_DIR") or None,
            parse_size(max_size, name="MODELREG_CACHE_MAX_SIZE") if max_size else None,
            _flag("MODELREG_OFFLINE", offline) if offline else False,
            _seconds("MODELREG_CACHE_REVALIDATE", revalidate) if revalidate else 0.0,
            _flag("MODELREG_CACHE_LOCKS", locks) if locks else True,
        )


def is_offline(settings: CacheSettings, scheme: str, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether URIs of ``scheme`` are answered from the cache alone: ``HF_HUB_OFFLINE`` says so of the hub.

    Example:
        >>> is_offline(CacheSettings(), "hf", {"HF_HUB_OFFLINE": "1"}), is_offline(CacheSettings(), "s3", {})
        (True, False)
    """
    hub = env.get("HF_HUB_OFFLINE") if scheme == "hf" else None
    return settings.offline or (_flag("HF_HUB_OFFLINE", hub) if hub else False)


def cache_root(settings: CacheSettings) -> str:
    """Return the absolute path of the cache's folder; it may not exist yet."""
    if settings.root is not None:
        return os.path.abspath(os.path.expanduser(settings.root))
    from platformdirs import user_cache_dir

    return user_cache_dir("modelreg", appauthor=False)


def locating_values(scheme: str, env: Mapping[str, str] = os.environ) -> tuple[str | None, ...]:
    """Return what the environment says about where URIs of ``scheme`` lead.

    Example:
        >>> locating_values("gs", {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:4443"})
        ('http://127.0.0.1:4443',)
        >>> locating_values("https", {})
        ()
    """
    # A list and no generator: this is on the path of every hit.
    return tuple([_place(name, env[name]) if env.get(name) else None for name in _LOCATING.get(scheme, ())])


def _place(name: str, value: str) -> str:
    """Return what a variable says of where URIs lead, without the credentials that some hold as well."""
    place = _PLACES.get(name)
    return value if place is None else place(value)


def _place_of_connection(text: str) -> str:
    """Return the parts of an Azure connection string that name an account and its address.

    Example:
        >>> _place_of_connection("AccountName=acme;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net")
        'AccountName=acme;EndpointSuffix=core.windows.net'
    """
    parts = (part for part in text.split(";") if part.partition("=")[0] in _CONNECTION_PLACES)
    return ";".join(sorted(parts))


def _place_of_config(text: str) -> str:
    """Return what KServe's JSON says of the service that it is about.

    Example:
        >>> _place_of_config('{"type": "s3", "endpoint_url": "http://minio:9000", "secret_access_key": "secret"}')
        '["s3", "http://minio:9000"]'
    """
    import json

    try:
        config = json.loads(text)
    except ValueError:
        config = None
    # What is malformed is refused by whoever opens the storage.
    return json.dumps([config.get("type"), config.get("endpoint_url")]) if isinstance(config, dict) else ""


_CONNECTION_PLACES = frozenset({"AccountName", "BlobEndpoint", "EndpointSuffix", "DefaultEndpointsProtocol"})
_PLACES = {
    "AZURE_STORAGE_CONNECTION_STRING": _place_of_connection,
    "STORAGE_CONFIG": _place_of_config,
    "STORAGE_OVERRIDE_CONFIG": _place_of_config,
}


def parse_size(text: str, *, name: str = "size") -> int:
    """Return a size in bytes.

    Args:
        text: A number of bytes, or of units: ``500MB``, ``50 GB``, ``1.5GiB``.
        name: What is being set, for the error.

    Raises:
        InvalidInput: It is not a size.

    Example:
        >>> parse_size("50GB"), parse_size("1.5GiB"), parse_size("4096")
        (50000000000, 1610612736, 4096)
    """
    match = _SIZE.fullmatch(text)
    size = float(match.group(1)) * _UNITS[(match.group(2) or "").upper()] if match is not None else float("inf")
    if size == float("inf"):
        raise InvalidInput(f"{name} cannot be {text!r}", next_step="give bytes, or a number with KB, MB, GB, TB or GiB")
    return int(size)


def _flag(name: str, text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise InvalidInput(f"{name} cannot be {text!r}", next_step="set it to 1 or 0")


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidInput(f"{name} cannot be {text!r}", next_step="set it to a number of seconds")
    return seconds
