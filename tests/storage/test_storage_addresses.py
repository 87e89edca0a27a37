"""Where a registry may lead whoever follows its URIs, and what no spelling of an address hides."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import AccessDenied, InvalidURI
from modelreg.hosts import is_link_local
from modelreg.storage.addresses import check_registry_uri

METADATA = "169.254.169.254"


@pytest.mark.parametrize(
    "host",
    [
        *(METADATA, f"{METADATA}.", "169.254.43518", "169.16689662", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe"),
        *(
            "0251.0376.0251.0376",
            "0251.254.0xa9fe",
            "169%2e254%2E169.254",
            "169\u3002254\u3002169\uff0e254",
            "\uff11\uff16\uff19.254.169.254",
        ),
        *("[fe80::1]", "fe80::1%eth0", "fe80::1%25eth0", f"[::ffff:{METADATA}]", "::ffff:a9fe:a9fe"),
        *(f"::{METADATA}", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1"),
        *("2001:0:a9fe:a9fe::1", "2001:0:1:1::5601:5601"),
        *("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "::ffff:100.100.100.200"),
        *("metadata", "METADATA.google.internal", "metadata.google.internal.", "metadata.goog", "instance-data"),
        *("\uff4detadata.google.internal", "metadata%2egoogle.internal"),
    ],
)
def test_no_spelling_hides_an_address_of_the_machines_own(host: str):
    assert is_link_local(host)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "127.0.0.1", "::1", "169.253.1.1", "2002:0a00:1::", "example.com", "meta-data", "", "fe7f::1"]
)
def test_other_addresses_are_not_taken_for_one(host: str):
    assert not is_link_local(host)


@given(st.integers(0, 0xFFFF))
def test_every_spelling_of_every_link_local_address_is_known(low: int):
    address = ipaddress.IPv4Address(0xA9FE0000 + low)
    a, b, c, d = address.packed

    for spelling in (
        *(
            str(address),
            str(int(address)),
            hex(int(address)),
            f"{a}.{b}.{c * 256 + d}",
            f"{a}.{b * 65536 + c * 256 + d}",
        ),
        *(f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.{b}.0{c:o}.{d}", f"::ffff:{address}"),
        str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address))),
    ):
        assert is_link_local(spelling), spelling


@given(st.text(max_size=30))
def test_any_text_is_either(text: str):
    assert is_link_local(text) in {True, False}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses that the system's resolver knows, by name."""
    known: dict[str, list[str]] = {}

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize("found", [[METADATA], ["93.184.215.14", METADATA], ["fe80::1%eth0"], [f"::ffff:{METADATA}"]])
def test_a_name_is_judged_by_all_its_addresses(names: dict[str, list[str]], found: list[str]):
    names["models.example"] = found

    with pytest.raises(AccessDenied, match=r"models\.example"):
        check_registry_uri("http://models.example/m")
    with pytest.raises(AccessDenied, match=r"models\.example"):
        check_registry_uri("s3://b/k?endpoint=http://models.example")
    with pytest.raises(AccessDenied, match=r"models\.example"):
        check_registry_uri("oci://models.example/models/fraud:1")


@pytest.mark.parametrize("found", [["93.184.215.14"], None])
def test_a_name_of_another_host_or_of_none_may_be_followed(names: dict[str, list[str]], found: list[str] | None):
    if found is not None:
        names["models.example"] = found

    assert check_registry_uri("https://models.example/m").scheme == "https"


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("uri", "permission"),
    [
        *((uri, "local") for uri in ("file:///etc/passwd", "file:/etc/passwd", "/etc/passwd", "models/fraud", "~/m")),
        ("simplecache::s3://b", "local"),
        *(
            (f"{scheme}://x/y", "any-scheme")
            for scheme in ("zip", "tar", "git", "sftp", "ssh", "smb", "hdfs", "memory")
        ),
        *((f"{scheme}://x/y", "any-scheme") for scheme in ("github", "libarchive", "reference", "dask", "ftp", "data")),
        ("filecache://x::file:///etc", "any-scheme"),
        ("gs://b/k?endpoint=https://storage.attacker.example", "endpoint"),
        ("az://c/k?account=acme&endpoint=https://blob.attacker.example", "endpoint"),
        ("https://acme.blob.core.windows.net:8443/c/k", "endpoint"),
        *((f"{scheme}://{METADATA}/x", "link-local") for scheme in ("http", "https", "oci")),
        (f"s3://b/k?endpoint={METADATA}:80", "link-local"),
        ("s3://b/k?endpoint=http://169%252e254.169.254", "link-local"),
    ],
)
def test_a_registry_leads_there_only_where_that_is_allowed(uri: str, permission: str):
    others = {"local", "any-scheme", "endpoint", "link-local"} - {permission}

    with pytest.raises(AccessDenied, match=f"MODELREG_REGISTRY_ALLOW={permission}"):
        check_registry_uri(uri, allow=others)
    assert check_registry_uri(uri, allow={permission})


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    "uri",
    [
        *("s3://b/k", "s3://b/k::file:///etc", "gs://b/k", "https://acme.blob.core.windows.net/c/k", "pvc://claim/m"),
        *("s3://b/k?endpoint=http://minio:9000", "https://models.example/m", "hf://metadata/model"),
        *("oci://127.0.0.1:5000/models/fraud:1", "http://10.0.0.1/m", "az://c/k?account=acme"),
    ],
)
def test_a_registry_may_lead_to_storages(uri: str):
    assert check_registry_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        rf"http://{METADATA}\@models.example/m",
        rf"https://models.example\@{METADATA}/m",
        rf"s3://b/k?endpoint=http://{METADATA}\@models.example",
    ],
)
def test_an_address_that_clients_read_in_two_ways_is_no_address(uri: str):
    with pytest.raises(InvalidURI, match="backslash"):
        check_registry_uri(uri, resolve=False)


def test_a_host_that_no_client_could_read_is_judged_as_it_stands():
    assert check_registry_uri("other://[::1/x", allow={"any-scheme"}, resolve=False)
    with pytest.raises(AccessDenied, match="link-local"):
        check_registry_uri("other://[fe80::1/x", allow={"any-scheme"}, resolve=False)
