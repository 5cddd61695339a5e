"""The host's memory while it streams many rows, against few: nothing that was handed over should be held."""

from __future__ import annotations

import resource

from benchmarks.measure import Goal, Result, Stage, by_turns, in_child
from benchmarks.opened import open_rows, stream

FEW = 10_000
PREPARED = 1_000
"""Rows that the syncer holds, and gives over and over: its memory is its own, and is not measured."""


def run(stage: Stage) -> list[Result]:
    """Peak MiB of a host process of its own, streaming many rows or few."""
    many = 1_000_000 if stage.quick else 10_000_000
    ours, rivals = by_turns(
        lambda: in_child(lambda: _peak(stage, many)),
        lambda: in_child(lambda: _peak(stage, FEW)),
        3 if stage.quick else 5,
    )
    return [
        Result(
            question=f"memory of the host while it streams {many:,} rows, beside {FEW:,}",
            name=f"{many:,} rows",
            rival=f"{FEW:,} rows",
            unit="MiB",
            ours=ours,
            rivals=rivals,
            goal=Goal("difference", "at most", 64.0),
        )
    ]


def _peak(stage: Stage, rows: int) -> float:
    with open_rows(stage.runner, PREPARED) as syncer:
        stream(syncer, rows)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
