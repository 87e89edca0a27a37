from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"


def test_a_layer_imports_only_from_the_layers_below_it():
    pytest.importorskip("importlinter", reason="import-linter is not installed")

    # In a process of its own, as import-linter changes the import path and the logging of the one it runs in.
    lint = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True, check=False)

    assert lint.returncode == 0, lint.stdout + lint.stderr
