"""What it costs to import modelreg and to answer from a fresh process, over a Python that does nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import Contender, Report, Timing, interleave, markdown_table, milliseconds, peer_python, run_process
from modelreg import ModelRegistry
from modelreg.config import RegistrySettings

PREDECESSOR = "model-registry==0.3.18"
BARE, PREDECESSOR_IMPORT = "`python -c pass`", "`from model_registry import ModelRegistry`"
LOOKUP = "from modelreg import ModelRegistry; ModelRegistry().get_registered_model('fraud').id"


def main() -> None:
    """Measure and publish."""
    report = Report.from_arguments("start", script=__file__, rounds=15, packages=("modelreg",))
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, MODELREG_DATA_DIR=folder)
        with ModelRegistry(settings=RegistrySettings(data_dir=folder)) as registry:
            registry.register_model("fraud", "s3://models/fraud/1", "1", "onnx", "1")
        timings = interleave(_contenders(env), rounds=report.rounds)
    report.publish(_table(timings), extra_versions={"model-registry": PREDECESSOR.partition("==")[2]})


def _contenders(env: dict[str, str]) -> list[Contender]:
    here, peer = sys.executable, peer_python("model-registry", [PREDECESSOR])
    command = str(Path(here).with_name("modelreg"))
    processes = {
        BARE: [here, "-c", "pass"],
        "`import modelreg`": [here, "-c", "import modelreg"],
        "`from modelreg import ModelRegistry`": [here, "-c", "from modelreg import ModelRegistry"],
        PREDECESSOR_IMPORT: [peer, "-c", "from model_registry import ModelRegistry"],
        "`ModelRegistry().get_registered_model(...)`, embedded, whole process": [here, "-c", LOOKUP],
        "`modelreg models list`, embedded, whole process": [command, "models", "list"],
    }
    return [Contender(name, partial(run_process, argv, env=env)) for name, argv in processes.items()]


def _table(timings: list[Timing]) -> str:
    bare = next(timing.median() for timing in timings if timing.name == BARE)
    rows = [
        (
            timing.name,
            milliseconds(timing.median()),
            "" if timing.name == BARE else milliseconds(timing.median() - bare),
        )
        for timing in timings
    ]
    return markdown_table(("process", "ms", "ms over bare Python"), rows)


if __name__ == "__main__":
    main()
