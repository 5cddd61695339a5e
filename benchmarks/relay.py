"""Copy through the relay, against the same rows loaded into the host and dumped from it."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.measure import Goal, Result, Stage, by_turns
from benchmarks.opened import open_rows
from syncell import transfer


def run(stage: Stage) -> list[Result]:
    """Rows per second of a copy either way, and the processor seconds that the host itself spends on it."""
    rows = 50_000 if stage.quick else 300_000
    with open_rows(stage.runner, rows) as source, open_rows(stage.runner, 1) as target:
        name = str(rows)

        def relay() -> tuple[float, float]:
            return _both_clocks(lambda: transfer.copy(source, name, target, name))

        def through_host() -> tuple[float, float]:
            return _both_clocks(lambda: target.dump(name, data=source.load(name)))

        relayed, loaded = by_turns(relay, through_host)
    return [
        Result(
            question="copy through the relay, beside load and dump through the host",
            name="copy",
            rival="load, then dump",
            unit="rows/s",
            ours=[rows / wall for wall, _ in relayed],
            rivals=[rows / wall for wall, _ in loaded],
            goal=Goal("ratio", "at least", 1.5),
        ),
        Result(
            question="processor time of the host for the same",
            name="copy",
            rival="load, then dump",
            unit="s",
            ours=[cpu for _, cpu in relayed],
            rivals=[cpu for _, cpu in loaded],
            goal=Goal("ratio", "at most", 0.10),
        ),
    ]


def _both_clocks(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu
