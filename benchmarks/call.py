"""A call that brings one row, on a warm cell, against the same bytes going to and fro between two bare processes.

Once with the two processes of either side on one processor, where waking the other costs little, and once on two, where
it may cost more than all the rest, on a virtual machine above all. Left to itself, the scheduler places the two sides
differently, and the figures say more about that than about either.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.measure import Goal, Result, Stage, by_turns, seconds
from benchmarks.opened import frames, open_rows
from syncell.syncer import Syncer
from syncell_worker import wire

# The rival's process: as little as a process can do that answers at all.
_PONG = """
import os, sys
asked, answer = int(sys.argv[1]), b"x" * int(sys.argv[2])
while True:
    left = asked
    while left:
        data = os.read(0, left)
        if not data:
            sys.exit()
        left -= len(data)
    os.write(1, answer)
"""


def run(stage: Stage) -> list[Result]:
    """Microseconds of one call and of one ping-pong, for each placement that this machine can give."""
    calls = 1_000 if stage.quick else 5_000
    usable = os.sched_getaffinity(0)
    own, *others = sorted(usable)
    os.sched_setaffinity(0, {own})
    try:
        results = [_compare(stage, calls, "one processor", own)]
        results += [_compare(stage, calls, "two processors", other) for other in others[:1]]
    finally:
        os.sched_setaffinity(0, usable)
    return results


def _compare(stage: Stage, calls: int, place: str, processor: int) -> Result:
    with open_rows(stage.runner, 1) as syncer:
        question, answer = _conversation(*frames(syncer, 1))
        with _Pong(question, len(answer)) as pong:
            for pid in (syncer.cell.pid, pong.pid):
                os.sched_setaffinity(pid, {processor})
            ours, rivals = by_turns(
                lambda: seconds(lambda: _load(syncer, calls)) / calls * 1e6,
                lambda: seconds(lambda: pong.play(calls)) / calls * 1e6,
            )
    return Result(
        question=f"one-row load on a warm cell, beside {len(question)} bytes out and {len(answer)} back; on {place}",
        name="load",
        rival="os.write and os.read, two processes",
        unit="us",
        ours=ours,
        rivals=rivals,
        goal=Goal("ratio", "at most", 3.0),
    )


def _load(syncer: Syncer, times: int) -> None:
    for _ in range(times):
        syncer.load("1")


def _conversation(frame: wire.Rows) -> tuple[bytes, bytes]:
    """The bytes of one call, as either side writes them."""
    host, worker = wire.Connection(wire.HOST), wire.Connection(wire.WORKER)
    host.state = worker.state = "READY"
    asked = b"".join(host.send(wire.Load(identifier="1"), 1))
    worker.receive(asked)
    return asked, b"".join([*worker.send(frame, 1), *worker.send(wire.Done(rows=frame.count), 1)])


class _Pong:
    """The rival's process, and this end of its pipes."""

    def __init__(self, question: bytes, answer_size: int) -> None:
        self._question = question
        self._answer_size = answer_size
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PONG, str(len(question)), str(answer_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()

    def __enter__(self) -> _Pong:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes the pipes, which ends it, and waits
            pass

    def play(self, times: int) -> None:
        for _ in range(times):
            os.write(self._in, self._question)
            left = self._answer_size
            while left:
                left -= len(os.read(self._out, left))
