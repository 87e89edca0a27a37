from __future__ import annotations

from pathlib import Path

import modelreg

LIMIT = 500


def test_no_module_is_longer_than_500_lines():
    package = Path(modelreg.__file__).parent
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in package.rglob("*.py")}

    assert [f"{path.relative_to(package)}: {lines}" for path, lines in lengths.items() if lines > LIMIT] == []
