"""Tables as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from modelreg.cli.output import plain
from modelreg.exceptions import InvalidInput, MissingExtra


def write_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = (), *, kind: str, path: Path | None) -> int:
    """Write ``rows``, all with the same keys, and return how many they were.

    Args:
        rows: The rows.
        columns: Their keys, where these are known before the first row: a table without rows has its columns.
        kind: ``csv``, ``json`` or ``parquet``.
        path: File to write; ``None`` for stdout, which takes no Parquet.

    Raises:
        InvalidInput: Parquet was asked for, but no file named.
        MissingExtra: Parquet was asked for, but pyarrow is not installed.
    """
    if kind == "parquet":
        return _write_parquet(rows, columns, path)
    with _opened(path) as file:
        return _write_csv(rows, columns, file) if kind == "csv" else _write_json(rows, file)


def _write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], file: IO[str]) -> int:
    writer, count = csv.writer(file, lineterminator="\n"), 0
    if columns:
        writer.writerow(columns)
    for row in rows:
        if not count and not columns:
            writer.writerow(row)
        writer.writerow(_cell(value) for value in row.values())
        count += 1
    return count


def _write_json(rows: Iterable[Mapping[str, Any]], file: IO[str]) -> int:
    count = 0
    file.write("[")
    for row in rows:
        file.write(",\n " if count else "\n ")
        json.dump(plain(row), file, ensure_ascii=False)
        count += 1
    file.write("\n]\n" if count else "]\n")
    return count


def _write_parquet(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], path: Path | None) -> int:
    if path is None:
        raise InvalidInput("Parquet needs a file", next_step="name one with --out")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow is not installed", next_step="pip install 'modelreg[parquet]'") from error
    records = [{key: _column(value) for key, value in row.items()} for row in rows]
    table = pa.Table.from_pylist(records) if records else pa.table({column: pa.nulls(0) for column in columns})
    pq.write_table(table, path)
    return int(table.num_rows)


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file


def _cell(value: Any) -> Any:
    return "" if value is None else plain(value)


def _column(value: Any) -> Any:
    """Return a value as a column holds it: NaN stays a number there."""
    return value if isinstance(value, (float, int, str)) or value is None else plain(value)
