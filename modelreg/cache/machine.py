"""What the cache must know of the machine: which boot this is, and whether another process still lives."""

from __future__ import annotations

import functools
import os
import sys

if sys.platform == "win32":
    import ctypes
    import winreg

    def _windows_boot_id() -> str | None:
        path = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
                return f"boot-{winreg.QueryValueEx(key, 'BootId')[0]}"
        except OSError:
            return None

    def _is_running(pid: int) -> bool:
        # os.kill(pid, 0) would end the process here.
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        synchronize, wait_timeout = 0x0010_0000, 0x102
        handle = kernel.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == wait_timeout)
        finally:
            kernel.CloseHandle(handle)

else:

    def _windows_boot_id() -> str | None:
        return None

    def _is_running(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Not ours to signal, so it is there.
            return True
        return True


@functools.cache
def boot_id() -> str | None:
    """Return a text that is the same until the machine is started again, ``None`` where there is none.

    It cannot change while this process lives, so it is read once.
    """
    read = {"linux": _linux_boot_id, "darwin": _darwin_boot_id, "win32": _windows_boot_id}.get(sys.platform)
    return read() if read is not None else None


def _linux_boot_id() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            return file.read(64).strip().decode("ascii") or None
    except OSError:
        return None


def _darwin_boot_id() -> str | None:
    import ctypes

    buffer = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(buffer))
    failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0)
    return None if failed else buffer.value.decode("ascii") or None


def owner_name() -> str:
    """Return a name for this process that no other has, on any machine: ``<host>-<pid>-<start>``."""
    return _owner_name_of(os.getpid())


# Kept: it goes through two files of the kernel's and a hash, and a fetch is asked for it several times.
@functools.lru_cache(maxsize=1)
def _owner_name_of(pid: int) -> str:
    return f"{_host()}-{pid}-{_start_time(_status(pid))}"


def is_alive(owner: str) -> bool | None:
    """Return whether the process that called itself ``owner`` lives; ``None`` if that cannot be told from here."""
    host, pid, start = owner.rsplit("-", 2) if owner.count("-") >= 2 else ("", "", "")
    if host != _host() or not pid.isdigit():
        return None
    # The number may have gone to another process since. And one that has ended keeps it until its parent asks how: in a
    # container nobody may.
    status = _status(int(pid))
    return _is_running(int(pid)) and start == _start_time(status) and status[:1] != [b"Z"]


def _host() -> str:
    """Return this machine's name with its boot and process name space: a pid means the same process only within."""
    import hashlib
    import socket

    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        namespace = ""
    text = f"{socket.gethostname()}\0{boot_id()}\0{namespace}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _status(pid: int) -> list[bytes]:
    """Return what the kernel tells of a process, from its state on; nothing where there is no cheap way to tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return []
    # The name, in brackets before it, may hold anything.
    return text.rpartition(b")")[2].split()


def _start_time(status: list[bytes]) -> str:
    """Return when a process started, in the kernel's ticks; ``0`` where that is not known."""
    return status[19].decode("ascii") if status else "0"
