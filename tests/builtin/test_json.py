"""The json syncer: arrays and lines read in bounded memory, values in their JSON form, whole files or nothing."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import signal
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

FORMS: list[dict[str, Any]] = [{}, {"lines": True}, {"indentation": 2}, {"encoding": "utf-8"}]


@pytest.fixture(scope="module")
def module(syncer_module: Callable[[str], ModuleType]) -> ModuleType:
    return syncer_module("json")


@pytest.fixture
def make(module: ModuleType, tmp_path: Path) -> Make:
    return lambda **options: module.JSON(**{"directory": tmp_path, **options})


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("options", FORMS)
def test_json_values_come_back_with_their_types(make: Make, options: dict[str, Any]) -> None:
    rows: list[dict[str, Any]] = [
        {"a": None, "b": True, "c": 10**30, "d": 0.1, "e": 'é "\u2028\n', "f": [1, {"g": [None]}]},
        {"z": {}, "a": "other keys"},
    ]
    syncer = make(**options)
    syncer.dump("orders", data=rows)
    loaded = syncer.load("orders")
    assert loaded == rows
    assert [list(row) for row in loaded] == [list(row) for row in rows]
    assert loaded[0]["b"] is True


def test_what_is_written_is_json_and_json_lines(make: Make, tmp_path: Path) -> None:
    rows = [{"a": 1, "b": "é"}, {"a": 2}]
    make().dump("orders", data=rows)
    make(indentation=4).dump("indented", data=rows)
    make(lines=True, encoding="UTF-8").dump("orders", data=rows)
    assert entries(tmp_path) == ["indented.json", "orders.json", "orders.jsonl"]
    assert (tmp_path / "orders.json").read_text() == '[\n{"a": 1, "b": "\\u00e9"},\n{"a": 2}\n]\n'
    assert (tmp_path / "indented.json").read_text() == json.dumps(rows, indent=4) + "\n"
    assert (tmp_path / "orders.jsonl").read_bytes().decode() == '{"a": 1, "b": "é"}\n{"a": 2}\n'


@pytest.mark.parametrize(("options", "content"), [({}, "[]\n"), ({"indentation": 2}, "[]\n"), ({"lines": True}, "")])
def test_no_rows_are_an_empty_array_or_no_lines(make: Make, tmp_path: Path, options: Any, content: str) -> None:
    make(**options).dump("orders", data=[{"a": 1}])
    make(**options).dump("orders", data=[])
    (file,) = tmp_path.iterdir()
    assert file.read_text() == content
    assert make(**options).load("orders") == []


def test_values_that_json_does_not_know_have_their_documented_form(make: Make) -> None:
    row = {
        "decimal": decimal.Decimal("1.10"),
        "naive": dt.datetime(2013, 1, 1, 5, 0),
        "aware": dt.datetime(2013, 1, 1, 5, 0, 0, 120, tzinfo=dt.UTC),
        "date": dt.date(2013, 1, 1),
        "time": dt.time(5, 15),
        "delta": dt.timedelta(hours=1, milliseconds=5),
        "uuid": uuid.UUID(int=1),
        "bytes": b"\x00\xff",
    }
    make().dump("orders", data=[row])
    assert make().load("orders") == [
        {
            "decimal": "1.10",
            "naive": "2013-01-01T05:00:00",
            "aware": "2013-01-01T05:00:00.000120+00:00",
            "date": "2013-01-01",
            "time": "05:15:00",
            "delta": 3600.005,
            "uuid": "00000000-0000-0000-0000-000000000001",
            "bytes": "AP8=",
        }
    ]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({1}, TypeError, "orders: row 2, column 'b': a set has no form in JSON"),
        ([float("nan")], ValueError, "orders: row 2, column 'b': .*not JSON compliant"),
        (float("inf"), ValueError, "orders: row 2, column 'b': .*not JSON compliant"),
    ],
)
def test_a_value_without_a_form_is_an_error_naming_row_and_column(
    make: Make, tmp_path: Path, value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make().dump("orders", data=[{"a": 1, "b": 2}, {"a": 1, "b": value}])
    assert entries(tmp_path) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)


@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=3), max_size=6),
    chunk=st.integers(1, 40),
    indent=st.none() | st.just(2),
    ascii_only=st.booleans(),
)
@settings(max_examples=200)
def test_an_array_is_read_the_same_wherever_its_text_is_cut(
    module: ModuleType, rows: list[dict[str, Any]], chunk: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.elements.__globals__, "_CHUNK", chunk)
        assert list(module.elements(io.StringIO(f" {text}\n"))) == json.loads(text)


@given(text=st.text('[]{}:," \n\\u1e.-tx', max_size=30), chunk=st.integers(1, 40))
@settings(max_examples=300)
def test_what_is_no_array_of_objects_is_a_value_error(module: ModuleType, text: str, chunk: int) -> None:
    try:
        decoded = json.loads(text) if text.strip() else []
        expected = decoded if isinstance(decoded, list) and all(isinstance(row, dict) for row in decoded) else None
    except ValueError:
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.elements.__globals__, "_CHUNK", chunk)
        if expected is None:
            with pytest.raises(ValueError, match="line"):
                list(module.elements(io.StringIO(text)))
        else:
            assert list(module.elements(io.StringIO(text))) == expected


class Counting(io.StringIO):
    """A text file that knows how much of it was read."""

    characters = 0

    def read(self, size: int | None = -1, /) -> str:
        text = super().read(size)
        self.characters += len(text)
        return text


def test_an_array_is_read_only_as_far_as_it_is_asked_for(module: ModuleType) -> None:
    file = Counting(json.dumps([{"a": "x" * 1_000}] * 10_000))
    rows = module.elements(file)
    next(rows)
    assert file.characters < 2_000_000


def test_a_mistake_is_reported_without_reading_the_rest_of_the_file(module: ModuleType) -> None:
    file = Counting('[{"a": 1},\n {"a": nothing}, ' + '{"a": 1},' * 1_000_000)
    with pytest.raises(ValueError, match=r"line 2: Expecting value, found 'nothing"):
        list(module.elements(file))
    assert file.characters < 2_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', r"orders\.json: line 1: expected an array of objects \(lines=true reads one object per line\)"),
        ("[\n{},\n 1]", r"orders\.json: line 3: expected an object, since every row is one, found '1\]'"),
        ("[{}\n", r"orders\.json: line 2: expected '\]'"),
        ("[{}] []", r"orders\.json: line 1: expected nothing after the array, found '\[\]'"),
    ],
)
def test_a_file_that_holds_something_else_is_an_error_with_its_line(
    make: Make, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "orders.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        make().load("orders")


def test_lines_are_counted_through_the_whole_file(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="line 300,002: expected an object"):
        list(module.elements(io.StringIO("[\n" + '{"a": 1},\n' * 300_000 + "2]")))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", r"orders\.jsonl: line 3: expected an object"),
        ('{"a": }', r"orders\.jsonl: line 3: Expecting value, column 7"),
    ],
)
def test_a_line_that_holds_something_else_is_an_error_with_its_number(
    make: Make, tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "orders.jsonl").write_text(f'{{"a": 1}}\n\n{line}\n')
    with pytest.raises(ValueError, match=message):
        make(lines=True).load("orders")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n"])
@pytest.mark.parametrize("lines", [False, True])
def test_an_empty_file_holds_no_rows(make: Make, tmp_path: Path, content: bytes, lines: bool) -> None:
    (tmp_path / f"orders.{'jsonl' if lines else 'json'}").write_bytes(content)
    assert make(lines=lines).load("orders") == []


def test_text_that_is_not_utf8_is_an_error_that_names_the_file(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.json").write_bytes(b'[{"a": "\xe9"}]')
    with pytest.raises(ValueError, match=r"orders\.json: 'utf-8' codec"):
        make().load("orders")


def test_batches_hold_a_thousand_rows(make: Make) -> None:
    make().dump_batches("orders", batches=iter([[{"a": 1}] * 700, [], [{"a": 1}] * 700]))
    assert [len(batch) for batch in make().load_batches("orders")] == [1_000, 400]


def test_a_missing_file_is_an_error_that_names_what_is_there(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").touch()
    with pytest.raises(FileNotFoundError, match=r"orders\.json does not exist; .* holds orders\.jsonl"):
        make().load("orders")


@pytest.mark.parametrize("identifier", ["../orders", "/etc/passwd", ""])
def test_an_identifier_never_leaves_the_directory(make: Make, identifier: str) -> None:
    with pytest.raises(ValueError, match="expected the name of a file inside"):
        make().load(identifier)
    with pytest.raises(ValueError, match="expected the name of a file inside"):
        make().dump(identifier, data=[])


def test_a_source_that_fails_half_way_leaves_the_old_file(make: Make, tmp_path: Path) -> None:
    def batches() -> Iterator[list[dict[str, Any]]]:
        yield [{"a": number} for number in range(5_000)]
        raise ConnectionResetError("the source went away")

    make().dump("orders", data=[{"a": "old"}])
    with pytest.raises(ConnectionResetError):
        make().dump_batches("orders", batches=batches())
    assert entries(tmp_path) == ["orders.json"]
    assert make().load("orders") == [{"a": "old"}]


def test_a_dump_ended_half_way_leaves_the_old_file_and_nothing_beside_it(
    make: Make, tmp_path: Path, half_way: Callable[..., subprocess.Popen[str]], ending: signal.Signals
) -> None:
    make().dump("orders", data=[{"a": "old"}])
    process = half_way("json", "JSON", directory=tmp_path)
    process.send_signal(ending)
    assert process.wait(30) == -ending
    assert entries(tmp_path) == ["orders.json"]
    assert make().load("orders") == [{"a": "old"}]


def test_all_wrong_options_are_named_at_once(make: Make) -> None:
    with pytest.raises(ValueError, match=r"encoding: .*; indentation: expected 1 to 10.*; indentation: leave it out"):
        make(encoding="latin-1", indentation=11, lines=True)


def test_the_name_is_json(make: Make) -> None:
    assert make().name == "json"
