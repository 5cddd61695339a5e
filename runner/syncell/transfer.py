"""Copy: the rows of one syncer's resource moved into another's.

The host joins the two cells and passes row frames on unread: it looks at how many rows a frame holds and at nothing
else. The slower side sets the pace, since the source is not read while much is queued for the target. The target is
told how many rows there were, and both counts are compared at the end.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from syncell.cell import QUEUE_BYTES, Budget, wait
from syncell.errors import ProtocolError
from syncell.syncer import Syncer
from syncell_worker import wire

Progress = Callable[[int, int], None]
"""Called with the rows and bytes moved so far, about once a batch."""


@dataclasses.dataclass(frozen=True)
class CopyReport:
    """What a copy did: `rows`, their `bytes` on the wire, and the `seconds` it took, opening not included."""

    source: str
    target: str
    rows: int
    bytes: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0


def copy(
    source: Syncer, source_identifier: str, target: Syncer, target_identifier: str, *, progress: Progress | None = None
) -> CopyReport:
    """Move all rows. When either side fails, the other's call is cancelled, and the first error is raised."""
    started = time.monotonic()
    with source.calling() as budget, target.calling():
        loading = source.start(wire.Load, source_identifier)
        with source.cancelling(loading):
            dumping = target.start(wire.Dump, target_identifier)
            with target.cancelling(dumping):
                rows, size = _relay(source, target, dumping, budget, progress)
                _, answer = target.cell.next_event(budget)
        written = target.finish(answer).rows
        if written != rows:
            raise ProtocolError(f"{target.name}: {rows} rows were sent to it, and it says it received {written}")
    return CopyReport(
        source=f"{source.name}#{source_identifier}",
        target=f"{target.name}#{target_identifier}",
        rows=rows,
        bytes=size,
        seconds=time.monotonic() - started,
    )


def _relay(source: Syncer, target: Syncer, dumping: int, budget: Budget, progress: Progress | None) -> tuple[int, int]:
    """Pass frames on until the source is done. Returns (rows, bytes)."""
    reader, writer = source.cell, target.cell
    rows = size = 0
    while True:
        while reader.events and not writer.events:
            _, event = reader.events.popleft()
            if not isinstance(event, wire.Rows):
                source.check_count(source.finish(event), rows)
                writer.send(wire.End(rows=rows), dumping)
                return rows, size
            rows, size = source.counted(event, rows, size)
            writer.send(event, dumping)
            if progress is not None:
                progress(rows, size)
        if writer.events:  # before the end there is only one thing that a target says: it failed
            target.finish(writer.events.popleft()[1])
        for cell in (reader, writer):
            if cell.failure is not None and not cell.events:
                raise cell.failure
        reader.reading = writer.queued < QUEUE_BYTES
        try:
            # The first is whom a time-out blames: the target when it is what we wait for.
            wait(budget, *((reader, writer) if reader.reading else (writer, reader)))
        finally:
            reader.reading = True
