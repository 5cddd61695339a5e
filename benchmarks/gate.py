"""A connection through the egress gate, against one in a cell that has none: what the host's decision takes."""

from __future__ import annotations

import socket
import threading

from benchmarks.measure import Goal, Result, Stage, by_turns
from benchmarks.opened import SYNCERS
from syncell import Policy, Syncer


def run(stage: Stage) -> list[Result]:
    """Milliseconds of one `connect` to loopback, by address: the names of both are the C library's."""
    connections = 50 if stage.quick else 500
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        port = server.getsockname()[1]
        threading.Thread(target=_hang_up, args=(server,), daemon=True).start()
        gated, free = Policy(connect=[f"127.0.0.1:{port}"]), Policy(sandbox="off")
        folder = SYNCERS / "connects"
        with stage.runner.open(folder, policy=gated) as ours, stage.runner.open(folder, policy=free) as rival:
            identifier = f"{port} {connections}"
            taken, rivals = by_turns(lambda: _milliseconds(ours, identifier), lambda: _milliseconds(rival, identifier))
    return [
        Result(
            question="connect to loopback through the gate, beside without one",
            name="gate",
            rival="off",
            unit="ms",
            ours=taken,
            rivals=rivals,
            goal=Goal("difference", "at most", 1.0),
        )
    ]


def _milliseconds(syncer: Syncer, identifier: str) -> float:
    return float(syncer.load(identifier)[0]["milliseconds"])


def _hang_up(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:  # the benchmark is over
            return
