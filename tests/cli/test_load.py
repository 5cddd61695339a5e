"""`syncell load`: rows on standard output, as a program or a person reads them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path

from cli.command import MakeSyncer, Run, Start, screen

ORDERS = "id|item\n1|lamp\n2|\n"

VALUES = """
    import datetime as dt, decimal, uuid

    class Acme:
        name = "acme"

        def load(self, identifier):
            return [{
                "when": dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc),
                "day": dt.date(2024, 2, 29),
                "price": decimal.Decimal("1.10"),
                "id": uuid.UUID(int=1),
                "raw": b"\\x00\\xff",
                "took": dt.timedelta(minutes=1),
                "nan": float("nan"),
                "big": 10**5000 if identifier == "enormous" else 2**70,
                "half": "\\ud800",
                "nested": {"list": [1, 2.5, True, None]},
                "nothing": None,
            }]

        def dump(self, identifier, *, data):
            pass
"""

ENDLESS = """
    import itertools

    class Acme:
        name = "acme"

        def load_batches(self, identifier):
            for number in itertools.count():
                yield [{"number": number}] * 100

        load = dump = None
"""


def test_rows_are_json_lines_where_no_terminal_reads_them(syncell: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "orders.csv").write_text(ORDERS)
    done = syncell("load", "csv://directory=in#orders", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": "1", "item": "lamp"},
        {"id": "2", "item": ""},
    ]


def test_every_kind_of_value_has_a_form_in_json(syncell: Run, make_syncer: MakeSyncer) -> None:
    done = syncell("load", f"{make_syncer(VALUES)}#x", "--quiet")
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "when": "2024-02-29T12:30:00Z",
        "day": "2024-02-29",
        "price": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "raw": "AP8=",
        "took": "PT60S",
        "nan": None,
        "big": 2**70,
        "half": "\ud800",
        "nested": {"list": [1, 2.5, True, None]},
        "nothing": None,
    }


def test_an_integer_of_any_size_is_written_in_full(syncell: Run, make_syncer: MakeSyncer) -> None:
    done = syncell("load", f"{make_syncer(VALUES)}#enormous", "--quiet")
    assert f'"big":1{"0" * 5000},' in done.stdout


def test_csv_holds_the_same_without_quotes_and_nothing_for_null(syncell: Run, make_syncer: MakeSyncer) -> None:
    done = syncell("load", f"{make_syncer(VALUES)}#x", "--quiet", "--format", "csv")
    assert done.stderr == ""
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row == {
        "when": "2024-02-29T12:30:00Z",
        "day": "2024-02-29",
        "price": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "raw": "AP8=",
        "took": "PT60S",
        "nan": "nan",
        "big": str(2**70),
        "half": "\\ud800",
        "nested": '{"list":[1,2.5,true,null]}',
        "nothing": "",
    }


def test_a_column_that_comes_after_the_csv_header_is_an_error_that_names_it(
    syncell: Run, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load_batches(self, identifier):
                yield [{"a": 1}, {"a": 2, "b": 3}] * 500
                yield [{"a": 1, "late": 2}]

            load = dump = None
        """
    )
    done = syncell("load", f"{folder}#x", "--quiet", "--format", "csv")
    assert done.returncode == 2
    assert done.stdout.startswith("a,b\n1,\n2,3\n")
    assert "from row 1,001 on" in done.stderr
    assert "late; use --format jsonl" in done.stderr


def test_a_limit_ends_an_endless_source(syncell: Run, make_syncer: MakeSyncer) -> None:
    done = syncell("load", f"{make_syncer(ENDLESS)}#x", "--limit", "250")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 250


def test_a_reader_that_leaves_ends_the_load_without_a_word(start: Start, make_syncer: MakeSyncer) -> None:
    process = start("load", f"{make_syncer(ENDLESS)}#x", "--quiet")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline()) == {"number": 0}
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_output_that_cannot_be_written_is_one_message(syncell: Run, make_syncer: MakeSyncer) -> None:
    with Path("/dev/full").open("wb") as full:
        process = syncell("load", f"{make_syncer(VALUES)}#x", "--quiet", stdout=full)
    assert process.returncode == 1
    assert process.stderr == "syncell: [Errno 28] No space left on device: 'standard output'\n"


def test_rows_are_seen_before_the_source_has_ended(start: Start, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go-on")
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load_batches(self, go_on):
                yield [{"row": 1}]
                with open(go_on) as waiting:
                    yield [{"row": waiting.read()}]

            load = dump = None
        """
    )
    process = start("load", f"{folder}#{tmp_path / 'go-on'}", "--quiet", "--allow-read", str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == b'{"row":1}\n'
    (tmp_path / "go-on").write_text("2")
    assert process.stdout.read() == b'{"row":"2"}\n'
    assert process.wait() == 0


def test_a_terminal_gets_a_table_that_ends(start: Start, make_syncer: MakeSyncer, terminal: tuple[int, int]) -> None:
    process = start("load", f"{make_syncer(ENDLESS)}#x", stdout=terminal[1], stderr=subprocess.PIPE)
    _, errors = process.communicate()
    assert process.returncode == 0
    shown = screen(*terminal).split()
    assert shown[0] == "number"
    assert shown[2:] == ["0"] * 50
    assert "the first 50 rows" in errors.decode()


def test_a_table_names_the_columns_that_the_terminal_has_no_room_for(
    start: Start, make_syncer: MakeSyncer, terminal: tuple[int, int]
) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier):
                return [{name: name * 30 for name in "abcdef"}]

            dump = None
        """
    )
    process = start("load", f"{folder}#x", stdout=terminal[1], stderr=subprocess.PIPE)
    _, errors = process.communicate()
    lines = screen(*terminal).splitlines()
    assert lines[0].split() == ["a", "b"]
    assert lines[2].split() == ["a" * 30, "b" * 30]
    assert "no room for 4 more columns: c, d, e, f" in errors.decode()


def test_what_a_row_holds_cannot_drive_the_terminal(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier):
                return [{"a\\x1b[2J": "\\x1b]0;owned\\x07 [red]\\nb"}]

            dump = None
        """
    )
    done = syncell("load", f"{folder}#x", "--quiet", "--format", "table")
    assert "\x1b" not in done.stdout
    assert "a\\x1b[2J" in done.stdout
    assert "\\x1b]0;owned\\x07 [red]\\nb" in done.stdout


def test_a_spec_without_an_identifier_is_a_usage_error(syncell: Run) -> None:
    done = syncell("load", "csv://directory=in")
    assert done.returncode == 2
    assert "csv://...#NAME" in done.stderr
