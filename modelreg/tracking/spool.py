"""Where journals lie: a folder per registry, in it one per process, in that one per run.

::

    journals/<registry>/<process>/owner
                                 /<run>/000001.journal, sent, values ...
                       /aside/<run>/...          what the registry will not take, kept for people
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import threading
import time
from pathlib import Path

from modelreg.exceptions import ExperimentRunError
from modelreg.tracking import ownership
from modelreg.tracking.ownership import Ownership

_ASIDE = "aside"


class Spool:
    """The journals of one process for one registry.

    Args:
        root: Folder of all journals.
        registry: Address of the registry, without credentials: journals of another one are never touched.
    """

    def __init__(self, root: Path, registry: str) -> None:
        self.registry = registry
        #: Folder of this registry's journals.
        self.folder = root / hashlib.sha256(registry.encode()).hexdigest()[:16]
        #: Where journals are kept that the registry will not take.
        self.aside = self.folder / _ASIDE
        self._own: Ownership | None = None
        self._adopted: dict[Path, Ownership] = {}
        self._runs = 0
        # Runs begin and end in users' threads, leftovers are found in the writer's.
        self._lock = threading.RLock()

    def new_run(self, key: str) -> Path:
        """Return the folder of a new journal.

        Raises:
            ExperimentRunError: It cannot be made.
        """
        try:
            with self._lock:
                self._runs += 1
                if self._own is None:
                    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
                    self._own = ownership.create(self.folder / name, self.registry)
                # Numbered, so that a parent's journal is sent before its children's.
                folder = self._own.folder / f"{self._runs:06d}-{key}"
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise ExperimentRunError(
                f"cannot keep a journal in {self.folder}: {error.strerror or error}",
                next_step="make it writable, or name another folder in MODELREG_DATA_DIR",
            ) from error
        return folder

    def heartbeat(self) -> None:
        """Give a sign of life for the folders of this process."""
        with self._lock:
            owned = [self._own, *self._adopted.values()]
        for folder in owned:
            if folder is not None:
                folder.heartbeat()

    def adopt(self) -> list[Path]:
        """Return the journals of dead processes, oldest first; they are this process's from now on."""
        with self._lock:
            return [run for process in self._processes() for run in self._adopt(process)]

    def _adopt(self, process: Path) -> list[Path]:
        if process in self._adopted or (self._own is not None and process == self._own.folder):
            return []
        owned = ownership.adopt(process)
        if owned is None:
            return []
        self._adopted[process] = owned
        runs = run_folders(process)
        if not runs:
            self._remove_process(process)
        return runs

    def remove(self, run: Path) -> None:
        """Delete the journal of a run that the registry has all of."""
        shutil.rmtree(run, ignore_errors=True)
        self._forget(run)

    def set_aside(self, run: Path) -> Path:
        """Move a journal away that the registry will not take, and return where it is now."""
        target = self.aside / f"{run.name}-{secrets.token_hex(4)}"
        target.parent.mkdir(exist_ok=True, mode=0o700)
        try:
            run.rename(target)
        except OSError:
            # Windows keeps a folder in its place while a file in it is open; it is set aside where it is.
            return run
        self._forget(run)
        return target

    def waiting(self) -> list[Path]:
        """Return the journals of all processes, dead or alive."""
        return [run for process in self._processes() for run in run_folders(process)]

    def close(self) -> None:
        """Let go of everything: another process may send what is left."""
        with self._lock:
            for folder, owned in self._adopted.items():
                self._release(folder, owned)
            if self._own is not None:
                self._release(self._own.folder, self._own)
            self._own = None
            self._adopted.clear()

    def abandon(self) -> None:
        """Let go of everything in a forked child: all of it is its parent's."""
        # Without the lock, which another thread of the parent may have held.
        for owned in [self._own, *self._adopted.values()]:
            if owned is not None:
                owned.release()

    def _processes(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and path.name != _ASIDE)

    def _forget(self, run: Path) -> None:
        process = run.parent
        with self._lock:
            if process in self._adopted and not run_folders(process):
                self._remove_process(process)

    def _remove_process(self, folder: Path) -> None:
        self._release(folder, self._adopted.pop(folder))

    def _release(self, folder: Path, owned: Ownership) -> None:
        if run_folders(folder):
            owned.release()
            return
        if os.name == "nt":
            # Windows deletes no open file.
            owned.release()
        with contextlib.suppress(OSError):
            (folder / ownership.OWNER_FILE).unlink()
            folder.rmdir()
        owned.release()


def run_folders(process: Path) -> list[Path]:
    """Return the folders of a process's journals, in the order in which they were begun."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in process.iterdir() if path.is_dir())
    return []
