"""`syncell dump`: standard input lands in a resource, whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from cli.command import MakeSyncer, Run, Start, asleep

OUT = "json://directory=out#orders"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that holds something already."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "orders.json").write_text('[{"old": 1}]')
    return tmp_path / "out" / "orders.json"


def test_json_lines_land_and_are_counted(syncell: Run, target: Path) -> None:
    rows = [{"a": 1, "b": "x"}, {"a": 2**70, "b": None}, {"a": 0.5, "b": [{}]}]
    done = syncell("dump", OUT, typed="\n\n".join(map(json.dumps, rows)))
    assert done.returncode == 0
    assert done.stdout.startswith("json#orders: 3 rows in ")
    assert json.loads(target.read_text()) == rows


def test_csv_lands_as_text(syncell: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = syncell(
        "dump",
        "sqlite://database_path=out/orders.db#orders",
        "--format",
        "csv",
        typed='\ufeffa,b\r\n1,"x\ny"\r\n2,\r\n',
    )
    assert done.returncode == 0
    with sqlite3.connect(tmp_path / "out" / "orders.db") as database:
        assert database.execute("SELECT a, b FROM orders").fetchall() == [("1", "x\ny"), ("2", "")]
    database.close()


def test_the_report_is_json_for_a_machine(syncell: Run, target: Path) -> None:
    report = json.loads(syncell("dump", OUT, "--json", typed='{"a": 1}').stdout)
    assert report.pop("seconds") >= 0
    assert report == {"target": "json#orders", "rows": 1}


def test_quiet_says_nothing(syncell: Run, target: Path) -> None:
    done = syncell("dump", OUT, "--quiet", typed='{"a": 1}')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("jsonl", '{"a": 1}\n{"a": \n{"a": 3}\n', "standard input, line 2: not JSON"),
        ("jsonl", '{"a": 1}\n\n[2]\n', "standard input, line 3: expected an object, one a line, found '[2]'"),
        ("jsonl", '{"a": 1}\n' + "[" * 100_000, "standard input, line 2: not JSON"),
        ("csv", "a,b\n1,2\n3\n", "standard input, line 3: expected 2 fields, as in the header, found 1"),
        ("csv", "a,a\n1,2\n", "standard input, line 1: the header names a column twice"),
        ("csv", 'a,b\n1,"2\n', "standard input, line 2: unexpected end of data"),
    ],
    ids=["no JSON", "no object", "too deep", "ragged", "repeated column", "open quote"],
)
def test_a_line_that_cannot_be_read_is_named_and_nothing_lands(
    syncell: Run, target: Path, kind: str, text: str, message: str
) -> None:
    done = syncell("dump", OUT, "--format", kind, "--quiet", typed=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("syncell: ")
    assert target.read_text() == '[{"old": 1}]'
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_dump_is_cancelled(
    start: Start, make_syncer: MakeSyncer, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def dump_batches(self, said, *, batches):
                with open(said, "w", buffering=1) as told:
                    try:
                        for batch in batches:
                            print("took", len(batch), file=told)
                    finally:
                        print("let go", file=told)

            load = dump = None
        """
    )
    # While the command waits for its input it looks at nothing else: the syncer speaks through a pipe of its own.
    os.mkfifo(tmp_path / "said")
    process = start("dump", f"{folder}#{tmp_path / 'said'}", "--allow-write", str(tmp_path / "said"))
    assert process.stdin is not None
    process.stdin.write(b'{"row": 1}\n' * 1500)  # a whole batch, and less than another
    process.stdin.flush()
    with (tmp_path / "said").open() as said:
        assert said.readline() == "took 1000\n"
        while not asleep(process):  # for more input: nothing else is left to wait for
            pass
        process.send_signal(number)
        assert said.read() == "let go\n"
    assert process.wait() == code
