"""The settings of storage, frozen; each class reads its own environment variables in ``from_env()``.

Empty variables count as absent.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import attrs

from modelreg.exceptions import InvalidInput

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _text(env: Mapping[str, str], *names: str) -> str | None:
    """Return the first of the variables ``names`` that is set and not empty."""
    return next((env[name] for name in names if env.get(name)), None)


def _flag(env: Mapping[str, str], name: str) -> bool | None:
    """Return whether the variable ``name`` says yes; ``None`` if it is absent."""
    value = env.get(name, "").strip().lower()
    if not value:
        return None
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise InvalidInput(f"the variable {name} must be true or false, got {env[name]!r}")


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    """Return the positive number that the variable ``name`` holds."""
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise InvalidInput(f"the variable {name} must be a number above 0, got {text!r}")
    return value


def _json_object(name: str, text: str) -> dict[str, object]:
    """Return the JSON object that the variable ``name`` holds as ``text``."""
    try:
        found = json.loads(text)
    except ValueError:
        # Not chained: the variable holds credentials, and a JSON error keeps the whole text that it could not read.
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(f"the variable {name} does not hold a JSON object")
    return found


@attrs.frozen(kw_only=True)
class TransferSettings:
    """How bytes are moved.

    Attributes:
        concurrency: Requests at once, over all files of one transfer.
        part_bytes: Length of the ranges that a large file is read and written in, in bytes.
        multipart_bytes: Largest size in bytes of a file that is written in one request; ``None``: one part.
        small_bytes: Largest size in bytes of a file that is read whole, in memory.
        stall_timeout_s: Seconds without a single byte after which a read is given up.
        connect_timeout_s: Seconds that making a connection may take.
        attempts: How often one read is tried in a row without getting anywhere.
        backoff_s: Seconds before the second try; each further one waits twice as long.
        max_backoff_s: Longest wait between two tries in seconds, ``Retry-After`` included.
        restarts: How often a file that changed while it was read is begun anew.
    """

    concurrency: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    part_bytes: int = attrs.field(default=16 << 20, validator=attrs.validators.ge(1))
    multipart_bytes: int | None = None
    small_bytes: int = 4 << 20
    stall_timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    attempts: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    backoff_s: float = 0.2
    max_backoff_s: float = 30.0
    restarts: int = 3

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> TransferSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable holds what it cannot mean.
        """
        default = cls()
        return cls(
            concurrency=max(1, int(_number(env, "MODELREG_TRANSFER_CONCURRENCY", default.concurrency))),
            stall_timeout_s=_number(env, "MODELREG_STALL_TIMEOUT", default.stall_timeout_s),
            connect_timeout_s=_number(env, "MODELREG_CONNECT_TIMEOUT", default.connect_timeout_s),
            attempts=max(1, int(_number(env, "MODELREG_TRANSFER_ATTEMPTS", default.attempts))),
        )


@attrs.frozen(kw_only=True)
class S3Settings:
    """How S3 is reached; what is ``None`` is left to boto's own chain.

    Attributes:
        endpoint: Address of an S3 that is not AWS (``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, ``S3_ENDPOINT``,
            ``AWS_S3_ENDPOINT``; one without a scheme takes it from ``S3_USE_HTTPS``).
        region: Region of the bucket (``AWS_REGION``, ``AWS_DEFAULT_REGION``).
        access_key_id: Static credentials (``AWS_ACCESS_KEY_ID``).
        secret_access_key: The same (``AWS_SECRET_ACCESS_KEY``).
        session_token: The same, temporary (``AWS_SESSION_TOKEN``).
        profile: Profile of boto's files (``AWS_PROFILE``).
        anonymous: Sign nothing (``awsAnonymousCredential``).
        virtual_hosted: Put the bucket in the host name (``S3_USER_VIRTUAL_BUCKET``); ``None``: on AWS only.
        verify_tls: Check certificates (``S3_VERIFY_SSL``).
        ca_bundle: File of certificates to trust besides (``AWS_CA_BUNDLE``).
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = attrs.field(default=None, repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)
    profile: str | None = None
    anonymous: bool = False
    virtual_hosted: bool | None = None
    verify_tls: bool = True
    ca_bundle: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> S3Settings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable holds what it cannot mean.
        """
        env = {**env, **_storage_config(env)}
        endpoint = _text(env, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT", "AWS_S3_ENDPOINT")
        if endpoint is not None and "://" not in endpoint:
            endpoint = f"{'http' if _flag(env, 'S3_USE_HTTPS') is False else 'https'}://{endpoint}"
        return cls(
            endpoint=endpoint,
            region=_text(env, "AWS_REGION", "AWS_DEFAULT_REGION"),
            access_key_id=_text(env, "AWS_ACCESS_KEY_ID"),
            secret_access_key=_text(env, "AWS_SECRET_ACCESS_KEY"),
            session_token=_text(env, "AWS_SESSION_TOKEN"),
            profile=_text(env, "AWS_PROFILE"),
            anonymous=bool(_flag(env, "awsAnonymousCredential")),
            virtual_hosted=_flag(env, "S3_USER_VIRTUAL_BUCKET"),
            verify_tls=_flag(env, "S3_VERIFY_SSL") is not False,
            ca_bundle=_text(env, "AWS_CA_BUNDLE"),
        )

    def with_keys(self, access_key_id: str | None, secret_access_key: str | None) -> S3Settings:
        """Return these settings with static credentials instead of all others; ``None`` changes nothing."""
        if access_key_id is None:
            return self
        return attrs.evolve(
            self,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=None,
            profile=None,
            anonymous=False,
        )


# KServe's STORAGE_CONFIG: its names -> the variables that mean the same.
_STORAGE_CONFIG = {
    "endpoint_url": "AWS_ENDPOINT_URL_S3",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "region": "AWS_DEFAULT_REGION",
    "ca_bundle": "AWS_CA_BUNDLE",
    "verify_ssl": "S3_VERIFY_SSL",
    "anonymous": "awsAnonymousCredential",
}


def _storage_config(env: Mapping[str, str]) -> dict[str, str]:
    """Return what ``STORAGE_CONFIG`` says of S3, under the names of the variables that mean the same."""
    config: dict[str, object] = {}
    for name in ("STORAGE_CONFIG", "STORAGE_OVERRIDE_CONFIG"):
        config.update(_json_object(name, env.get(name) or "{}"))
    if config.get("type", "s3") != "s3":
        return {}
    return {variable: str(config[name]) for name, variable in _STORAGE_CONFIG.items() if config.get(name) is not None}


@attrs.frozen(kw_only=True)
class GCSSettings:
    """How Google Cloud Storage is reached.

    Attributes:
        credentials_path: File of credentials (``GOOGLE_APPLICATION_CREDENTIALS``).
        endpoint: Address of an emulator (``STORAGE_EMULATOR_HOST``), which is asked anonymously.
        project: Project that is billed (``GOOGLE_CLOUD_PROJECT``).
        anonymous: Sign nothing; ``None``: only where no credentials are found.
        on_cluster: Credentials may come from the machine (Kubernetes, or ``GCE_METADATA_HOST``).
    """

    credentials_path: str | None = None
    endpoint: str | None = None
    project: str | None = None
    anonymous: bool | None = None
    on_cluster: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> GCSSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable holds what it cannot mean.
        """
        endpoint = _text(env, "STORAGE_EMULATOR_HOST")
        if endpoint is not None and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        on_cluster = _text(env, "GCE_METADATA_HOST", "KUBERNETES_SERVICE_HOST") is not None
        return cls(
            credentials_path=_text(env, "GOOGLE_APPLICATION_CREDENTIALS"),
            endpoint=endpoint,
            project=_text(env, "GOOGLE_CLOUD_PROJECT"),
            anonymous=_flag(env, "MODELREG_GCS_ANONYMOUS"),
            on_cluster=on_cluster and not _flag(env, "NO_GCE_CHECK"),
        )


@attrs.frozen(kw_only=True)
class AzureSettings:
    """How Azure's blob storage is reached; without any credentials, anonymously.

    Attributes:
        account: Storage account (``AZURE_STORAGE_ACCOUNT_NAME``, ``AZURE_STORAGE_ACCOUNT``).
        access_key: Its key (``AZURE_STORAGE_ACCESS_KEY``, ``AZURE_STORAGE_ACCOUNT_KEY``, ``AZURE_STORAGE_KEY``).
        sas_token: A shared access signature (``AZURE_STORAGE_SAS_TOKEN``).
        connection_string: All of these in one (``AZURE_STORAGE_CONNECTION_STRING``).
        client_id: A service principal (``AZURE_CLIENT_ID``, ``AZ_CLIENT_ID``).
        client_secret: The same (``AZURE_CLIENT_SECRET``, ``AZ_CLIENT_SECRET``).
        tenant_id: The same (``AZURE_TENANT_ID``, ``AZ_TENANT_ID``).
        federated_token_file: Workload identity instead of a secret (``AZURE_FEDERATED_TOKEN_FILE``).
        endpoint: Address of a blob service that is not ``ACCOUNT.blob.core.windows.net``.
        anonymous: Sign nothing, whatever credentials there are.
    """

    account: str | None = None
    access_key: str | None = attrs.field(default=None, repr=False)
    sas_token: str | None = attrs.field(default=None, repr=False)
    connection_string: str | None = attrs.field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = attrs.field(default=None, repr=False)
    tenant_id: str | None = None
    federated_token_file: str | None = None
    endpoint: str | None = None
    anonymous: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> AzureSettings:
        """Return the settings that the environment names."""
        return cls(
            account=_text(env, "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
            access_key=_text(env, "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
            sas_token=_text(env, "AZURE_STORAGE_SAS_TOKEN"),
            connection_string=_text(env, "AZURE_STORAGE_CONNECTION_STRING"),
            client_id=_text(env, "AZURE_CLIENT_ID", "AZ_CLIENT_ID"),
            client_secret=_text(env, "AZURE_CLIENT_SECRET", "AZ_CLIENT_SECRET"),
            tenant_id=_text(env, "AZURE_TENANT_ID", "AZ_TENANT_ID"),
            federated_token_file=_text(env, "AZURE_FEDERATED_TOKEN_FILE"),
            endpoint=_text(env, "AZURE_STORAGE_ENDPOINT"),
        )


# Where container tools keep what people logged in with, the first first.
_AUTH_FILES = ("~/.config/containers/auth.json", "~/.docker/config.json")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@attrs.frozen(kw_only=True)
class OCISettings:
    """How OCI registries are reached; without any credentials, anonymously.

    Attributes:
        username: The user's name at the one registry that is asked; counts only with a password.
        password: The same.
        auth_config: Text of a docker ``config.json``, looked through before files are.
        auth_files: Paths of such files: ``REGISTRY_AUTH_FILE``, else ``config.json`` in ``DOCKER_CONFIG``, else where
            docker, podman and skopeo keep them.
        plain_http: Registries, with or without port, that are reached without TLS: this machine's own, and those that
            ``MODELREG_OCI_PLAIN_HTTP`` lists, with commas between.
        helper_timeout_s: Seconds that a credential helper may take.
    """

    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    auth_config: str | None = attrs.field(default=None, repr=False)
    auth_files: tuple[str, ...] = _AUTH_FILES
    plain_http: tuple[str, ...] = _LOOPBACK
    helper_timeout_s: float = 30.0

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> OCISettings:
        """Return the settings that the environment names."""
        named = _text(env, "REGISTRY_AUTH_FILE")
        docker = _text(env, "DOCKER_CONFIG")
        runtime = _text(env, "XDG_RUNTIME_DIR")
        if named is None and docker is not None:
            named = os.path.join(docker, "config.json")  # noqa: PTH118 - text, as the other paths here are
        standard = (*([f"{runtime}/containers/auth.json"] if runtime else []), *_AUTH_FILES)
        plain = (_text(env, "MODELREG_OCI_PLAIN_HTTP") or "").lower().replace(",", " ").split()
        return cls(auth_files=(named,) if named is not None else standard, plain_http=(*_LOOPBACK, *plain))

    def logged_in(
        self,
        *,
        variable: str | None = None,
        username: str | None = None,
        password: str | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> OCISettings:
        """Return these settings with the first of these credentials that there is, as Kubeflow's client looks for them.

        Args:
            variable: Variable that holds the text of a docker ``config.json``; it must be set.
            username: The user's name, after the variable ``.dockerconfigjson``, which Kubernetes gives to pods.
            password: The same.
            env: The environment.

        Raises:
            InvalidInput: ``variable`` is not set.
        """
        text = _text(env, variable or ".dockerconfigjson")
        if variable and text is None:
            raise InvalidInput(f"cannot find the environment variable {variable!r}, which is to hold the credentials")
        if text is not None:
            return attrs.evolve(self, auth_config=text)
        return attrs.evolve(self, username=username, password=password) if username and password else self


@attrs.frozen(kw_only=True)
class HubSettings:
    """How the Hugging Face hub is reached.

    Attributes:
        endpoint: Its address (``HF_ENDPOINT``).
        token: Access token (``HF_TOKEN``, ``HUGGING_FACE_HUB_TOKEN``).
        token_path: File in which a login left one (``HF_TOKEN_PATH``, else ``token`` in ``HF_HOME``, else in
            ``huggingface`` below ``XDG_CACHE_HOME`` or ``~/.cache``); read each time a repository is opened.
        anonymous: Send no token to read (``HF_HUB_DISABLE_IMPLICIT_TOKEN``).
        offline: Ask for nothing (``HF_HUB_OFFLINE``).
    """

    endpoint: str = "https://huggingface.co"
    token: str | None = attrs.field(default=None, repr=False)
    token_path: str | None = None
    anonymous: bool = False
    offline: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> HubSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable holds what it cannot mean.
        """
        caches = _text(env, "XDG_CACHE_HOME") or "~/.cache"
        home = _text(env, "HF_HOME") or f"{caches}/huggingface"
        return cls(
            endpoint=(_text(env, "HF_ENDPOINT") or "https://huggingface.co").rstrip("/"),
            token=_text(env, "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
            token_path=_text(env, "HF_TOKEN_PATH") or f"{home}/token",
            anonymous=bool(_flag(env, "HF_HUB_DISABLE_IMPLICIT_TOKEN")),
            offline=bool(_flag(env, "HF_HUB_OFFLINE")),
        )

    def read_token(self) -> str | None:
        """Return the access token to read with, ``None`` for none.

        Raises:
            InvalidInput: The file of a login is there and cannot be read.
        """
        if self.anonymous:
            return None
        if self.token is not None or self.token_path is None:
            return self.token
        try:
            return Path(self.token_path).expanduser().read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidInput(
                f"the access token in {self.token_path} cannot be read: {error.strerror}",
                next_step="correct the file's permissions, or set HF_TOKEN",
            ) from error
        except UnicodeDecodeError:
            # Not chained: the error keeps what it could not read.
            raise InvalidInput(f"{self.token_path} holds no access token", next_step="run 'hf auth login'") from None


@attrs.frozen(kw_only=True)
class StorageSettings:
    """How every storage is reached.

    Attributes:
        s3: S3 and what speaks like it.
        gcs: Google Cloud Storage.
        azure: Azure's blob storage.
        hf: The Hugging Face hub.
        oci: OCI registries.
        headers: Headers to send, by the host they are for (``<host>-headers``, a JSON object).
        pvc_root: Folder that holds volume claims by name (``MODELREG_PVC_ROOT``).
        ca_bundle: File of certificates to trust (``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, ``SSL_CERT_FILE``).
        proxy: Address of a proxy for every storage; ``None``: as ``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY`` say.
        fsspec: Options of other fsspec filesystems, by scheme.
        link_local: Whether http(s) connections may be made to link-local addresses: not where a registry named the URI.
        transfer: How bytes are moved.
    """

    s3: S3Settings = attrs.field(factory=S3Settings)
    gcs: GCSSettings = attrs.field(factory=GCSSettings)
    azure: AzureSettings = attrs.field(factory=AzureSettings)
    hf: HubSettings = attrs.field(factory=HubSettings)
    oci: OCISettings = attrs.field(factory=OCISettings)
    headers: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict, repr=False)
    pvc_root: str = "/mnt/pvc"
    ca_bundle: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    fsspec: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict, repr=False)
    link_local: bool = True
    transfer: TransferSettings = attrs.field(factory=TransferSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> StorageSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable holds what it cannot mean.
        """
        # The environment decodes every name that it is asked for; some fifty are asked for here.
        return _storage_settings(tuple(env.items()))

    def secrets(self) -> frozenset[str]:
        """Return the texts in these settings that no ``repr`` shows."""
        hidden = frozenset(_hidden_texts(self))
        # What is short cannot be told from an ordinary word; of addresses, the secret part is known by its place.
        return frozenset(text for text in hidden if len(text) >= _SHORTEST_SECRET and "://" not in text)


# A program that fetches many small files asks for each, and the environment hardly ever changes.
@lru_cache(maxsize=1)
def _storage_settings(variables: tuple[tuple[str, str], ...]) -> StorageSettings:
    env = dict(variables)
    return StorageSettings(
        s3=S3Settings.from_env(env),
        gcs=GCSSettings.from_env(env),
        azure=AzureSettings.from_env(env),
        hf=HubSettings.from_env(env),
        oci=OCISettings.from_env(env),
        headers=_host_headers(env),
        pvc_root=_text(env, "MODELREG_PVC_ROOT") or "/mnt/pvc",
        ca_bundle=_text(env, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"),
        transfer=TransferSettings.from_env(env),
    )


_SHORTEST_SECRET = 6
_KEY_OF_CONNECTION_STRING = re.compile(r"(?:AccountKey|SharedAccessSignature)=([^;]+)", re.IGNORECASE)


def _hidden_texts(settings: object, *, hidden: bool = False) -> Iterator[str]:
    """Yield the texts of fields that are left out of a ``repr``, however deep they are."""
    if isinstance(settings, str):
        if hidden:
            yield from (settings, *_KEY_OF_CONNECTION_STRING.findall(settings))
    elif isinstance(settings, Mapping):
        for value in settings.values():
            yield from _hidden_texts(value, hidden=hidden)
    elif attrs.has(kind := type(settings)):
        for field in attrs.fields(kind):
            yield from _hidden_texts(getattr(settings, field.name), hidden=hidden or not field.repr)


def _host_headers(env: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return what the variables ``<host>-headers`` hold, by host."""
    headers = {}
    for name, text in env.items():
        # Windows spells every variable in upper case.
        if not name.lower().endswith("-headers") or not text:
            continue
        found = _json_object(name, text)
        headers[name[: -len("-headers")].lower()] = {str(key): str(value) for key, value in found.items()}
    return headers
