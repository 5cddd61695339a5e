"""How much memory a tree of processes uses, of every kind that cannot be dropped: anonymous, shared and swapped out.

Three readings, each dearer and closer than the one before. What the kernel counts for each process is an upper bound,
since what two share is counted twice; it is enough for as long as it stays below the limit. The proportional set size
(PSS) shares the shared out. Files in memory (memfd) belong to nobody's mappings unless they are mapped, so they are
found by the descriptors that hold them. Pages of files on a disk are left out: the kernel drops them when it must.
May import: `processes`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Iterable

_BLOCK = 512
_KIB = 1024
_STATUS = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap|HugetlbPages):\s+(\d+) kB", re.MULTILINE)
_ROLLUP = re.compile(rb"^(Pss|Pss_File|SwapPss|Private_Hugetlb|Shared_Hugetlb):\s+(\d+) kB", re.MULTILINE)
_MAPPING = re.compile(rb"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) (\d+)")


class HiddenError(Exception):
    """A process cannot be looked at: it is undumpable, runs a program that nobody may read, or is headless."""


@dataclasses.dataclass
class Held:
    """What the open descriptors of a tree keep alive though no folder names it, in bytes.

    `memory` is in files of memory, `inodes` are those (device, number); `deleted` is in deleted files of a folder.
    """

    memory: int = 0
    deleted: int = 0
    inodes: set[tuple[int, int]] = dataclasses.field(default_factory=set)


def upper_bound(pids: Iterable[int]) -> int:
    """Bytes that the tree cannot have gone beyond, files of memory excepted."""
    total = 0
    for pid in pids:
        total += sum(map(int, _STATUS.findall(_text(pid, "status")))) * _KIB
    return total


def exact(pids: Iterable[int], held: Held) -> int:
    """Bytes of the tree, `held` included. Raises `HiddenError`."""
    total = held.memory
    for pid in pids:
        said = {name: int(size) * _KIB for name, size in _ROLLUP.findall(_text(pid, "smaps_rollup"))}
        total += said.pop(b"Pss", 0) - said.pop(b"Pss_File", 0) + sum(said.values())
        if held.inodes:
            total -= _mapped(pid, held.inodes)
    return total


def held(pids: Iterable[int], folder: str) -> Held:
    """What the descriptors of a tree hold: files of memory, and deleted files of `folder`. Raises `HiddenError`."""
    found = Held()
    deleted: set[tuple[int, int]] = set()
    for pid in pids:
        for path, target in _descriptors(pid):
            in_memory = target.startswith("/memfd:")
            if not in_memory and not (target.endswith(" (deleted)") and target.startswith(f"{folder}/")):
                continue
            try:
                status = os.stat(path)  # noqa: PTH116 - a descriptor's link, followed on purpose
            except OSError:  # closed meanwhile
                continue
            identity = status.st_dev, status.st_ino
            if in_memory and identity not in found.inodes:
                found.inodes.add(identity)
                found.memory += status.st_blocks * _BLOCK
            elif not in_memory and stat.S_ISREG(status.st_mode) and not status.st_nlink and identity not in deleted:
                deleted.add(identity)
                found.deleted += status.st_blocks * _BLOCK
    return found


def _descriptors(pid: int) -> Iterable[tuple[str, str]]:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - many times a second
    except (FileNotFoundError, ProcessLookupError):
        return
    except PermissionError:
        raise HiddenError(pid) from None
    for name in names:
        path = f"{folder}/{name}"
        try:
            yield path, os.readlink(path)  # noqa: PTH115 - as above
        except OSError:
            continue


def _mapped(pid: int, inodes: set[tuple[int, int]]) -> int:
    """Bytes (PSS) of the process's mappings of these files, which count by what they hold and not twice."""
    total, counted = 0, False
    for line in _text(pid, "smaps").splitlines():
        if mapping := _MAPPING.match(line):
            device = os.makedev(int(mapping[1], 16), int(mapping[2], 16))
            counted = (device, int(mapping[3])) in inodes
        elif counted and line.startswith((b"Pss:", b"SwapPss:")):
            total += int(line.split()[1]) * _KIB
    return total


def _text(pid: int, name: str) -> bytes:
    """One of a process's files; empty when the process has ended."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - many times a second
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except PermissionError:
        raise HiddenError(pid) from None
