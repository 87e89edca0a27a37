"""Inference over gRPC: requests a second, latency and the server's CPU and memory, beside KServe's server and MLServer.

The load is a loop in Python with grpcio, a thread and a connection each; it shares the machine with the server.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from harness import Report, markdown_table
from serving_sides import HEADER, PEERS, grpc_message, image, measure, serving, tiny


def main() -> None:
    """Measure and publish."""
    report = Report.from_arguments("serving-grpc", script=__file__, rounds=3, packages=("modelreg", "grpcio", "numpy"))
    requests = (
        grpc_message("raw, 4 floats", tiny(), 2, raw=True),
        grpc_message("raw, image", image(), 2, raw=True),
        grpc_message("fp32_contents, image", image(), 2, raw=False),
    )
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(serving(name, folder)) for name in ("modelreg", "kserve", "mlserver")]
        rows = [row for request in requests for row in measure(report, request, servers, [], folder)]
    report.publish(markdown_table(HEADER, rows), extra_versions=PEERS)


if __name__ == "__main__":
    main()
