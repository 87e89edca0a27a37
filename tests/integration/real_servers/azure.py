"""Azurite, which speaks Azure Blob Storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ports import free_port
from real_servers.process import NotInstalled, answers, find_program, running

#: Azurite's account, and its published key: every installation has the same.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class AzureServer:
    """An Azure Blob server that is up.

    Attributes:
        url: The account's blob endpoint.
        account: Name of the account.
        key: The account's key.
        pid: Its process.
    """

    url: str
    pid: int
    account: str = ACCOUNT
    key: str = ACCOUNT_KEY

    def connection_string(self, url: str | None = None) -> str:
        """Return what Azure's clients connect with, to this server or to a proxy before it at ``url``."""
        parts = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": self.account,
            "AccountKey": self.key,
            "BlobEndpoint": url or self.url,
        }
        return ";".join(f"{name}={value}" for name, value in parts.items())

    @property
    def env(self) -> dict[str, str]:
        """The variables that point Azure's clients at this server."""
        return {
            "AZURE_STORAGE_CONNECTION_STRING": self.connection_string(),
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCESS_KEY": self.key,
        }

    def service(self) -> Any:
        """Return a client of the whole account."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string(), retry_total=1)

    def create_bucket(self, name: str) -> None:
        """Make container ``name``."""
        with self.service() as service:
            service.create_container(name)


@contextlib.contextmanager
def azurite(folder: Path, *, tools: Path) -> Iterator[AzureServer]:
    """Run Azurite from the npm folder ``tools``, or from the PATH."""
    install = f"npm install --prefix {tools / 'azurite'} azurite@3.35.0"
    program = find_program("azurite-blob", install, folders=[tools / "azurite/node_modules/.bin"])
    # Its first line asks env for node.
    try:
        find_program("node", "apt-get install nodejs npm")
    except NotInstalled as error:
        raise NotInstalled("node, which runs Azurite,", "apt-get install nodejs npm") from error
    port = free_port()
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    command = [program, "--silent", "--loose", "--skipApiVersionCheck", "--disableTelemetry"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    with running(command, log=folder / "azurite.log", ready=answers(f"{url}?comp=list"), cwd=folder) as process:
        yield AzureServer(url, process.pid)
