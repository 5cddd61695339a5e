"""Whatever a syncer's `load` returned, as batches of plain dictionaries in key order.

Values are left alone: `values` decides their form. Nothing is imported to recognise a form; a result is known by what
it offers, so that no library has to be there.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Callable

from syncell_worker import values

# The first batch is small: it says how large and how slow the rows are.
_FIRST_BATCH_ROWS = 100
# Rows that come slowly are handed over about this often, so that the host sees them.
_BATCH_SECONDS = 0.5


class NotRows(TypeError):
    """What `load` returned is not rows."""


Batches = Generator[tuple[values.Batch, bool], None, None]
"""Batches of at most `values.BATCH_ROWS` rows, each with whether there may be more."""


def batches(result: Any) -> Batches:
    """The rows that `load` returned. Raises `NotRows`; what a generator raises comes after the rows before it."""
    rows = iter(_iterable(result))
    size, number = _FIRST_BATCH_ROWS, 0
    while True:
        batch: list[Any] = []
        more = False
        failure: BaseException | None = None
        started = time.monotonic()
        try:
            more = _fill(batch, rows, size) if number else _begin(batch, rows, size)
        except BaseException as error:
            failure = error
        # Only what the rows themselves take counts, not how long the host is busy with them.
        seconds = time.monotonic() - started
        if batch:
            yield as_dicts(batch, number), more
        if failure is not None:
            raise failure
        if not more:
            return
        number += len(batch)
        if seconds > _BATCH_SECONDS:
            size = max(1, int(len(batch) * _BATCH_SECONDS / seconds))
        else:
            size = min(size * 2, values.BATCH_ROWS)


def _begin(batch: list[Any], rows: Iterator[Any], size: int) -> bool:
    """Fill the first batch, but not for longer than rows should wait: nobody knows yet how slow they are."""
    deadline = time.monotonic() + _BATCH_SECONDS
    for row in rows:
        batch.append(row)
        if len(batch) == size or time.monotonic() > deadline:
            return True
    return False


def _fill(batch: list[Any], rows: Iterator[Any], size: int) -> bool:
    """Fill a batch; whether there may be more."""
    batch.extend(islice(rows, size))
    return len(batch) == size


def rebatch(batches: Any) -> Batches:
    """The batches of a syncer's own `load_batches`, cut where they are larger."""
    number = 0
    for batch in _iterable(batches):
        held = batch if isinstance(batch, list) else list(_iterable(batch))
        for start in range(0, len(held), values.BATCH_ROWS):
            piece = held[start : start + values.BATCH_ROWS]
            yield as_dicts(piece, number), True
            number += len(piece)


def as_dicts(batch: list[Any], number: int = 0) -> values.Batch:
    """The same rows as dictionaries. `number` is the first row's, for the message of `NotRows`."""
    if set(map(type, batch)) == {dict}:
        return batch
    return [_as_dict(row, number + offset) for offset, row in enumerate(batch)]


def _as_dict(row: Any, number: int) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    for offers, convert in _ROW_FORMS:
        if offers(row):
            fields: dict[str, Any] = convert(row)
            return fields
    raise NotRows(f"row {number} is not a mapping but {type(row).__qualname__}")


def _fields(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}


# What a row may be besides a mapping: a row of SQLAlchemy (both generations), a model of pydantic 2 or 1, a dataclass,
# a named tuple, or (last, since a column may be called `keys`) what `dict` takes for a mapping, such as sqlite3.Row.
_ROW_FORMS: list[Any] = [
    (lambda row: isinstance(getattr(row, "_mapping", None), Mapping), lambda row: dict(row._mapping)),
    (lambda row: hasattr(row, "model_dump"), lambda row: row.model_dump()),
    (lambda row: hasattr(row, "__fields__") and hasattr(row, "dict"), lambda row: row.dict()),
    (lambda row: dataclasses.is_dataclass(row) and not isinstance(row, type), _fields),
    (lambda row: hasattr(row, "_asdict"), lambda row: row._asdict()),
    (lambda row: callable(getattr(row, "keys", None)) and not isinstance(row, type), dict),
]


def _iterable(result: Any) -> Iterable[Any]:
    if result is None:
        raise NotRows("load returned None instead of rows")
    for offers, convert in _RESULT_FORMS:
        if offers(result):
            iterable: Iterable[Any] = convert(result)
            return iterable
    if isinstance(result, (str, bytes, Mapping)) or not hasattr(result, "__iter__"):
        raise NotRows(f"load returned {type(result).__qualname__} instead of an iterable of rows")
    return result  # type: ignore[no-any-return]


def _of_pandas(frame: Any) -> Iterator[Any]:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise NotRows(f"load returned a DataFrame with two columns of the same name: {', '.join(names):.200}")
    for start in range(0, len(frame), values.BATCH_ROWS):
        piece = frame.iloc[start : start + values.BATCH_ROWS]
        columns = [piece.iloc[:, position].tolist() for position in range(len(names))]
        yield from (dict(zip(names, row)) for row in zip(*columns))


def _of_arrow(table: Any) -> Iterator[Any]:
    for batch in table.to_batches(max_chunksize=values.BATCH_ROWS):
        yield from batch.to_pylist()


def _of_module(name: str, kind: str) -> Callable[[Any], bool]:
    return lambda result: type(result).__module__.partition(".")[0] == name and type(result).__name__ == kind


_RESULT_FORMS: list[Any] = [
    (_of_module("pandas", "DataFrame"), _of_pandas),
    (_of_module("polars", "DataFrame"), lambda frame: frame.iter_rows(named=True)),
    (_of_module("pyarrow", "Table"), _of_arrow),
]
