"""Copy moves every row unread, holds little, and when either side fails nothing is left running or half written."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeSyncer
from syncell import CallTimeout, CopyReport, Limits, Policy, ProtocolError, Runner, SyncerError, WorkerCrashed

# A source of `count` rows, and a target that keeps what it gets and says it again.
SYNCER = """
    import datetime as dt, decimal, os, time

    class Acme:
        name = "acme"

        def __init__(self, count: int = 0, fails: str = "", path: str = ""):
            self.count, self.fails, self.path = count, fails, path
            self.kept = []

        def load(self, identifier):
            if identifier == "kept":
                return self.kept
            return self.rows()

        def rows(self):
            for number in range(self.count):
                if self.fails == "load" and number == 5000:
                    raise ValueError("the source broke")
                if self.fails == "crash" and number == 5000:
                    os._exit(7)
                yield {
                    "number": number,
                    "when": dt.datetime(2024, 1, 1) + dt.timedelta(seconds=number),
                    "price": decimal.Decimal(number) / 100,
                    "huge": 2**70 + number,
                }

        def dump(self, identifier, *, data): ...

        def dump_batches(self, identifier, *, batches):
            for batch in batches:
                if self.fails == "dump":
                    raise ValueError("the target broke")
                if self.fails == "hang":
                    time.sleep(600)
                self.kept += batch
"""


def test_every_row_arrives_with_its_types_and_is_counted(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(SYNCER)
    moved: list[tuple[int, int]] = []
    with runner.open(folder, {"count": 12_345}) as source, runner.open(folder) as target:
        report = runner.join(source, "orders", target, "copies", moved=lambda rows, size: moved.append((rows, size)))
        kept = target.load("kept")
    assert (report.rows, report.source, report.target) == (12_345, "acme#orders", "acme#copies")
    assert moved[-1] == (report.rows, report.bytes)
    assert report.rows_per_second == report.rows / report.seconds
    assert len(kept) == 12_345
    assert kept[-1] == {
        "number": 12_344,
        "when": dt.datetime(2024, 1, 1) + dt.timedelta(seconds=12_344),
        "price": Decimal("123.44"),
        "huge": 2**70 + 12_344,
    }


def test_a_copy_between_specs_needs_identifiers(runner: Runner) -> None:
    with pytest.raises(Exception, match=r"which resource\? Add it at the end"):
        runner.copy("csv://directory=.", "csv://directory=.#x")


@pytest.mark.parametrize(
    ("source", "target", "kind", "message"),
    [
        ({"fails": "load"}, {}, SyncerError, "the source broke"),
        ({"fails": "crash"}, {}, WorkerCrashed, "exited with code 7"),
        ({}, {"fails": "dump"}, SyncerError, "the target broke"),
    ],
)
def test_when_one_side_fails_its_error_is_raised_and_the_other_lives_on(
    runner: Runner,
    make_syncer: MakeSyncer,
    source: dict[str, Any],
    target: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    folder = make_syncer(SYNCER)
    with runner.open(folder, {"count": 50_000, **source}) as reader, runner.open(folder, target) as writer:
        with pytest.raises(kind, match=message):
            runner.join(reader, "orders", writer, "orders")
        for syncer, options in ((reader, source), (writer, target)):
            if options.get("fails") != "crash":
                syncer.load("kept")


def test_a_target_that_hangs_is_blamed_and_ended(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(SYNCER)
    hanging = make_syncer(SYNCER, name="hanging")
    policy = Policy(limits=Limits(wall_seconds=2))
    with (
        runner.open(folder, {"count": 200_000}, policy=policy) as source,
        runner.open(hanging, {"fails": "hang"}, policy=policy) as target,
    ):
        with pytest.raises(CallTimeout, match="hanging"):
            runner.join(source, "orders", target, "orders")
        assert not target.cell.alive


def test_a_slow_target_slows_the_source_and_the_host_holds_little(runner: Runner, make_syncer: MakeSyncer) -> None:
    slow = """
    import time

    class Acme:
        name = "slow"
        def load(self, identifier): ...
        def dump(self, identifier, *, data): ...
        def dump_batches(self, identifier, *, batches):
            for batch in batches:
                time.sleep(0.02)
    """
    highest = 0

    def watch(rows: int, size: int) -> None:
        nonlocal highest
        highest = max(highest, target.cell.queued)

    with (
        runner.open(make_syncer(SYNCER), {"count": 100_000}) as source,
        runner.open(make_syncer(slow, name="slow")) as target,
    ):
        assert runner.join(source, "orders", target, "orders", moved=watch).rows == 100_000
    assert 0 < highest < 8 * 1024 * 1024


def test_a_worker_that_miscounts_is_noticed(runner: Runner, make_syncer: MakeSyncer) -> None:
    # Only a forged worker can: here the syncer rewrites the worker's own module.
    lying = (
        SYNCER
        + """

    import sys
    serve = sys.modules["syncell_worker.serve"]
    honest = serve.Cell._dump
    serve.Cell._dump = lambda self, identifier: honest(self, identifier) - 1
"""
    )
    with (
        runner.open(make_syncer(SYNCER), {"count": 10}) as source,
        runner.open(make_syncer(lying, name="lying")) as target,
        pytest.raises(ProtocolError, match="10 rows were sent to it, and it says it received 9"),
    ):
        runner.join(source, "orders", target, "orders")


def test_an_interrupt_during_a_copy_leaves_no_process_and_no_file(
    cache_dir: Path, tmp_path: Path, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(SYNCER)
    script = f"""
        import sys
        from syncell import Runner
        with Runner(cache_dir={str(cache_dir)!r}, state_dir={str(tmp_path / "state")!r}) as runner:
            with runner.open({str(folder)!r}, {{"count": 10**9}}) as source:
                with runner.open("json", {{"directory": {str(tmp_path / "out")!r}}}) as target:
                    print(source.cell.pid, target.cell.pid, flush=True)
                    moved = lambda rows, size: rows > 100_000 and print("moving", flush=True)
                    runner.join(source, "orders", target, "orders", moved=moved)
    """
    (tmp_path / "out").mkdir()
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    assert host.stderr is not None
    with host:
        pids = [int(pid) for pid in host.stdout.readline().split()]
        assert host.stdout.readline() == "moving\n"
        host.send_signal(signal.SIGINT)
        host.stdout.close()
        assert host.wait(timeout=60) != 0
        assert "KeyboardInterrupt" in host.stderr.read()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "state" / "cells").iterdir()) == []


def test_a_report_is_plain_data() -> None:
    report = CopyReport(source="a#x", target="b#y", rows=10, bytes=100, seconds=2.0)
    assert report.rows_per_second == 5.0
    assert CopyReport(source="a#x", target="b#y", rows=0, bytes=0, seconds=0.0).rows_per_second == 0.0
