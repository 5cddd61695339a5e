"""The warden: watches what whole cells use, and ends the one that goes beyond its limits.

A process's own limits (rlimits) bound that process, and neither its children nor memory that is shared. So one thread
of a runner looks at every cell's tree of processes, many times a second: memory, processor time, processes and threads,
the private folder. Beyond a limit it leaves a note on the cell's `Watch` and sends SIGKILL to the whole tree; the
thread that drives the cell finds the process ended and the note beside it. What cannot be measured counts as beyond.

Only signals leave this room: the warden touches no descriptor of a cell, and reaps nothing. `Watch.stop` must be called
before the worker is reaped, since from then on its process id can belong to anyone.
May import: errors, `policy` and the rooms that measure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Generator

from syncell.sandbox import disk, memory, processes
from syncell.sandbox.policy import Limits, parse_size
from syncell.sandbox.processes import Census, Process

LOOK_SECONDS = 0.05
"""Between two looks: a quarter of the 200 ms within which a cell that outgrows its memory is ended."""

NEAR_LOOK_SECONDS = 0.01
"""Between two looks while some cell is near a limit, where `NEAR` is the share of it that is used."""
NEAR = 0.8

COST = 20
"""The time between looks is at least so many times what one look takes: at most 5 % of a processor..."""
MOST_LOOK_SECONDS = 0.1
"""...but not longer than this, or memory could outgrow its limit by more than the 200 ms allow."""

DISK_SECONDS = 0.2
"""Between two counts of a private folder: a disk takes longer to fill than memory does."""
DISK_STEP_SECONDS = 0.005
"""Of one look spent on counting a folder; a large one is counted over several looks."""

HIDDEN_LOOKS = 3
"""Looks in a row that a process may refuse: while it starts a program, it is neither the old one nor the new one."""

STOP_SECONDS = 5.0
"""For the thread to notice that it should end: it never waits longer than one look takes."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reached:
    """Which limit a cell went beyond, how much was allowed and how much was seen, in the limit's unit."""

    limit: str
    allowed: float
    reached: float
    hint: str = ""


class Watch:
    """One cell under watch: `reached` is the note that the warden leaves. Made by `Warden.watch`."""

    def __init__(self, pid: int, folder: str, limits: Limits) -> None:
        self.reached: Reached | None = None
        self.pid = pid
        self.members: list[Process] = []
        self.near = 0.0
        self._folder = folder
        self._limits = limits
        self._lock = threading.Lock()
        self._stopped = False
        self._cpu_seen: dict[tuple[int, int], int] = {}
        self._cpu_spent = 0
        self._hidden = 0
        self._counting: Generator[None, None, int] | None = None
        self._count_at = 0.0
        self._counted = 0

    def stop(self) -> None:
        """Watch no longer: no signal is sent once this returns. What has left the worker's group is killed now."""
        with self._lock:
            self._stopped = True
            self._kill(self.members, group=False)
            if self._counting is not None:
                self._counting.close()

    @property
    def stopped(self) -> bool:
        """Whether nothing is to be done about this cell any more."""
        return self._stopped or self.reached is not None

    def look(self, members: list[Process]) -> None:
        """Measure the cell's tree, and end it when it is beyond a limit."""
        with self._lock:
            if self.stopped:
                return
            self.members = members
            alive = [process for process in members if not process.zombie]
            self.near = 0.0
            try:
                reached = self._processes(alive) or self._cpu(members) or self._memory(alive)
                self._hidden = 0
            except memory.HiddenError as hidden:
                self._hidden += 1
                reached = self._unmeasured("memory", hidden) if self._hidden == HIDDEN_LOOKS else None
            except Exception as error:
                log.exception("the use of the cell %d cannot be measured", self.pid)
                reached = self._unmeasured("memory", error)
            if reached is not None:
                self.reached = reached
                self._kill(members)

    def _processes(self, alive: list[Process]) -> Reached | None:
        return self._compare("processes", self._limits.processes, sum(process.threads for process in alive))

    def _cpu(self, members: list[Process]) -> Reached | None:
        """Processor time of the tree, that of processes which ended between two looks included.

        The worker counts its own and that of the children it waited for; children that nobody waited for are counted
        by what they had spent when they were last seen. The larger is nearer to the truth.
        """
        for process in members:
            identity = process.pid, process.started
            self._cpu_spent += process.cpu - self._cpu_seen.get(identity, 0)
        self._cpu_seen = {(process.pid, process.started): process.cpu for process in members}
        waited_for = sum(process.cpu + process.cpu_reaped for process in members)
        seconds = max(self._cpu_spent, waited_for) / processes.TICKS_PER_SECOND
        return self._compare("cpu_seconds", self._limits.cpu_seconds, seconds)

    def _memory(self, alive: list[Process]) -> Reached | None:
        """Memory and disk: both need to know what the tree's descriptors hold."""
        pids = [process.pid for process in alive]
        if self._limits.memory is None and self._limits.disk is None:
            return None
        for process in alive:
            if process.headless:
                raise memory.HiddenError(process.pid)
        held = memory.held(pids, self._folder)
        if self._limits.memory is not None:
            allowed = parse_size(self._limits.memory)
            used = memory.upper_bound(pids) + held.memory
            if used > allowed:
                used = memory.exact(pids, held)
            if reached := self._compare("memory", allowed, used):
                return reached
        return self._disk(held.deleted)

    def _disk(self, deleted: int) -> Reached | None:
        if self._limits.disk is None:
            return None
        now = time.monotonic()
        if self._counting is None and now >= self._count_at:
            self._counting = disk.usage(self._folder)
        if self._counting is not None:
            try:
                while time.monotonic() < now + DISK_STEP_SECONDS:
                    next(self._counting)
            except StopIteration as counted:
                self._counting, self._count_at, self._counted = None, now + DISK_SECONDS, counted.value
            except disk.UncountableError as error:
                return self._unmeasured("disk", error)
        return self._compare("disk", parse_size(self._limits.disk), self._counted + deleted)

    def _compare(self, limit: str, allowed: float | None, used: float) -> Reached | None:
        if allowed is None:
            return None
        self.near = max(self.near, used / allowed)
        return Reached(limit, allowed, used) if used > allowed else None

    def _unmeasured(self, limit: str, error: Exception) -> Reached:
        why = "a process of it hides what it uses" if isinstance(error, memory.HiddenError) else str(error)
        allowed = getattr(self._limits, limit) or math.inf
        return Reached(limit, float(allowed), math.inf, hint=f": what it uses cannot be measured, since {why}")

    def _kill(self, members: list[Process], *, group: bool = True) -> None:
        """Kill the tree: in the worker's group at once, so that none of it can fork meanwhile; elsewhere one by one."""
        if group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        for process in members:
            if process.group != self.pid:
                processes.kill(process)


class Warden:
    """Watches the cells of one runner, in a thread that runs for as long as there is a cell to watch."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._running = False
        self._census = Census()

    def watch(self, pid: int, folder: str, limits: Limits) -> Watch:
        """Watch the tree of a worker that was just started and leads its own session, and its private folder."""
        watch = Watch(pid, folder, limits)
        if limits.watched:
            with self._changed:
                self._watches.add(watch)
                self._census.forget()
                if not self._running:
                    self._running = True
                    # A daemon, since an application may forget to close its runner, and should still end.
                    self._thread = threading.Thread(target=self._run, name="syncell-warden", daemon=True)
                    self._thread.start()
                self._changed.notify()
        return watch

    def close(self) -> None:
        """Watch nothing any more. No thread is left once this returns."""
        with self._changed:
            self._watches.clear()
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(STOP_SECONDS)

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait(pause)
                self._watches = {watch for watch in self._watches if not watch.stopped}
                watches = list(self._watches)
                if not watches:
                    self._running = False
                    return
            started = time.monotonic()
            trees = self._census.take({watch.pid: watch.members for watch in watches})
            for watch in watches:
                watch.look(trees[watch.pid])
            near = any(watch.near >= NEAR for watch in watches)
            cost = (time.monotonic() - started) * COST
            pause = max(NEAR_LOOK_SECONDS if near else LOOK_SECONDS, min(cost, MOST_LOOK_SECONDS))
