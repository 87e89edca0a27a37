"""The URI grammar: what each spelling means, and what is refused."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.exceptions import InvalidURI, UnknownScheme
from modelreg.storage.backends import known_schemes, open_backend
from modelreg.storage.uri import parse_uri
from modelreg.storageconfig import StorageSettings

KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60)
NAMES = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-"), min_size=3, max_size=20)


@pytest.mark.parametrize(
    ("text", "scheme", "bucket", "path", "options"),
    [
        ("s3://b/a/k", "s3", "b", "a/k", {}),
        ("s3a://b/k", "s3", "b", "k", {}),
        ("S3://b", "s3", "b", "", {}),
        ("s3://b/100%25 a.bin", "s3", "b", "100%25 a.bin", {}),
        ("s3://b/what?.txt", "s3", "b", "what?.txt", {}),
        ("s3://b/k?a=b?", "s3", "b", "k?a=b", {}),
        ("s3://b/k?versionId=v1", "s3", "b", "k", {"version": "v1"}),
        (
            "s3://b/k?endpoint=http%3A%2F%2FMinio%3A9000%2F&defaultRegion=eu",
            "s3",
            "b",
            "k",
            {"endpoint": "http://minio:9000", "region": "eu"},
        ),
        ("gs://b/k", "gs", "b", "k", {}),
        ("gcs://b/k#123", "gs", "b", "k", {"version": "123"}),
        ("gs://b/k#x", "gs", "b", "k#x", {}),
        ("az://c/k", "az", "c", "k", {}),
        ("abfs://c/k", "az", "c", "k", {}),
        ("abfss://c@acme.dfs.core.windows.net/k", "az", "c", "k", {"account": "acme"}),
        ("https://acme.blob.core.windows.net/c/a%20k", "az", "c", "a k", {"account": "acme"}),
        ("pvc://claim/a//b/", "pvc", "claim", "a/b/", {}),
        ("https://Host.example:443/a%20b?x=1#part", "https", "host.example", "a%20b", {}),
        ("http://host:8080/m.zip", "http", "host:8080", "m.zip", {}),
        ("memory://x/y", "memory", "x", "y", {}),
    ],
)
def test_each_spelling_has_one_meaning(text: str, scheme: str, bucket: str, path: str, options: dict[str, str]) -> None:
    uri = parse_uri(text)

    assert (uri.scheme, uri.bucket, uri.path, dict(uri.options)) == (scheme, bucket, path, options)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gs://b/k", "gcs://b/k"),
        ("az://c/k?account=acme", "https://acme.blob.core.windows.net/c/k"),
        ("abfs://c@acme.dfs.core.windows.net/k", "https://acme.blob.core.windows.net/c/k?sv=1&sig=abc"),
        ("s3://b/k?versionId=1&defaultRegion=x", "s3://b/k?region=x&versionId=1"),
        ("https://h/a", "https://ann:pw@H:443/a"),
        ("https://h/a?X-Amz-Signature=1&X-Amz-Date=2&id=3", "https://h/a?id=3"),
        ("file:///tmp/a%20b", "/tmp/a b"),
        ("file://localhost/tmp/a", "file:/tmp/a"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="compares POSIX paths")
def test_spellings_of_the_same_are_one_in_the_cache(one: str, other: str) -> None:
    assert parse_uri(one).normalised == parse_uri(other).normalised


def test_what_a_query_chooses_is_told_apart_without_being_told() -> None:
    one, other = parse_uri("https://h/f?token=aaaa"), parse_uri("https://h/f?token=bbbb")

    assert one.normalised != other.normalised
    assert "aaaa" not in one.normalised


@pytest.mark.parametrize(
    "text",
    ["https://ann:s3cret@h/a", "https://h/a?sig=s3cret&sv=1", "https://acme.blob.core.windows.net/c/k?sig=s3cret"],
)
def test_credentials_are_neither_in_the_normal_form_nor_shown(text: str) -> None:
    uri = parse_uri(text)

    assert "s3cret" not in uri.normalised + repr(uri) + str(uri)
    assert "s3cret" in uri.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://",
        "s3:///key",
        "s3://b/k?endpont=http://h",
        "s3://b/k?endpoint=ftp://h",
        "s3://b/k?endpoint=http://ann:pw@h",
        "s3://b/k\0",
        "az://",
        "abfs://c@example.com/k",
        "https://acme.blob.core.windows.net/",
        "https:///path",
        "https://h:port/path",
        "https://h/a b",
        "pvc://",
        "pvc://claim/../other",
        "pvc://../other",
        "file://host/share",
        "file://",
        "file:///%00",
        "file:///a%00b",
        "a\udcffb",
        "s3://b/\ud800",
        "https://h/\ud800",
        "s3://ann:pw@b/k",
        "gs://ann:pw@b/k",
    ],
)
def test_a_malformed_uri_is_refused(text: str) -> None:
    with pytest.raises(InvalidURI):
        parse_uri(text)


@pytest.mark.parametrize("text", ["s3://ann:s3cret@b/k", "gs://ann:s3cret@b/k"])
def test_the_credentials_of_a_refused_uri_are_not_told(text: str) -> None:
    with pytest.raises(InvalidURI, match="credentials") as refused:
        parse_uri(text)

    assert "s3cret" not in str(refused.value)


def test_the_number_of_an_access_point_is_no_credential() -> None:
    assert parse_uri("s3://arn:aws:s3:eu-1:123:accesspoint/models/k").bucket == "arn:aws:s3:eu-1:123:accesspoint"


@pytest.mark.parametrize("text", ["s3://b/k?defaultRegion=eu", "https://ann:pw@h/a", "/a"])
def test_a_uri_is_the_same_in_another_process_and_as_a_copy(text: str) -> None:
    uri = parse_uri(text)

    assert pickle.loads(pickle.dumps(uri)) == uri
    assert copy.deepcopy(uri) == uri
    assert uri._replace(path="x") != uri


def test_a_path_needs_no_scheme(tmp_path: Path) -> None:
    assert parse_uri(tmp_path / "a").path == str(tmp_path / "a")
    assert parse_uri(str(tmp_path / "b" / ".." / "a")).normalised == (tmp_path / "a").as_uri()


@pytest.mark.parametrize("text", ["C:\\models\\m", "C:/models/m", "c:m", "a:b", "time 10:30"])
def test_a_drive_is_no_scheme(text: str) -> None:
    assert parse_uri(text).scheme == "file"


@given(bucket=NAMES, key=KEYS, scheme=st.sampled_from(["s3", "gs", "az"]))
def test_every_key_can_be_written(bucket: str, key: str, scheme: str) -> None:
    marker = "?" if scheme != "gs" or not key.rpartition("#")[2].isdigit() else "?generation=1"

    uri = parse_uri(f"{scheme}://{bucket}/{key}{marker}")

    if marker == "?":
        assert uri.path == key
        assert parse_uri(uri.normalised) == uri


@given(version=KEYS.filter(bool), region=NAMES, key=KEYS)
def test_options_come_back_from_the_normal_form(version: str, region: str, key: str) -> None:
    from urllib.parse import quote

    uri = parse_uri(f"s3://bucket/{key}?versionId={quote(version)}&defaultRegion={region}")

    assert dict(uri.options) == {"version": version, "region": region}
    assert parse_uri(uri.normalised) == uri


@pytest.mark.parametrize("uri", ["https://host/model?token=hunter2", "x+y:///?#", "x+y://host/?a#b=c&token=hunter2"])
def test_a_normal_form_is_its_own(uri: str) -> None:
    normalised = parse_uri(uri).normalised

    assert parse_uri(normalised).normalised == normalised
    assert "hunter2" not in normalised


@given(text=KEYS)
def test_anything_is_parsed_or_refused(text: str) -> None:
    for prefix in ("", "s3://", "https://", "file://", "pvc://", "gs://b/", "abfs://", "x+y://"):
        try:
            uri = parse_uri(prefix + text)
        except InvalidURI:
            continue
        assert parse_uri(uri.normalised).normalised == uri.normalised


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(UnknownScheme, match=r"s3://.*entry point"):
        open_backend("nonsense://a/b", settings=StorageSettings())


def test_the_known_schemes_are_listed() -> None:
    assert {"s3", "gs", "az", "file", "pvc", "http", "https"} <= set(known_schemes())
