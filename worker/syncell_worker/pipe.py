"""The worker's end of the wire: blocking reads and whole writes on two descriptors.

Any thread may send (a syncer's log records come from where they please); only the main thread receives.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import deque

from syncell_worker import wire

_READ_BYTES = 256 * 1024
_SMALL_READ_BYTES = 16 * 1024  # most requests are small, and a large buffer costs more than the read itself
# Once the host is gone, what a syncer still does serves nobody: time to roll back and close, then the whole group ends.
_HANGUP_GRACE_SECONDS = 5.0


class HostGone(BaseException):
    """The other end of the wire is closed."""


class Pipe:
    """One conversation with the host over two descriptors."""

    def __init__(self, wire_in: int, wire_out: int) -> None:
        self._in = wire_in
        self._out = wire_out
        self._connection = wire.Connection(wire.WORKER)
        self._lock = threading.RLock()
        self._writing = False
        self._events: deque[wire.Event] = deque()
        self._read_bytes = _SMALL_READ_BYTES
        self._held: list[wire.Buffer] = []
        self._arrived = select.poll()
        self._arrived.register(wire_in, select.POLLIN)
        # A process that the syncer forks must not speak in this one's name.
        os.register_at_fork(after_in_child=self._close)

    def receive(self) -> wire.Event:
        """The next event from the host. Raises `HostGone`."""
        while not self._events:
            try:
                data = os.read(self._in, self._read_bytes)
            except OSError as error:
                raise HostGone from error
            if not data:
                raise HostGone
            self._read_bytes = _READ_BYTES if len(data) >= _SMALL_READ_BYTES else _SMALL_READ_BYTES
            with self._lock:  # both directions step the same table
                self._events.extend(self._connection.receive(data))
        return self._events.popleft()

    def pending(self) -> bool:
        """Whether the host has said something that was not yet received."""
        return bool(self._events) or bool(self._arrived.poll(0))

    def send(self, event: wire.Message | wire.Rows, call: int = 0, hold: bool = False) -> None:
        """Write one frame, whole; or `hold` it, to go out in one write with the next. Raises `HostGone`."""
        with self._lock:
            if self._writing:  # a finaliser or a signal handler logs in the middle of a write: its record is lost
                return
            self._writing = True
            try:
                self._held += self._connection.send(event, call)
                if not hold:
                    self._write(self._held)
            except OSError as error:
                raise HostGone from error
            finally:
                self._writing = False

    def _write(self, buffers: list[wire.Buffer]) -> None:
        while buffers:
            written = os.writev(self._out, buffers)
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if written:
                buffers[0] = memoryview(buffers[0])[written:]

    def _close(self) -> None:
        os.close(self._in)
        os.close(self._out)
        self._in = self._out = -1

    def watch_for_hangup(self) -> None:
        """End the whole process group soon after the host is gone, whatever the syncer is doing then.

        A parent-death signal would not do: it comes when the thread that started this process ends.
        """
        threading.Thread(target=self._wait_for_hangup, name="syncell-hangup", daemon=True).start()

    def _wait_for_hangup(self) -> None:
        poll = select.poll()
        poll.register(self._in, 0)  # nothing but the hang-up, which is always reported
        poll.poll()
        time.sleep(_HANGUP_GRACE_SECONDS)
        os.killpg(0, signal.SIGKILL)
