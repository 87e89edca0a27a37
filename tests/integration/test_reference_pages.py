"""Every Python block of the reference page of Kubeflow's client runs with modelreg, its imports renamed.

The blocks run one after the other in one process, as a reader tries them. The addresses that they name lead, through a
proxy that the environment names, to a registry server with bearer tokens and to SeaweedFS, both of this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway import Place, gateway
from modelreg import ModelRegistry
from modelreg.testing import serve_registry
from real_servers.s3 import S3Server
from reference_pages import blocks

PAGE = blocks("kubeflow-python-client.md")
WORKER = Path(__file__).with_name("reference_worker.py")

# Not run: what describes a call instead of making it (compared by the tests of signatures), and the commands with which
# the predecessor's own developers build it.
SIGNATURES = {
    "Client Class / Constructor Parameters",
    "API Methods / Model Registration",
    "API Methods / Model Retrieval",
}
RUN = [name for name, block in PAGE.items() if block.language == "python" and name not in SIGNATURES]

# The tokens that the registry knows: those that the page gives, that of the file it names, and the service account's.
TOKENS = {"given": "<token>", "named": "<pem-encoded-token>", "file": "token-of-the-file", "account": "account-token"}

MODEL_BYTES = b"weights of the page's model"


@dataclass(frozen=True)
class Reader:
    """What a reader of the page has: files of theirs, servers behind the page's names, and what each block did."""

    outcomes: dict[str, dict[str, Any]]
    registry: ModelRegistry
    storage: S3Server

    def printed(self, block: str) -> list[str]:
        return self.outcomes[block]["printed"].splitlines()


def left_to_the_reader(folder: Path, storage: S3Server) -> dict[str, dict[str, str]]:
    """What the page leaves open, by the block: what stands there, and what this reader puts in."""
    return {
        "Client Class / Authentication": {'"/path/to/token"': repr(str(folder / "token"))},
        "Client Class / Custom CA Certificates": {'"/etc/ssl/certs/internal-ca.pem"': repr(str(folder / "corp.pem"))},
        "API Methods / Model Updates": {
            # A signature, and a model that no other block registers.
            "update(model: TModel) -> TModel": "",
            '"my-model"': '"fraud-detector"',
        },
        "Experiment Tracking": {"[...]": '["amount"]'},
        "Experiment Tracking / Nested Runs": {"train_model(lr)": "1 - lr"},
        "S3 Integration": {
            '"/path/to/model/"': repr(str(folder / "model")),
            'access_key_id="..."': f"access_key_id={storage.access_key!r}",
            'secret_access_key="..."': f"secret_access_key={storage.secret_key!r}",
        },
        # The one that the page registers under "Register a Model".
        "Exceptions": {
            "register_model(...)": 'register_model("fraud-detector", "s3://ml-models/again", "1.0.0", "onnx", "1")'
        },
        "Async Operations": {"custom_loop": '__import__("asyncio").new_event_loop()'},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    (folder / "model").mkdir()
    (folder / "model/model.skops").write_bytes(MODEL_BYTES)
    (folder / "token").write_text(TOKENS["file"])
    (folder / "account").write_text(TOKENS["account"])
    (folder / "tokens").write_text("\n".join(TOKENS.values()))
    return folder


@pytest.fixture(scope="module")
def reader(folder: Path, seaweedfs: S3Server) -> Iterator[Reader]:
    public, corp = trustme.CA(), trustme.CA()
    public.cert_pem.write_to_path(folder / "public.pem")
    corp.cert_pem.write_to_path(folder / "corp.pem")
    with closing(seaweedfs.client()) as client:
        client.create_bucket(Bucket="ml-models")
    with serve_registry(folder / "registry.db", token_file=folder / "tokens") as url:
        places = {
            "model-registry.example.com": Place(url, public),
            "server": Place(url, public),
            "internal-registry.corp.com": Place(url, corp),
            "localhost": Place(url),
            "s3.amazonaws.com": Place(seaweedfs.url, public),
        }
        with gateway(places) as proxy, ModelRegistry(url, user_token=TOKENS["given"]) as registry:
            outcomes = run_page(folder, seaweedfs, proxy)
            yield Reader(outcomes, registry, seaweedfs)


def run_page(folder: Path, storage: S3Server, proxy: str) -> dict[str, dict[str, Any]]:
    """Run the page's blocks, and return what each did."""
    given = left_to_the_reader(folder, storage)
    code = [(name, PAGE[name].filled_in(given.get(name, {}))) for name in RUN]
    environment = os.environ | {
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "REQUESTS_CA_BUNDLE": str(folder / "public.pem"),
        "KF_PIPELINES_SA_TOKEN_PATH": str(folder / "account"),
        "CUSTOM_CA_PATH": str(folder / "corp.pem"),
        # For "s3_uri_from", which the page calls for a bucket without an endpoint.
        "AWS_S3_BUCKET": "ml-bucket",
        "AWS_S3_ENDPOINT": "https://s3.amazonaws.com",
        "HOME": str(folder),
        "MODELREG_DATA_DIR": str(folder / "data"),
    }
    command = [sys.executable, str(WORKER)]
    result = subprocess.run(
        command, input=json.dumps(code), env=environment, cwd=folder, capture_output=True, check=True, text=True
    )
    return json.loads(result.stdout)


@pytest.mark.parametrize("block", RUN)
def test_a_block_runs_with_its_imports_renamed(reader: Reader, block: str):
    assert reader.outcomes[block]["error"] is None, reader.outcomes[block]["error"]


def test_what_the_page_registers_is_in_the_registry(reader: Reader):
    version = reader.registry.get_model_version("fraud-detector", "1.0.0")

    assert version.author == "ML Team"
    assert version.custom_properties == {"accuracy": 0.95, "dataset": "transactions-v2", "framework": "scikit-learn"}
    assert reader.registry.get_model_artifact("fraud-detector", "1.0.0").uri == (
        "s3://ml-models/fraud-detection/model.onnx"
    )
    assert reader.registry.get_registered_model("fraud-detector").description == "Updated description"


def test_the_page_prints_what_it_registered(reader: Reader):
    model = reader.registry.get_registered_model("fraud-detector")

    assert reader.printed("Quick Start / Register a Model") == [f"Registered: fraud-detector (ID: {model.id})"]
    assert reader.printed("Quick Start / Retrieve Models") == ["fraud-detector: LIVE", "Version: 1.0.0"]
    # A pager is an iterator, as the predecessor's is: the second loop goes on where the first ended.
    assert reader.printed("Pagination") == ["fraud-detector"]
    assert reader.printed("Exceptions") == ["Model already exists"]


def test_what_the_page_uploads_is_in_the_storage_and_in_the_registry(reader: Reader):
    artifact = reader.registry.get_model_artifact("fraud-detector", "0.1.0")
    with closing(reader.storage.client()) as client:
        stored = client.get_object(Bucket="ml-models", Key="fraud-detection/v0.1/model.skops")["Body"].read()

    assert stored == MODEL_BYTES
    assert artifact.uri.startswith("s3://ml-models/fraud-detection/v0.1")
    assert artifact.model_format_name == "sklearn"


def test_what_the_page_logs_is_in_the_registry(reader: Reader):
    experiment, run = (line.split(": ")[1] for line in reader.printed("Experiment Tracking"))
    found = reader.registry.api.get_experiment_run(run)

    assert (found.name, found.experiment_id, str(found.status)) == ("run-001", experiment, "FINISHED")
    assert [(point.value, point.step) for point in reader.registry.get_metric_history(run, "accuracy")] == [(0.95, 100)]


def test_the_runs_that_the_page_nests_name_their_parent(reader: Reader):
    parent = reader.registry.search_runs('name = "parent-run"')[0]
    children = reader.registry.search_runs('name LIKE "child-lr-%"')

    assert sorted(run.name for run in children) == ["child-lr-0.001", "child-lr-0.01", "child-lr-0.1"]
    nested_in = {
        reader.registry.api.get_experiment_run(run.id).custom_properties["kubeflow.parent_run_id"] for run in children
    }
    assert nested_in == {parent.id}


def test_the_page_is_read_whole():
    not_code = {"Installation", "Package Structure", "Type System / Type Hierarchy", "Code Generation", "Development"}

    assert {*RUN} | SIGNATURES | not_code == {*PAGE}
