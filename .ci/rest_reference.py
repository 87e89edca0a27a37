"""Writes ``docs/reference/rest-operations.md`` from the registry's OpenAPI document; run by ``tox -e reference``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelreg.embedded.openapi import document

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "rest-operations.md"

HEAD = """\
# REST operations

Every operation that `modelreg registry serve` answers, as its `GET /openapi.json` describes them. The name of an
operation of the first two parts, in snake case, is that of the method of [`registry.api`](rest-client.md) which calls
it. What holds for all of them is told [with the API](rest-api.md).
"""

TABLE = """
## {title}

| request | operation | what it does |
| --- | --- | --- |
{rows}
"""

# Titles of the parts, by how their paths begin.
PARTS = {
    "/api/model_registry/v1alpha3/": "The contract, below `/api/model_registry/v1alpha3`",
    "/api/modelreg/v1/": "Additions, below `/api/modelreg/v1`",
    "/": "The server",
}


def page() -> str:
    """Return the page's text."""
    described = document()
    rest = dict(described["paths"])
    text = HEAD
    for prefix, title in PARTS.items():
        paths = {path: rest.pop(path) for path in [*rest] if path.startswith(prefix)}
        rows = "\n".join(row for path, item in paths.items() for row in operations(f"/{path[len(prefix) :]}", item))
        text += TABLE.format(title=title, rows=rows)
    return text


def operations(path: str, item: dict[str, Any]) -> Iterator[str]:
    """Yield a row for each method of a path."""
    for method, operation in item.items():
        if isinstance(operation, dict):
            yield f"| `{method.upper()} {path}` | `{operation['operationId']}` | {operation.get('summary', '')} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
