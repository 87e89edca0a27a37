"""Other projects' clients of model servers, each in a process and an environment of its own.

A test calls ``client("infer", model="echo", inputs=[...])``; the worker beside this module does it, and what it says is
what ``client`` returns. Tensors are mappings with ``name``, ``datatype``, ``shape`` and ``data``, a flat list; the
elements of BYTES are text.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from real_servers.process import NotInstalled

HERE = Path(__file__).parent
#: What pip installs into an environment, by its name.
ENVIRONMENTS = {
    "tritonclient": "tritonclient[all]==2.73.0 ml_dtypes",
    "kserve": "kserve==0.21.0",
    "kserve-storage": "kserve-storage==0.21.0",
}


class Refused(Exception):
    """The client raised an error; the text is the error's."""


class Client:
    """A client in a process of its own.

    Args:
        process: The worker.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, operation: str, **arguments: Any) -> Any:
        """Return what the worker's function ``operation`` returns.

        Raises:
            Refused: It raised an error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the client ended with {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]


def environment(name: str, tools: Path) -> str:
    """Return the interpreter of the environment of a client.

    Raises:
        NotInstalled: It is not in ``tools``.
    """
    folder = tools / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        install = f"python -m venv {folder} && {python} -m pip install {ENVIRONMENTS[name]}"
        raise NotInstalled(name, install)
    return str(python)


@contextlib.contextmanager
def client(python: str, worker: str, arguments: Sequence[str]) -> Iterator[Client]:
    """Run a worker of this folder until the end of the block."""
    command = [python, str(HERE / worker), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Client(process)
        finally:
            # Its standard input ends, and so does it.
            process.communicate(timeout=120)
