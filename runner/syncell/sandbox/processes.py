"""Whole process trees, read from /proc: who belongs to which cell, and what each of them is.

A cell's worker leads a session of its own. A process belongs to the cell when it is in that session or group, when its
parent belongs to it, or when it was seen to belong before: so one that leaves the session, or whose parent is gone,
stays. Nobody can join from outside, which is why a process that was once seen to be a stranger is not read again soon.
May import nothing of the project.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Iterable, Mapping

FORGET_SECONDS = 1.0
"""After so long even strangers are read again: a process id may have been given to another process meanwhile."""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment. `started` tells it from a later one with the same id; `cpu` is its own, in ticks.

    `cpu_reaped` is that of its children which it has waited for. A `zombie` uses nothing but its id. One that is
    `headless` goes on in its threads after its first one ended, and the kernel shows nothing of what it uses.
    """

    pid: int
    parent: int
    group: int
    session: int
    zombie: bool
    headless: bool
    threads: int
    started: int
    cpu: int
    cpu_reaped: int


def read(pid: int) -> Process | None:
    """The process with this id, or None when there is none any more."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - hundreds of them, many times a second
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    ended, threads = fields[0] in (b"Z", b"X"), int(fields[17])
    return Process(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        zombie=ended and threads < 2,
        headless=ended and threads >= 2,
        threads=threads,
        started=int(fields[19]),
        cpu=int(fields[11]) + int(fields[12]),
        cpu_reaped=int(fields[13]) + int(fields[14]),
    )


class Census:
    """Counts the trees of several workers, over and over, at the cost of one listing of /proc each time."""

    def __init__(self) -> None:
        self._strangers: set[int] = set()
        self._forget_at = 0.0

    def forget(self) -> None:
        """Read everything anew at the next count: a new worker may have been taken for a stranger."""
        self._forget_at = 0.0

    def take(self, roots: Mapping[int, Iterable[Process]]) -> dict[int, list[Process]]:
        """The members of each tree, by the process id of its root. `roots` names who was seen there before."""
        now = time.monotonic()
        if now >= self._forget_at:
            self._strangers.clear()
            self._forget_at = now + FORGET_SECONDS
        present = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - as above
        self._strangers &= present
        found = {pid: process for pid in present - self._strangers if (process := read(pid)) is not None}
        belongs = {
            member.pid: root
            for root, before in roots.items()
            for member in before
            if (process := found.get(member.pid)) is not None and process.started == member.started
        }
        for process in found.values():
            if process.session in roots or process.group in roots:
                belongs.setdefault(process.pid, process.session if process.session in roots else process.group)
        # Children are mostly younger than their parents, so one pass nearly always does.
        by_age = sorted(found.values(), key=lambda process: process.started)
        settled = False
        while not settled:
            settled = True
            for process in by_age:
                if process.pid not in belongs and process.parent in belongs:
                    belongs[process.pid] = belongs[process.parent]
                    settled = False
        members: dict[int, list[Process]] = {root: [] for root in roots}
        for pid, root in belongs.items():
            members[root].append(found[pid])
        self._strangers |= found.keys() - belongs.keys()
        return members


def kill(process: Process) -> None:
    """Send SIGKILL to this process and to no later one with its id. Never raises."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(process.pid)
        try:
            now = read(process.pid)
            if now is not None and now.started == process.started:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
