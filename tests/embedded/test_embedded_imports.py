"""Opening a registry loads only what every registry needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from modelreg.embedded import open_app
open_app(sys.argv[1]).close()
heavy = {"lark", "granian", "psycopg", "rich", "click", "cattrs", "requests", "modelreg.embedded.openapi"}
print(sorted(heavy & set(sys.modules)))
"""


def test_opening_a_registry_loads_no_parser_server_or_driver_that_it_may_not_need(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "registry.db")]

    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert loaded.strip() == "[]"
