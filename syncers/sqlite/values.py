"""What SQLite stores for each Python value, and the column type that keeps it unchanged.

SQLite knows integers of 64 bits, floats, text and bytes; everything else is stored as one of these, in a form that
its own functions understand where there is one.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**63 - 1

_STORED_AS_THEY_ARE = frozenset({str, float, bytes, bool, type(None)})
_INTEGERS = frozenset({int, type(None)})

_COLUMN_TYPES = {bool: "BOOLEAN", int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}


class Stored(NamedTuple):
    """Values of one column in the form that SQLite stores, and which kinds are among them (None counts as no kind)."""

    values: Sequence[Any]
    kinds: set[type]


def storable(values: Sequence[Any], *, column: str, first_row: int, keeps_text: bool) -> Stored:
    """Bring the values of one column into a form that SQLite stores; the same object when they are in one already.

    Raises TypeError or OverflowError, naming column and row, for a value that has no such form. Without `keeps_text`,
    integers beyond 64 bits have none: the column would turn their digits into a float.
    """
    kinds = set(map(type, values))
    if not _stored_as_they_are(values, kinds):
        converted = []
        for row, value in enumerate(values, first_row):
            try:
                converted.append(_storable(value, keeps_text=keeps_text))
            except (TypeError, OverflowError) as error:
                raise type(error)(f"row {row:,}, column {column}: {error}") from error
        values, kinds = converted, set(map(type, converted))
    kinds.discard(type(None))
    return Stored(values, kinds)


def _stored_as_they_are(values: Sequence[Any], kinds: set[type]) -> bool:
    if kinds <= _STORED_AS_THEY_ARE:
        return True
    # Scans at C speed; it takes the smallest integer for too long, and leaves it to the slow way.
    return kinds <= _INTEGERS and max(map(int.bit_length, filter(None, values)), default=0) < 64


def column_type(kinds: set[type]) -> str:
    """Return the type to declare for a column that holds stored values of these kinds: empty unless there is just one.

    A column without a type keeps every value as it is; one with a type would make 7 of `'007'`, and `'5'` of 5.
    """
    return _COLUMN_TYPES[next(iter(kinds))] if len(kinds) == 1 else ""


def type_keeps_text(declared: str) -> bool:
    """Whether a column of this declared type stores digits as text: SQLite's rules of affinity, in its order."""
    declared = declared.upper()
    if "INT" in declared:
        return False
    return not declared or any(part in declared for part in ("CHAR", "CLOB", "TEXT", "BLOB"))


def _storable(value: Any, *, keeps_text: bool) -> Any:
    if value is None or isinstance(value, (bool, float, str, bytes)):
        return value
    if isinstance(value, int):
        if _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER:
            return value
        if not keeps_text:
            raise OverflowError(f"{value} is beyond the 64 bits of SQLite's integers; only a TEXT column can hold it")
        return str(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=_inside_json)
    return _scalar(value)


def _inside_json(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")  # as SQLite's CURRENT_TIMESTAMP writes it, so that the two compare
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no form in SQLite")
