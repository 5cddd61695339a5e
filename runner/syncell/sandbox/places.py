"""Places that a syncer is to write and that do not exist yet: made before its jail, which can only allow what is there.

A file that the host names as written is made empty; a path with a slash at its end is a folder, and is made empty too.
Whatever the syncer leaves untouched is removed with the cell. Made is only what nobody could take for data: a file that
an option also lets the syncer read is not, since a misspelt name would then be an empty file instead of an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterable

from syncell.sandbox.grants import BY_POLICY, Grant


def to_make(granted: Iterable[Grant]) -> list[Grant]:
    """Which of the grants are for places that are to be made."""
    granted = list(granted)
    readable = {it.place for it in granted if it.action == "read" and it.origin != BY_POLICY}
    wanted = {
        it.place: it
        for it in granted
        if it.action == "write" and it.missing and (it.folder or it.origin == BY_POLICY or it.place not in readable)
    }
    # A folder before what is to be made in it.
    return sorted(wanted.values(), key=lambda it: it.place)


@dataclasses.dataclass(frozen=True)
class _Made:
    path: str
    inode: int
    modified: int


class Places:
    """The places that were made for one cell; `remove` takes away those that it did not touch."""

    def __init__(self, granted: Iterable[Grant]) -> None:
        self._made: list[_Made] = []
        for grant in to_make(granted):
            with contextlib.suppress(OSError):  # it stays missing, and says so when it is used
                if grant.folder:
                    for folder in _missing(grant.place):
                        os.mkdir(folder)  # noqa: PTH102 - beside os.open
                        self._remember(folder)
                else:
                    os.close(os.open(grant.place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
                    self._remember(grant.place)

    def _remember(self, path: str) -> None:
        status = os.lstat(path)
        self._made.append(_Made(path, status.st_ino, status.st_mtime_ns))

    def remove(self) -> None:
        """Remove what was made and is still as it was. Safe to call twice; never raises."""
        while self._made:
            made = self._made.pop()
            with contextlib.suppress(OSError):  # not empty, or gone
                status = os.lstat(made.path)
                if status.st_ino != made.inode:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    os.rmdir(made.path)  # noqa: PTH106 - beside os.lstat
                elif status.st_size == 0 and status.st_mtime_ns == made.modified:
                    os.unlink(made.path)  # noqa: PTH108 - as above


def _missing(folder: str) -> list[str]:
    """A folder and those around it that are not there, the outermost first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)  # noqa: PTH120 - paths are text here
    return missing[::-1]
