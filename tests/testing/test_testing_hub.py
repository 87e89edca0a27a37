"""The hub for tests: what the hub's own client makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelreg.testing import serve_hub

FILES = {"config.json": b"{}", "weights.bin": b"weights" * 1000, "onnx/model.onnx": b"onnx"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    client = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return client


def test_the_hubs_own_client_downloads_from_it(client: Any, tmp_path: Path) -> None:
    with serve_hub() as hub:
        commit = hub.commit("acme/iris", FILES)
        api = client.HfApi(endpoint=hub.endpoint, token=False)
        found = api.model_info("acme/iris")
        folder = Path(api.snapshot_download("acme/iris", cache_dir=tmp_path))

    assert (found.sha, found.author) == (commit, "acme")
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_the_hubs_own_client_understands_its_errors(client: Any) -> None:
    with serve_hub() as hub:
        hub.commit("acme/iris", FILES)
        hub.commit("acme/gated", FILES)
        hub.repos["models/acme/gated"].gated = True
        api = client.HfApi(endpoint=hub.endpoint, token=False)

        with pytest.raises(client.errors.RevisionNotFoundError):
            api.model_info("acme/iris", revision="v9")
        with pytest.raises(client.errors.EntryNotFoundError):
            list(api.list_repo_tree("acme/iris", "absent"))
        with pytest.raises(client.errors.GatedRepoError):
            list(api.list_repo_tree("acme/gated"))
        with pytest.raises(client.errors.RepositoryNotFoundError):
            client.HfApi(endpoint=hub.endpoint, token=hub.token).model_info("acme/absent")


def test_a_branch_keeps_what_a_commit_does_not_change_and_loses_what_it_removes() -> None:
    with serve_hub() as hub:
        first = hub.commit("acme/iris", FILES)
        second = hub.commit("acme/iris", {"config.json": None, "new": b"new"})
        again = hub.commit("acme/iris", {})

    repo = hub.repos["models/acme/iris"]
    assert repo.refs == {"main": again}
    assert len({first, second, again}) == 3
    assert sorted(repo.commits[again]) == ["new", "onnx/model.onnx", "weights.bin"]
