"""Google Cloud Storage."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from modelreg.exceptions import AccessDenied, InvalidInput
from modelreg.storage.backends.objects import DIGEST_METADATA, ObjectStoreBackend
from modelreg.storage.hops import trusting
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import GCSSettings, StorageSettings

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
_TOKEN_LIVES = timedelta(minutes=5)
# Kinds of credential files that obstore reads by itself.
_PLAIN_KINDS = frozenset({"service_account", "authorized_user"})


class GCSBackend(ObjectStoreBackend):
    """A bucket of Google Cloud Storage."""

    records_digests = True

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        super().__init__(uri, settings=settings)
        self._gcs = _with_options(settings.gcs, uri)

    def _make_store(self, retry: Any) -> Any:
        from obstore.store import GCSStore

        options = self.client_options(endpoint=self._gcs.endpoint)
        config: dict[str, Any] = {"bucket": self.uri.bucket, **self._credentials()}
        if self._gcs.endpoint:
            config["base_url"] = self._gcs.endpoint
        return GCSStore(**config, client_options=options, retry_config=retry)

    @property
    def _anonymous(self) -> bool:
        if self._gcs.anonymous is not None:
            return self._gcs.anonymous
        if self._gcs.endpoint and not self._gcs.credentials_path:
            return True
        return not (self._gcs.credentials_path or self._gcs.on_cluster or _user_file().is_file())

    def _credentials(self) -> dict[str, Any]:
        if self._anonymous:
            return {"skip_signature": True}
        path = Path(self._gcs.credentials_path) if self._gcs.credentials_path else _user_file()
        kind = _kind_of(path) if self._gcs.credentials_path or path.is_file() else None
        if kind == "service_account":
            return {"service_account": str(path)}
        if kind in _PLAIN_KINDS:
            return {"application_credentials": str(path)}
        token = _GoogleToken.found(str(path) if kind else None)
        # A machine without a service account is anonymous, as one without a file of credentials is.
        return {"credential_provider": token} if token is not None else {"skip_signature": True}

    def filesystem(self) -> Any:
        """Return a :class:`gcsfs.GCSFileSystem`."""
        gcsfs = _import_gcsfs()
        token: Any = "anon" if self._anonymous else self._gcs.credentials_path or "google_default"
        return gcsfs.GCSFileSystem(
            token=token,
            project=self._gcs.project or "",
            endpoint_url=self._gcs.endpoint,
            session_kwargs=self._session_options(),
            version_aware="version" in self.uri.options,
        )

    def _session_options(self) -> dict[str, Any]:
        """Return what aiohttp makes its session of: by itself it takes neither proxies nor certificates from anyone."""
        options: dict[str, Any] = {"trust_env": True}
        if self.settings.proxy:
            options["proxy"] = self.settings.proxy
        if self.settings.ca_bundle:
            options["connector"] = _connector(self.settings.ca_bundle)
        return options

    def _write(self, location: str, source: BinaryIO, size: int, sha256: str | None) -> None:
        # Through gcsfs: obstore writes by another API, which emulators lack, and never without credentials.
        filesystem, path = self.filesystem(), f"{self.uri.bucket}/{location}"
        metadata = {DIGEST_METADATA: sha256} if sha256 is not None else {}
        part_bytes = self.settings.transfer.part_bytes
        if size <= part_bytes:
            filesystem.pipe_file(path, source.read(), metadata=metadata)
        else:
            # gcsfs sends large files by their path alone.
            filesystem.put_file(source.name, path, chunksize=part_bytes, metadata=metadata)

    def filesystem_path(self) -> str:
        """Return ``bucket/key``, with the generation where the URI names one."""
        version = self.uri.options.get("version")
        return super().filesystem_path() + (f"#{version}" if version else "")


def _connector(bundle: str) -> Any:
    """Return aiohttp's connector that trusts the certificates in ``bundle``; it belongs to the loop of fsspec."""
    import aiohttp
    from fsspec.asyn import get_loop, sync

    async def make() -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(ssl=trusting(bundle))

    return sync(get_loop(), make)


def _import_gcsfs() -> Any:
    """Return gcsfs, which decides while it is imported whether to ask each bucket for its layout over gRPC.

    That question stalls for a minute wherever gRPC is blocked, and modelreg needs no answer to it. The variable is set
    only while gcsfs is imported, and only where the user has not set it.
    """
    import os
    import sys

    name = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
    if "gcsfs" in sys.modules or name in os.environ:
        import gcsfs

        return gcsfs
    os.environ[name] = "false"
    try:
        import gcsfs
    finally:
        del os.environ[name]
    return gcsfs


def _with_options(gcs: GCSSettings, uri: StorageURI) -> GCSSettings:
    """Return ``gcs`` with what ``uri`` says for itself."""
    changes: dict[str, Any] = {"endpoint": uri.options["endpoint"]} if "endpoint" in uri.options else {}
    if "anonymous" in uri.options:
        changes["anonymous"] = uri.options["anonymous"].lower() in {"1", "true", "yes"}
    return attrs.evolve(gcs, **changes)


def _user_file() -> Path:
    """Return where ``gcloud auth application-default login`` leaves its credentials."""
    import os

    # google-auth keeps the name of this file to itself; its documentation gives the folders.
    name = "application_default_credentials.json"
    configured = os.environ.get("CLOUDSDK_CONFIG")
    if configured:
        return Path(configured) / name
    if os.name == "nt":
        return Path(os.environ.get("APPDATA", "~")).expanduser() / "gcloud" / name
    return Path("~/.config/gcloud").expanduser() / name


def _kind_of(path: Path) -> str:
    try:
        kind = json.loads(path.read_bytes()).get("type")
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"the file of Google credentials {path} cannot be read", next_step="check GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    return str(kind)


class _GoogleToken:
    """Hands tokens of google-auth's chain (workload identity, external accounts, metadata server) to obstore."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    @classmethod
    def found(cls, path: str | None) -> _GoogleToken | None:
        """Return the chain's credentials, ``None`` if it has none."""
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError

        # google-auth has no types for this one.
        load: Any = google.auth.load_credentials_from_file
        try:
            if path is not None:
                return cls(load(path, scopes=_SCOPES)[0])
            return cls(google.auth.default(scopes=_SCOPES)[0])
        except DefaultCredentialsError as error:
            if path is None:
                return None
            raise AccessDenied(f"the Google credentials in {path} cannot be used: {error}") from error

    def __call__(self) -> dict[str, Any]:
        from google.auth.transport.requests import Request

        if not self._credentials.valid:
            self._credentials.refresh(Request())
        return {"token": self._credentials.token, "expires_at": datetime.now(timezone.utc) + _TOKEN_LIVES}
