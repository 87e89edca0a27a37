"""``python -m modelreg`` is the ``modelreg`` command."""

from __future__ import annotations

from modelreg.cli.main import main

if __name__ == "__main__":
    main(prog_name="modelreg")
