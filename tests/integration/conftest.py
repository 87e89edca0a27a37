"""Fixtures for real servers: each starts when a test first asks for it, and ends with the session.

A test takes what it needs from one server without disturbing the next test: a bucket, a folder, a database of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import platformdirs
import pytest

import inference_clients
from real_servers import azure, gcs, oci, postgres, s3, web
from real_servers.process import NotInstalled

pytest.register_assert_rewrite("fault_contract", "modelreg.testing.storage_contract", "modelreg.testing.store_contract")

Server = TypeVar("Server")

# Read at import: tests have another home.
_TOOLS = Path(os.environ.get("MODELREG_TESTS_TOOLS") or platformdirs.user_cache_dir("modelreg-tests", appauthor=False))


class Start(Protocol):
    """Starts a server in a folder of its own; it ends with the session."""

    def __call__(self, starter: Callable[[Path], AbstractContextManager[Server]]) -> Server: ...


# Before xdist's own, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)
            # The tests of a class, or of a module without, share servers, which every process starts for itself.
            item.add_marker(pytest.mark.xdist_group(item.parent.nodeid if item.parent else ""))


@pytest.fixture(scope="session")
def start(skip_or_fail: Callable[[str], NoReturn]) -> Iterator[Start]:
    """Starts servers; skips the test where one is not installed."""
    with contextlib.ExitStack() as stack:

        def start_server(starter: Callable[[Path], AbstractContextManager[Server]]) -> Server:
            # Not below pytest's folder, which only this user may enter: PostgreSQL may run as another.
            folder = Path(tempfile.mkdtemp(prefix="modelreg-server-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            try:
                return stack.enter_context(starter(folder))
            except NotInstalled as error:
                skip_or_fail(str(error))

        yield start_server


@pytest.fixture(scope="session")
def seaweedfs(start: Start) -> s3.S3Server:
    return start(s3.seaweedfs)


@pytest.fixture(scope="session")
def moto(start: Start) -> s3.S3Server:
    return start(s3.moto)


@pytest.fixture(scope="session")
def fake_gcs(start: Start) -> gcs.GCSServer:
    return start(gcs.fake_gcs_server)


@pytest.fixture(scope="session")
def azurite(start: Start) -> azure.AzureServer:
    return start(lambda folder: azure.azurite(folder, tools=_TOOLS))


@pytest.fixture(scope="session")
def nginx(start: Start) -> web.WebServer:
    return start(web.nginx)


@pytest.fixture(scope="session")
def docker_registry(start: Start) -> oci.OCIServer:
    return start(oci.docker_registry)


@pytest.fixture
def run_skopeo(tmp_path: Path, start: Start) -> Callable[..., str]:
    """Runs skopeo with arguments and returns what it writes."""
    program = start(lambda _folder: contextlib.nullcontext(oci.skopeo()))
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def run(*arguments: str) -> str:
        command = [program, "--policy", str(policy), "--tmpdir", str(tmp_path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def postgresql_server(start: Start) -> postgres.PostgreSQLServer:
    return start(postgres.postgresql)


@pytest.fixture(scope="session")
def triton(start: Start) -> Callable[[str, str], inference_clients.Client]:
    """Triton's client of a protocol, ``http`` or ``grpc``, at an address."""

    def connect(protocol: str, address: str) -> inference_clients.Client:
        python = start(lambda _folder: contextlib.nullcontext(inference_clients.environment("tritonclient", _TOOLS)))
        return start(lambda _folder: inference_clients.client(python, "triton_worker.py", [protocol, address]))

    return connect


@pytest.fixture(scope="session")
def kserve_python(start: Start) -> str:
    """The interpreter of the environment that KServe is installed in."""
    return start(lambda _folder: contextlib.nullcontext(inference_clients.environment("kserve", _TOOLS)))


@pytest.fixture(scope="session")
def kserve_storage_python(start: Start) -> str:
    """The interpreter of the environment that KServe's storage package is installed in."""
    return start(lambda _folder: contextlib.nullcontext(inference_clients.environment("kserve-storage", _TOOLS)))


@pytest.fixture(scope="session")
def kserve_client(start: Start, kserve_python: str) -> Callable[[str, str], inference_clients.Client]:
    """KServe's client of a protocol, ``v1``, ``v2`` or ``grpc``, at an address."""

    def connect(protocol: str, address: str) -> inference_clients.Client:
        return start(lambda _folder: inference_clients.client(kserve_python, "kserve_worker.py", [protocol, address]))

    return connect


@pytest.fixture
def postgresql_url(postgresql_server: postgres.PostgreSQLServer) -> Iterator[str]:
    """URL of an empty database that is this test's alone."""
    with postgresql_server.database() as url:
        yield url


@pytest.fixture
def bucket_name() -> str:
    """A name for a bucket, container or folder that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"
