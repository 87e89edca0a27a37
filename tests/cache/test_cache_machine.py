from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from modelreg.cache.machine import boot_id, is_alive, owner_name

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def test_a_process_is_alive_by_its_own_name():
    assert is_alive(owner_name()) is True


def test_a_process_has_one_name():
    assert owner_name() == owner_name()


def test_each_process_has_a_name_of_its_own():
    code = "from modelreg.cache.machine import owner_name; print(owner_name())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    assert other != owner_name()
    # Same machine, same boot: its end can be told from here.
    assert is_alive(other) is False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_process_that_has_ended_is_dead_although_nobody_has_asked_how():
    code = (
        "import sys; from modelreg.cache.machine import owner_name; print(owner_name(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        before = is_alive(name)

        other.stdin.close()
        # The other end of the pipe is closed by the process's end, its parent waits later.
        other.stdout.read()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)

        assert before is True
        assert is_alive(name) is False


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it():
    host, pid, start = owner_name().rsplit("-", 2)

    assert is_alive(f"{host}-{pid}-{int(start) + 1}") is False


def test_another_users_process_is_alive(as_user: Callable[..., AbstractContextManager[None]]):
    ours = owner_name()

    with as_user(65534, 65534):
        # This process acts as another user now, who may not signal what is root's: the first process of the machine.
        host = ours.rsplit("-", 2)[0]
        assert is_alive(f"{host}-1-{start_of(1)}") is True


def start_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()


@pytest.mark.parametrize("name", ["", "free", "somewhere-12", "elsewhere-12-34", "elsewhere-pid-0"])
def test_of_a_process_elsewhere_nothing_can_be_told(name: str):
    assert is_alive(name) is None


def test_a_name_of_this_host_without_a_number_is_nobodys():
    assert is_alive(f"{owner_name().rsplit('-', 2)[0]}-me-0") is None


def test_the_boot_is_the_same_for_all_processes():
    code = "from modelreg.cache.machine import boot_id; print(boot_id())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    assert said == str(boot_id())


@pytest.mark.skipif(not BOOT_ID.exists(), reason="the kernel tells no boot here")
def test_the_boot_is_the_kernels():
    assert boot_id() == BOOT_ID.read_text().strip()
