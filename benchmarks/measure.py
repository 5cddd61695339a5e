"""How two ways of doing the same are measured: by turns, and reported as medians, their ratio and its spread.

By turns, since a machine's speed drifts: whatever slows one side slows the other's neighbouring turn too. So the ratio
of each pair is worth more than either figure, and the spread of those ratios says how much the ratio is worth.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from syncell import Runner

T = TypeVar("T")

JOIN_SECONDS = 10.0
"""For a process of a benchmark's own to end once it has nothing left to do, which takes it no time."""

PAIRS = 7
"""Turns of each side: an odd number, so that a median is one of them."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a benchmark runs on: a runner of its own, an empty folder, and whether to take a short look only."""

    runner: Runner
    folder: Path
    quick: bool


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is to be reached: a `ratio` of ours to the rival's or a `difference`, at least or at most `value`."""

    kind: Literal["ratio", "difference"]
    bound: Literal["at least", "at most"]
    value: float

    def reached(self, value: float) -> bool:
        """Whether a measured ratio or difference is good enough."""
        return value >= self.value if self.bound == "at least" else value <= self.value


@dataclasses.dataclass(frozen=True)
class Result:
    """One comparison: `ours` and `rivals` turn by turn, in `unit`."""

    question: str
    name: str
    rival: str
    unit: str
    ours: list[float]
    rivals: list[float]
    goal: Goal

    @property
    def value(self) -> float:
        """The ratio or difference of the medians, as the goal has it."""
        return self._compare(statistics.median(self.ours), statistics.median(self.rivals))

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest ratio or difference of a pair."""
        pairs = [self._compare(ours, rival) for ours, rival in zip(self.ours, self.rivals, strict=True)]
        return min(pairs), max(pairs)

    def __str__(self) -> str:
        unit = "" if self.goal.kind == "ratio" else f" {self.unit}"
        low, high = self.spread
        verdict = "reached" if self.goal.reached(self.value) else "MISSED"
        return "\n".join(
            [
                self.question,
                _line(self.name, statistics.median(self.ours), self.unit),
                _line(self.rival, statistics.median(self.rivals), self.unit),
                f"{_line(self.goal.kind, self.value, unit.strip())}  {low:.2f}..{high:.2f} in {len(self.ours)} pairs",
                f"  goal: {self.goal.bound} {self.goal.value:g}{unit}, {verdict}",
            ]
        )

    def as_json(self) -> dict[str, Any]:
        """The result as plain data, with what follows from the turns."""
        low, high = self.spread
        reached = self.goal.reached(self.value)
        return {**dataclasses.asdict(self), "value": self.value, "lowest": low, "highest": high, "reached": reached}

    def _compare(self, ours: float, rival: float) -> float:
        return ours / rival if self.goal.kind == "ratio" else ours - rival


def _line(name: str, value: float, unit: str) -> str:
    return f"  {name:<48} {value:>12,.{2 if abs(value) < 100 else 0}f} {unit:<7}"


def by_turns(ours: Callable[[], T], rival: Callable[[], T], pairs: int = PAIRS) -> tuple[list[T], list[T]]:
    """Measure both by turns, ours first, after one turn of each that does not count."""
    ours(), rival()
    turns = [(ours(), rival()) for _ in range(pairs)]
    return [turn[0] for turn in turns], [turn[1] for turn in turns]


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one run."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_child(work: Callable[[], float]) -> float:
    """Measure in a forked process of its own, where nothing is imported or held from the turn before."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sending.send(work()))
    process.start()
    sending.close()
    try:
        measured: float = receiving.recv()
    except EOFError:
        raise ChildProcessError("a benchmark's own process ended without a result; what it said is above") from None
    finally:
        process.join(JOIN_SECONDS)
    return measured
