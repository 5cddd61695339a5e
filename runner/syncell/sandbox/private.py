"""A cell's private folder: its home and its temporary files, gone when the cell is.

A folder is locked for as long as its host lives. What a killed host left behind is therefore known by its free lock,
and swept at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path


class PrivateFolder:
    """One folder under `root`, with `home` and `tmp` inside; `remove` ends it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The lock stands beside the folder, where the cell cannot reach it.
        descriptor, lock = tempfile.mkstemp(prefix="cell-", suffix=".lock", dir=root)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor: int | None = descriptor
        self._lock = Path(lock)
        self.path = self._lock.with_suffix("")
        for name in ("home", "tmp"):
            (self.path / name).mkdir(parents=True, mode=0o700)

    def remove(self) -> None:
        """Remove the folder and everything the cell put there."""
        if self._descriptor is None:
            return
        remove_tree(self.path)
        self._lock.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def sweep(root: Path) -> None:
    """Remove the private folders of hosts that are gone."""
    for lock in root.glob("cell-*.lock"):
        with contextlib.suppress(OSError), lock.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(lock.with_suffix(""))
            lock.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder whatever modes its owner gave to things in it, never following a link out of it."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError:
        path.chmod(stat.S_IRWXU)
        for folder, names, _ in os.walk(path):  # top down: each folder is opened up before it is entered
            for name in names:
                if not (inner := Path(folder, name)).is_symlink():
                    inner.chmod(stat.S_IRWXU)
        shutil.rmtree(path)
