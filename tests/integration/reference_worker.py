"""Runs the blocks of a page one after the other, as a reader does: in one process, with one set of names.

Standard input is a JSON list of ``[heading, code]``; standard output is a JSON object with what each block printed and,
if it failed, how.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import sys
import traceback


def run(heading: str, code: str, names: dict[str, object]) -> dict[str, str | None]:
    """Return what a block printed, and its error if it had one."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            # A page that says "async for" at the top is read in a notebook.
            compiled = compile(code, heading, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(compiled, names)  # the blocks are this project's own files
            if inspect.iscoroutine(waiting):
                asyncio.run(waiting)
    except Exception:  # noqa: BLE001 - whatever a block raises is what the test reports
        return {"printed": printed.getvalue(), "error": traceback.format_exc()}
    return {"printed": printed.getvalue(), "error": None}


def main() -> None:
    """Run what standard input has."""
    names: dict[str, object] = {"__name__": "__main__"}
    json.dump({heading: run(heading, code, names) for heading, code in json.load(sys.stdin)}, sys.stdout)


if __name__ == "__main__":
    main()
