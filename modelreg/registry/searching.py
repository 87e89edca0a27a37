"""Searching runs by what they are and by what they logged."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs

from modelreg.client.api import RegistryAPI
from modelreg.exceptions import BadRequest, InvalidInput
from modelreg.registry.part import text_id
from modelreg.tracking.results import ResultList, RunSummary
from modelreg.types.artifacts import Artifact, Metric, Parameter
from modelreg.types.experiments import ExperimentRun
from modelreg.types.options import ListOptions
from modelreg.types.pager import Pager

# Runs whose logs one request asks for.
_RUNS_PER_LOOK = 50
_PAGE = 1000
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LOGGED = re.compile(r"^(metrics|params)\.(`[^`]+`|\S+?)\s*(!=|<=|>=|=|<|>)\s*(.+)$", re.DOTALL)
_HOW = "compare metrics.NAME and params.NAME by = != < <= > or >=, and join that to other conditions by AND alone"
_MENTIONS_LOGGED = re.compile(r"\b(metrics|params)\.")
_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|[()]|\bAND\b|\bOR\b|.""", re.DOTALL | re.IGNORECASE)
_ORDER = re.compile(r"^\s*(?:(metrics|params)\.)?(`[^`]+`|\S+?)(?:\s+(ASC|DESC))?\s*$", re.IGNORECASE)


@attrs.frozen
class Condition:
    """A condition on what runs logged, such as ``metrics.auc > 0.9``.

    Attributes:
        kind: ``metrics`` or ``params``.
        name: Name of the metric or parameter.
        operator: What compares.
        value: What it is compared with.
    """

    kind: str
    name: str
    operator: str
    value: str | float

    def holds(self, run: RunSummary) -> bool:
        """Return whether it holds for a run; for one that did not log it, nothing does."""
        logged: dict[str, Any] = run.metrics if self.kind == "metrics" else run.params
        if self.name not in logged:
            return False
        found: Any = logged[self.name]
        if isinstance(self.value, float):
            found = _number(found)
        return found is not None and _OPERATORS[self.operator](found, self.value)


def search_runs(
    api: RegistryAPI, filter: str | None, order_by: str | None, limit: int | None
) -> ResultList[RunSummary]:
    """Return the runs that match, with what they logged; see ``ModelRegistry.search_runs``.

    Raises:
        InvalidInput: The filter or the order cannot be understood.
        StoreError: The registry failed.
    """
    query, conditions = split_filter(filter or "")
    key = _order_key(order_by)
    pager = Pager(api.get_experiment_runs, ListOptions(page_size=_PAGE, filter_query=query or None))
    if limit is not None and not conditions and key is None:
        pager.limit(limit)
    with _telling_the_filter(query):
        found = [run for run in summaries(api, pager) if all(condition.holds(run) for condition in conditions)]
    if key is not None:
        found = _ordered(found, *key)
    return ResultList(found if limit is None else found[:limit])


@contextmanager
def _telling_the_filter(query: str) -> Iterator[None]:
    try:
        yield
    except BadRequest as error:
        if not query:
            raise
        # The request that the registry says it of is none of the caller's.
        raise InvalidInput(f"cannot search by {query!r}: {error.message}") from error


def summaries(api: RegistryAPI, runs: Iterable[ExperimentRun]) -> Iterator[RunSummary]:
    """Yield each run with the last value of its metrics and its parameters.

    Raises:
        StoreError: The registry failed.
    """
    several: list[ExperimentRun] = []
    for run in runs:
        several.append(run)
        if len(several) == _RUNS_PER_LOOK:
            yield from _summaries(api, several)
            several = []
    yield from _summaries(api, several)


def split_filter(text: str) -> tuple[str, list[Condition]]:
    """Return the part of a filter that the registry understands, and the conditions on what runs logged.

    Raises:
        InvalidInput: A condition on metrics or parameters is not joined to the others by ``AND``, or is malformed.

    Example:
        >>> split_filter("metrics.auc > 0.9 AND status = 'FINISHED'")
        ("status = 'FINISHED'", [Condition(kind='metrics', name='auc', operator='>', value=0.9)])
    """
    query, conditions = [], []
    for term in _terms(text):
        logged = _LOGGED.match(term)
        if logged is not None:
            conditions.append(_condition(term, *logged.groups()))
        elif _mentions_logged(term):
            raise InvalidInput(f"cannot search by {term!r}", next_step=_HOW)
        else:
            query.append(term)
    return " AND ".join(query), conditions


def join_filters(*filters: str) -> str:
    """Return the filter that holds where all of ``filters`` do.

    Example:
        >>> join_filters("owner = 'ann' OR owner = 'bob'", "metrics.auc > 0.9")
        "(owner = 'ann' OR owner = 'bob') AND metrics.auc > 0.9"
    """
    terms = []
    for text in filters:
        found = _terms(text)
        # What AND does not part may hold an OR.
        terms += found if len(found) != 1 or _LOGGED.match(found[0]) else [f"({found[0]})"]
    return " AND ".join(terms)


def _terms(text: str) -> list[str]:
    """Return what ``AND`` joins outside of brackets and quotes; all of it where there is an ``OR`` as well."""
    terms, current, depth = [], "", 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and token.upper() == "OR":
            return [text.strip()]
        if depth == 0 and token.upper() == "AND":
            terms.append(current)
            current = ""
        else:
            current += token
    return [term.strip() for term in [*terms, current] if term.strip()]


def _mentions_logged(term: str) -> bool:
    without_texts = "".join(token for token in _TOKEN.findall(term) if token[0] not in "'\"")
    return _MENTIONS_LOGGED.search(without_texts) is not None


def _condition(term: str, kind: str, name: str, comparison: str, value: str) -> Condition:
    value = value.strip()
    if value[0] in "'\"" and value[-1] == value[0] and len(value) > 1:
        constant: str | float | None = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    else:
        constant = _number(value)
    if constant is None and any(token.upper() == "OR" for token in _TOKEN.findall(value)):
        raise InvalidInput(f"cannot search by {term!r}", next_step=_HOW)
    if constant is None or (kind == "metrics" and isinstance(constant, str)):
        wanted = "a number" if kind == "metrics" else "a number or a text in quotes"
        raise InvalidInput(f"cannot search by {term!r}: {value!r} is not {wanted}")
    return Condition(kind, name.strip("`"), comparison, constant)


def _order_key(order_by: str | None) -> tuple[Callable[[RunSummary], Any], bool] | None:
    if order_by is None:
        return None
    match = _ORDER.match(order_by)
    if match is None:
        raise InvalidInput(f"cannot order by {order_by!r}", next_step="such as 'metrics.auc DESC' or 'name'")
    kind, name, direction = match.groups()
    name = name.strip("`")
    descending = (direction or "").upper() == "DESC"
    if kind == "metrics":
        return (lambda run: run.metrics.get(name)), descending
    if kind == "params":
        return (lambda run: _sortable(run.params.get(name))), descending
    fields = {field.name for field in attrs.fields(ExperimentRun)} - {"custom_properties"}
    if name not in fields:
        raise InvalidInput(f"runs have no {name!r} to order by", next_step=f"one of {', '.join(sorted(fields))}")
    return (lambda run: _sortable(getattr(run.run, name))), descending


def _ordered(runs: list[RunSummary], key: Callable[[RunSummary], Any], descending: bool) -> list[RunSummary]:
    """Return the runs in order; those without a value, or with a NaN, come last in either direction."""
    valued = [(key(run), run) for run in runs]
    present = [pair for pair in valued if _is_orderable(pair[0])]
    absent = [run for value, run in valued if not _is_orderable(value)]
    present.sort(key=lambda pair: pair[0], reverse=descending)
    return [*(run for _, run in present), *absent]


def _is_orderable(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _sortable(value: Any) -> Any:
    """Return what numbers and texts are ordered by together: numbers first, ids as numbers."""
    if value is None:
        return None
    number = _number(value)
    return (1, 0.0, str(value)) if number is None else (0, number, "")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _summaries(api: RegistryAPI, runs: list[ExperimentRun]) -> Iterator[RunSummary]:
    logs: dict[str, RunSummary] = {text_id(run): RunSummary(run=run) for run in runs}
    for artifact in _logs(api, list(logs)):
        summary = logs.get(artifact.experiment_run_id or "")
        if summary is None or artifact.name is None:
            continue
        if isinstance(artifact, Metric) and artifact.value is not None:
            summary.metrics[artifact.name] = artifact.value
        elif isinstance(artifact, Parameter) and artifact.value is not None:
            summary.params[artifact.name] = artifact.value
    yield from logs.values()


def _logs(api: RegistryAPI, run_ids: list[str]) -> Iterator[Artifact]:
    if not run_ids:
        return
    query = " OR ".join(f"experimentRunId = {run_id}" for run_id in run_ids)
    try:
        yield from Pager(api.get_artifacts, ListOptions(page_size=_PAGE, filter_query=query))
    except BadRequest:
        # A server that cannot filter artifacts by their run is asked for each run.
        for run_id in run_ids:
            yield from Pager(partial(api.get_experiment_run_artifacts, run_id), ListOptions(page_size=_PAGE))
