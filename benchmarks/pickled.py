"""Stream against what Python brings: batches of the same rows, pickled through a pipe of `multiprocessing`.

The rival is as fast as that gets: a forked process that prepared the same rows, in batches of the same size. It also
trusts the other process with its life, since unpickling runs what it is sent.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection

from benchmarks.measure import JOIN_SECONDS, Goal, Result, Stage, by_turns, seconds
from benchmarks.opened import open_rows, stream
from benchmarks.syncers.rows.syncer import make_rows
from syncell_worker.values import BATCH_ROWS


def run(stage: Stage) -> list[Result]:
    """Rows per second of `stream`, and of `multiprocessing.Pipe`."""
    rows = 50_000 if stage.quick else 300_000
    ours_end, theirs_end = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs_end, rows), daemon=True)
    process.start()
    with open_rows(stage.runner, rows) as syncer:
        ours, rivals = by_turns(
            lambda: rows / seconds(lambda: stream(syncer, rows)),
            lambda: rows / seconds(lambda: _receive(ours_end, rows)),
        )
    ours_end.send(False)
    process.join(JOIN_SECONDS)
    return [
        Result(
            question="stream, beside batches pickled through a pipe of multiprocessing",
            name="stream",
            rival="multiprocessing.Pipe, same batches",
            unit="rows/s",
            ours=ours,
            rivals=rivals,
            goal=Goal("ratio", "at least", 1.5),
        )
    ]


def _serve(connection: Connection, count: int) -> None:
    rows = make_rows(count)
    while connection.recv():
        for batch in _batches(rows):
            connection.send(batch)
        connection.send(None)


def _batches(rows: list[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    for start in range(0, len(rows), BATCH_ROWS):
        yield rows[start : start + BATCH_ROWS]


def _receive(connection: Connection, rows: int) -> None:
    connection.send(True)
    received = 0
    while (batch := connection.recv()) is not None:
        received += len(batch)
    assert received == rows
