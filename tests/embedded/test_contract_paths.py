from __future__ import annotations

from pathlib import Path

import pytest

from modelreg.embedded import open_app
from modelreg.exceptions import NotFound
from modelreg.http.session import RegistrySession
from modelreg.http.wsgi_adapter import WSGIAdapter


@pytest.fixture
def session(tmp_path: Path):
    app = open_app(str(tmp_path / "registry.db"))
    with RegistrySession("http://registry", adapter=WSGIAdapter(app)) as session:
        yield session
    app.close()


def test_the_path_that_newer_clients_ask_leads_to_the_same_operations(session: RegistrySession):
    created = session.post("/api/model_registry/v1/registered_models", {"name": "fraud"})

    assert session.get(f"/api/model_registry/v1alpha3/registered_models/{created['id']}") == created
    assert session.get("/api/model_registry/v1/registered_model", {"name": "fraud"}) == created


def test_a_path_of_an_unknown_version_is_not_found(session: RegistrySession):
    with pytest.raises(NotFound):
        session.get("/api/model_registry/v2/registered_models")
