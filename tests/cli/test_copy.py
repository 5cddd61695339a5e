"""`syncell copy`: rows move, a report is printed, and what is interrupted leaves nothing half done."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from cli.command import MakeSyncer, Run, Start, asleep, screen

COPY = ("copy", "csv://directory=in#orders", "sqlite://database_path=out/orders.db#orders")

# Two batches, a word on standard error, and then nothing for ever.
STUCK = """
    import sys, threading

    class Acme:
        name = "acme"

        def load_batches(self, identifier):
            yield [{"row": 1}] * 1000
            yield [{"row": 2}] * 1000
            print("stuck now", file=sys.stderr, flush=True)
            threading.Event().wait()

        load = dump = None
"""


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A folder with rows, and one for the result, which is returned."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "orders.csv").write_text("id|item\n1|lamp\n2|chair\n")
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_rows_are_copied_and_counted(syncell: Run, orders: Path) -> None:
    done = syncell(*COPY)
    assert done.returncode == 0
    assert done.stdout.startswith("csv#orders -> sqlite#orders: 2 rows, ")
    assert done.stdout.endswith(" rows/s)\n")
    with sqlite3.connect(orders / "orders.db") as database:
        assert database.execute("SELECT * FROM orders").fetchall() == [("1", "lamp"), ("2", "chair")]
    database.close()


def test_the_report_is_one_json_object_for_a_machine(syncell: Run, orders: Path) -> None:
    report = json.loads(syncell(*COPY, "--json").stdout)
    assert report["source"] == "csv#orders"
    assert report["target"] == "sqlite#orders"
    assert report["rows"] == 2
    assert report["rows_per_second"] == pytest.approx(2 / report["seconds"])
    assert report["bytes"] > 0


def test_quiet_says_nothing_not_even_to_a_terminal(start: Start, orders: Path, terminal: tuple[int, int]) -> None:
    process = start(*COPY, "--quiet", stderr=terminal[1])
    output, _ = process.communicate()
    assert (process.returncode, output, screen(*terminal)) == (0, b"", "")


def test_a_terminal_sees_progress_and_keeps_none_of_it(start: Start, orders: Path, terminal: tuple[int, int]) -> None:
    process = start(*COPY, stderr=terminal[1])
    output, _ = process.communicate()
    assert process.returncode == 0
    assert output.startswith(b"csv#orders -> sqlite#orders: 2 rows")
    shown = screen(*terminal)
    assert "2 rows" in shown
    assert shown.endswith("\x1b[2K")  # the line of progress, erased


def test_without_a_terminal_there_is_nothing_to_redraw(syncell: Run, orders: Path) -> None:
    assert "\x1b" not in syncell(*COPY).stderr


def test_a_ctrl_c_leaves_the_target_as_it_was(start: Start, make_syncer: MakeSyncer, orders: Path) -> None:
    """A terminal signals its whole foreground group: the cells are in none, so that they can be ended in order."""
    (orders / "orders.json").write_text('[{"old": 1}]')
    process = start(
        "copy", f"{make_syncer(STUCK)}#x", "json://directory=out#orders", "--verbose", start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"stuck now" in line:
            break
    while not asleep(process):  # for the syncers: nothing else is left to wait for
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == b"syncell: interrupted\n"
    assert (orders / "orders.json").read_text() == '[{"old": 1}]'
    assert [path.name for path in orders.iterdir()] == ["orders.json"]


def test_a_source_that_fails_leaves_the_target_as_it_was(syncell: Run, make_syncer: MakeSyncer, orders: Path) -> None:
    (orders / "orders.json").write_text('[{"old": 1}]')
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load_batches(self, identifier):
                yield [{"row": 1}] * 1000
                raise RuntimeError("the sky fell")

            load = dump = None
        """
    )
    done = syncell("copy", f"{folder}#x", "json://directory=out#orders")
    assert done.returncode == 1
    assert "syncell: acme: RuntimeError: the sky fell\n" in done.stderr
    assert (orders / "orders.json").read_text() == '[{"old": 1}]'
    assert [path.name for path in orders.iterdir()] == ["orders.json"]


def test_a_folder_that_is_missing_is_made_to_be_written_and_not_to_be_read(syncell: Run, orders: Path) -> None:
    done = syncell("copy", COPY[1], "json://directory=new/deep#orders")
    assert done.returncode == 0, done.stderr
    assert (orders.parent / "new" / "deep" / "orders.json").exists()
    done = syncell("load", "csv://directory=absent#orders")
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert not (orders.parent / "absent").exists()
