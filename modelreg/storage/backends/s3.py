"""S3 and what speaks like it."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attrs

from modelreg.exceptions import AccessDenied, InvalidInput, ModelRegError
from modelreg.storage.backends.objects import ObjectStoreBackend
from modelreg.storage.plain_http import PlainReader, is_direct
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import S3Settings, StorageSettings

_DEFAULT_REGION = "us-east-1"
# How long keys of boto's chain are used before the chain is asked again; it refreshes them well before they expire.
_KEYS_LIVE = timedelta(minutes=5)
_NO_KEYS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile; for a public bucket awsAnonymousCredential=true"
)


class S3Backend(ObjectStoreBackend):
    """A bucket of S3."""

    records_digests = True

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        super().__init__(uri, settings=settings)
        self._s3 = _with_options(settings.s3, uri)
        self._plain = self._plain_reader(self._s3.endpoint)

    def _make_store(self, retry: Any) -> Any:
        from obstore.store import S3Store

        s3 = self._s3
        endpoint = s3.endpoint or self._chain_endpoint()
        config: dict[str, Any] = {
            "bucket": self.uri.bucket,
            "region": s3.region or self._chain_region(endpoint),
            **_addressing(self.uri.bucket, endpoint, s3.virtual_hosted),
            **self._credentials(),
        }
        options = self.client_options(endpoint=endpoint, verify_tls=s3.verify_tls, ca_bundle=s3.ca_bundle)
        return S3Store(**config, client_options=options, retry_config=retry)

    def _plain_reader(self, endpoint: str | None) -> PlainReader | None:
        """Return what reads large files from ``endpoint``; ``None`` where that is for obstore."""
        parts = urlsplit(endpoint or "")
        # Nobody signs what is asked anonymously, and proxies are obstore's to find.
        if parts.scheme != "http" or self._s3.anonymous or self.settings.proxy or not is_direct(parts):
            return None
        transfer = self.settings.transfer
        return PlainReader(connect_timeout_s=transfer.connect_timeout_s, stall_timeout_s=transfer.stall_timeout_s)

    def _credentials(self) -> dict[str, Any]:
        s3 = self._s3
        if s3.anonymous:
            return {"skip_signature": True}
        if s3.access_key_id and s3.secret_access_key:
            found = {"access_key_id": s3.access_key_id, "secret_access_key": s3.secret_access_key}
            return {**found, "session_token": s3.session_token} if s3.session_token else found
        return {"credential_provider": _BotoKeys(self._botocore)}

    @functools.cached_property
    def _botocore(self) -> Any:
        """The session of boto's chain: imported only where nothing simpler has the answer, for it takes long."""
        import botocore.session
        from botocore.exceptions import BotoCoreError

        try:
            return botocore.session.Session(profile=self._s3.profile)
        except BotoCoreError as error:
            raise InvalidInput(f"boto's configuration cannot be used: {error}") from error

    @property
    def _uses_chain(self) -> bool:
        return not self._s3.anonymous and not (self._s3.access_key_id and self._s3.secret_access_key)

    def _chain_endpoint(self) -> str | None:
        if not self._uses_chain:
            return None
        endpoint = self._botocore.get_scoped_config().get("endpoint_url")
        return str(endpoint) if endpoint else None

    def _chain_region(self, endpoint: str | None) -> str:
        region = self._botocore.get_config_variable("region") if self._uses_chain else None
        if region:
            return str(region)
        return _DEFAULT_REGION if endpoint else self._found_region()

    def _found_region(self) -> str:
        """Return the region that AWS names for the bucket; it does so even to those who may not read it."""
        import requests

        proxies = {"https": self.settings.proxy} if self.settings.proxy else None
        verify = (self._s3.ca_bundle or self.settings.ca_bundle or True) if self._s3.verify_tls else False
        try:
            answer = requests.head(
                f"https://s3.amazonaws.com/{self.uri.bucket}",
                timeout=self.settings.transfer.connect_timeout_s,
                allow_redirects=False,
                proxies=proxies,
                verify=verify,
            )
        except requests.RequestException:
            # The transfer itself says what is wrong with the connection, and better.
            return _DEFAULT_REGION
        return answer.headers.get("x-amz-bucket-region", _DEFAULT_REGION)

    def filesystem(self) -> Any:
        """Return an :class:`s3fs.S3FileSystem`."""
        import s3fs

        s3 = self._s3
        client: dict[str, Any] = {
            "verify": (s3.ca_bundle or self.settings.ca_bundle or True) if s3.verify_tls else False
        }
        if s3.region:
            client["region_name"] = s3.region
        config: dict[str, Any] = {
            "connect_timeout": self.settings.transfer.connect_timeout_s,
            "read_timeout": self.settings.transfer.stall_timeout_s,
        }
        if self.settings.proxy:
            config["proxies"] = {"http": self.settings.proxy, "https": self.settings.proxy}
        if s3.virtual_hosted is not None:
            config["s3"] = {"addressing_style": "virtual" if s3.virtual_hosted else "path"}
        return s3fs.S3FileSystem(
            anon=s3.anonymous,
            key=s3.access_key_id,
            secret=s3.secret_access_key,
            token=s3.session_token,
            profile=s3.profile,
            endpoint_url=s3.endpoint,
            client_kwargs=client,
            config_kwargs=config,
            version_aware="version" in self.uri.options,
        )

    def filesystem_path(self) -> str:
        """Return ``bucket/key``, with the version where the URI names one."""
        version = self.uri.options.get("version")
        return super().filesystem_path() + (f"?versionId={version}" if version else "")

    def _translate(self, error: Exception, what: str) -> ModelRegError | None:
        meant = super()._translate(error, what)
        if meant is not None and "PermanentRedirect" in str(error):
            meant.next_step = "the bucket is in another region: name it by AWS_DEFAULT_REGION or ?defaultRegion="
        return meant


def _with_options(s3: S3Settings, uri: StorageURI) -> S3Settings:
    """Return ``s3`` with what ``uri`` says for itself."""
    changes: dict[str, Any] = {name: uri.options[name] for name in ("endpoint", "region") if name in uri.options}
    if "anonymous" in uri.options:
        changes["anonymous"] = uri.options["anonymous"].lower() in {"1", "true", "yes"}
    return attrs.evolve(s3, **changes)


def _addressing(bucket: str, endpoint: str | None, virtual_hosted: bool | None) -> dict[str, Any]:
    """Return how obstore writes the bucket: in the host name or in the path."""
    if virtual_hosted is None:
        # A bucket with dots is not covered by AWS's certificates.
        virtual_hosted = endpoint is None and "." not in bucket
    config: dict[str, Any] = {"virtual_hosted_style_request": virtual_hosted}
    if endpoint is not None:
        parts = urlsplit(endpoint)
        netloc = f"{bucket}.{parts.netloc}" if virtual_hosted else parts.netloc
        config["endpoint"] = urlunsplit(parts._replace(netloc=netloc)).rstrip("/")
    return config


class _BotoKeys:
    """Hands the keys of boto's chain (files, SSO, web identity, instance) to obstore, as often as it asks."""

    def __init__(self, session: Any) -> None:
        from botocore.exceptions import BotoCoreError

        try:
            found = session.get_credentials()
        except BotoCoreError as error:
            raise AccessDenied(f"boto's chain of credentials failed: {error}", next_step=_NO_KEYS) from error
        if found is None:
            raise AccessDenied("no credentials for S3 were found", next_step=_NO_KEYS)
        self._found = found

    def __call__(self) -> dict[str, Any]:
        keys = self._found.get_frozen_credentials()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(timezone.utc) + _KEYS_LIVE,
        }
