"""Ask, from any thread, that what another thread waits for be given up.

A scope holds for everything that its thread waits for inside of it: cells, builds, locks. So nobody has to hand a token
down to where the waiting is done. May import: errors.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from syncell.errors import Cancelled


class Cancellation:
    """Something that can be called off: work done in its `scope` raises `Cancelled` soon after `cancel`.

    Made by whoever may want to stop the work, and used once: what was cancelled stays so.

        stop = Cancellation()
        threading.Timer(60, stop.cancel).start()
        with stop.scope():
            runner.copy(source, target)
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._lock = threading.Lock()
        self._events: set[int] = set()

    def cancel(self) -> None:
        """Call it off. Never blocks; safe from any thread, and twice."""
        with self._lock:
            self.cancelled = True
            for event in self._events:
                os.eventfd_write(event, 1)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Have what this thread does inside be given up when this is cancelled, besides what holds around it."""
        # A descriptor, so that it can be waited for together with a cell's pipes.
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with self._lock:
            self._events.add(event)
            if self.cancelled:
                os.eventfd_write(event, 1)
        token = _scopes.set((*_scopes.get(), (self, event)))
        try:
            yield
        finally:
            _scopes.reset(token)
            with self._lock:
                self._events.remove(event)
            os.close(event)


_scopes: ContextVar[tuple[tuple[Cancellation, int], ...]] = ContextVar("syncell_cancellations", default=())


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Clean up: what is done inside is done to its end, whatever is cancelled around it."""
    token = _scopes.set(())
    try:
        yield
    finally:
        _scopes.reset(token)


def register(poller: select.poll) -> None:
    """Have `poller` wake up when anything around is cancelled; `check` then raises."""
    for _, event in _scopes.get():
        poller.register(event, select.POLLIN)


def check(what: str) -> None:
    """Raise `Cancelled` when anything around is cancelled. `what` is given up, for the message."""
    if any(scope.cancelled for scope, _ in _scopes.get()):
        raise Cancelled(f"{what} was cancelled")


def sleep(seconds: float, what: str) -> None:
    """Sleep; raises `Cancelled` as soon as anything around is cancelled."""
    poller = select.poll()
    register(poller)
    poller.poll(seconds * 1000)
    check(what)
