"""Starting, awaiting and ending one server process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

#: How long a server may take to answer its first request, in seconds; a busy machine needs many times the usual 0.8.
START_TIMEOUT_S = 120.0
#: How long a server may take to end on SIGTERM before it is killed, in seconds.
STOP_TIMEOUT_S = 15.0
_POLL_INTERVAL_S = 0.02


class NotInstalled(Exception):
    """A server is not on this machine; the text names it and the command that installs it."""

    def __init__(self, name: str, install: str) -> None:
        super().__init__(f"{name} is not installed: {install}")


class ServerFailed(Exception):
    """A server ended, or did not answer in time; the text ends with its log."""


def find_program(name: str, install: str, *, folders: Sequence[str | Path] = ()) -> str:
    """Return the path of program ``name``: beside this interpreter, in ``folders``, or on the PATH.

    Raises:
        NotInstalled: It is nowhere.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), *map(str, folders), os.environ.get("PATH", os.defpath)])
    program = shutil.which(name, path=path)
    if program is None:
        raise NotInstalled(name, install)
    return program


def answers(url: str) -> Callable[[], bool]:
    """Return a check that is true once ``url`` answers over HTTP with any status below 500."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def check() -> bool:
        try:
            with opener.open(url, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code < 500
        except OSError:
            return False

    return check


def wait_until(check: Callable[[], bool], what: str, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return once ``check`` is true.

    Raises:
        ServerFailed: It was not within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise ServerFailed(f"{what}: not within {timeout_s:g} s")
        time.sleep(_POLL_INTERVAL_S)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` from its first answer to the end of the block.

    Args:
        command: The program and its arguments.
        log: File that takes its output.
        ready: True once the server answers.
        env: The whole environment; ``None`` means this process's.
        cwd: Folder to start in.
        user: Name of the user to run as; ``None`` means this process's.

    Yields:
        The process, which a test may kill.

    Raises:
        ServerFailed: It ended, or did not answer in time.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd, user=user, group=user
        )
    try:
        _await_ready(process, ready, command, log)
        yield process
    finally:
        _end(process)


def _await_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], command: Sequence[str], log: Path
) -> None:
    try:
        wait_until(lambda: process.poll() is not None or ready(), command[0])
    except ServerFailed as error:
        raise ServerFailed(f"{error}\n{_tail(log)}") from None
    if process.poll() is not None:
        raise ServerFailed(f"{command[0]} ended with {process.returncode}\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` at once, as a crash would."""
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
