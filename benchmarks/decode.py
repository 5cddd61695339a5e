"""Stream against msgspec alone: what isolation costs where nothing else is to be had.

The rival decodes the very frames, from memory and in this process, with a decoder of the same types: nobody can read
these bytes into dictionaries faster in Python.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, TypedDict

import msgspec

from benchmarks.measure import Goal, Result, Stage, by_turns, seconds
from benchmarks.opened import frames, open_rows, stream


def run(stage: Stage) -> list[Result]:
    """Rows per second of `stream`, and of decoding its frames."""
    rows = 50_000 if stage.quick else 300_000
    with open_rows(stage.runner, rows) as syncer:
        bodies = [bytes(frame.body) for frame in frames(syncer, rows)]
        decode = _decoder(bodies[0])
        ours, rivals = by_turns(
            lambda: rows / seconds(lambda: stream(syncer, rows)),
            lambda: rows / seconds(lambda: _decode(decode, bodies, rows)),
        )
    return [
        Result(
            question="stream, beside decoding the same bytes in this process",
            name="stream",
            rival="msgspec, typed decoder, same frames",
            unit="rows/s",
            ours=ours,
            rivals=rivals,
            goal=Goal("ratio", "at least", 0.80),
        )
    ]


def _decoder(body: bytes) -> Any:
    (first, *_) = msgspec.msgpack.decode(body)
    row = TypedDict("row", {name: dt.datetime | None if name == "joined" else Any for name in first})  # type: ignore[misc]
    return msgspec.msgpack.Decoder(list[row]).decode


def _decode(decode: Any, bodies: list[bytes], rows: int) -> None:
    decoded = 0
    for body in bodies:
        batch = decode(body)
        decoded += len(batch)
    assert decoded == rows
