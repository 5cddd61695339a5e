"""A cell's private folder: its home and its temporary files, gone when the cell is.

A folder is locked for as long as its host lives. What a killed host left behind is therefore known by its free lock,
and swept at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
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


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove a folder whatever modes its owner gave to things in it, never following a link out of it.

    However deep the owner nested, three descriptors do: folders inside of folders are moved up before they are emptied.
    """
    try:
        top = _open_folder(str(path), None)
    except (FileNotFoundError, NotADirectoryError):
        return
    moved = itertools.count()
    try:
        while names := os.listdir(top):  # noqa: PTH208 - a descriptor, not a path
            for name in names:
                if _is_folder(name, top):
                    _empty(name, top, moved)
                    os.rmdir(name, dir_fd=top)
                else:
                    os.unlink(name, dir_fd=top)
    finally:
        os.close(top)
    path.rmdir()


def _empty(name: str, top: int, moved: Iterator[int]) -> None:
    """Remove the files of a folder in `top`, and move its folders beside it, under names that nothing there has."""
    folder = _open_folder(name, top)
    try:
        for inner in os.listdir(folder):  # noqa: PTH208 - as above
            if not _is_folder(inner, folder):
                os.unlink(inner, dir_fd=folder)
                continue
            os.close(_open_folder(inner, folder))  # to move a folder takes the right to write to it
            while os.path.lexists(f"/proc/self/fd/{top}/{(free := f'.{next(moved)}')}"):
                pass
            os.rename(inner, free, src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _open_folder(name: str, parent: int | None) -> int:
    """Open a folder and everything about it to its owner, following no link."""
    path = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        with contextlib.suppress(PermissionError):  # of another owner: then it is as it is
            os.chmod(f"/proc/self/fd/{path}", stat.S_IRWXU)  # noqa: PTH101 - the folder, whatever its name is now
        return os.open(".", _FOLDER, dir_fd=path)
    finally:
        os.close(path)
