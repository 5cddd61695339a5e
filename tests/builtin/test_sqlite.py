"""The sqlite syncer: tables made from rows, values kept, three load strategies, and one transaction for every dump."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import itertools
import json
import logging
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def module(syncer_module: Callable[[str], ModuleType]) -> ModuleType:
    return syncer_module("sqlite")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "a?#b.db"


@pytest.fixture
def make(module: ModuleType, database: Path) -> Make:
    return lambda **options: module.SQLite(**{"database_path": database, **options})


def run(database: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(script)


def schema(database: Path, table: str) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)))


def test_a_missing_table_is_created_with_types_from_the_first_batch(make: Make, database: Path) -> None:
    row = {"i": 1, "f": 0.5, "t": "x", "b": b"\0", "flag": True, "at": dt.date(2013, 1, 1), "none": None}
    make().dump("orders", data=[row, {**row, "none": None, "t": None}])
    assert schema(database, "orders") == {
        "i": "INTEGER",
        "f": "REAL",
        "t": "TEXT",
        "b": "BLOB",
        "flag": "BOOLEAN",
        "at": "TEXT",
        "none": "",
    }


def test_every_value_has_its_documented_form(make: Make) -> None:
    row = {
        "none": None,
        "bool": True,
        "int": -(2**63),
        "large": 2**63,
        "float": float("inf"),
        "nan": float("nan"),
        "text": "a\0é",
        "bytes": b"\x00\xff",
        "decimal": decimal.Decimal("1.10"),
        "naive": dt.datetime(2013, 1, 1, 5, 0),
        "aware": dt.datetime(2013, 1, 1, 5, 0, 0, 120, tzinfo=dt.UTC),
        "date": dt.date(2013, 1, 1),
        "time": dt.time(5, 15),
        "delta": dt.timedelta(hours=1, milliseconds=5),
        "uuid": uuid.UUID(int=1),
        "nested": [{"at": dt.date(2013, 1, 1), "é": b"\xff"}],
    }
    make().dump("orders", data=[row])
    assert make().load("orders") == [
        {
            "none": None,
            "bool": 1,
            "int": -(2**63),
            "large": "9223372036854775808",
            "float": float("inf"),
            "nan": None,
            "text": "a\0é",
            "bytes": b"\x00\xff",
            "decimal": "1.10",
            "naive": "2013-01-01 05:00:00",
            "aware": "2013-01-01 05:00:00.000120+00:00",
            "date": "2013-01-01",
            "time": "05:15:00",
            "delta": 3600.005,
            "uuid": "00000000-0000-0000-0000-000000000001",
            "nested": '[{"at": "2013-01-01", "é": "/w=="}]',
        }
    ]


def test_date_times_compare_with_sqlites_own(make: Make, database: Path) -> None:
    make().dump("orders", data=[{"at": dt.datetime(2013, 1, 1, 5, 0)}])
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT count(*) FROM orders WHERE at = datetime('2013-01-01 04:00', '+1 hour')")
        assert found.fetchone() == (1,)


stored_values = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "007", "5", "1e3", "x"])
    | st.binary(max_size=3)
)


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), stored_values, min_size=1), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 8), max_size=3),
)
@settings(max_examples=150)
def test_a_created_table_keeps_every_value_however_its_rows_are_cut_into_batches(
    module: ModuleType, tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], cuts: list[int]
) -> None:
    database = tmp_path_factory.mktemp("cut") / "x.db"
    bounds = [0, *sorted(cuts), len(rows)]
    batches = [rows[start:end] for start, end in itertools.pairwise(bounds)]
    module.SQLite(database).dump_batches("t", batches=iter(batches))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    loaded = module.SQLite(database).load("t")
    assert loaded == [{column: row.get(column) for column in columns} for row in rows]
    kinds = [[type(row[column]) for column in columns] for row in loaded]
    assert kinds == [[type(row.get(column)) for column in columns] for row in rows]


def test_a_table_that_is_there_keeps_its_columns(make: Make, database: Path) -> None:
    run(database, "CREATE TABLE orders (id INTEGER, note TEXT DEFAULT 'none')")
    with pytest.raises(LookupError, match=r"table 'orders' has no column 'extra' \(row 2\); it has 'id', 'note'"):
        make().dump("orders", data=[{"ID": 1}, {"ID": 2, "extra": 3}])
    make().dump("orders", data=[{"ID": "12"}])
    assert make().load("orders") == [{"id": 12, "note": "none"}]


def test_digits_are_never_rounded_into_a_number_column(make: Make, database: Path) -> None:
    run(database, "CREATE TABLE orders (id CHARINT, note VARCHAR)")
    make().dump("orders", data=[{"note": 10**30}])
    assert make().load("orders") == [{"id": None, "note": str(10**30)}]
    with pytest.raises(OverflowError, match=r"row 2, column orders\.id: 1000000000000000000000000000000 is beyond"):
        make().dump("orders", data=[{"id": 1}, {"id": 10**30}])


@pytest.mark.parametrize("name", ['a"b; drop', "order by", "with space", "O'Brien", "tabelle é", "select"])
def test_names_are_quoted(make: Make, name: str) -> None:
    rows = [{name: 1, 'c"d': "x"}]
    make().dump(name, data=rows)
    make().dump(name, data=rows)
    assert make().load(name) == rows * 2


def test_append_is_the_default_and_keeps_what_is_there(make: Make) -> None:
    make().dump("orders", data=[{"a": 1}])
    make().dump("orders", data=[{"a": 2}])
    assert make().load("orders") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("options", [{"load_strategy": "truncate"}, {"truncate_on_load": True}])
def test_truncate_replaces_all_rows_and_keeps_the_table(make: Make, database: Path, options: dict[str, Any]) -> None:
    run(database, "CREATE TABLE orders (a INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1), (2)")
    make(**options).dump("orders", data=[{"a": 2}])
    assert make().load("orders") == [{"a": 2}]
    make(**options).dump("orders", data=[])
    assert make().load("orders") == []
    assert schema(database, "orders") == {"a": "INTEGER"}


def test_upsert_changes_rows_by_their_key_and_only_the_columns_given(make: Make, database: Path) -> None:
    run(
        database,
        "CREATE TABLE orders (a TEXT, b INTEGER, note TEXT, kept TEXT, PRIMARY KEY (a, b));"
        "INSERT INTO orders VALUES ('x', 1, 'old', 'kept')",
    )
    make(load_strategy="Upsert").dump(
        "orders",
        data=[{"A": "x", "b": 1, "note": "new"}, {"a": "x", "b": 1}, {"a": "x", "b": 2, "note": "first"}],
    )
    assert make().load("orders") == [
        {"a": "x", "b": 1, "note": "new", "kept": "kept"},
        {"a": "x", "b": 2, "note": "first", "kept": None},
    ]


def test_upsert_uses_a_unique_index_where_there_is_no_primary_key(make: Make, database: Path) -> None:
    run(
        database,
        "CREATE TABLE orders (a INTEGER, b INTEGER); INSERT INTO orders VALUES (1, 1);"
        "CREATE UNIQUE INDEX computed ON orders (abs(b)); CREATE UNIQUE INDEX partial ON orders (b) WHERE b > 5;"
        "CREATE UNIQUE INDEX whole ON orders (a)",
    )
    make(load_strategy="UPSERT").dump("orders", data=[{"a": 1, "b": 2}])
    assert make().load("orders") == [{"a": 1, "b": 2}]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "UPSERT needs one with a key; create it with a PRIMARY KEY first"),
        ("CREATE TABLE orders (a INTEGER, b INTEGER)", "table 'orders' has neither"),
        ("CREATE TABLE orders (a INTEGER, b INTEGER, key INTEGER PRIMARY KEY)", "the rows lack 'key' of its key"),
    ],
)
def test_upsert_without_a_key_is_an_error_that_says_so(make: Make, database: Path, script: str, message: str) -> None:
    if script:
        run(database, script)
    with pytest.raises(LookupError, match=message):
        make(load_strategy="UPSERT").dump("orders", data=[{"a": 1, "b": 2}])


def broken() -> Iterator[list[dict[str, Any]]]:
    yield [{"a": number} for number in range(5_000)]
    raise ConnectionResetError("the source went away")


def test_a_failed_dump_leaves_the_rows_that_truncate_would_have_deleted(make: Make) -> None:
    make().dump("orders", data=[{"a": "old"}])
    with pytest.raises(ConnectionResetError):
        make(load_strategy="TRUNCATE").dump_batches("orders", batches=broken())
    assert make().load("orders") == [{"a": "old"}]


def test_a_failed_dump_leaves_no_table_and_no_database_that_was_not_there(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        make().dump_batches("orders", batches=broken())
    assert list(tmp_path.iterdir()) == []
    make().dump("other", data=[{"a": 1}])
    with pytest.raises(ConnectionResetError):
        make().dump_batches("orders", batches=broken())
    with pytest.raises(LookupError, match="no table 'orders'; the database holds other"):
        make().load("orders")


def test_a_dump_ended_half_way_leaves_the_old_rows(
    make: Make, database: Path, half_way: Callable[..., subprocess.Popen[str]], ending: signal.Signals
) -> None:
    make().dump("orders", data=[{"a": "old", "b": None}])
    process = half_way("sqlite", "SQLite", database_path=database, load_strategy="TRUNCATE")
    process.send_signal(ending)
    assert process.wait(30) == -ending
    assert make().load("orders") == [{"a": "old", "b": None}]


def test_a_row_that_breaks_a_constraint_lands_nothing_and_the_error_names_the_database(
    make: Make, database: Path
) -> None:
    run(database, "CREATE TABLE orders (a INTEGER NOT NULL)")
    with pytest.raises(sqlite3.IntegrityError, match=r"a\?#b\.db: NOT NULL constraint failed: orders\.a"):
        make().dump("orders", data=[{"a": 1}, {"a": None}])
    assert make().load("orders") == []


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([{"a": 1}, {"a": {1}}], TypeError, r"row 2, column orders\.a: a set has no form in SQLite"),
        ([{"a": 1}, {}], ValueError, "orders: row 2 has no columns"),
    ],
)
def test_a_row_without_a_form_is_an_error_that_names_it(
    make: Make, rows: list[dict[str, Any]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make().dump("orders", data=rows)


def test_rows_are_numbered_across_batches(make: Make) -> None:
    with pytest.raises(TypeError, match="row 3, "):
        make().dump_batches("orders", batches=iter([[{"a": 1}] * 2, [{"a": {1}}]]))


def test_no_rows_for_a_missing_table_make_nothing_and_say_so(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    make().dump("orders", data=[])
    assert list(tmp_path.iterdir()) == []
    assert "orders: no rows" in caplog.text


def test_batches_hold_a_thousand_rows_of_one_state_of_the_table(make: Make) -> None:
    make().dump("orders", data=[{"a": number} for number in range(2_500)])
    batches = make().load_batches("orders")
    first = next(batches)
    assert len(first) == 1_000
    batches.close()
    make(load_strategy="TRUNCATE").dump("orders", data=[{"a": 0}])  # the abandoned load holds no lock


def test_a_view_is_loaded_like_a_table(make: Make, database: Path) -> None:
    run(
        database,
        "CREATE TABLE orders (a); INSERT INTO orders VALUES (1), (2);"
        "CREATE VIEW big AS SELECT * FROM orders WHERE a > 1",
    )
    assert make().load("big") == [{"a": 2}]


def test_a_missing_table_is_an_error_that_names_those_there_are(make: Make, database: Path) -> None:
    run(database, "CREATE TABLE b (x INTEGER PRIMARY KEY AUTOINCREMENT); CREATE VIEW a AS SELECT 1")
    with pytest.raises(LookupError, match=r"no table 'orders'; the database holds a, b$"):
        make().load("orders")


def test_a_missing_database_is_an_error_and_is_not_made_by_loading(make: Make, tmp_path: Path) -> None:
    (tmp_path / "other.sqlite").touch()
    with pytest.raises(FileNotFoundError, match=r"b\.db does not exist; databases in .*: other\.sqlite$"):
        make().load("orders")
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.sqlite"]


def test_a_missing_folder_is_an_error_that_names_it(make: Make, tmp_path: Path) -> None:
    syncer = make(database_path=tmp_path / "no" / "x.db")
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'no'}$"):
        syncer.load("orders")
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'no'}; create it"):
        syncer.dump("orders", data=[])


def test_a_file_that_is_no_database_is_an_error_that_names_it_and_stays(make: Make, database: Path) -> None:
    database.write_text(json.dumps({"not": "a database"}) * 100)
    with pytest.raises(sqlite3.DatabaseError, match=r"a\?#b\.db: file is not a database"):
        make().load("orders")
    with pytest.raises(sqlite3.DatabaseError, match=r"a\?#b\.db: file is not a database"):
        make().dump("orders", data=[{"a": 1}])
    assert database.exists()


def test_a_database_that_cannot_be_opened_is_an_error_that_says_why(make: Make, database: Path) -> None:
    database.mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\?#b\.db"):
        make().load("orders")
    with pytest.raises(IsADirectoryError, match=r"a\?#b\.db"):
        make().dump("orders", data=[{"a": 1}])


def test_options_that_contradict_each_other_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="truncate_on_load: True contradicts load_strategy APPEND"):
        make(load_strategy="append", truncate_on_load=True)
    with pytest.raises(ValueError, match="load_strategy: expected APPEND, TRUNCATE or UPSERT, not 'MERGE'"):
        make(load_strategy="merge")
    assert make(truncate_on_load=False).load_strategy == "APPEND"


def test_the_name_is_sqlite(make: Make) -> None:
    assert make().name == "sqlite"
