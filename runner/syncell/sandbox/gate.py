"""The egress gate: one thread of a runner that decides, and makes, the connections of all its cells.

Database drivers know nothing of proxies, so the gate sits under them: a cell's `connect` stops in the kernel until the
gate answers (`syncell_worker.gate` installs that), whatever program or library makes it. `passage` decides and
connects. The thread starts with the first cell that has something to connect to, and ends with the runner. If it ends,
by whatever mistake, every such call in every cell fails: the kernel answers for a listener that is gone.
"""

from __future__ import annotations

import functools
import socket
import threading
from collections import deque
from collections.abc import Iterable

from syncell.sandbox.egress import Egress
from syncell.sandbox.loop import Loop
from syncell.sandbox.names import Lookups
from syncell.sandbox.passage import Denial, Passage

ASKED_OF_GATE = {"RES_OPTIONS": "use-vc ndots:0"}
"""The variable that has the C library ask for names over a stream, which the gate answers, and ask for them as they are
written: the host's resolver knows what to append."""

DENIALS_KEPT = 16
"""Of one cell: a client tries every address of a name, and what matters is what it was refused last."""


class Door:
    """One cell's end of the gate: what its worker inherits, and what it was refused since it was last asked."""

    def __init__(self, keeper: _Keeper, theirs: socket.socket) -> None:
        self._keeper = keeper
        self._theirs = theirs
        self.denials: deque[Denial] = deque(maxlen=DENIALS_KEPT)

    @property
    def descriptor(self) -> int:
        """What the worker must inherit; -1 once it has."""
        return self._theirs.fileno()

    def inherited(self) -> None:
        """The worker has been started: it alone holds its end now, so that its end is noticed."""
        self._theirs.close()

    def close(self) -> None:
        """The cell has ended. Safe to call twice."""
        self._theirs.close()
        self._keeper.loop.post(functools.partial(self._keeper.shut, self))


class Gate:
    """The doors of one runner. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keeper: _Keeper | None = None

    def admit(self, rules: Iterable[str]) -> Door:
        """A door for a cell that may connect to where these rules allow. Raises ValueError."""
        egress = Egress.of(rules)
        with self._lock:
            if self._keeper is None:
                self._keeper = _Keeper()
            ours, theirs = socket.socketpair()
            door = Door(self._keeper, theirs)
            self._keeper.loop.post(functools.partial(self._keeper.open, door, egress, ours))
        return door

    def close(self) -> None:
        """End the thread; what cells still wait for fails. The next cell starts another."""
        with self._lock:
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.end()


class _Keeper:
    """The thread, and what it alone touches."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._lookups = Lookups(self.loop.post)
        self._passages: dict[Door, Passage] = {}
        self._thread = threading.Thread(target=self._run, name="syncell-gate", daemon=True)
        self._thread.start()

    def open(self, door: Door, egress: Egress, ours: socket.socket) -> None:
        """Serve a cell."""
        self._passages[door] = Passage(self.loop, self._lookups, egress, ours, door.denials.append)

    def shut(self, door: Door) -> None:
        """Serve it no more."""
        if (passage := self._passages.pop(door, None)) is not None:
            passage.close()

    def end(self) -> None:
        """Stop the thread and wait for it: nothing in the loop waits. Lookups are waited for, not for long."""
        self.loop.stop()
        self._thread.join()
        self._lookups.join()

    def _run(self) -> None:
        try:
            self.loop.run()
        finally:
            for passage in self._passages.values():
                passage.close()
            self.loop.close()
