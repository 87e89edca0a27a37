"""Inference over REST: requests a second, latency and the server's CPU and memory, beside KServe's server and MLServer.

The limits are what granian, the HTTP server under ours, does with an application that reads the body, drops it and
answers a constant: one in falcon (WSGI), one bare (RSGI).
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from harness import Report, markdown_table
from serving_sides import HEADER, PEERS, binary_v2, image, json_v1, json_v2, measure, serving, tiny


def main() -> None:
    """Measure and publish."""
    packages = ("modelreg", "granian", "falcon", "numpy")
    report = Report.from_arguments("serving-rest", script=__file__, rounds=3, packages=packages)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = ("modelreg", "kserve", "mlserver", "limit-falcon", "limit-rsgi")
        ours, kserve, mlserver, *limits = [stack.enter_context(serving(name, folder)) for name in names]
        rows = [
            *measure(report, json_v2("V2 JSON, 4 floats", tiny(), 2), [ours, kserve, mlserver], limits, folder),
            # MLServer has neither V1 nor binary tensors.
            *measure(report, json_v1("V1 JSON, 4 floats", tiny(), 2), [ours, kserve], [], folder),
            *measure(report, json_v2("V2 JSON, image", image(), 2), [ours, kserve, mlserver], [], folder),
            *measure(report, binary_v2("V2 binary, image", image(), 2), [ours, kserve], limits, folder),
        ]
    report.publish(markdown_table(HEADER, rows), extra_versions=PEERS)


if __name__ == "__main__":
    main()
