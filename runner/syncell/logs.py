"""What a cell says besides its rows: log records and standard error, bounded in size and rate.

Everything goes to the host's logger `syncell.syncer.<name>`: records with their level, lines of standard error as INFO.
A syncer cannot flood its host: beyond the rate, lines are counted and not passed on. No secret of the cell is passed
on either, and none is cut in two where a line is cut.
"""

from __future__ import annotations

import logging
import time
from collections import deque

from syncell.secrets import Redactor

MAX_LINE = 8 * 1024
"""Characters of one line or record; the rest is cut."""
LINES_PER_SECOND = 200
BURST_LINES = 1_000
_TAIL_LINES = 20  # what a crash report quotes


class SyncerLog:
    """Passes one cell's words to `logging`, and remembers the last lines of its standard error.

    `size` counts them, in bytes or characters, those that are left out included. `redactor` knows the cell's secrets.
    """

    def __init__(self, syncer: str, redactor: Redactor) -> None:
        self.redactor = redactor
        # A character is 4 bytes at most: what is kept of a line is enough to know a secret that begins before its cut.
        self._keep = 4 * (MAX_LINE + redactor.longest)
        self._logger = logging.getLogger(f"syncell.syncer.{syncer}")
        self._partial = b""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._allowed = float(BURST_LINES)
        self._refilled = time.monotonic()
        self._dropped = 0
        self.size = 0

    @property
    def level(self) -> int:
        """The lowest level that the host's logger lets through."""
        return self._logger.getEffectiveLevel()

    @property
    def tail(self) -> str:
        """The last lines of standard error: the one place where a secret that spans them is whole."""
        return _shown(self.redactor.text("\n".join(self._tail)))

    def feed(self, data: bytes) -> None:
        """Take bytes of standard error; whole lines are logged."""
        self.size += len(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[: self._keep]
        for line in lines:
            self._line(line)

    def flush(self) -> None:
        """Log what is left of a last line without an end, and how much was left out."""
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        self._report_dropped()

    def record(self, level: int, origin: str, message: str) -> None:
        """Pass on one record of the syncer's own `logging`; `origin` is its logger there."""
        self.size += len(message)
        if self._logger.isEnabledFor(level) and self._take():
            text = self.redactor.text
            self._logger.log(level, "%s", text(message, MAX_LINE), extra={"syncer_logger": text(origin, MAX_LINE)})

    def _line(self, line: bytes) -> None:
        text = line[: self._keep].decode("utf-8", "surrogateescape").rstrip("\r")
        if len(text) > MAX_LINE:
            text = self.redactor.text(text, MAX_LINE)
        self._tail.append(text)
        if self._logger.isEnabledFor(logging.INFO) and self._take():
            self._logger.info("%s", _shown(self.redactor.text(text)))

    def _take(self) -> bool:
        now = time.monotonic()
        self._allowed = min(BURST_LINES, self._allowed + (now - self._refilled) * LINES_PER_SECOND)
        self._refilled = now
        if self._allowed < 1:
            self._dropped += 1
            return False
        self._allowed -= 1
        self._report_dropped()
        return True

    def _report_dropped(self) -> None:
        if self._dropped:
            self._logger.warning("%d lines were left out: more than %d a second", self._dropped, LINES_PER_SECOND)
            self._dropped = 0


def _shown(text: str) -> str:
    """Text in which bytes that are no UTF-8 are written out."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
