"""How much disk a folder uses, counted a little at a time, in a folder whose owner may be hostile.

Folders are opened one beneath the other and never through a link, so a count cannot be led out of its folder, however
fast things are renamed. A count can be interrupted anywhere: a million files must not keep the warden from the other
cells. May import nothing of the project.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator

ENTRY_BYTES = 1024
"""The least that an entry counts: an empty file costs an inode, and a million of them fill a disk as well."""

DEPTH = 64
"""Folders beneath one another that are counted. Each costs a descriptor, and no honest program nests as deep."""

STEP = 256
"""Entries between two interruptions: about a millisecond."""

_BLOCK = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UncountableError(Exception):
    """The folder's owner made it so that it cannot be counted; the message says how."""


def usage(path: str) -> Generator[None, None, int]:
    """Bytes of everything beneath `path`. Yields now and then; raises `UncountableError`."""
    total = 0
    linked: set[tuple[int, int]] = set()
    # The folders that are open, each beneath the one before it, with those of its folders that are still to be entered.
    stack: list[tuple[int, list[str]]] = []
    try:
        name, parent = path, None
        while True:
            if (descriptor := _open(name, parent, len(stack))) is not None:
                stack.append((descriptor, []))
                total += yield from _scan(*stack[-1], linked)
            while stack and not stack[-1][1]:
                os.close(stack.pop()[0])
            if not stack:
                return total
            parent, folders = stack[-1]
            name = folders.pop()
    finally:
        for descriptor, _ in stack:
            os.close(descriptor)


def _open(name: str, parent: int | None, depth: int) -> int | None:
    if depth == DEPTH:
        raise UncountableError(f"folders are nested more than {DEPTH} deep")
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        raise UncountableError("a folder is closed to its own host") from None
    except OSError:  # gone meanwhile, or replaced by something that is no folder
        return None


def _scan(descriptor: int, folders: list[str], linked: set[tuple[int, int]]) -> Generator[None, None, int]:
    """Bytes of the entries of one folder; the names of the folders among them go into `folders`."""
    total = 0
    with os.scandir(descriptor) as entries:
        for number, entry in enumerate(entries):
            if number % STEP == 0:
                yield
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:  # gone meanwhile
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(entry.name)
            elif status.st_nlink > 1:
                identity = status.st_dev, status.st_ino
                if identity in linked:
                    continue
                linked.add(identity)
            total += max(status.st_blocks * _BLOCK, ENTRY_BYTES)
    return total
