"""Every value keeps its type from one side to the other, and what cannot is refused by column, row and type."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import gc
import math
import sys
import types
import uuid
import zoneinfo
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncell_worker import values, wire

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def cross(*batches: values.Batch) -> list[values.Batch]:
    """The batches, each as the other side gets it from one encoder."""
    encoder = values.Encoder()
    return [[row for frame in encoder.encode(batch) for row in over_the_wire(frame)] for batch in batches]


def over_the_wire(frame: wire.Rows) -> values.Batch:
    worker, host = wire.Connection(wire.WORKER), wire.Connection(wire.HOST)
    for connection in (worker, host):
        connection.state, connection.call = "LOADING", 1
    (received,) = host.receive(b"".join(map(bytes, worker.send(frame, 1))))
    return values.decode(received[1])


def shape(value: Any) -> Any:
    """A value together with all that equality does not see: types, the order of keys, NaN, the sign of zero, zones."""
    if isinstance(value, dict):
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return list, [shape(item) for item in value]
    if isinstance(value, (float, Decimal)):
        return type(value), str(value)
    if isinstance(value, (dt.datetime, dt.time)):
        return type(value), value.replace(tzinfo=None), value.utcoffset()
    return type(value), value


# Every type of the contract.

DATETIMES = st.one_of(
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.datetimes(
        timezones=st.builds(lambda seconds: dt.timezone(dt.timedelta(0, seconds)), st.integers(-86_399, 86_399)),
    ),
)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "none": st.none(),
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**64 - 1),
    "big int": st.integers(),
    "float": st.floats(),
    "text": st.text(),
    "surrogates": st.text(st.characters(exclude_categories=[]) | st.characters(categories=["Cs"])),
    "bytes": st.binary(),
    "naive datetime": st.datetimes(),
    "datetime": DATETIMES,
    "utc": st.datetimes(timezones=st.just(dt.UTC)),
    "date": st.dates(),
    "time": st.times(),
    "timedelta": st.timedeltas(),
    "decimal": st.decimals(),
    "uuid": st.uuids(),
}
ANY_SCALAR = st.one_of(*SCALARS.values())
NESTED = st.recursive(ANY_SCALAR, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
COLUMNS = st.text(max_size=4)


@pytest.mark.parametrize("kind", SCALARS)
def test_columns_of_one_type_come_back_as_they_were(kind: str) -> None:
    @given(st.lists(SCALARS[kind] | st.none(), min_size=1))
    def check(column: list[Any]) -> None:
        rows = [{"before": "x", "column": value, "after": 1} for value in column]
        assert shape(cross(rows)) == shape([rows])

    check()


@given(st.lists(NESTED, min_size=1))
def test_mixed_columns_come_back_as_they_were(column: list[Any]) -> None:
    rows = [{"column": value, "day": dt.date(2024, 1, 1)} for value in column]
    assert shape(cross(rows)) == shape([rows])


@given(st.lists(st.dictionaries(COLUMNS, ANY_SCALAR), min_size=1))
def test_ragged_rows_come_back_with_their_own_keys_in_their_own_order(rows: values.Batch) -> None:
    assert shape(cross(rows)) == shape([rows])


@st.composite
def tables(draw: st.DrawFn) -> list[values.Batch]:
    """Batches of one table: few columns whose types change, keys in any order, some rows without some of them."""
    columns = draw(st.lists(COLUMNS, min_size=1, max_size=4, unique=True))
    cell = st.sampled_from([1, True, None, "1", Decimal(1), Decimal("1.0"), 1.0, dt.date(2024, 1, 1), dt.timedelta(1)])
    whole = st.permutations(columns).flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, cell)))
    row = whole | st.dictionaries(st.sampled_from(columns), cell)
    return draw(st.lists(st.lists(row, min_size=1, max_size=3), min_size=1, max_size=4))


@pytest.mark.parametrize("names", [["Größe", "größer"], ["日", "", "a"], ["\x00", "é", "\U0001f600"]], ids=ascii)
def test_columns_may_have_any_names(names: list[str]) -> None:
    row: values.Row = {**dict.fromkeys(names, 1), "day": dt.date(2024, 1, 1)}
    assert shape(cross([row])) == shape([[row]])


@given(tables())
def test_what_an_encoder_remembers_of_one_batch_never_spoils_the_next(batches: list[values.Batch]) -> None:
    assert shape(cross(*batches)) == shape(batches)


def test_a_batch_of_ragged_rows_does_not_hide_columns_of_the_next() -> None:
    ragged: values.Batch = [{"a": 1}, {"a": 1, "b": dt.date(2024, 1, 1)}]
    assert shape(cross(ragged, ragged[1:])) == shape([ragged, ragged[1:]])


def test_a_column_that_turns_plain_hides_no_typed_one_that_equals_it() -> None:
    first = [{"a": Decimal(1), "b": 1}]
    second = [{"b": Decimal(1), "a": 1}]  # the other way round, and equal place by place
    assert shape(cross(first, second)) == shape([first, second])


@given(DATETIMES)
def test_moments_keep_the_instant_and_the_named_zone(moment: dt.datetime) -> None:
    ((row,),) = cross([{"at": [moment]}])
    came = row["at"][0]
    assert came == moment
    assert (came.replace(tzinfo=None), came.utcoffset()) == (moment.replace(tzinfo=None), moment.utcoffset())
    if isinstance(moment.tzinfo, zoneinfo.ZoneInfo):
        assert came.tzinfo is moment.tzinfo


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=0), id="first reading when clocks go back"),
        pytest.param(dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1), id="second reading"),
        pytest.param(dt.datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN, fold=0), id="an hour that does not exist"),
        pytest.param(dt.datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN, fold=1), id="the same, from the other side"),
    ],
)
def test_moments_around_a_change_of_clocks_keep_zone_and_offset(moment: dt.datetime) -> None:
    ((row,),) = cross([{"at": moment}])
    assert row["at"] == moment
    assert row["at"].tzinfo is BERLIN
    assert row["at"].utcoffset() == moment.utcoffset()


def test_times_keep_their_zone() -> None:
    rows = [{"a": dt.time(1, 2, tzinfo=BERLIN)}, {"a": dt.time(1, 2, 3, 4, dt.timezone(dt.timedelta(hours=-5)))}]
    ((first, second),) = cross(rows)
    assert first["a"].tzinfo is BERLIN
    assert [first, second] == rows
    assert second["a"].utcoffset() == dt.timedelta(hours=-5)


class Unhashable(dt.tzinfo):
    """As dateutil's zones are."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return None if moment is None else dt.timedelta(hours=2)

    def dst(self, moment: dt.datetime | None) -> None:
        return None

    def tzname(self, moment: dt.datetime | None) -> None:
        return None


def test_zones_of_any_class_become_their_offset() -> None:
    moment = dt.datetime(2024, 1, 1, tzinfo=Unhashable())
    ((row, _),) = cross([{"at": moment}, {"at": None}])
    assert row["at"] == moment
    assert row["at"].tzinfo == dt.timezone(dt.timedelta(hours=2))
    with pytest.raises(values.Unfaithful, match=r"column 'at', row 0: its zone .* neither a name nor a fixed offset"):
        cross([{"at": dt.time(1, tzinfo=Unhashable())}])
    with pytest.raises(values.Unfaithful, match=r"column 'at', row 0: its zone's offset .* is finer than a second"):
        cross([{"at": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(microseconds=-1)))}])


@given(st.integers(min_value=2**64))
def test_integers_of_any_size_cross(number: int) -> None:
    rows: values.Batch = [{"a": number, "b": -number}, {"a": 1, "b": None}]
    assert cross(rows) == [rows]


def test_an_integer_of_more_digits_than_python_prints_crosses() -> None:
    number = 10 ** (sys.get_int_max_str_digits() + 10)
    assert cross([{"a": number}]) == [[{"a": number}]]


# Subclasses and others become their plain equals.


class Quoted(str):
    __slots__ = ("quote",)


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Color(str, enum.Enum):  # noqa: UP042 - as it is written where Python 3.10 must run it
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Nested(enum.Enum):
    DAY = dt.date(2024, 1, 1)


class Point(NamedTuple):
    x: int
    at: dt.date


class Money(Decimal):
    pass


class Stamp(dt.datetime):
    pass


class Count(int):
    pass


@pytest.mark.parametrize(
    ("value", "equal"),
    [
        (Quoted("x"), "x"),
        (Loud("x"), "x"),
        (Count(5), 5),
        (Count(2**70), 2**70),
        (type("Ratio", (float,), {})(0.5), 0.5),
        (type("Blob", (bytes,), {})(b"x"), b"x"),
        (Money("1.50"), Decimal("1.50")),
        (Stamp(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (type("Day", (dt.date,), {})(2024, 1, 1), dt.date(2024, 1, 1)),
        (type("Clock", (dt.time,), {})(1, 2, tzinfo=BERLIN), dt.time(1, 2, tzinfo=BERLIN)),
        (type("Span", (dt.timedelta,), {})(1, 2, 3), dt.timedelta(1, 2, 3)),
        (type("Id", (uuid.UUID,), {})(int=5), uuid.UUID(int=5)),
        (Color.RED, "red"),
        (Level.LOW, 1),
        (Nested.DAY, dt.date(2024, 1, 1)),
        ((1, (2, dt.date(2024, 1, 1))), [1, [2, dt.date(2024, 1, 1)]]),
        (Point(1, dt.date(2024, 1, 1)), [1, dt.date(2024, 1, 1)]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({Quoted("k"): 1, Color.RED: 2, Loud("x"): 3}, {"k": 1, "red": 2, "x": 3}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_arrive_as_the_plain_type_they_derive_from(value: Any, equal: Any) -> None:
    assert shape(cross([{"a": value}, {"a": None}])) == shape([[{"a": equal}, {"a": None}]])
    assert shape(cross([{"a": [value]}])) == shape([[{"a": [equal]}]])


def test_keys_of_subclasses_of_str_are_text() -> None:
    rows: values.Batch = [{Quoted("id"): 1, Color.RED: Decimal(1), Loud("x"): dt.date(2024, 1, 1)}] * 2
    expected: values.Batch = [{"id": 1, "red": Decimal(1), "x": dt.date(2024, 1, 1)}] * 2
    assert shape(cross(rows)) == shape([expected])
    assert shape(cross([*expected, *rows])) == shape([expected + expected])


def foreign(module: str, name: str, **members: Any) -> Any:
    """A value of a class as another package has it: a stand-in, since NumPy and pandas are not installed here."""
    return types.new_class(name, (), {}, lambda namespace: namespace.update(__module__=module, **members))()


def test_numpy_scalars_become_their_python_equals() -> None:
    kind = types.SimpleNamespace
    rows = [
        {
            "int": foreign("numpy", "int64", dtype=kind(kind="i"), shape=(), tolist=lambda _: 5),
            "text": foreign("numpy", "str_", dtype=kind(kind="U"), shape=(), tolist=lambda _: "x"),
            "array": foreign("numpy", "ndarray", dtype=kind(kind="f"), shape=(2,), tolist=lambda _: [0.5, 1.0]),
            "day": foreign("numpy", "datetime64", dtype=kind(kind="M"), shape=(), tolist=lambda _: dt.date(2024, 1, 1)),
        }
    ]
    assert cross(rows) == [[{"int": 5, "text": "x", "array": [0.5, 1.0], "day": dt.date(2024, 1, 1)}]]


def test_nothing_finer_than_python_can_hold_is_rounded() -> None:
    nanoseconds = foreign("pandas", "Timestamp", nanosecond=1, to_pydatetime=lambda _, warn: dt.datetime(2024, 1, 1))
    with pytest.raises(values.Unfaithful, match=r"column 'a', row 0: pandas.Timestamp with nanoseconds"):
        cross([{"a": nanoseconds}])
    whole = foreign("pandas", "Timestamp", nanosecond=0, to_pydatetime=lambda _, warn: dt.datetime(2024, 1, 1))
    assert cross([{"a": whole}]) == [[{"a": dt.datetime(2024, 1, 1)}]]


@pytest.mark.parametrize("name", ["NaTType", "NAType"])
def test_pandas_missing_values_are_none(name: str) -> None:
    assert cross([{"a": foreign("pandas._libs", name)}, {"a": 1}]) == [[{"a": None}, {"a": 1}]]


# What has no faithful form.


@pytest.mark.parametrize("value", [object(), {1}, 1j, range(3), bytearray(b"x"), int, lambda: 1, iter([])], ids=repr)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [{"k": (value,)}]], ids=["alone", "nested"])
def test_a_value_without_a_faithful_form_is_refused_by_column_row_and_type(value: Any, wrap: Any) -> None:
    encoder = values.Encoder()
    encoder.encode([{"a": 1, "b": 2}] * 3)
    with pytest.raises(values.Unfaithful) as refused:
        encoder.encode([{"a": 1, "b": 2}, {"a": 1, "b": wrap(value)}])
    assert str(refused.value) == f"column 'b', row 4: {values._type_name(type(value))} has no faithful form"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (5, "row 1 is not a mapping but int"),
        ([("a", 1)], "row 1 is not a mapping but list"),
        ({5: 1}, "row 1 has a column whose name is not text but int: 5"),
        ({None: 1}, "row 1 has a column whose name is not text but NoneType: None"),
        ({"\ud800": 1}, r"column '\ud800': its name is not Unicode text"),
        ({"a": {5: 1}}, "column 'a', row 1: a dict inside the value has a key that is not text but int"),
        (
            {"a": {"\ud800": 1}},
            r"column 'a', row 1: a dict inside the value has the key '\ud800', which is not Unicode text",
        ),
    ],
)
def test_rows_and_keys_that_are_none_are_refused(row: Any, message: str) -> None:
    with pytest.raises(values.Unfaithful) as refused:
        cross([{"a": 1}, row])
    assert str(refused.value) == message


def test_a_value_whose_own_code_raises_is_refused_by_column_and_row() -> None:
    class Broken(enum.Enum):
        A = 1

        @property
        def value(self) -> Any:
            raise RuntimeError("secret")

    with pytest.raises(values.Unfaithful, match=r"^column 'a', row 0: reading a .*Broken raised RuntimeError$"):
        cross([{"a": Broken.A}])


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda value: [value], lambda value: {"k": value}, lambda value: collections.OrderedDict(k=value)],
    ids=["list", "dict", "OrderedDict"],
)
def test_values_nest_as_deep_as_the_limit_and_no_deeper(wrap: Any) -> None:
    deepest = nested(values.MAX_DEPTH, wrap)
    assert cross([{"a": deepest}]) == [[{"a": deepest}]]
    with pytest.raises(values.Unfaithful, match=f"column 'a', row 0: nested deeper than {values.MAX_DEPTH} levels"):
        cross([{"a": wrap(deepest)}])


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(values.Unfaithful, match="nested deeper"):
        cross([{"a": endless}])


# Frames.


def test_plain_batches_name_no_columns_and_typed_ones_name_all() -> None:
    encoder = values.Encoder()
    (plain,) = encoder.encode([{"a": 1, "b": None}])
    assert (plain.count, plain.columns, plain.types) == (1, (), {})
    (typed,) = encoder.encode([{"a": dt.date(2024, 1, 1), "b": 1}, {"a": None, "b": 2}])
    assert (typed.count, typed.columns, typed.types) == (2, ("a", "b"), {"a": "date"})
    (empty,) = values.Encoder().encode([])
    assert values.decode(empty) == []


def test_large_batches_are_split_by_size_in_order() -> None:
    rows = [{"n": number, "blob": bytes(10_000)} for number in range(1_000)]
    frames = values.Encoder().encode(rows)
    assert len(frames) > 5
    assert all(len(frame.body) <= values.BATCH_BYTES for frame in frames)
    assert [row for frame in frames for row in values.decode(frame)] == rows


def test_rows_of_very_different_sizes_are_split_until_each_frame_fits() -> None:
    huge = bytes(wire.MAX_PAYLOAD // 2)
    rows = [{"blob": b""}] * 500 + [{"blob": huge}] * 2 + [{"blob": b""}] * 500
    frames = values.Encoder().encode(rows)
    assert all(len(frame.body) <= wire.MAX_PAYLOAD for frame in frames)
    assert sum(frame.count for frame in frames) == len(rows)


def test_a_row_larger_than_a_frame_is_refused_by_its_number() -> None:
    encoder = values.Encoder()
    encoder.encode([{"a": b""}])
    with pytest.raises(values.Unfaithful, match=r"^row 2 of \d+ bytes is larger than a frame may be"):
        encoder.encode([{"a": b""}, {"a": bytes(wire.MAX_PAYLOAD)}])


def test_more_columns_than_a_head_can_name_are_refused() -> None:
    row: values.Row = {f"{number:0100}": None for number in range(wire.MAX_HEAD // 100)}
    assert cross([row]) == [[row]]
    row["day"] = dt.date(2024, 1, 1)
    with pytest.raises(values.Unfaithful, match=r"^row 0 has \d+ columns, more than a frame can name$"):
        cross([row])


def test_a_dict_that_also_shows_its_keys_to_the_garbage_collector_is_encoded_right() -> None:
    general: dict[Any, Any] = {5: 1, "a": dt.date(2024, 1, 1), "b": "x"}
    del general[5]  # its table of keys stays the general kind
    assert "a" in gc.get_referents(general)
    rows = [{"a": dt.date(2024, 1, 1), "b": "x"}, {}, general]
    for batch in ([general], rows, [general, {}], [{}, general], [{"b": "x"}, {"b": "y"}, *rows]):
        assert cross(batch) == [batch]


class Row:
    """Python keeps the attributes of such objects in tables of another kind."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.day = dt.date(2024, 1, 1)


def test_the_attributes_of_objects_are_rows_as_well() -> None:
    objects = [Row(number) for number in range(3)]
    rows = [vars(row) for row in objects]
    assert cross(rows) == [[{"number": number, "day": dt.date(2024, 1, 1)} for number in range(3)]]


def test_decimals_keep_every_digit_whatever_the_context() -> None:
    exact = Decimal("1." + "3" * 100)
    with decimal.localcontext(prec=5):
        assert cross([{"a": exact}, {"a": [exact]}]) == [[{"a": exact}, {"a": [exact]}]]
    nan = cross([{"a": Decimal("sNaN12")}])[0][0]["a"]
    assert str(nan) == "sNaN12"
    assert math.isnan(cross([{"a": float("nan")}])[0][0]["a"])
