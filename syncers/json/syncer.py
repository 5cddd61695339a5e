"""Rows in JSON files: one `<identifier>.json` holding an array of objects, or `<identifier>.jsonl` with one per line.

Standard library only. Files are read and written as streams of batches, so that memory does not grow with them. What
must not be broken: what is written is JSON for every reader (no `NaN`), and a value without a form in it is an error
that names its row and column.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import json
import uuid
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Optional, TextIO

from . import files
from .elements import elements

Row = dict[str, Any]

# Rows per batch: larger ones only cost memory, smaller ones time.
BATCH_ROWS = 1_000

# Past this, indentation is a typing error.
_DEEPEST_INDENTATION = 10


@dataclasses.dataclass
class JSON:
    """Load and dump JSON files in one directory. README.md describes every option."""

    directory: Path
    lines: bool = False
    encoding: Optional[str] = None
    indentation: Optional[int] = None

    name = "json"

    def __post_init__(self) -> None:
        problems = []
        if self.encoding is not None and self.encoding.upper() != "UTF-8":
            problems.append(f"encoding: expected UTF-8 or nothing, not {self.encoding!r}")
        if self.indentation is not None and not 1 <= self.indentation <= _DEEPEST_INDENTATION:
            problems.append(f"indentation: expected 1 to {_DEEPEST_INDENTATION}, not {self.indentation}")
        if self.indentation is not None and self.lines:
            problems.append("indentation: leave it out with lines, where every row is one line")
        if problems:
            raise ValueError("; ".join(problems))

    def load(self, identifier: str) -> list[Row]:
        """Return all rows of the file. Raises FileNotFoundError, and ValueError when it holds no rows of objects."""
        return list(chain.from_iterable(self.load_batches(identifier)))

    def load_batches(self, identifier: str) -> Iterator[list[Row]]:
        """Yield the rows of the file in batches."""
        path = self._path(identifier)
        try:
            file = path.open(encoding="utf-8-sig")
        except FileNotFoundError:
            raise files.missing(path) from None
        with file:
            try:
                rows = _objects(file) if self.lines else elements(file)
                while batch := list(islice(rows, BATCH_ROWS)):
                    yield batch
            except ValueError as error:  # also text that is not UTF-8
                raise ValueError(f"{path}: {error}") from error

    def dump(self, identifier: str, *, data: list[Row]) -> None:
        """Write the rows as the file, in place of what it held."""
        self.dump_batches(identifier, batches=iter([data]))

    def dump_batches(self, identifier: str, *, batches: Iterator[list[Row]]) -> None:
        """Write the rows of all batches: all of them, or on any failure none."""
        path = self._path(identifier)
        path.parent.mkdir(parents=True, exist_ok=True)
        encoder = json.JSONEncoder(
            ensure_ascii=self.encoding is None, allow_nan=False, indent=self.indentation, default=_plain
        )
        before, between, after = ("", "\n", "\n") if self.lines else ("[\n", ",\n", "\n]\n")
        margin = " " * (self.indentation or 0)
        written = 0
        with files.replacing(path) as file:
            for written, row in enumerate(chain.from_iterable(batches), 1):
                text = _encode(encoder, row, f"{identifier}: row {written:,}")
                if margin:  # a line break inside a string is escaped: every one here is layout
                    text = margin + text.replace("\n", "\n" + margin)
                file.write(((before if written == 1 else between) + text).encode())
            file.write((after if written else "" if self.lines else "[]\n").encode())

    def _path(self, identifier: str) -> Path:
        return files.resource(self.directory, identifier, ".jsonl" if self.lines else ".json")


def _objects(file: TextIO) -> Iterator[Row]:
    """Yield the object of each line; blank lines hold none."""
    for number, line in enumerate(file, 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number:,}: {error.msg}, column {error.colno:,}") from error
        if not isinstance(row, dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the call
                f"line {number:,}: expected an object, since every row is one, found {line[:20]!r}"
            )
        yield row


def _encode(encoder: json.JSONEncoder, row: Row, where: str) -> str:
    try:
        return encoder.encode(row)
    except (TypeError, ValueError) as error:
        columns = ", ".join(repr(column) for column, value in row.items() if not _has_form(encoder, value))
        raise type(error)(f"{where}, column {columns}: {error}") from error


def _has_form(encoder: json.JSONEncoder, value: Any) -> bool:
    try:
        encoder.encode(value)
    except (TypeError, ValueError):
        return False
    return True


def _plain(value: Any) -> Any:
    """Return what stands in JSON for a value that JSON does not know."""
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
