"""Reading bodies that a hostile or broken writer sent: they are read as what they say, or refused, and nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncell_worker import values, wire


def ext(code: int, text: str) -> bytes:
    return bytes(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, text.encode())))


@pytest.mark.parametrize(
    ("count", "columns", "types", "body", "message"),
    [
        (2, (), {}, b"\x91\x80", "1 rows says it has 2"),
        (1, (), {}, b"\x91\x91\x01", "cannot be read"),
        (1, (), {}, b"\x80", "cannot be read"),
        (1, (), {}, b"\x91\x81\x05\x05", "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1a\xa1\xff", "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1\xff\x01", "cannot be read"),
        (1, (), {}, b"\xdd\xff\xff\xff\xff", "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1a" + b"\x91" * 100_000 + b"\x01", "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1a" + ext(99, "x"), "extension type 99 is not known"),
        (1, (), {}, b"\x91\x81\xa1a" + ext(1, "xyz"), "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1a" + ext(2, "soon"), "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1a" + ext(5, "9" * 30), "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1a" + ext(6, "1.2.3"), "cannot be read"),
        (1, (), {}, b"\x91\x81\xa1a" + ext(7, "5"), "cannot be read"),
        (1, ("a",), {"a": "date"}, b"\x91\x81\xa1a\x05", "cannot be read"),
        (1, ("a",), {"a": "pickle"}, b"\x91\x81\xa1a\x05", "unknown type 'pickle'"),
        (1, ("b",), {"a": "date"}, b"\x91\x80", "column 'a'"),
    ],
)
def test_bodies_that_are_not_what_they_say_are_refused(
    count: int, columns: tuple[str, ...], types: dict[str, str], body: bytes, message: str
) -> None:
    with pytest.raises(wire.RemoteProtocolError, match=message):
        values.decode(wire.Rows(count, columns, types, b"", body))


@given(st.integers(-128, 127), st.binary())
def test_extensions_of_any_content_are_read_or_refused(code: int, data: bytes) -> None:
    body = b"\x91\x81\xa1a" + msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data))
    with contextlib.suppress(wire.RemoteProtocolError):
        values.decode(wire.Rows(1, (), {}, b"", body))


@given(st.sampled_from(sorted(values._TYPE_OF)), st.text() | st.integers(-(2**63), 2**64 - 1) | st.floats())
def test_typed_columns_of_any_content_are_read_or_refused(name: str, value: Any) -> None:
    body = msgspec.msgpack.encode([{"a": value}])
    try:
        (row,) = values.decode(wire.Rows(1, ("a",), {"a": name}, b"", body))
    except wire.RemoteProtocolError:
        return
    assert isinstance(row["a"], values._TYPE_OF[name])


def test_zone_names_reach_no_other_files() -> None:
    for name in ("../../../etc/passwd", "/etc/passwd", "", ".", "x" * 5000, "a\0b"):
        body = b"\x91\x81\xa1a" + ext(2, f"2024-01-01T00:00:00+00:00[{name}]")
        (row,) = values.decode(wire.Rows(1, (), {}, b"", body))
        assert row["a"] == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def test_a_moment_in_a_zone_that_the_reader_does_not_know_keeps_its_offset() -> None:
    frame = wire.Rows(1, (), {}, b"", b"\x91\x81\xa1a" + ext(2, "2024-03-31T12:00:00+02:00[Mars/Olympus]"))
    (row,) = values.decode(frame)
    assert row["a"] == dt.datetime(2024, 3, 31, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
