"""What is a hit, what it is filed under, and how those who want the same wait for each other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelreg
from modelreg.fetching.hits import find_current, open_cache
from modelreg.fetching.misses import Fetcher
from modelreg.fetching.questions import Question, patterns
from modelreg.storage import download, parse_uri

MakeFolder = Callable[[dict[str, bytes]], Path]
FILES = {"config.json": b"{}", "weights/part-1.bin": b"one"}


def test_a_file_that_was_changed_is_no_hit(folder: MakeFolder):
    source = folder(FILES)
    path = modelreg.fetch(source)
    question = Question(parse_uri(source))
    cache = open_cache()
    assert find_current(cache, question, digest=None, max_age_s=None) is not None

    (path / "config.json").chmod(0o666)
    (path / "config.json").write_bytes(b"changed")

    assert find_current(cache, question, digest=None, max_age_s=None) is None


def test_a_clock_that_was_set_back_makes_no_copy_current_for_ever(folder: MakeFolder):
    source = folder(FILES)
    ahead = Fetcher(clock=lambda: time.time() + 3600)
    modelreg.fetch(source, fetcher=ahead)

    assert find_current(open_cache(), Question(parse_uri(source)), digest=None, max_age_s=60) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"allow": patterns("*.bin")}, {"allow": patterns(["*.bin", "*.bin"])}),
        ({"ignore": patterns(["a", "b"])}, {"ignore": patterns(["b", "a"])}),
    ],
)
def test_one_question_has_one_key(one: dict[str, Any], other: dict[str, Any]):
    uri = parse_uri("s3://models/fraud")

    assert Question(uri, **one).key == Question(uri, **other).key


def test_another_question_has_another_key(monkeypatch: pytest.MonkeyPatch):
    uri = parse_uri("s3://models/fraud")
    questions = [Question(uri), Question(uri, allow=("a",)), Question(uri, ignore=("a",)), Question(uri, unpack=True)]
    keys = {question.key for question in questions}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    assert len({*keys, Question(uri).key}) == 5


# Several who want the same


class Told(logging.Handler):
    """Sets an event when someone says that it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "waiting for another process" in record.getMessage():
            self.waiting.set()


@pytest.fixture
def told() -> Iterator[Told]:
    handler = Told()
    logger = logging.getLogger("modelreg.cache.leases")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("force", [False, True])
def test_two_who_want_the_same_download_it_once(folder: MakeFolder, told: Told, *, force: bool):
    source = folder(FILES)
    moves: list[Any] = []
    results: list[Path] = []

    def move(backend: Any, jobs: list[Any], **options: Any) -> Iterator[Any]:
        moves.append(jobs)
        if len(moves) == 1:
            second.start()
            assert told.waiting.wait(30)
        return download(backend, jobs, **options)

    def work() -> None:
        results.append(modelreg.fetch(source, fetcher=Fetcher(move=move), force=force))

    second = threading.Thread(target=work)
    work()
    second.join(30)

    assert results == [results[0]] * 2
    assert len(moves) == 1


def test_one_whose_answer_does_not_come_does_the_work_itself(folder: MakeFolder, told: Told):
    source = folder(FILES)
    moves: list[Any] = []
    results: list[Path] = []

    def move(backend: Any, jobs: list[Any], **options: Any) -> Iterator[Any]:
        moves.append(jobs)
        if len(moves) == 1:
            second.start()
            assert told.waiting.wait(30)
            raise KeyboardInterrupt
        return download(backend, jobs, **options)

    fetcher = Fetcher(move=move)
    second = threading.Thread(target=lambda: results.append(modelreg.fetch(source, fetcher=fetcher)))
    with pytest.raises(KeyboardInterrupt):
        modelreg.fetch(source, fetcher=fetcher)
    second.join(30)

    assert (results[0] / "config.json").read_bytes() == b"{}"
    assert len(moves) == 2
