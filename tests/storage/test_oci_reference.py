"""References of images, as container tools write them, and the URIs that hold them."""

from __future__ import annotations

import pytest

from modelreg.exceptions import InvalidURI
from modelreg.storage.oci.reference import parse_reference
from modelreg.storage.uri import parse_uri

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("quay.io/team/iris:1.0", "quay.io/team/iris:1.0"),
        ("quay.io/team/iris", "quay.io/team/iris:latest"),
        ("localhost/iris:1", "localhost/iris:1"),
        ("127.0.0.1:5000/models/iris:1", "127.0.0.1:5000/models/iris:1"),
        ("[::1]:5000/iris:1", "[::1]:5000/iris:1"),
        ("Registry.Example.com:443/a/b/c:T_1", "registry.example.com:443/a/b/c:T_1"),
        ("busybox", "docker.io/library/busybox:latest"),
        ("team/iris:2", "docker.io/team/iris:2"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        (f"quay.io/team/iris@{DIGEST}", f"quay.io/team/iris@{DIGEST}"),
        (f"quay.io/team/iris:1.0@{DIGEST}", f"quay.io/team/iris@{DIGEST}"),
    ],
)
def test_a_reference_has_one_spelling(text: str, spelled: str):
    assert str(parse_reference(text)) == spelled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quay.io/",
        "quay.io/Team/iris",
        "quay.io/team//iris",
        "quay.io/team/iris:",
        "quay.io/team/iris:a tag",
        f"quay.io/team/iris:{'t' * 129}",
        "quay.io/team/iris@sha256:short",
        f"quay.io/team/iris@{DIGEST.upper()}",
        "quay.io:99999/iris",
        "-bad-.example/iris",
        "quay.io/../iris",
        f"quay.io/{'a' * 256}",
    ],
)
def test_what_is_no_reference_is_refused(text: str):
    with pytest.raises(InvalidURI, match="REGISTRY/REPOSITORY:TAG"):
        parse_reference(text)


def test_docker_hub_is_asked_at_its_own_host():
    assert parse_reference("busybox").api_host == "registry-1.docker.io"
    assert parse_reference("quay.io/team/iris").api_host == "quay.io"


def test_a_password_in_a_reference_is_not_told():
    with pytest.raises(InvalidURI) as caught:
        parse_uri("oci://ann:hunter2@quay.io/team/iris:1")
    assert "hunter2" not in str(caught.value)


def test_a_uri_means_the_same_in_every_spelling():
    uri = parse_uri("oci://QUAY.io/team/iris?platform=linux/arm64&artifact")
    assert uri.normalised == "oci://quay.io/team/iris:latest?platform=linux/arm64"
    assert (uri.bucket, uri.path, uri.is_folder) == ("quay.io", "team/iris:latest", True)
    assert dict(uri.options) == {"platform": "linux/arm64", "artifact": "true"}
    assert parse_uri(uri.normalised).normalised == uri.normalised


@pytest.mark.parametrize("option", ["platform=linux", "platform=Linux/amd64", "artifact=perhaps", "other=1"])
def test_options_that_mean_nothing_are_refused(option: str):
    with pytest.raises(InvalidURI):
        parse_uri(f"oci://quay.io/team/iris:1?{option}")
