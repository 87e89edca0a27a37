"""Errors in another process: a pool hands over what a task raised by pickling it."""

from __future__ import annotations

import inspect
import pickle

import pytest

from modelreg import exceptions
from modelreg.exceptions import DigestMismatch, InvalidInput, ModelRegError, RegistryError, StorageRefused

_KINDS = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, ModelRegError)]


def an_error(kind: type[ModelRegError]) -> ModelRegError:
    """Return an error of ``kind`` with a text for each argument that it must have."""
    needed = [one for one in inspect.signature(kind).parameters.values() if one.default is one.empty]
    by_name = {one.name: "needed" for one in needed if one.kind is one.KEYWORD_ONLY}
    given = ["the message" for one in needed if one.kind is one.POSITIONAL_OR_KEYWORD]
    if "next_step" in inspect.signature(kind).parameters:
        by_name["next_step"] = "do this"
    return kind(*given, **by_name)


@pytest.mark.parametrize("kind", _KINDS)
def test_an_error_is_the_same_in_another_process(kind: type[ModelRegError]) -> None:
    error = an_error(kind)

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_what_an_error_carries_goes_with_it() -> None:
    mismatch = pickle.loads(pickle.dumps(DigestMismatch("a", expected="sha256:1", actual="sha256:2")))
    refused = pickle.loads(pickle.dumps(StorageRefused("b", status=503, retry_after_s=2.0)))

    assert (mismatch.expected, mismatch.actual) == ("sha256:1", "sha256:2")
    assert (refused.status, refused.retry_after_s) == (503, 2.0)
    assert str(refused) == "b"


def test_what_was_added_to_an_error_goes_with_it() -> None:
    error = InvalidInput("a", next_step="b")
    error.where = "here"  # type: ignore[attr-defined] # as callers may
    again = pickle.loads(pickle.dumps(error))

    assert (again.where, again.reason, str(again)) == ("here", "a", "a (b)")
    assert isinstance(pickle.loads(pickle.dumps(RegistryError("c", status=500))), RegistryError)
