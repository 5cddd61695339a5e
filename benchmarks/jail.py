"""The jail on, against off: what it costs at start, while a library is imported, and while rows move."""

from __future__ import annotations

from benchmarks.measure import Goal, Result, Stage, by_turns, seconds
from benchmarks.opened import SYNCERS, open_rows, stream
from benchmarks.opening import open_milliseconds, starts
from syncell import Policy

_OFF = Policy(sandbox="off")


def run(stage: Stage) -> list[Result]:
    """Milliseconds to open and to import, and rows per second to stream, each with the jail and without."""
    return [_start(stage), _import(stage), _throughput(stage)]


def _start(stage: Stage) -> Result:
    ours, rivals = by_turns(
        lambda: open_milliseconds(stage, "bare"),
        lambda: open_milliseconds(stage, "bare", _OFF),
        starts(stage),
    )
    return Result(
        question="open with the jail on, beside off",
        name="on",
        rival="off",
        unit="ms",
        ours=ours,
        rivals=rivals,
        goal=Goal("difference", "at most", 10.0),
    )


def _import(stage: Stage) -> Result:
    """Many small files in a short time: Landlock is asked at each that is opened."""
    ours, rivals = by_turns(
        lambda: _import_milliseconds(stage, None),
        lambda: _import_milliseconds(stage, _OFF),
        starts(stage),
    )
    return Result(
        question="import sqlalchemy with the jail on, beside off",
        name="on",
        rival="off",
        unit="ms",
        ours=ours,
        rivals=rivals,
        goal=Goal("ratio", "at most", 1.05),
    )


def _import_milliseconds(stage: Stage, policy: Policy | None) -> float:
    with stage.runner.open(SYNCERS / "imports", policy=policy) as syncer:
        return float(syncer.load("sqlalchemy")[0]["milliseconds"])


def _throughput(stage: Stage) -> Result:
    rows = 50_000 if stage.quick else 300_000
    with open_rows(stage.runner, rows) as confined, open_rows(stage.runner, rows, _OFF) as free:
        ours, rivals = by_turns(
            lambda: rows / seconds(lambda: stream(confined, rows)),
            lambda: rows / seconds(lambda: stream(free, rows)),
        )
    return Result(
        question="stream with the jail on, beside off",
        name="on",
        rival="off",
        unit="rows/s",
        ours=ours,
        rivals=rivals,
        goal=Goal("ratio", "at least", 0.97),
    )
