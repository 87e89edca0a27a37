"""The settings of Kubeflow's upload job, frozen: its ``MODEL_SYNC_*`` variables and the files of credentials they name.

A variable wins over what a file of credentials says. Empty variables count as absent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import attrs

from modelreg.exceptions import InvalidInput

T = TypeVar("T")

_PREFIX = "MODEL_SYNC_"
_TRUE = frozenset({"1", "t", "true", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "n", "no"})
_SIGNING = ("SIGSTORE_TUF_URL", "SIGSTORE_FULCIO_URL", "SIGSTORE_REKOR_URL")
# Where Kubernetes reads what a container has to say at its end.
_TERMINATION_LOG = "/dev/termination-log"
_STORAGE_PATH = "/tmp/model-sync"  # noqa: S108 - the job's documented default


@attrs.frozen(kw_only=True)
class S3Place:
    """A key of a bucket.

    Attributes:
        bucket: The bucket.
        key: The key, of a file or of all that is below it.
        region: The region; ``None`` for what the environment names.
        endpoint: The storage's address; ``None`` for what the environment names.
        access_key_id: The access key; ``None`` for boto's own chain.
        secret_access_key: The secret key; ``None`` for boto's own chain.
    """

    bucket: str
    key: str
    region: str | None = None
    endpoint: str | None = None
    access_key_id: str | None = attrs.field(default=None, repr=False)
    secret_access_key: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ImagePlace:
    """An image in an OCI registry.

    Attributes:
        reference: ``REGISTRY/REPOSITORY:TAG``.
        username: The user's name.
        password: The user's password.
        auth_file: A docker ``config.json`` with the credentials.
        base_image: The image that the model's layers go on.
        verify_tls: Whether the registry must be reached by TLS.
    """

    reference: str
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    auth_file: str | None = None
    base_image: str = "busybox:latest"
    verify_tls: bool = True


@attrs.frozen(kw_only=True)
class URIPlace:
    """Anywhere else.

    Attributes:
        uri: Its URI.
    """

    uri: str


@attrs.frozen(kw_only=True)
class JobRegistry:
    """The registry that the job writes to, as :class:`~modelreg.ModelRegistry` takes it.

    Attributes:
        server_address: Its address.
        port: Its port.
        is_secure: Whether it speaks TLS; ``None``: as its address says.
        author: Author of what is registered without one.
        user_token: Bearer token.
        user_token_envvar: Variable that holds the path of a file with the token.
        custom_ca: File of certificates to trust.
        custom_ca_envvar: Variable that holds that path.
        log_level: Level of the ``modelreg`` logger.
    """

    server_address: str
    port: int | None = None
    is_secure: bool | None = None
    author: str | None = None
    user_token: str | None = attrs.field(default=None, repr=False)
    user_token_envvar: str | None = None
    custom_ca: str | None = None
    custom_ca_envvar: str | None = None
    log_level: int | None = None


@attrs.frozen(kw_only=True)
class JobSettings:
    """What the job is to do.

    Attributes:
        source: Where the files are.
        destination: Where they go.
        registry: Where they are registered.
        intent: ``create_model``, ``create_version`` or ``update_artifact``.
        model_id: Id of the registered model, for ``create_version``.
        version_id: Id of the version, to be told at the end.
        artifact_id: Id of the model artifact, for ``update_artifact``.
        metadata_path: Folder with one file for each field of what is created.
        storage_path: Folder for what is on its way.
        termination_path: File that is told the outcome; ``None`` for none.
    """

    source: S3Place | ImagePlace | URIPlace
    destination: S3Place | ImagePlace | URIPlace
    registry: JobRegistry
    intent: str = "update_artifact"
    model_id: str | None = None
    version_id: str | None = None
    artifact_id: str | None = None
    metadata_path: str | None = None
    storage_path: str = _STORAGE_PATH
    termination_path: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> JobSettings:
        """Return the settings that the environment names.

        Raises:
            InvalidInput: A variable is missing or holds what it cannot mean, or a file of credentials cannot be read.
        """
        job = _Variables(env)
        _refuse_signing(job, env)
        intent = job.choice("MODEL_UPLOAD_INTENT", _NEEDED_BY_INTENT, default="update_artifact")
        for name in _NEEDED_BY_INTENT[intent]:
            job.needed(name, f"MODEL_SYNC_MODEL_UPLOAD_INTENT={intent} needs it")
        source = job.choice("SOURCE_TYPE", _PLACES, default="s3")
        destination = job.choice("DESTINATION_TYPE", _PLACES, default="oci")
        return cls(
            source=_PLACES[source](job, "SOURCE"),
            destination=_PLACES[destination](job, "DESTINATION"),
            registry=_registry(job),
            intent=intent,
            model_id=job.text("MODEL_ID"),
            version_id=job.text("MODEL_VERSION_ID"),
            artifact_id=job.text("MODEL_ARTIFACT_ID"),
            metadata_path=job.text("METADATA_CONFIGMAP_PATH"),
            storage_path=job.text("STORAGE_PATH") or _STORAGE_PATH,
            termination_path=termination_path(env),
        )

    def metadata(self) -> dict[str, dict[str, str]]:
        """Return the fields of what is to be created, by resource (such as ``ModelVersion``) and name.

        Raises:
            InvalidInput: The folder cannot be read.
        """
        found: dict[str, dict[str, str]] = {}
        try:
            # A mounted ConfigMap has hidden files of its own beside the fields.
            for path in sorted(Path(self.metadata_path or "").glob("[!.]*.*")):
                resource, _, field = path.name.partition(".")
                found.setdefault(resource, {})[field] = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the metadata in {self.metadata_path} cannot be read: {error}") from error
        return found


def termination_path(env: Mapping[str, str] = os.environ) -> str | None:
    """Return the file that Kubernetes reads a container's last words from; ``None`` outside of it."""
    named = env.get("TERMINATION_MESSAGE_PATH")
    return named or (_TERMINATION_LOG if Path(_TERMINATION_LOG).is_file() else None)


class _Variables:
    """The variables of the job, by their names without the prefix."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str) -> str | None:
        return self._env.get(_PREFIX + name) or None

    def needed(self, name: str, why: str) -> str:
        value = self.text(name)
        if value is None:
            raise InvalidInput(f"{_PREFIX}{name} is not set", next_step=f"{why}")
        return value

    def choice(self, name: str, known: Mapping[str, object], *, default: str) -> str:
        value = self.text(name) or default
        if value not in known:
            raise InvalidInput(f"{_PREFIX}{name} is {value!r}", next_step=f"it is one of {', '.join(known)}")
        return value

    def flag(self, name: str) -> bool | None:
        value = (self.text(name) or "").lower()
        if value and value not in _TRUE | _FALSE:
            raise InvalidInput(f"{_PREFIX}{name} is {value!r}", next_step="set it to true or false")
        return value in _TRUE if value else None

    def parsed(self, name: str, parse: Callable[[str], T], meaning: str) -> T | None:
        value = self.text(name)
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise InvalidInput(f"{_PREFIX}{name} is {value!r}", next_step=f"set it to {meaning}") from error


def _s3_place(job: _Variables, side: str) -> S3Place:
    folder = job.text(f"{side}_S3_CREDENTIALS_PATH")
    files = _credential_files(f"{_PREFIX}{side}_S3_CREDENTIALS_PATH", folder) if folder else {}

    def one(name: str, *in_files: str) -> str | None:
        return job.text(f"{side}_AWS_{name}") or next((files[file] for file in in_files if files.get(file)), None)

    bucket, key = one("BUCKET", "AWS_BUCKET", "AWS_S3_BUCKET"), one("KEY", "AWS_KEY")
    access_key_id, secret = one("ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"), one("SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")
    if not (bucket and key):
        missing = "KEY" if bucket else "BUCKET"
        raise InvalidInput(
            f"{_PREFIX}{side}_AWS_{missing} is not set", next_step=f"{_PREFIX}{side}_TYPE=s3 needs a bucket and a key"
        )
    if (access_key_id is None) != (secret is None):
        raise InvalidInput(f"the {side.lower()} has half of a pair of S3 keys", next_step="give both, or neither")
    return S3Place(
        bucket=bucket,
        key=key,
        region=one("REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
        endpoint=one("ENDPOINT", "AWS_ENDPOINT_URL", "AWS_S3_ENDPOINT"),
        access_key_id=access_key_id,
        secret_access_key=secret,
    )


def _credential_files(variable: str, folder: str) -> dict[str, str]:
    """Return what the files of a mounted secret hold, by their names."""
    try:
        paths = [path for path in Path(folder).expanduser().iterdir() if path.is_file()]
        return {path.name: path.read_text(encoding="utf-8").strip() for path in paths}
    except (OSError, UnicodeDecodeError) as error:
        # Not what was read, nor a chained error that keeps it: these are credentials.
        why = error.strerror if isinstance(error, OSError) else "a file is no text"
        raise InvalidInput(f"{variable} names {folder}, which cannot be read: {why}") from None


def _image_place(job: _Variables, side: str) -> ImagePlace:
    reference = job.needed(f"{side}_OCI_URI", f"{_PREFIX}{side}_TYPE=oci needs an image")
    username, password = job.text(f"{side}_OCI_USERNAME"), job.text(f"{side}_OCI_PASSWORD")
    if (username is None) != (password is None):
        missing = "PASSWORD" if username else "USERNAME"
        raise InvalidInput(f"{_PREFIX}{side}_OCI_{missing} is not set", next_step="give both, or neither")
    auth_file = job.text(f"{side}_OCI_CREDENTIALS_PATH")
    if auth_file is not None:
        path = Path(auth_file).expanduser()
        # A mounted secret is a folder, with the file under the name that Kubernetes gives it.
        path = path / ".dockerconfigjson" if path.is_dir() else path
        if not path.is_file():
            raise InvalidInput(f"{_PREFIX}{side}_OCI_CREDENTIALS_PATH names {path}, which is no file")
        auth_file = str(path)
    return ImagePlace(
        reference=reference.removeprefix("oci://"),
        username=username,
        password=password,
        auth_file=auth_file,
        base_image=job.text(f"{side}_OCI_BASE_IMAGE") or "busybox:latest",
        verify_tls=job.flag(f"{side}_OCI_ENABLE_TLS_VERIFY") is not False,
    )


def _uri_place(job: _Variables, side: str) -> URIPlace:
    return URIPlace(uri=job.needed(f"{side}_URI", f"{_PREFIX}{side}_TYPE=uri needs one"))


def _registry(job: _Variables) -> JobRegistry:
    return JobRegistry(
        server_address=job.needed("REGISTRY_SERVER_ADDRESS", "give the address of the model registry"),
        port=job.parsed("REGISTRY_PORT", int, "a number"),
        is_secure=job.flag("REGISTRY_IS_SECURE"),
        author=job.text("REGISTRY_AUTHOR"),
        user_token=job.text("REGISTRY_USER_TOKEN"),
        user_token_envvar=job.text("REGISTRY_USER_TOKEN_ENVVAR"),
        custom_ca=job.text("REGISTRY_CUSTOM_CA"),
        custom_ca_envvar=job.text("REGISTRY_CUSTOM_CA_ENVVAR"),
        log_level=job.parsed("REGISTRY_LOG_LEVEL", _level, "a level such as DEBUG"),
    )


def _level(text: str) -> int:
    import logging

    level = int(text) if text.isdigit() else logging.getLevelName(text.upper())
    if not isinstance(level, int):
        raise ValueError(text)  # noqa: TRY004 - the text is wrong, not its type
    return level


def _refuse_signing(job: _Variables, env: Mapping[str, str]) -> None:
    wanted = job.flag("SIGN")
    if wanted or (wanted is None and all(env.get(name) for name in _SIGNING)):
        raise InvalidInput(
            "this job is asked to sign what it uploads, which it cannot do",
            next_step="set MODEL_SYNC_SIGN=false, and sign with a tool of its own",
        )


_PLACES: Mapping[str, Callable[[_Variables, str], S3Place | ImagePlace | URIPlace]] = {
    "s3": _s3_place,
    "oci": _image_place,
    "uri": _uri_place,
}
_NEEDED_BY_INTENT: Mapping[str, tuple[str, ...]] = {
    "create_model": ("METADATA_CONFIGMAP_PATH",),
    "create_version": ("MODEL_ID", "METADATA_CONFIGMAP_PATH"),
    "update_artifact": ("MODEL_ARTIFACT_ID",),
}
