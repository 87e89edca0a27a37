"""What every scheme that crosses a network promises when the network, or the server, does wrong.

A subclass gives ``proxied``: a folder on a real server that our clients meet through a proxy, and the headers that tell
whether an object has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import modelreg
from faulty_proxy import (
    Answer,
    Do,
    Drop,
    Fault,
    FaultyProxy,
    Flip,
    Header,
    Pad,
    Replace,
    Request,
    Reset,
    Silence,
    Stall,
    Truncate,
    When,
    is_download,
)
from modelreg.exceptions import (
    AccessDenied,
    DigestMismatch,
    ObjectChanged,
    ObjectNotFound,
    StorageError,
    StorageUnreachable,
    TransferStalled,
    UnsafeName,
)
from modelreg.testing.storage_place import Place, pattern_bytes, raises, read_tree

#: Seconds without a byte after which a transfer is given up, in tests of servers that fall silent.
STALL_S = 1.5
#: Seconds within which any failure must have been reported; a client that hangs takes minutes.
BOUNDED_S = 30.0

MIB = 1 << 20
#: More than one range of a large file.
LARGE = pattern_bytes(40 * MIB)
#: A small file, read whole.
SMALL = pattern_bytes(300_000)

# Tests may run in the background of a shell, where interrupts are ignored, by those that they start as well.
_FETCH = """
import signal, sys, modelreg
signal.signal(signal.SIGINT, signal.default_int_handler)
print(modelreg.fetch(sys.argv[1]))
"""


@attrs.frozen(kw_only=True)
class Proxied:
    """A folder behind a proxy.

    Attributes:
        place: The folder.
        proxy: The proxy.
        identity_header: The header of a download that tells whether the object has changed.
        other_identity: Another value of it.
    """

    place: Place
    proxy: FaultyProxy
    identity_header: str
    other_identity: str


class FaultContract:
    """Nothing lost, nothing wrong, and never a hang."""

    @pytest.fixture(autouse=True)
    def cache_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("MODELREG_CACHE_DIR", str(tmp_path / "fault-cache"))
        return tmp_path / "fault-cache"

    @pytest.fixture
    def few_attempts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELREG_TRANSFER_ATTEMPTS", "2")

    @pytest.fixture
    def one_attempt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELREG_TRANSFER_ATTEMPTS", "1")

    @pytest.mark.parametrize(
        "fault",
        [
            Reset(after=0),
            Reset(after=100_000),
            Truncate(after=0),
            Truncate(after=100_000),
            Drop(),
            Pad(more=10),
            Pad(more=-10),
            Stall(after=0),
            Stall(after=100_000),
            Silence(),
            Answer(503, b"later", {"Retry-After": "0"}),
            Answer(429, b"slower", {"Retry-After": "0"}),
            Answer(500, b"sorry"),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
    def test_what_goes_wrong_once_is_made_good(
        self, proxied: Proxied, monkeypatch: pytest.MonkeyPatch, fault: Fault, content: bytes
    ) -> None:
        proxied.place.put("model.bin", content)
        proxied.proxy.spoil(fault, times=1, when=is_download)
        do_not_wait_for(fault, monkeypatch)

        assert modelreg.fetch(proxied.place.at("model.bin")).read_bytes() == content

    @pytest.mark.parametrize(
        "fault", [Drop(), Drop(after_server=True), Silence(), Answer(503, b"later", {"Retry-After": "0"})], ids=repr
    )
    def test_a_question_that_goes_wrong_once_is_asked_again(
        self, proxied: Proxied, monkeypatch: pytest.MonkeyPatch, fault: Fault
    ) -> None:
        proxied.place.put("model.bin", SMALL)
        proxied.proxy.spoil(fault, times=1)
        do_not_wait_for(fault, monkeypatch)

        assert modelreg.fetch(proxied.place.at("model.bin")).read_bytes() == SMALL

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Reset(after=0), StorageError),
            (Truncate(after=0), StorageError),
            (Drop(), StorageError),
            (Pad(more=10), StorageError),
            (Pad(more=-10), StorageError),
            (Stall(after=0), TransferStalled),
            (Silence(), TransferStalled),
            (Answer(500, b"sorry"), StorageError),
            (Answer(403, b"no"), AccessDenied),
            (Answer(404, b"gone"), (ObjectNotFound, ObjectChanged)),
            (Answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"}), StorageError),
        ],
        ids=repr,
    )
    def test_what_goes_wrong_each_time_is_an_error_soon(
        self,
        proxied: Proxied,
        few_attempts: None,
        monkeypatch: pytest.MonkeyPatch,
        fault: Fault,
        error: type[StorageError],
    ) -> None:
        proxied.place.put("model.bin", SMALL)
        proxied.proxy.spoil(fault, when=is_download)

        with monkeypatch.context() as silence:
            do_not_wait_for(fault, silence)
            start = time.monotonic()
            with raises(error, proxied.place):
                modelreg.fetch(proxied.place.at("model.bin"))
            took_s = time.monotonic() - start

        assert took_s < BOUNDED_S
        proxied.proxy.heal()
        assert modelreg.fetch(proxied.place.at("model.bin")).read_bytes() == SMALL

    def test_a_server_that_never_answers_is_given_up(
        self, proxied: Proxied, few_attempts: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxied.place.put("model.bin", SMALL)
        proxied.proxy.spoil(Silence())
        do_not_wait_for(Silence(), monkeypatch)

        start = time.monotonic()
        with raises((TransferStalled, StorageUnreachable), proxied.place):
            modelreg.fetch(proxied.place.at("model.bin"))

        assert time.monotonic() - start < BOUNDED_S

    def test_a_server_that_is_not_there_is_named(self, proxied: Proxied, few_attempts: None) -> None:
        proxied.proxy.die()

        start = time.monotonic()
        with raises(StorageUnreachable, proxied.place):
            modelreg.fetch(proxied.place.at("model.bin"))

        assert time.monotonic() - start < BOUNDED_S

    def test_after_a_death_midway_only_the_rest_is_read(
        self, proxied: Proxied, one_attempt: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MODELREG_TRANSFER_CONCURRENCY", "1")
        proxied.place.put("model.bin", LARGE)
        proxied.proxy.spoil(Reset(after=4 * MIB), when=is_last_range(proxied.proxy))
        with raises(StorageError, proxied.place):
            modelreg.fetch(proxied.place.at("model.bin"))
        proxied.proxy.heal()
        proxied.proxy.forget()

        path = modelreg.fetch(proxied.place.at("model.bin"))

        assert path.read_bytes() == LARGE
        assert proxied.proxy.sent < 12 * MIB

    def test_after_a_kill_midway_only_the_rest_is_read(self, proxied: Proxied) -> None:
        proxied.place.put("model.bin", LARGE)
        proxied.proxy.spoil(Stall(after=MIB), when=is_last_range(proxied.proxy))
        with fetching(proxied.place.at("model.bin"), MODELREG_TRANSFER_CONCURRENCY="1") as process:
            assert proxied.proxy.wait_for(lambda proxy: proxy.sent >= 33 * MIB)
            process.kill()
        proxied.proxy.heal()
        proxied.proxy.forget()

        path = modelreg.fetch(proxied.place.at("model.bin"))

        assert path.read_bytes() == LARGE
        assert proxied.proxy.sent < 24 * MIB

    @pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C reaches a process group on Windows")
    def test_an_interrupt_stops_at_once(self, proxied: Proxied) -> None:
        proxied.place.put("model.bin", LARGE)
        proxied.proxy.spoil(Stall(after=MIB), when=is_download)
        with fetching(proxied.place.at("model.bin")) as process:
            assert proxied.proxy.wait_for(lambda proxy: proxy.sent >= MIB)

            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=BOUNDED_S)

        # The silence itself would have lasted for 100.
        assert time.monotonic() - start < 20
        assert process.returncode != 0
        assert "KeyboardInterrupt" in said

    def test_a_flipped_bit_does_not_pass_a_recorded_digest(self, proxied: Proxied, cache_folder: Path) -> None:
        proxied.place.put("model.bin", SMALL)
        digest = f"sha256:{hashlib.sha256(SMALL).hexdigest()}"
        proxied.proxy.spoil(Flip(at=150_000), when=is_download)

        with raises(DigestMismatch, proxied.place):
            modelreg.fetch(proxied.place.at("model.bin"), digest=digest)

        spoilt = SMALL[:150_000] + bytes([SMALL[150_000] ^ 1]) + SMALL[150_001:]
        assert spoilt not in read_tree(cache_folder).values()
        proxied.proxy.heal()
        assert modelreg.fetch(proxied.place.at("model.bin"), digest=digest).read_bytes() == SMALL

    def test_an_object_that_changes_midway_is_read_anew(self, proxied: Proxied) -> None:
        proxied.place.put("model.bin", LARGE)
        # Longer, for a server that tells versions apart by their second and size.
        changed = bytes(reversed(LARGE)) + b"longer"
        proxied.proxy.spoil(
            Do(lambda: proxied.place.put("model.bin", changed)), times=1, when=is_last_range(proxied.proxy)
        )

        got = modelreg.fetch(proxied.place.at("model.bin")).read_bytes()

        assert proxied.proxy.count(is_download) >= 3
        # Neither is in the message: each is 40 MiB.
        assert (got == changed, got == LARGE) == (True, False)

    def test_an_object_that_changes_between_a_kill_and_a_resume_is_read_anew(
        self, proxied: Proxied, one_attempt: None
    ) -> None:
        proxied.place.put("model.bin", LARGE)
        proxied.proxy.spoil(Reset(after=MIB), when=is_last_range(proxied.proxy))
        with raises(StorageError, proxied.place):
            modelreg.fetch(proxied.place.at("model.bin"))
        proxied.proxy.heal()
        changed = bytes(reversed(LARGE)) + b"longer"
        proxied.place.put("model.bin", changed)

        assert modelreg.fetch(proxied.place.at("model.bin")).read_bytes() == changed

    def test_an_answer_for_another_object_is_refused(self, proxied: Proxied, few_attempts: None) -> None:
        proxied.place.put("model.bin", LARGE)
        proxied.proxy.spoil(Header(proxied.identity_header, proxied.other_identity), when=is_download)

        with raises((ObjectChanged, StorageError), proxied.place):
            modelreg.fetch(proxied.place.at("model.bin"))

    def test_what_is_current_is_not_read_again(self, proxied: Proxied) -> None:
        proxied.place.put("model.bin", SMALL)
        modelreg.fetch(proxied.place.at("model.bin"))
        proxied.proxy.forget()

        modelreg.fetch(proxied.place.at("model.bin"))

        assert proxied.proxy.sent < len(SMALL)
        assert 1 <= proxied.proxy.count() <= 2

    def test_what_was_asked_lately_is_not_asked_again(self, proxied: Proxied) -> None:
        proxied.place.put("model.bin", SMALL)
        modelreg.fetch(proxied.place.at("model.bin"))
        proxied.proxy.forget()

        modelreg.fetch(proxied.place.at("model.bin"), revalidate=3600)

        assert proxied.proxy.count() == 0

    def test_offline_asks_nobody(self, proxied: Proxied) -> None:
        proxied.place.put("model.bin", SMALL)
        path = modelreg.fetch(proxied.place.at("model.bin"))
        proxied.proxy.die()

        assert modelreg.fetch(proxied.place.at("model.bin"), offline=True) == path


class ListingFaultContract(FaultContract):
    """For storages that list: the names in a listing are the server's word, and not to be trusted."""

    @pytest.mark.parametrize(
        ("written", "listed"),
        [(b"QQ/escaped", b"../escaped"), (b"QQ/escaped", b"C:/escaped"), (b"QQQ", b"nul"), (b"aQQb", b"a..b")],
    )
    def test_a_hostile_name_in_a_listing_writes_nothing(
        self, proxied: Proxied, tmp_path: Path, few_attempts: None, written: bytes, listed: bytes
    ) -> None:
        proxied.place.put_all({"m/fine.bin": b"fine", f"m/{written.decode()}": b"hostile"})
        proxied.proxy.spoil(Replace(written, listed), when=lambda request: not is_download(request))

        # A name that only looks odd is read, and is not there.
        with raises((UnsafeName, ObjectNotFound, ObjectChanged), proxied.place):
            modelreg.fetch(proxied.place.at("m"))

        assert b"hostile" not in read_tree(tmp_path).values()

    def test_a_listing_that_is_cut_off_is_not_taken_for_the_whole(self, proxied: Proxied, few_attempts: None) -> None:
        proxied.place.put_all({f"m/{number}": b"content" for number in range(20)})
        proxied.proxy.spoil(Truncate(after=800), when=lambda request: not is_download(request))

        with raises(StorageError, proxied.place):
            modelreg.fetch(proxied.place.at("m"))

    def test_a_file_that_vanishes_after_the_listing_is_an_error(self, proxied: Proxied, few_attempts: None) -> None:
        proxied.place.put_all({"m/a": b"1", "m/b": b"2"})
        proxied.proxy.spoil(
            Answer(404, b"gone"),
            when=lambda request: is_download(request) and request.target.partition("?")[0].endswith("b"),
        )

        with raises((ObjectNotFound, ObjectChanged), proxied.place):
            modelreg.fetch(proxied.place.at("m"))


def do_not_wait_for(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have transfers be given up soon if the fault is silence. A server that is only slow has a minute."""
    if isinstance(fault, (Silence, Stall)):
        monkeypatch.setenv("MODELREG_STALL_TIMEOUT", str(STALL_S))


@contextlib.contextmanager
def fetching(uri: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Fetch in a process of its own that waits for silent servers longer than any test does; end it after the block."""
    environment = {**os.environ, "MODELREG_STALL_TIMEOUT": "100", **variables}
    command = [sys.executable, "-c", _FETCH, uri]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def is_last_range(proxy: FaultyProxy) -> When:
    """Return what matches the request for the fifth range of an object, and those after it: ``LARGE`` has five."""

    def matches(request: Request) -> bool:
        # The request itself is among them already.
        return is_range(request) and sum(1 for one in proxy.requests if is_range(one)) >= 5

    return matches


def is_range(request: Request) -> bool:
    """Match requests for a part of an object."""
    return is_download(request) and request.headers.get("Range") is not None
