"""Opening the syncers of `benchmarks/syncers`, and what benchmarks look at in an opened one."""

from __future__ import annotations

from pathlib import Path

from syncell import Policy, Runner
from syncell.syncer import Syncer
from syncell_worker import wire

SYNCERS = Path(__file__).parent / "syncers"


def open_rows(runner: Runner, prepared: int, policy: Policy | None = None) -> Syncer:
    """Open the syncer that holds so many rows in memory."""
    return runner.open(SYNCERS / "rows", {"prepared": prepared}, policy=policy)


def stream(syncer: Syncer, rows: int) -> None:
    """Take so many rows, and drop each batch as the next one comes."""
    received = 0
    for batch in syncer.stream(str(rows)):
        received += len(batch)
    assert received == rows


def frames(syncer: Syncer, rows: int) -> list[wire.Rows]:
    """The very frames in which so many rows arrive, unread."""
    arrived = []
    with syncer.calling() as budget:
        syncer.start(wire.Load, str(rows))
        while isinstance((event := syncer.cell.next_event(budget)[1]), wire.Rows):
            arrived.append(event)
        syncer.finish(event)
    return arrived
