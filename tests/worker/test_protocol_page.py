"""docs/protocol.md against the code: its tables and bytes are true, and a worker can be written from it alone.

`TinyWorker` is that worker. It was written from the page with `struct` for the bytes, a MessagePack of its own, and
nothing of this project; it converses with the host's `wire.Connection` in memory.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
import struct
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from syncell_worker import schema, values, wire

PAGE = Path(__file__).parents[2].joinpath("docs", "protocol.md").read_text("utf-8")
GOLDEN = Path(__file__).parent / "golden"
MESSAGES: dict[str, type[wire.Message]] = {kind.__struct_config__.tag: kind for kind in wire.Message.__subclasses__()}  # type: ignore[misc]


class Ext(NamedTuple):
    code: int
    data: bytes


def pack(value: Any) -> bytes:
    """MessagePack, always in the longest form: a reader has to take every form, not only the shortest."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value) if value < 0 else b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + struct.pack(">I", len(data)) + data
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, Ext):
        return b"\xc9" + struct.pack(">Ib", len(value.data), value.code) + value.data
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    items = b"".join(pack(key) + pack(item) for key, item in value.items())
    return b"\xdf" + struct.pack(">I", len(value)) + items


NUMBERS = dict(enumerate([">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"], 0xCA))
SIZES = dict(enumerate(itertools.product(["bin", "ext"], [">B", ">H", ">I"]), 0xC4))
SIZES |= {0xD9: ("str", ">B"), 0xDA: ("str", ">H"), 0xDB: ("str", ">I")}
SIZES |= dict(enumerate(itertools.product(["array", "map"], [">H", ">I"]), 0xDC))


class Unpacker:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        assert self.at <= len(self.data)
        return self.data[self.at - size : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self) -> Any:
        code = self.number(">B")
        if code <= 0x7F or code >= 0xE0:
            return code if code <= 0x7F else code - 0x100
        if code in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[code]
        if code in NUMBERS:
            return self.number(NUMBERS[code])
        if 0xD4 <= code <= 0xD8:
            return Ext(self.number(">b"), self.take(1 << code - 0xD4))
        if code in SIZES:
            form, size = SIZES[code][0], self.number(SIZES[code][1])
        elif code >= 0xA0:
            form, size = "str", code & 0x1F
        else:
            form, size = ("array" if code >= 0x90 else "map"), code & 0x0F
        if form == "ext":
            return Ext(self.number(">b"), self.take(size))
        if form in ("bin", "str"):
            return self.take(size) if form == "bin" else self.take(size).decode()
        if form == "array":
            return [self.value() for _ in range(size)]
        return {self.value(): self.value() for _ in range(size)}


def unpack(data: bytes) -> Any:
    unpacker = Unpacker(data)
    value = unpacker.value()
    assert unpacker.at == len(data)
    return value


def neutral(column_type: str | None, value: Any) -> Any:
    """A value off the wire as the extension that says the same; plain values as they are."""
    if isinstance(value, list):
        return [neutral(None, item) for item in value]
    if isinstance(value, dict):
        return {key: neutral(None, item) for key, item in value.items()}
    if column_type is None or value is None:
        return value
    if isinstance(value, Ext):  # MessagePack's timestamp: seconds, or nanoseconds and seconds in 64 or 96 bits
        if len(value.data) == 8:
            (both,) = struct.unpack(">Q", value.data)
            nanoseconds, seconds = both >> 34, both & (1 << 34) - 1
        else:
            nanoseconds, seconds = struct.unpack(">Iq", value.data.rjust(12, b"\0"))
        moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(0, seconds, nanoseconds // 1000)
        return Ext(2, moment.isoformat().encode())
    if column_type == "timedelta":
        sign, days, hours, minutes, seconds, fraction = re.fullmatch(
            r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,6}))?S)?)?", value
        ).groups(default="0")  # type: ignore[union-attr]
        whole = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
        return Ext(5, f"{'-' if sign == '-' else ''}{whole * 10**6 + int(fraction.ljust(6, '0'))}".encode())
    code = {"datetime": 2, "date": 3, "time": 4, "decimal": 6, "uuid": 7}[column_type]
    return Ext(code, value.encode())


class TinyWorker:
    """Holds tables in memory: what was dumped can be loaded, each value as an extension where there is one."""

    def __init__(self) -> None:
        self.buffer = b""
        self.tables: dict[str, list[Any]] = {}
        self.options: list[Any] = []
        self.call = 0
        self.table: list[Any] = []

    def feed(self, data: bytes) -> bytes:
        self.buffer += data
        answers = b""
        while len(self.buffer) >= 16:
            size, kind, call, head = struct.unpack(">4I", self.buffer[:16])
            if len(self.buffer) < 16 + size:
                break
            payload, self.buffer = self.buffer[16 : 16 + size], self.buffer[16 + size :]
            if kind == 2:
                self.table += self.rows(unpack(payload[:head]), unpack(payload[head:]))
            else:
                answers += self.answer(call, unpack(payload))
        return answers

    def rows(self, head: dict[str, Any], body: list[dict[str, Any]]) -> list[Any]:
        assert head["rows"] == len(body)
        types = head.get("types", {})
        return [{key: neutral(types.get(key), value) for key, value in row.items()} for row in body]

    def answer(self, call: int, message: dict[str, Any]) -> bytes:
        kind = message["type"]
        if kind == "offer":
            assert 1 in message["versions"]
            return self.frame(0, {"type": "hello", "version": 1, "added_later": {"ignored": [1, 2]}})
        if kind == "open":
            self.options = self.rows({"rows": 1, "types": message.get("option_types", {})}, message["options"])
            return self.frame(0, {"name": message["name"], "type": "opened"})
        if kind == "load":
            table = self.tables.get(message["identifier"])
            if table is None:
                return self.frame(
                    call, {"type": "failed", "kind": "syncer", "name": "KeyError", "message": "no such table"}
                )
            head, body = pack({"rows": len(table)}), pack(table)
            rows = struct.pack(">4I", len(head) + len(body), 2, call, len(head)) + head + body
            return rows + self.frame(call, {"type": "done", "rows": len(table)})
        if kind == "dump":
            self.table = self.tables[message["identifier"]] = []
            return b""
        if kind == "end":
            assert message.get("rows", 0) == len(self.table)
            return self.frame(call, {"type": "done", "rows": len(self.table)})
        assert kind == "close"
        return self.frame(0, {"type": "log", "level": 20, "logger": "tiny", "message": "bye"}) + self.frame(
            0, {"type": "closed"}
        )

    def frame(self, call: int, message: dict[str, Any]) -> bytes:
        payload = pack(message)
        return struct.pack(">4I", len(payload), 1, call, 0) + payload


class Host:
    """The host's end, wired to a `TinyWorker` in memory."""

    def __init__(self) -> None:
        self.connection = wire.Connection(wire.HOST)
        self.worker = TinyWorker()

    def ask(self, *events: Any, call: int = 0) -> list[Any]:
        sent = b"".join(bytes(buffer) for event in events for buffer in self.connection.send(event, call))
        return [event for _, event in self.connection.receive(self.worker.feed(sent))]

    def open(self, options: dict[str, Any]) -> None:
        (hello,) = self.ask(wire.Offer(versions=[1]))
        assert hello == wire.Hello(version=1)
        (row,) = values.Encoder().encode([options])
        opening = wire.Open(
            name="tiny", folder="/", syncer_class="T", environment="/", options=msgspec.Raw(row.body),
            option_columns=row.columns, option_types=row.types,
        )  # fmt: skip
        assert self.ask(opening) == [wire.Opened(name="tiny")]


EVERYTHING: list[dict[str, Any]] = [
    {
        "none": None, "bool": True, "int": -(2**63), "more": 2**64 - 1, "huge": 2**100, "float": float("-inf"),
        "text": "zażółć", "bytes": b"\0\xff", "list": [1, [dt.date(1, 1, 1), {"k": Decimal("1.0")}]], "dict": {"a": {}},
        "naive": dt.datetime(1, 1, 1), "utc": dt.datetime(1960, 1, 1, 0, 0, 0, 7, dt.UTC),
        "zone": dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        "offset": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, seconds=5))),
        "date": dt.date(9999, 12, 31), "time": dt.time(23, 59, 59, 999999), "delta": dt.timedelta(-3, 5, 7),
        "decimal": Decimal("-1E+7"), "uuid": UUID(int=2**128 - 1), "odd": "a\udfff",
    },
    {
        "utc": dt.datetime(2500, 1, 1, tzinfo=dt.UTC), "delta": dt.timedelta(milliseconds=1500), "int": -1,
        "late": b"", "naive": dt.datetime(2024, 1, 1, 0, 0, 0, 1), "float": 0.1, "mixed": dt.time(12, 30),
    },
    {
        "utc": dt.datetime(2024, 1, 1, 0, 0, 0, 999999, dt.UTC), "delta": dt.timedelta.max, "int": 300,
        "late": b"x" * 70_000, "mixed": UUID(int=1), "list": list(range(20)), "text": "x" * 70_000,
        "dict": {str(number): number for number in range(-20, 70_000, 997)},
    },
    {"text": "x" * 300, "list": [0] * 70_000},
]  # fmt: skip


def test_a_worker_written_from_the_page_alone_takes_and_gives_every_value() -> None:
    host = Host()
    host.open({"since": dt.date(2024, 1, 1), "token": "x"})
    assert host.worker.options == [{"since": Ext(3, b"2024-01-01"), "token": "x"}]

    frames = [frame for rows in (EVERYTHING, EVERYTHING[1:2]) for frame in values.Encoder().encode(rows)]
    assert any(frame.types for frame in frames)
    sent = EVERYTHING + EVERYTHING[1:2]
    assert host.ask(wire.Dump(identifier="t"), *frames, wire.End(rows=len(sent)), call=1) == [wire.Done(rows=len(sent))]

    rows, done = host.ask(wire.Load(identifier="t"), call=2)
    assert done == wire.Done(rows=len(sent))
    came_back = values.decode(rows)
    assert came_back == sent
    assert [list(row) for row in came_back] == [list(row) for row in sent]
    assert [[type(value) for value in row.values()] for row in came_back] == [
        [type(value) for value in row.values()] for row in sent
    ]
    assert came_back[0]["zone"].tzinfo == ZoneInfo("Europe/Berlin")
    assert came_back[0]["zone"].fold == 1


def test_a_worker_written_from_the_page_alone_can_fail_and_close() -> None:
    host = Host()
    host.open({})
    (failed,) = host.ask(wire.Load(identifier="nowhere"), call=1)
    assert failed == wire.Failed(kind="syncer", name="KeyError", message="no such table")
    log, closed = host.ask(wire.Close())
    assert log == wire.Log(level=20, logger="tiny", message="bye")
    assert closed == wire.Closed()
    assert host.connection.state == "CLOSED"


# What the page says, against the code.


def section(title: str) -> str:
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,4}} |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[2]


def table(text: str) -> list[list[str]]:
    """The cells of the first table in a text, without its heading."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[0].splitlines()[2:]]


TYPE_NAMES = {
    int: "int", str: "text", wire.Count: "count", msgspec.Raw: "any", list[int]: "list[int]", list[str]: "list[text]",
    tuple[str, ...]: "list[text]", dict[str, int]: "map[int]", dict[str, str]: "map[text]", dict[str, Any]: "map[any]",
    list[wire.Problem]: "list[problem]", list[schema.Table]: "list[table]",
}  # fmt: skip


def described(struct_type: type[msgspec.Struct]) -> list[list[str]]:
    """The fields of a message as the page would have them."""
    hints = typing.get_type_hints(struct_type, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(struct_type):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if default is msgspec.NODEFAULT:
            text = ""
        else:
            text = json.dumps(list(default) if isinstance(default, tuple) else default)
        rows.append([f"`{field.name}`", TYPE_NAMES[hints[field.name]], text])
    return rows


@pytest.mark.parametrize("tag", MESSAGES)
def test_the_page_names_every_field_of_every_message(tag: str) -> None:
    text = section(tag)
    if "It has no fields" in text:
        assert described(MESSAGES[tag]) == []
    else:
        assert [row[:3] for row in table(text)] == described(MESSAGES[tag])


def test_the_page_names_every_field_of_a_head() -> None:
    assert [row[:3] for row in table(section("7. Rows"))] == described(wire._Head)


def test_the_page_has_the_whole_table_of_transitions() -> None:
    kinds: dict[str, type] = {**MESSAGES, "rows": wire.Rows}
    told = {(state, sender, kinds[message]): after for state, sender, message, after in table(section("4. Order"))}
    assert told == wire.TRANSITIONS


def test_the_page_has_the_limits() -> None:
    told = {name.strip("`"): int(value) for _, value, name in table(section("8. Limits and violations"))}
    assert told == {
        "wire.MAX_PAYLOAD": wire.MAX_PAYLOAD, "wire.MAX_HEAD": wire.MAX_HEAD, "values.MAX_DEPTH": values.MAX_DEPTH,
    }  # fmt: skip


NAMES = {"dt": dt, "Decimal": Decimal, "UUID": UUID, "ZoneInfo": ZoneInfo}


TYPED = table(section("Typed columns"))
EXTENSIONS = table(section("Extensions"))


@pytest.mark.parametrize(("name", "form", "value", "data"), TYPED, ids=[row[0].strip("`") for row in TYPED])
def test_typed_columns_have_the_bytes_of_the_page(name: str, form: str, value: str, data: str) -> None:
    held = eval(value.strip("`"), dict(NAMES))
    (frame,) = values.Encoder().encode([{"c": held}])
    assert dict(frame.types) == {"c": name.strip("`")}
    assert frame.body == b"\x91\x81\xa1c" + bytes.fromhex(data.strip("`"))
    assert values.decode(frame) == [{"c": held}]


@pytest.mark.parametrize(("code", "kind", "form", "value", "data"), EXTENSIONS, ids=[row[1] for row in EXTENSIONS])
def test_extensions_have_the_bytes_of_the_page(code: str, kind: str, form: str, value: str, data: str) -> None:
    held = eval(value.strip("`"), dict(NAMES))
    (frame,) = values.Encoder().encode([{"c": [held]}])
    assert frame.types == {}
    assert frame.body == b"\x91\x81\xa1c\x91" + bytes.fromhex(data.strip("`"))
    assert values.decode(frame) == [{"c": [held]}]
    assert unpack(bytes.fromhex(data.strip("`"))).code == int(code)


def test_the_page_has_every_column_type_and_every_extension() -> None:
    assert {name.strip("`") for name, *_ in TYPED} == set(values._TYPE_OF)
    assert {int(code) for code, *_ in EXTENSIONS} == set(values._READERS)


EXAMPLES = re.findall(r"^```hex (\S+)\n(.*?)```\n(?:\n?```json\n(.*?)```)?", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_shows_every_golden_frame() -> None:
    assert sorted(name for name, _, _ in EXAMPLES) == sorted(path.stem for path in GOLDEN.glob("*.hex"))


@pytest.mark.parametrize(("name", "text", "meaning"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_the_examples_are_the_golden_frames_and_mean_what_they_say(name: str, text: str, meaning: str) -> None:
    data = bytes.fromhex(text)
    assert data == bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    size, kind, _, head = struct.unpack(">4I", data[:16])
    assert size == len(data) - 16
    payload = data[16:]
    found = unpack(payload) if kind == 1 else {"head": unpack(payload[:head]), "body": unpack(payload[head:])}
    assert shown(found) == json.loads(meaning)


def shown(value: Any) -> Any:
    """A value as the page shows it: an extension as a map of its code and data."""
    if isinstance(value, Ext):
        return {"ext": value.code, "data": value.data.decode()}
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value
