"""The server over gRPC, with models, on a loopback port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from modelreg.serving import DataPlane, Model, ModelRepository
from modelreg.serving.admission import Admission
from modelreg.serving.grpc import GRPCServer, grpc_server


@contextmanager
def grpc_serving(
    *models: Model, admission: Admission | None = None, **options: Any
) -> Iterator[tuple[GRPCServer, DataPlane]]:
    """Serve until the end of the block; yield the server and where its models are.

    Args:
        models: What it serves.
        admission: Which requests it takes.
        options: As :func:`grpc_server` takes them.
    """
    repository = ModelRepository()
    for model in models:
        repository.update(model)
    with closing(DataPlane(repository, admission=admission)) as dataplane:
        dataplane.start()
        server = grpc_server(dataplane, port=0, **options)
        try:
            server.start()
            yield server, dataplane
        finally:
            server.stop()
