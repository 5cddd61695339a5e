"""A loop over descriptors, deadlines and what other threads post: what the gate's one thread runs in.

Callbacks run one at a time and never wait. One that raises is logged and forgotten with its descriptor: a mistake in
serving one cell must not end the serving of others.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Ready = Callable[[int], None]
"""Is called with the epoll events of its descriptor."""


class Loop:
    """`run` in one thread; `post` and `stop` from any, everything else from callbacks."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._ready: dict[int, Ready] = {}
        self._deadlines: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._posted: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._stopping = False

    def post(self, work: Callable[[], None]) -> None:
        """Have this called in the loop's thread, soon; never, once the loop is stopped."""
        with self._lock:
            if not self._stopping:
                self._posted.append(work)
                os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Have `run` return after what was posted before."""
        with self._lock:
            if not self._stopping:
                self._stopping = True
                os.eventfd_write(self._wake, 1)

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call `ready` whenever one of these events, an error or a hang-up is there; instead of what was, if any."""
        if descriptor in self._ready:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._ready[descriptor] = ready

    def forget(self, descriptor: int) -> None:
        """Watch no more. Must come before the descriptor is closed: what it stands for may be open elsewhere."""
        if self._ready.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def after(self, seconds: float, work: Callable[[], None]) -> None:
        """Call this once, in so many seconds."""
        heapq.heappush(self._deadlines, (time.monotonic() + seconds, next(self._numbers), work))

    def run(self) -> None:
        """Serve until stopped."""
        while not self._stopping or self._posted:
            self._once()

    def close(self) -> None:
        """Close the loop's own descriptors, once `run` has ended. What is posted from now on is dropped."""
        with self._lock:
            self._stopping = True
            self._epoll.close()
            os.close(self._wake)

    def _once(self) -> None:
        timeout = max(0.0, self._deadlines[0][0] - time.monotonic()) if self._deadlines else None
        for descriptor, events in self._epoll.poll(timeout):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
                for _ in range(len(self._posted)):
                    self._call(self._posted.popleft())
            elif (ready := self._ready.get(descriptor)) is not None and not self._call(ready, events):
                self.forget(descriptor)
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            self._call(heapq.heappop(self._deadlines)[2])

    @staticmethod
    def _call(work: Callable[..., None], *arguments: int) -> bool:
        try:
            work(*arguments)
        except Exception:
            log.exception("The egress gate failed at something; what asked for it is refused")
            return False
        return True
