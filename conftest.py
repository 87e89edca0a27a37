"""What tests and doctests stand on: no credentials, no home, no network but loopback, one rule for absent servers.

The environment is cleaned before anything is collected, so that servers which fixtures start see a clean one too; then
each test gets folders of its own. Sockets are held to loopback by pytest-socket, which pyproject.toml sets up.

A fixture that needs a real server calls ``skip_or_fail("nginx is not installed: apt-get install nginx-light")`` when it
is not there. That skips, unless ``--require-servers`` or ``MODELREG_TESTS_REQUIRE=1`` says that it must be there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

# Settings of the test run itself.
_OWN_PREFIX = "MODELREG_TESTS_"
REQUIRE_VARIABLE = "MODELREG_TESTS_REQUIRE"

# Variables that carry credentials, endpoints or settings of the person who runs the tests.
_FOREIGN_PREFIXES = (
    *("AWS_", "S3_", "BOTO_", "GOOGLE_", "GCLOUD_", "GCS_", "GCE_", "CLOUDSDK_", "STORAGE_", "AZURE_", "AZ_"),
    *("HF_", "HUGGING_FACE_", "KF_PIPELINES_", "MODELREG_", "FSSPEC_", "DOCKER_", "KUBERNETES_", "KSERVE_", "CE_"),
    *("MODEL_SYNC_", "SIGSTORE_", "TERMINATION_"),
)
_FOREIGN_NAMES = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy", "awsanonymouscredential"),
    *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file", "ssl_cert_dir", "netrc", "registry_auth_file"),
    *(".dockerconfigjson", "xdg_runtime_dir"),
)
# Chains of credentials that would ask the network, told not to.
_OFFLINE_CLOUDS = {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true"}

hypothesis.settings.register_profile("dev", max_examples=50, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-servers",
        action="store_true",
        help=f"fail, rather than skip, a test whose real server is not installed (also {REQUIRE_VARIABLE}=1)",
    )


def pytest_configure(config: pytest.Config) -> None:
    required = config.getoption("--require-servers") or os.environ.get(REQUIRE_VARIABLE) == "1"
    for name in [*os.environ]:
        if name.startswith(_OWN_PREFIX):
            continue
        if name.startswith(_FOREIGN_PREFIXES) or name.lower() in _FOREIGN_NAMES:
            del os.environ[name]
    os.environ.update(_OFFLINE_CLOUDS)
    if required:
        os.environ[REQUIRE_VARIABLE] = "1"


@pytest.fixture(scope="session")
def skip_or_fail() -> Callable[[str], NoReturn]:
    """The one way to say that a real server is absent; its argument names it and the command that installs it."""

    def absent(reason: str) -> NoReturn:
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(f"required, but {reason}", pytrace=False)
        pytest.skip(reason)

    return absent


# Folders that a test would otherwise share with the person who runs it.
_FOLDERS = {
    "HOME": "",
    "USERPROFILE": "",
    "APPDATA": "data",
    "LOCALAPPDATA": "cache",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_RUNTIME_DIR": "run",
    "XDG_STATE_HOME": "state",
    "MODELREG_CACHE_DIR": "cache/modelreg",
    "MODELREG_DATA_DIR": "data/modelreg",
    "AWS_CONFIG_FILE": "aws-config",
    "AWS_SHARED_CREDENTIALS_FILE": "aws-credentials",
    "CLOUDSDK_CONFIG": "gcloud",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a data folder and a cache of the test's own, beside its ``tmp_path``, which stays empty."""
    home = tmp_path.with_name(f"{tmp_path.name}-home")
    home.mkdir()
    for name, folder in _FOLDERS.items():
        monkeypatch.setenv(name, str(home / folder))
    return home
