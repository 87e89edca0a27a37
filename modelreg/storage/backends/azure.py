"""Azure's blob storage."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import attrs

from modelreg.exceptions import InvalidInput, InvalidURI
from modelreg.storage.backends.objects import ObjectStoreBackend
from modelreg.storage.uri import StorageURI
from modelreg.storageconfig import AzureSettings, StorageSettings

_SUFFIX = "blob.core.windows.net"


class AzureBackend(ObjectStoreBackend):
    """A container of Azure's blob storage."""

    def __init__(self, uri: StorageURI, *, settings: StorageSettings) -> None:
        super().__init__(uri, settings=settings)
        self._azure = _with_options(_with_connection_string(settings.azure, uri), uri)
        if not self._azure.account:
            raise InvalidURI(
                f"{uri.normalised} names no storage account",
                next_step="set AZURE_STORAGE_ACCOUNT_NAME, or write https://ACCOUNT.blob.core.windows.net/CONTAINER/...",
            )

    def _make_store(self, retry: Any) -> Any:
        from obstore.store import AzureStore

        options = self.client_options(endpoint=self._azure.endpoint)
        config: dict[str, Any] = {
            "container_name": self.uri.bucket,
            "account_name": self._azure.account,
            **self._credentials(),
        }
        if self._azure.endpoint:
            config["endpoint"] = self._azure.endpoint
        return AzureStore(**config, client_options=options, retry_config=retry)

    def _credentials(self) -> dict[str, Any]:
        azure = self._azure
        if azure.anonymous:
            return {"skip_signature": True}
        if azure.sas_token or azure.access_key:
            return {"sas_key": azure.sas_token} if azure.sas_token else {"account_key": azure.access_key}
        return self._principal() or {"skip_signature": True}

    def _principal(self) -> dict[str, Any]:
        """Return who to be: a service principal, a workload, or the machine's own managed identity."""
        azure = self._azure
        named = {"client_id": azure.client_id, "tenant_id": azure.tenant_id}
        if all(named.values()) and azure.client_secret:
            return {**named, "client_secret": azure.client_secret}
        if all(named.values()) and azure.federated_token_file:
            return {**named, "federated_token_file": azure.federated_token_file}
        # A client id alone names a managed identity.
        return {"client_id": azure.client_id} if azure.client_id and not azure.client_secret else {}

    def filesystem(self) -> Any:
        """Return an :class:`adlfs.AzureBlobFileSystem`."""
        import adlfs

        azure = self._azure
        found = self._credentials()
        if azure.endpoint:
            return adlfs.AzureBlobFileSystem(connection_string=self._as_connection_string())
        return adlfs.AzureBlobFileSystem(
            account_name=azure.account,
            account_key=found.get("account_key"),
            sas_token=found.get("sas_key"),
            client_id=found.get("client_id"),
            client_secret=found.get("client_secret"),
            tenant_id=found.get("tenant_id"),
            anon="skip_signature" in found,
            version_aware="version" in self.uri.options,
        )

    def filesystem_path(self) -> str:
        """Return ``container/key``, with the version where the URI names one."""
        version = self.uri.options.get("version")
        return super().filesystem_path() + (f"?versionid={version}" if version else "")

    def _as_connection_string(self) -> str:
        azure = self._azure
        parts = {"AccountName": azure.account, "BlobEndpoint": azure.endpoint}
        if azure.access_key:
            parts["AccountKey"] = azure.access_key
        elif azure.sas_token:
            parts["SharedAccessSignature"] = azure.sas_token
        return ";".join(f"{name}={value}" for name, value in parts.items())


def _with_options(azure: AzureSettings, uri: StorageURI) -> AzureSettings:
    """Return ``azure`` with what ``uri`` says for itself."""
    names = ("account", "endpoint", "sas_token")
    changes: dict[str, Any] = {name: uri.options[name] for name in names if name in uri.options}
    if "anonymous" in uri.options:
        changes["anonymous"] = uri.options["anonymous"].lower() in {"1", "true", "yes"}
    return attrs.evolve(azure, **changes)


def _with_connection_string(azure: AzureSettings, uri: StorageURI) -> AzureSettings:
    """Return ``azure`` with what its connection string says, where that is about the account of ``uri``."""
    if not azure.connection_string:
        return azure
    parts = dict(part.partition("=")[::2] for part in azure.connection_string.split(";") if part)
    account = parts.get("AccountName") or azure.account
    if not account or ("BlobEndpoint" not in parts and "AccountName" not in parts):
        raise InvalidInput(
            "the Azure connection string names no account", next_step="check AZURE_STORAGE_CONNECTION_STRING"
        )
    if uri.options.get("account", account) != account:
        return azure
    suffix = parts.get("EndpointSuffix", _SUFFIX.removeprefix("blob."))
    endpoint = (
        parts.get("BlobEndpoint") or f"{parts.get('DefaultEndpointsProtocol', 'https')}://{account}.blob.{suffix}"
    )
    return attrs.evolve(
        azure,
        account=account,
        access_key=parts.get("AccountKey") or azure.access_key,
        sas_token=unquote(parts["SharedAccessSignature"]) if "SharedAccessSignature" in parts else azure.sas_token,
        endpoint=None if endpoint == f"https://{account}.{_SUFFIX}" else endpoint.rstrip("/"),
    )
