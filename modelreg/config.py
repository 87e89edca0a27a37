"""Settings, frozen; each class reads its own environment variables in ``from_env()``, and nothing else reads any.

Empty variables count as absent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from modelreg.exceptions import InvalidInput


def _text(env: Mapping[str, str], *names: str) -> str | None:
    """Return the first of the variables ``names`` that is set and not empty."""
    return next((env[name] for name in names if env.get(name)), None)


_PERMISSIONS = frozenset({"local", "link-local", "endpoint", "any-scheme"})


def _allowed(text: str) -> frozenset[str]:
    """Return what a list, with commas between, allows registries to lead to."""
    allowed = frozenset(one.strip() for one in text.split(",") if one.strip())
    if not allowed <= _PERMISSIONS:
        raise InvalidInput(
            f"MODELREG_REGISTRY_ALLOW cannot be {text!r}",
            next_step=f"set it to some of {', '.join(sorted(_PERMISSIONS))}, with commas between",
        )
    return allowed


@attrs.frozen(kw_only=True)
class RegistrySettings:
    """Where the registry is.

    Attributes:
        url: ``http(s)://`` address or ``sqlite:///path``; ``None`` means the embedded default.
        data_dir: Folder of the embedded registry's database and of the tracking journals; ``None`` means the
            platform's folder for user data.
        token_path: File that holds a bearer token (``KF_PIPELINES_SA_TOKEN_PATH``).
        allow: Where a registry that others run may lead besides (``MODELREG_REGISTRY_ALLOW``): ``local`` files,
            ``link-local`` addresses, services at an ``endpoint`` of its choice, ``any-scheme`` of fsspec's.
    """

    url: str | None = None
    data_dir: str | None = None
    token_path: str | None = None
    allow: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> RegistrySettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable holds what it cannot mean.
        """
        return cls(
            url=_text(env, "MODELREG_REGISTRY_URL"),
            data_dir=_text(env, "MODELREG_DATA_DIR"),
            token_path=_text(env, "KF_PIPELINES_SA_TOKEN_PATH"),
            allow=_allowed(env.get("MODELREG_REGISTRY_ALLOW", "")),
        )

    @property
    def data_folder(self) -> Path:
        """The folder of what modelreg keeps on this machine; it may not exist yet."""
        if self.data_dir is not None:
            return Path(self.data_dir).expanduser().absolute()
        from platformdirs import user_data_path

        return user_data_path("modelreg", appauthor=False)

    @property
    def database(self) -> Path:
        """The embedded registry's database; it may not exist yet."""
        return self.data_folder / "registry.db"


@attrs.frozen(kw_only=True)
class S3LocationSettings:
    """Where S3 URIs point that are built from a path alone.

    Attributes:
        bucket: The bucket (``AWS_S3_BUCKET``).
        endpoint: The storage's address (``AWS_S3_ENDPOINT``).
        region: The region (``AWS_DEFAULT_REGION``).
    """

    bucket: str | None = None
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> S3LocationSettings:
        """Return the settings that the environment names."""
        return cls(
            bucket=_text(env, "AWS_S3_BUCKET"),
            endpoint=_text(env, "AWS_S3_ENDPOINT"),
            region=_text(env, "AWS_DEFAULT_REGION"),
        )


@attrs.frozen(kw_only=True)
class CertificateSettings:
    """Which certificate authorities the environment says to trust.

    Attributes:
        bundles: Path of a file of certificates, by the variable that names it.
    """

    bundles: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> CertificateSettings:
        """Return the settings that the environment names."""
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE")
        return cls(bundles={name: env[name] for name in names if env.get(name)})


@attrs.frozen(kw_only=True)
class ServingSettings:
    """What a model server takes from its environment; the variables are KServe's.

    Attributes:
        certfile: File with the certificate of the server (``KSERVE_TLS_CERT_FILE``).
        keyfile: File with its private key (``KSERVE_TLS_KEY_FILE``).
        event_type: The ``type`` of answers to CloudEvents (``CE_TYPE``).
        event_source: Their ``source`` (``CE_SOURCE``).
        merge_events: Whether they carry the attributes of the request (``CE_MERGE``, which is then ``true``).
        log_level: Level from which on records are logged, where the program does not set up its log
            (``KSERVE_LOGLEVEL``); ``None`` for whatever is usual there.
    """

    certfile: str | None = None
    keyfile: str | None = None
    event_type: str | None = None
    event_source: str | None = None
    merge_events: bool = False
    log_level: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> ServingSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: There is no such level.
        """
        level = _text(env, "KSERVE_LOGLEVEL")
        if level is not None and level.upper() not in _LOG_LEVELS:
            raise InvalidInput(f"KSERVE_LOGLEVEL is {level!r}", next_step=f"set it to one of {', '.join(_LOG_LEVELS)}")
        return cls(
            certfile=_text(env, "KSERVE_TLS_CERT_FILE"),
            keyfile=_text(env, "KSERVE_TLS_KEY_FILE"),
            event_type=_text(env, "CE_TYPE"),
            event_source=_text(env, "CE_SOURCE"),
            merge_events=(_text(env, "CE_MERGE") or "").lower() == "true",
            log_level=None if level is None else level.upper(),
        )


_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@attrs.frozen(kw_only=True)
class TrackingSettings:
    """How runs are logged.

    Attributes:
        artifact_uri: Where files and models of runs are put (``MODELREG_ARTIFACT_URI``); ``None`` means a folder beside
            the embedded registry's database.
        start_timeout_s: Seconds that the start of a run waits for the registry; then the run goes on without it.
        exit_timeout_s: Seconds that the end of a run waits for the registry to have everything
            (``MODELREG_TRACKING_EXIT_TIMEOUT_S``); what is left is sent later.
        commit_interval_s: Seconds between two commits to disk: what a power cut can take.
        batch_age_s: Seconds that a record waits for others to be sent with.
        batch_records: Records that are sent at once, at most.
        batch_bytes: Bytes of journal that are sent at once, at most.
        segment_bytes: Size at which a journal begins another file; files that are sent are deleted.
        max_value_bytes: Bytes of text that the registry keeps in one field; longer texts become files.
        connections: Connections at once to a registry that takes no batches.
        backoff_s: Seconds to wait after the first of several failures; twice as long after each further one.
    """

    artifact_uri: str | None = None
    start_timeout_s: float = 10.0
    exit_timeout_s: float = 10.0
    commit_interval_s: float = 0.05
    batch_age_s: float = 1.0
    batch_records: int = 5000
    batch_bytes: int = 512 * 1024
    segment_bytes: int = 16 * 1024 * 1024
    max_value_bytes: int = 65_000
    connections: int = 8
    backoff_s: float = 0.5

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> TrackingSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable that holds a number does not.
        """
        timeout = _seconds(env, "MODELREG_TRACKING_EXIT_TIMEOUT_S")
        settings = cls(artifact_uri=_text(env, "MODELREG_ARTIFACT_URI"))
        return settings if timeout is None else attrs.evolve(settings, exit_timeout_s=timeout)


def _seconds(env: Mapping[str, str], name: str) -> float | None:
    text = _text(env, name)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise InvalidInput(f"{name} is {text!r}, not a number of seconds") from error


def named_variable(name: str, env: Mapping[str, str] = os.environ) -> str:
    """Return the value of a variable that the user named.

    Raises:
        InvalidInput: It is not set, or empty.
    """
    value = _text(env, name)
    if value is None:
        raise InvalidInput(f"the environment variable {name} is not set", next_step=f"set {name}, or do not name it")
    return value
