"""One worker process: start it, speak with it, stop it. All of a cell's I/O and signals are in this room.

The caller's own thread drives a cell: `wait` polls the descriptors of one cell or of several together, with one budget
of seconds, and each cell turns what arrived into events. There are no reader threads, so nothing is left behind when a
call ends. A cell is either alive or ended; whatever ends it, its whole process group is killed, its descriptors are
closed and its private folder is removed, once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from collections import deque

from syncell import cancellation
from syncell.errors import (
    CallTimeout,
    Cancelled,
    CellUnusable,
    LimitExceeded,
    ProtocolError,
    SyncellError,
    WorkerCrashed,
)
from syncell.logs import SyncerLog
from syncell.sandbox import LaunchPlan, Limits
from syncell.sandbox.gate import Door
from syncell.sandbox.private import PrivateFolder
from syncell.sandbox.warden import Warden
from syncell_worker import wire

PIPE_BYTES = 1024 * 1024
"""The largest a pipe may be without privileges: one batch fits, so the worker makes the next while this one is read."""
READ_BYTES = 256 * 1024
"""Bytes of one read. Larger buffers fall out of the processor's cache before they are parsed."""
SMALL_READ_BYTES = 16 * 1024
"""Bytes of the first read of an answer: most are small, and a large buffer costs more than the read itself."""
QUEUE_BYTES = 2 * 1024 * 1024
"""How much is queued for a cell that does not take it, before its feeder waits."""

HELLO_SECONDS = 30.0
"""From start to hello: an interpreter and one import; the rest is for a machine under heavy load."""
CLOSE_SECONDS = 10.0
"""For a syncer to close its connections once it is told to."""
TERM_SECONDS = 2.0
"""From SIGTERM to SIGKILL: whoever handles the one is quick, the others have no use for the time."""


class Budget:
    """Seconds that a call may still spend waiting for its cell."""

    def __init__(self, seconds: float) -> None:
        self.allowed = seconds
        self.left = seconds


class Cell:
    """A started worker. `syncer` names it in errors; `warden` watches what its whole tree of processes uses.

    `door` is its way through the egress gate, if it has one.
    """

    def __init__(
        self,
        syncer: str,
        plan: LaunchPlan,
        private: PrivateFolder,
        log: SyncerLog,
        *,
        limits: Limits,
        warden: Warden,
        door: Door | None = None,
    ) -> None:
        self.syncer = syncer
        self.log = log
        self.events: deque[wire.Event] = deque()
        self.reading = True
        self.failure: SyncellError | None = None
        self._connection = wire.Connection(wire.HOST)
        self._read_bytes = SMALL_READ_BYTES
        self._queue: deque[memoryview] = deque()
        self.queued = 0
        self._private = private
        self.door = door
        self._ended = False
        self._limits = limits
        self._process = subprocess.Popen(
            plan.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=plan.environ,
            start_new_session=True,
            close_fds=True,
            pass_fds=() if door is None else (door.descriptor,),
            bufsize=0,
        )
        if door is not None:
            door.inherited()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin = self._process.stdin.fileno()
        self._stdout = self._process.stdout.fileno()
        self._stderr = self._process.stderr.fileno()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._watch = warden.watch(self._process.pid, str(private.path), limits)
        self._open = {self._stdout, self._stderr}
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        for descriptor in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):  # a user over the system's allowance for pipes gets small ones
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def alive(self) -> bool:
        """Whether calls can still be made."""
        return not self._ended

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def state(self) -> str:
        """Where the conversation stands (see `wire.TRANSITIONS`)."""
        return self._connection.state

    @property
    def call(self) -> int:
        """The id of the current or last call."""
        return self._connection.call

    def send(self, event: wire.Message | wire.Rows, call: int = 0) -> None:
        """Queue one frame, and write what the worker takes at once."""
        if self._ended:
            raise CellUnusable(f"{self.syncer}: its cell has ended")
        try:
            for buffer in self._connection.send(event, call):
                view = memoryview(buffer).cast("B")
                self._queue.append(view)
                self.queued += len(view)
            self._flush()
        except Exception:
            raise
        except BaseException:
            self._interrupted()
            raise

    def next_event(self, budget: Budget) -> wire.Event:
        """The worker's next message or rows. Raises what ended the cell, or `CallTimeout`, which ends it."""
        while not self.events:
            if self.failure is not None:
                raise self.failure
            wait(budget, self)
        return self.events.popleft()

    def close(self) -> None:
        """Stop the worker: ask it, then end it. Safe to call in any state, and twice."""
        if self._ended:
            return
        if self.state == "READY":
            with contextlib.suppress(SyncellError):
                self.send(wire.Close())
                budget = Budget(CLOSE_SECONDS)
                with cancellation.shielded():
                    while self.failure is None:
                        wait(budget, self)
            self.end(grace=TERM_SECONDS)
        else:
            self.end()

    def end(self, grace: float = 0.0) -> None:
        """End the process and its group now, or `grace` seconds after asking; then clean up. Never raises."""
        if self._ended:
            return
        self._ended = True
        self._watch.stop()
        # The worker is not reaped before its group is killed: until then its number cannot belong to anyone else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if grace and not self._exited(0):
                os.killpg(self._process.pid, signal.SIGTERM)
                self._exited(grace)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._drain()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        os.close(self._pidfd)
        self._queue.clear()
        if self.door is not None:
            self.door.close()
        self._private.remove()

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for this cell: (descriptor, events)."""
        if self._ended:
            return []
        interests = [(self._pidfd, select.POLLIN)]
        if self._queue:
            interests.append((self._stdin, select.POLLOUT))
        if self._stderr in self._open:
            interests.append((self._stderr, select.POLLIN))
        if self._stdout in self._open and self.reading:
            interests.append((self._stdout, select.POLLIN))
        return interests

    def handle(self, descriptor: int) -> None:
        """Move bytes of a descriptor that is ready."""
        if self.failure is not None or self._ended:
            return
        try:
            if descriptor == self._stdin:
                self._flush()
            elif descriptor == self._stdout:
                self._receive()
            elif descriptor == self._stderr:
                self._read_stderr()
            elif descriptor == self._pidfd:
                self._drain()
                if self.failure is None:
                    self._fail(self._death())
        except Exception:
            raise
        except BaseException:
            self._interrupted()
            raise

    def _interrupted(self) -> None:
        """End the cell: bytes may have moved and not been counted (Ctrl-C comes between any two instructions)."""
        self._fail(Cancelled(f"{self.syncer}: interrupted in the middle of a transfer; its cell was ended"))

    def timed_out(self, budget: Budget) -> CallTimeout:
        """End the cell because the budget is spent, and give the error to raise."""
        error = CallTimeout(
            self.syncer,
            "wall_seconds",
            allowed=budget.allowed,
            reached=budget.allowed,
            hint="; the cell was ended. Allow more with Limits(wall_seconds=...) or --timeout",
        )
        self._fail(error)
        return error

    def _exited(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def _flush(self) -> None:
        try:
            while self._queue:
                written = os.writev(self._stdin, list(self._queue)[:16])
                self.queued -= written
                while self._queue and written >= len(self._queue[0]):
                    written -= len(self._queue.popleft())
                if written:
                    self._queue[0] = self._queue[0][written:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # It no longer listens. What it said before, or how it died, is what matters: that is still to be read.
            self._queue.clear()
            self.queued = 0

    def _receive(self) -> bool:
        """One read of the wire; whether there may be more."""
        try:
            data = os.read(self._stdout, self._read_bytes)
        except BlockingIOError:
            return False
        if not data:
            self._open.discard(self._stdout)
            if not self._ended:
                self._wire_closed()
            return False
        self._read_bytes = READ_BYTES if len(data) >= SMALL_READ_BYTES else SMALL_READ_BYTES
        try:
            for call, event in self._connection.receive(data):
                if isinstance(event, wire.Log):
                    self.log.record(event.level, event.logger, event.message)
                    self._check_log()
                else:
                    self.events.append((call, event))
        except wire.RemoteProtocolError as error:
            self._fail(ProtocolError(f"{self.syncer}: {error}; the cell was ended"))
            return False
        return True

    def _read_stderr(self) -> bool:
        try:
            data = os.read(self._stderr, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._open.discard(self._stderr)
            self.log.flush()
            return False
        self.log.feed(data)
        self._check_log()
        return True

    def _check_log(self) -> None:
        if self._limits.log is not None and self.log.size > int(self._limits.log) and self.failure is None:
            self.exceeded("log", self.log.size)

    def _drain(self) -> None:
        """Take what is still in the pipes of a process that is gone. Bounded: nobody refills them but an orphan."""
        for _ in range(2 * PIPE_BYTES // READ_BYTES):
            if self._stderr not in self._open or not self._read_stderr():
                break
        self.log.flush()
        for _ in range(2 * PIPE_BYTES // READ_BYTES):
            if self._stdout not in self._open or self.failure is not None or not self._receive():
                break

    def _wire_closed(self) -> None:
        if self._exited(TERM_SECONDS if self.state in ("CLOSED", "CLOSING") else 0.2):
            self._drain()
            self._fail(self._death())
        else:
            self._fail(WorkerCrashed(self.syncer, "the worker closed its end of the wire", stderr=self.log.tail))

    def _death(self) -> SyncellError:
        code = self._exit_code()
        if code >= 0:
            what = f"the worker exited with code {code} in the middle of its work"
            return WorkerCrashed(self.syncer, what, exit_code=code, stderr=self.log.tail)
        name = signal.Signals(-code).name
        if name == "SIGXCPU" and (allowed := self._limits.cpu_seconds) is not None:
            return LimitExceeded(self.syncer, "cpu_seconds", allowed=allowed, reached=allowed)
        return WorkerCrashed(self.syncer, f"the worker was killed by {name}", signal=name, stderr=self.log.tail)

    def _exit_code(self) -> int:
        # WNOWAIT: looked at, not reaped (see `end`).
        status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        assert status is not None
        return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status

    def exceeded(self, limit: str, reached: float) -> LimitExceeded:
        """End the cell because of what it sent, and give the error to raise. `limit` names one of its limits."""
        error = LimitExceeded(self.syncer, limit, allowed=float(getattr(self._limits, limit)), reached=reached)
        self._fail(error)
        return error

    def _fail(self, error: SyncellError) -> None:
        if self.failure is None:
            # Whatever was noticed first: when the warden ended this cell, that is the reason of all the rest.
            seen = self._watch.reached
            self.failure = (
                error
                if seen is None
                else LimitExceeded(self.syncer, seen.limit, allowed=seen.allowed, reached=seen.reached, hint=seen.hint)
            )
            self.log.redactor.error(self.failure)
        self.end()


def wait(budget: Budget, *cells: Cell) -> None:
    """Move bytes of all these cells once, as soon as any is ready.

    Raises `CallTimeout` when the budget is spent, which ends the first cell, and `Cancelled`, which ends none.
    """
    poller = select.poll()
    cancellation.register(poller)
    owners: dict[int, Cell] = {}
    for cell in cells:
        for descriptor, events in cell.interests():
            poller.register(descriptor, events)
            owners[descriptor] = cell
    started = time.monotonic()
    ready = poller.poll(max(0.0, budget.left) * 1000)
    budget.left -= time.monotonic() - started
    cancellation.check(f"{cells[0].syncer}: the call")
    for descriptor, _ in ready:
        owners[descriptor].handle(descriptor)
    if not ready and budget.left <= 0:
        raise cells[0].timed_out(budget)
