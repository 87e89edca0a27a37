"""Every scheme that crosses a network, through a proxy that does wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fault_contract import FaultContract, ListingFaultContract, Proxied
from faulty_proxy import FaultyProxy
from places import azure_place, gcs_place, s3_place, web_place
from real_servers.azure import ACCOUNT, AzureServer
from real_servers.gcs import GCSServer
from real_servers.s3 import S3Server
from real_servers.web import WebServer


def proxy_of(url: str, *, host: str | None = None) -> FaultyProxy:
    name, port = url.removeprefix("http://").partition("/")[0].split(":")
    return FaultyProxy((name, int(port)), host=host)


class TestS3Faults(ListingFaultContract):
    @pytest.fixture
    def proxied(self, seaweedfs: S3Server, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxied]:
        with proxy_of(seaweedfs.url) as proxy:
            for place in s3_place(seaweedfs, bucket_name, monkeypatch, url=proxy.url):
                yield Proxied(place=place, proxy=proxy, identity_header="ETag", other_identity='"0123456789abcdef"')


class TestGCSFaults(ListingFaultContract):
    @pytest.fixture
    def proxied(self, fake_gcs: GCSServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxied]:
        # It gives objects to requests for its own name alone.
        with proxy_of(fake_gcs.url, host=fake_gcs.url.removeprefix("http://")) as proxy:
            for place in gcs_place(fake_gcs, bucket_name, monkeypatch, url=proxy.url):
                yield Proxied(place=place, proxy=proxy, identity_header="ETag", other_identity='"0123456789abcdef"')


class TestAzureFaults(ListingFaultContract):
    @pytest.fixture
    def proxied(self, azurite: AzureServer, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxied]:
        with proxy_of(azurite.url) as proxy:
            for place in azure_place(azurite, bucket_name, monkeypatch, url=f"{proxy.url}/{ACCOUNT}"):
                yield Proxied(place=place, proxy=proxy, identity_header="ETag", other_identity='"0x8D0123456789ABC"')


class TestHTTPFaults(FaultContract):
    @pytest.fixture
    def proxied(self, nginx: WebServer, bucket_name: str) -> Iterator[Proxied]:
        with proxy_of(nginx.url) as proxy:
            place = web_place(nginx, bucket_name, url=proxy.url)
            yield Proxied(place=place, proxy=proxy, identity_header="ETag", other_identity='"0123-4567"')
