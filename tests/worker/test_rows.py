"""Whatever `load` may return becomes batches of dictionaries, and what is no rows is refused by what it is."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import sqlite3
import types
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import pydantic
import pytest

from syncell_worker import rows, values

ROWS: list[dict[str, Any]] = [{"id": 1, "name": "Ada"}, {"id": 2, "name": None}]


def loaded(result: Any) -> list[dict[str, Any]]:
    """All rows of a result."""
    return [row for batch, _ in rows.batches(result) for row in batch]


@dataclasses.dataclass
class Person:
    id: int
    name: str | None


class PersonModel(pydantic.BaseModel):
    id: int
    name: str | None


class PersonTuple(NamedTuple):
    id: int
    name: str | None


class OldModel:
    """What a model of pydantic 1 offers: a stand-in, since only one pydantic can be installed here."""

    __fields__: ClassVar[dict[str, Any]] = {}

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def dict(self) -> dict[str, Any]:
        return self.fields


class AlchemyRow(tuple[Any, ...]):
    """What a row of SQLAlchemy offers: a tuple with a mapping beside it, and columns of any name as attributes."""

    keys = "a column may be called like this"

    @property
    def _mapping(self) -> collections.UserDict[str, Any]:
        return collections.UserDict(tuple(self))


def sqlite_rows() -> list[sqlite3.Row]:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    found = connection.execute("SELECT 1 AS id, 'Ada' AS name UNION ALL SELECT 2, NULL").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(ROWS, id="list"),
        pytest.param(tuple(ROWS), id="tuple"),
        pytest.param((row for row in ROWS), id="generator"),
        pytest.param(iter(ROWS), id="iterator"),
        pytest.param([types.MappingProxyType(row) for row in ROWS], id="mappings"),
        pytest.param([collections.OrderedDict(row) for row in ROWS], id="subclasses of dict"),
        pytest.param([Person(**row) for row in ROWS], id="dataclasses"),
        pytest.param([PersonModel(**row) for row in ROWS], id="models"),
        pytest.param([OldModel(**row) for row in ROWS], id="models of pydantic 1"),
        pytest.param([PersonTuple(**row) for row in ROWS], id="named tuples"),
        pytest.param([AlchemyRow(row.items()) for row in ROWS], id="rows of SQLAlchemy"),
        pytest.param(sqlite_rows(), id="rows of sqlite3"),
        pytest.param([ROWS[0], Person(**ROWS[1])], id="a mixture"),
    ],
)
def test_what_load_may_return_becomes_dictionaries_in_key_order(result: Any) -> None:
    found = loaded(result)
    assert found == ROWS
    assert {type(row) for row in found} == {dict}
    assert [list(row) for row in found] == [["id", "name"]] * 2


def test_no_rows_are_no_batches() -> None:
    assert list(rows.batches([])) == []
    assert list(rows.rebatch(iter([[], []]))) == []


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "load returned None instead of rows"),
        ("id,name", "load returned str instead of an iterable of rows"),
        (b"", "load returned bytes instead of an iterable of rows"),
        ({"id": 1}, "load returned dict instead of an iterable of rows"),
        (5, "load returned int instead of an iterable of rows"),
        (["id"], "row 0 is not a mapping but str"),
        ([ROWS[0], None], "row 1 is not a mapping but NoneType"),
        ([ROWS[0]] * 150 + [(1, 2)], "row 150 is not a mapping but tuple"),
        ([dict], "row 0 is not a mapping but type"),
        ([Person], "row 0 is not a mapping but type"),
    ],
    ids=repr,
)
def test_what_is_no_rows_is_refused_by_what_it_is(result: Any, message: str) -> None:
    with pytest.raises(rows.NotRows) as refused:
        loaded(result)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param(None, id="None"),
        pytest.param(5, id="a number"),
        pytest.param(iter([None]), id="None among them"),
        pytest.param(iter([[ROWS[0]], [5]]), id="a number as a row"),
        pytest.param(iter(ROWS), id="rows instead of batches"),
    ],
)
def test_batches_that_are_none_are_refused(batches: Any) -> None:
    with pytest.raises(rows.NotRows):
        list(rows.rebatch(batches))


# Batches.


def test_batches_grow_from_small_to_the_largest_and_the_last_says_so() -> None:
    numbers = ({"n": number} for number in range(5_000))
    found = list(rows.batches(numbers))
    sizes = [len(batch) for batch, _ in found]
    assert sizes[0] < sizes[1] < values.BATCH_ROWS
    assert max(sizes) == values.BATCH_ROWS
    assert [row["n"] for batch, _ in found for row in batch] == list(range(5_000))
    assert [more for _, more in found] == [True] * (len(found) - 1) + [False]


def test_one_row_is_one_batch_that_is_known_to_be_the_last() -> None:
    assert list(rows.batches(iter([{"n": 1}]))) == [([{"n": 1}], False)]


class Clock:
    """Stands for the machine's, so that slowness needs no waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("syncell_worker.rows.time", types.SimpleNamespace(monotonic=lambda: self.now))

    def slow(self, count: int, seconds: float) -> Iterator[dict[str, int]]:
        for number in range(count):
            self.now += seconds
            yield {"n": number}


def test_slow_rows_are_handed_over_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert [len(batch) for batch, _ in rows.batches(clock.slow(4, seconds=10))] == [1] * 4
    waits = []
    for batch, _ in rows.batches(clock.slow(300, seconds=0.02)):
        waits.append(len(batch) * 0.02)
    assert max(waits) < 2.5 * rows._BATCH_SECONDS


def test_a_host_that_is_slow_to_take_rows_does_not_make_batches_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    sizes = []
    for batch, _ in rows.batches(clock.slow(10_000, seconds=0)):
        clock.now += 60
        sizes.append(len(batch))
    assert sizes[:-1] == sorted(sizes[:-1])
    assert max(sizes) == values.BATCH_ROWS


def test_rows_before_an_error_are_handed_over_before_it_is_raised() -> None:
    def broken() -> Iterator[dict[str, int]]:
        for number in range(250):
            yield {"n": number}
        raise SystemExit("not today")

    batches = rows.batches(broken())
    seen = [row["n"] for batch, _ in (next(batches), next(batches)) for row in batch]
    assert seen == list(range(250))
    with pytest.raises(SystemExit, match="not today"):
        next(batches)


def test_a_generator_is_asked_for_no_more_than_a_batch_ahead() -> None:
    asked = 0

    def endless() -> Iterator[dict[str, int]]:
        nonlocal asked
        while True:
            asked += 1
            yield {"n": asked}

    batches = rows.batches(endless())
    taken = sum(len(batch) for batch, _ in (next(batches) for _ in range(8)))
    batches.close()
    assert asked == taken


def test_own_batches_keep_their_cut_and_large_ones_are_cut() -> None:
    own = [[{"n": 0}], [{"n": number} for number in range(2_500)], ({"n": number} for number in range(2))]
    assert [len(batch) for batch, _ in rows.rebatch(iter(own))] == [1, 1_000, 1_000, 500, 2]


# Tables of other libraries, told by module and name. The stand-ins offer what is used of them; none is installed here.


class DataFrame:
    __module__ = "pandas.core.frame"

    def __init__(self, columns: list[Any], data: list[list[Any]]) -> None:
        self.columns, self.data = columns, data

    def __len__(self) -> int:
        return len(self.data)

    @property
    def iloc(self) -> DataFrame:
        return self

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return DataFrame(self.columns, self.data[place])
        return types.SimpleNamespace(tolist=lambda: [row[place[1]] for row in self.data])


def test_data_frames_of_pandas_are_rows() -> None:
    frame = DataFrame(["id", 5], [[number, dt.date(2024, 1, 1)] for number in range(2_500)])
    assert loaded(frame) == [{"id": number, "5": dt.date(2024, 1, 1)} for number in range(2_500)]
    assert [row for batch, _ in rows.rebatch([frame]) for row in batch] == loaded(frame)


def test_a_data_frame_that_names_a_column_twice_loses_none_silently() -> None:
    with pytest.raises(rows.NotRows, match="two columns of the same name: 1, id, 1"):
        loaded(DataFrame([1, "id", "1"], [[1, 2, 3]]))


def test_frames_of_polars_and_tables_of_arrow_are_rows() -> None:
    polars = type("DataFrame", (), {"__module__": "polars.dataframe.frame", "iter_rows": lambda _, named: iter(ROWS)})
    assert loaded(polars()) == ROWS
    batches = [types.SimpleNamespace(to_pylist=lambda: ROWS[:1]), types.SimpleNamespace(to_pylist=lambda: ROWS[1:])]
    arrow = type("Table", (), {"__module__": "pyarrow.lib", "to_batches": lambda _, max_chunksize: batches})
    assert loaded(arrow()) == ROWS
