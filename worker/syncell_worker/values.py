"""Rows to bytes and back, every value keeping its type.

msgpack has no dates, decimals or UUIDs: msgspec writes them as text, and an untyped reader gives text back. So each
batch is scanned. A column that holds one such type (and None) is named in the frame's head and read back natively;
any other value that is not plain travels as a msgpack extension of its own. What has no faithful form raises
`Unfaithful`, naming column, row and type: nothing is ever turned into text silently, and nothing is ever pickled.

Shapes: a batch is a `list` of `dict` with text keys; batches hold at most `BATCH_ROWS` rows.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import gc
import uuid
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Callable, Optional, TypedDict

import msgspec

from syncell_worker import wire

if TYPE_CHECKING:
    import zoneinfo

Row = dict[str, Any]
Batch = list[Row]

BATCH_ROWS = 1_000
"""Rows. Batches of 20,000 rows run at half the speed: they fall out of the processor's cache."""
BATCH_BYTES = 1024 * 1024
"""Bytes. About what a pipe holds."""
MAX_DEPTH = 64
"""How deep lists and dicts may nest inside a value."""

_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
_ONLY_TEXT = frozenset({str})
_ONLY_DICTS = frozenset({dict})
_BYTES = (bytes,)
_TYPED: dict[type, str] = {
    dt.datetime: "datetime",
    dt.date: "date",
    dt.time: "time",
    dt.timedelta: "timedelta",
    decimal.Decimal: "decimal",
    uuid.UUID: "uuid",
}
_TYPE_OF = {name: kind for kind, name in _TYPED.items()}
_INT64 = range(-(2**63), 2**64)

# Extension types of single values. Their data is UTF-8 text.
_INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID, _TEXT = range(1, 9)


class Unfaithful(TypeError):
    """A value that has no faithful form on the wire, or a row that is not one."""


class Encoder:
    """Turns batches into `wire.Rows`. Remembers the last batch's columns, since the next one mostly has the same."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        # Of the last batch: its columns in order, the same as a set, and those that were not plain, in order.
        self._columns: tuple[str, ...] = ()
        self._keys: set[str] = set()
        self._typed: list[str] = []
        self._rows_seen = 0

    def start(self) -> None:
        """Number rows from 0 again, since a new call begins."""
        self._rows_seen = 0

    def encode(self, rows: Batch) -> list[wire.Rows]:
        """One frame for the batch, or several when it is larger than a frame should be. Raises `Unfaithful`."""
        frame = self._encode_one(rows)
        if len(frame.body) > BATCH_BYTES and len(rows) > 1:
            size = max(1, len(rows) * BATCH_BYTES // (2 * len(frame.body)))
            return [piece for start in range(0, len(rows), size) for piece in self.encode(rows[start : start + size])]
        if len(frame.head) > wire.MAX_HEAD:
            raise Unfaithful(f"row {self._rows_seen} has {len(frame.columns)} columns, more than a frame can name")
        if len(frame.head) + len(frame.body) > wire.MAX_PAYLOAD:
            raise Unfaithful(
                f"row {self._rows_seen} of {len(frame.body)} bytes is larger than a frame may be "
                f"({wire.MAX_PAYLOAD} bytes)"
            )
        self._rows_seen += len(rows)
        return [frame]

    def _encode_one(self, rows: Batch) -> wire.Rows:
        try:
            types = self._scan(rows) if _ONLY_DICTS.issuperset(map(type, rows)) else None
            if types is not None:
                body = self._encode(rows)
                columns = self._columns if types else ()
                return wire.Rows(len(rows), columns, types, wire.encode_head(len(rows), columns, types), body)
        except (ArithmeticError, LookupError, ValueError, TypeError):
            pass  # an integer beyond 64 bits, a lone surrogate, a row that is no dict: below, value by value
        return self._encode_exactly(rows)

    def _scan(self, rows: Batch) -> dict[str, str] | None:
        """The typed columns of a batch whose rows all have the same keys; None when it is not as simple as that.

        Every row pays for this, so it runs in C over one flat list of all values. The columns that were typed in the
        last batch are taken out of it, and what is left must be plain. In which order a row has its keys does not
        matter: the places taken out must hold what those columns hold, so what is left is what the others hold.
        """
        # What a dict refers to are its values, in order: twice as fast as asking each for them. Where a dict also
        # shows its keys this way (those that ever held a key that was no text), the count is off. Should a row that
        # lacks some make up for it, then a typed column is looked up by name in every row, and that fails.
        values = gc.get_referents(*rows)
        keys = set().union(*rows)
        if len(values) != len(rows) * len(keys):
            return None
        if keys != self._keys:
            if len(rows[0]) != len(keys) or not _ONLY_TEXT.issuperset(map(type, keys)):
                return None
            self._columns, self._keys, self._typed = tuple(rows[0]), keys, []
        typed = self._take_typed(rows, values)
        if typed is None or not _all_plain(values):
            self._typed = [
                column for column in self._columns if not _PLAIN.issuperset(map(type, map(itemgetter(column), rows)))
            ]
            typed = {column: [row[column] for row in rows] for column in self._typed}
        types: dict[str, str] = {}
        for column, held in typed.items():
            name = _column_type(held)
            if name is None:
                return None
            if name:
                types[column] = name
            elif any(value is not None for value in held):
                # Typed in the last batch, plain in this one. A plain value may equal one that is not (1, Decimal(1)),
                # so what was taken out may have been another column's: look again.
                self._typed = []
                return self._scan(rows)
        return types

    def _take_typed(self, rows: Batch, values: list[Any]) -> dict[str, list[Any]] | None:
        """Take the typed columns out of the flat list; None when they do not stand where they are expected."""
        width = len(self._columns)
        typed = {column: list(map(itemgetter(column), rows)) for column in self._typed}
        for taken, (column, held) in enumerate(typed.items()):
            position = self._columns.index(column) - taken
            if values[position :: width - taken] != held:
                return None
            del values[position :: width - taken]
        return typed

    def _encode_exactly(self, rows: Batch) -> wire.Rows:
        """The careful way: rows of different keys, columns of mixed types, values that need a form of their own."""
        exact = [_named(row, self._rows_seen + offset) for offset, row in enumerate(rows)]
        columns = dict.fromkeys(chain.from_iterable(exact))
        for column in columns:
            if _has_surrogates(column):
                raise Unfaithful(f"column {column!r}: its name is not Unicode text")
        types: dict[str, str] = {}
        for column in columns:
            values = [row[column] for row in exact if column in row]
            name = _column_type(values)
            if name:
                types[column] = name
            elif name is None or not self._encodable(values):
                for offset, row in enumerate(exact):
                    if column in row:
                        row[column] = _form(row[column], column, self._rows_seen + offset)
        body = self._encode(exact)
        names = tuple(columns) if types else ()
        return wire.Rows(len(rows), names, types, wire.encode_head(len(rows), names, types), body)

    def _encodable(self, values: list[Any]) -> bool:
        try:
            self._encode(values)
        except (OverflowError, UnicodeEncodeError):
            return False
        return True


def _named(row: Any, number: int) -> Row:
    """A copy of the row whose keys are exactly `str`, so that they can be looked up by name."""
    if type(row) is not dict:
        raise Unfaithful(f"row {number} is not a mapping but {_type_name(type(row))}")
    if _ONLY_TEXT.issuperset(map(type, row)):
        return dict(row)
    for key in row:
        if not isinstance(key, str):
            raise Unfaithful(
                f"row {number} has a column whose name is not text but {_type_name(type(key))}: {key!r:.80}"
            )
    return {str.__str__(key): value for key, value in row.items()}


def _form(value: Any, column: str, row: int) -> Any:
    try:
        return faithful(value)
    except RecursionError:
        raise Unfaithful(f"column {column!r}, row {row}: nested deeper than {MAX_DEPTH} levels") from None
    except Unfaithful as error:
        raise Unfaithful(f"column {column!r}, row {row}: {error}") from None
    except Exception as error:  # the value's class is foreign code
        kind = _type_name(type(value))
        raise Unfaithful(f"column {column!r}, row {row}: reading a {kind} raised {type(error).__name__}") from error


def _all_plain(values: list[Any]) -> bool:
    """Whether every value is plain, or a list, tuple or dict that holds nothing.

    In a third of the time that asking each for its type takes. What is made of other values, or of a class written in
    Python, refers to something. Of what does not, msgspec gives back the very value when it is plain, and else another
    value, or none at all.
    """
    if gc.get_referents(*values):
        return False
    try:
        return bool(msgspec.to_builtins(values, builtin_types=_BYTES, str_keys=True) == values)
    except TypeError:
        return False


def _column_type(values: Sequence[Any]) -> str | None:
    """The type's name when a column holds one typed kind, "" when it is plain, None when it is neither."""
    kinds = set(map(type, values))
    if kinds <= _PLAIN:
        return ""
    if type(None) in kinds:
        kinds.remove(type(None))
        values = [value for value in values if value is not None]
    name = _TYPED.get(kinds.pop()) if len(kinds) == 1 else None
    if name in ("datetime", "time"):
        # msgpack's timestamp keeps the instant but not the zone: only naive values and UTC go natively.
        try:
            zones = set(map(attrgetter("tzinfo"), values))
        except TypeError:  # dateutil's zones cannot be hashed
            return None
        if zones != {None} and not (name == "datetime" and zones == {dt.timezone.utc}):
            return None
    return name


def faithful(value: Any, depth: int = 0) -> Any:
    """The form in which one value travels: plain as it is, everything else as an extension. Raises `Unfaithful`."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() or not _has_surrogates(value) else _ext(_TEXT, value)
    if kind is int:
        return value if value in _INT64 else _ext(_INT, f"{value:x}")
    if kind in _PLAIN:
        return value
    form = _FORMS.get(kind)
    if form is not None:
        return form(value)
    if depth >= MAX_DEPTH:
        raise RecursionError
    if kind is list or kind is tuple:
        return [faithful(item, depth + 1) for item in value]
    if kind is dict:
        return _faithful_dict(value, depth)
    return faithful(_plain_equal(value), depth)


def _faithful_dict(value: Row, depth: int) -> Row:
    for key in value:
        if not isinstance(key, str):
            raise Unfaithful(f"a dict inside the value has a key that is not text but {_type_name(type(key))}")
        if _has_surrogates(key):
            raise Unfaithful(f"a dict inside the value has the key {key!r}, which is not Unicode text")
    return {str.__str__(key): faithful(item, depth + 1) for key, item in value.items()}


def _plain_equal(value: Any) -> Any:
    """A value of a subclass or of NumPy or pandas, as its equal among Python's own. Raises `Unfaithful`."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    package = kind.__module__.partition(".")[0]
    if package == "pandas" and kind.__name__ in ("NaTType", "NAType"):
        return None
    if package == "pandas" and kind.__name__ in ("Timestamp", "Timedelta"):
        return _of_pandas(value)
    if package == "numpy" and hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _of_numpy(value)
    for base, make in _BASES:
        if isinstance(value, base):
            return make(value)
    raise Unfaithful(f"{_type_name(kind)} has no faithful form")


def _of_pandas(value: Any) -> Any:
    if type(value).__name__ == "Timestamp":
        nanoseconds, plain = value.nanosecond, value.to_pydatetime(warn=False)
    else:
        nanoseconds, plain = value.nanoseconds, value.to_pytimedelta()
    if nanoseconds:
        raise Unfaithful(
            f"{_type_name(type(value))} with nanoseconds, which Python's {type(plain).__name__} cannot hold"
        )
    return plain


def _of_numpy(value: Any) -> Any:
    times = value.dtype.kind in "mM"
    if times and value.shape:
        return list(value)
    plain = value.tolist()
    if type(plain) is type(value):
        raise Unfaithful(f"{_type_name(type(value))} has no faithful form")
    if times and isinstance(plain, int):  # so it comes when it is finer than a microsecond, or too far away
        coarse = value.astype(f"{value.dtype.kind}8[us]")
        plain = coarse.tolist() if coarse == value else plain
        if isinstance(plain, int):
            raise Unfaithful(f"{_type_name(type(value))} with a value that Python's datetime cannot hold")
    return plain


def _plain_datetime(value: dt.datetime) -> dt.datetime:
    return dt.datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond,
        tzinfo=value.tzinfo, fold=value.fold,
    )  # fmt: skip


# Subclasses are taken as what they derive from: SQLAlchemy 1.4's quoted_name is text, numpy.float64 a float.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
    (bytes, lambda value: bytes(memoryview(value))),
    (dt.datetime, _plain_datetime),
    (dt.date, lambda value: dt.date(value.year, value.month, value.day)),
    (
        dt.time,
        lambda value: dt.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold),
    ),
    (dt.timedelta, lambda value: dt.timedelta(value.days, value.seconds, value.microseconds)),
    (decimal.Decimal, decimal.Decimal),
    (uuid.UUID, lambda value: uuid.UUID(int=value.int)),
    (dict, dict),
    (list, list),
    (tuple, list),
)


def _has_surrogates(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _ext(code: int, text: str) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, text.encode("utf-8", "surrogatepass"))


def _zoned(value: dt.datetime | dt.time) -> str:
    """ISO 8601, with the zone's name behind it when it has one (RFC 9557)."""
    zone = value.tzinfo
    key = zone.key if zone is not None and isinstance(zone, _zone_info()) else None
    if key:
        return f"{value.isoformat()}[{key}]"
    if zone is not None:
        offset = value.utcoffset()
        if offset is None:
            raise Unfaithful(f"its zone {zone!r} has neither a name nor a fixed offset")
        if offset.microseconds:  # Python itself reads such an offset back as another
            raise Unfaithful(f"its zone's offset {offset} is finer than a second")
    return value.isoformat()


def _of_zoned(text: str) -> dt.datetime:
    written, _, key = text.partition("[")
    value = dt.datetime.fromisoformat(written)
    zone = _zone(key)
    if zone is not None:
        # The offset says which of the two readings is meant where clocks are set back, or forward.
        for fold in (0, 1):
            zoned = value.replace(tzinfo=zone, fold=fold)
            if zoned.utcoffset() == value.utcoffset():
                return zoned
    return value


def _of_zoned_time(text: str) -> dt.time:
    written, _, key = text.partition("[")
    value = dt.time.fromisoformat(written)
    return value.replace(tzinfo=_zone(key)) if key else value


def _zone(key: str) -> zoneinfo.ZoneInfo | None:
    """The zone, or None when this machine does not know it: then the offset still says the instant."""
    if not key:
        return None
    try:
        return _zone_info()(key.rstrip("]"))
    except (LookupError, ValueError, OSError):
        return None


def _zone_info() -> type[zoneinfo.ZoneInfo]:
    import zoneinfo  # 3 ms at the start of every cell, for values that few have

    return zoneinfo.ZoneInfo


def _big_int(text: str) -> int:
    # int() refuses texts of more than 4,300 digits, and is quadratic; hexadecimal is neither.
    return int(text, 16)


_MICROSECOND = dt.timedelta(microseconds=1)

_FORMS: dict[type, Callable[[Any], Any]] = {
    dt.datetime: lambda value: _ext(_DATETIME, _zoned(value)),
    dt.date: lambda value: _ext(_DATE, value.isoformat()),
    dt.time: lambda value: _ext(_TIME, _zoned(value)),
    dt.timedelta: lambda value: _ext(_TIMEDELTA, str(value // _MICROSECOND)),
    decimal.Decimal: lambda value: _ext(_DECIMAL, str(value)),
    uuid.UUID: lambda value: _ext(_UUID, str(value)),
}
_READERS: dict[int, Callable[[str], Any]] = {
    _INT: _big_int,
    _DATETIME: _of_zoned,
    _DATE: dt.date.fromisoformat,
    _TIME: _of_zoned_time,
    _TIMEDELTA: lambda text: int(text) * _MICROSECOND,
    _DECIMAL: decimal.Decimal,
    _UUID: uuid.UUID,
    _TEXT: str,
}


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _ext_hook(code: int, data: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise ValueError(f"extension type {code} is not known")
    return reader(str(data, "utf-8", "surrogatepass"))


_decode_plain = msgspec.msgpack.Decoder(list[dict[str, Any]], ext_hook=_ext_hook).decode


@functools.lru_cache(maxsize=32)
def _decoder(columns: tuple[str, ...], types: tuple[tuple[str, str], ...]) -> Callable[[wire.Buffer], Batch]:
    fields: dict[str, Any] = dict.fromkeys(columns, Any)
    for column, name in types:
        if name not in _TYPE_OF or column not in fields:
            raise wire.RemoteProtocolError(f"column {column!r} of a batch has the unknown type {name!r}")
        fields[column] = Optional[_TYPE_OF[name]]
    # msgspec drops a name beyond ASCII unless the string already holds its UTF-8 form, as it does once it was written.
    names = msgspec.msgpack.encode([dict.fromkeys(fields)])
    row = TypedDict("row", fields, total=False)  # type: ignore[misc]
    decoder: Any = msgspec.msgpack.Decoder(list[row], ext_hook=_ext_hook)
    assert decoder.decode(names) == [dict.fromkeys(fields)]
    return decoder.decode  # type: ignore[no-any-return]


def decode(rows: wire.Rows) -> Batch:
    """The rows of a frame. Raises `wire.RemoteProtocolError` when its body is not what its head says."""
    try:
        batch = _decoder(rows.columns, tuple(rows.types.items()))(rows.body) if rows.types else _decode_plain(rows.body)
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError, TypeError) as error:
        raise wire.RemoteProtocolError(f"a batch that cannot be read: {error}") from None
    if len(batch) != rows.count:
        raise wire.RemoteProtocolError(f"a batch of {len(batch)} rows says it has {rows.count}")
    return batch
