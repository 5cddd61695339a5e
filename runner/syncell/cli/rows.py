"""Rows as text: JSON lines, CSV and a table out of rows, and rows out of JSON lines and CSV.

Everything but the table is a stream: no more than one batch is in memory. Values are spelled as `syncell load --help`
says, in JSON as msgspec spells them.
"""

from __future__ import annotations

import csv
import decimal
import io
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from syncell import DataError
from syncell.cli import console

Row = dict[str, Any]
Batches = Iterable[list[Row]]

MAX_FIELD = 64 * 1024 * 1024
"""Characters of one field of CSV: a document fits, and a quote that is never closed is an error before memory ends."""
MAX_CELL = 40
"""Characters of one cell of a table on a terminal."""
MAX_LINE = 100_000
"""Characters of a line of a table that goes to no terminal, where nothing needs to be cut."""

_json = msgspec.json.Encoder()


def json_lines(batches: Batches) -> Iterator[bytes]:
    """One line a row, in one piece a batch."""
    for batch in batches:
        try:
            yield _json.encode_lines(batch)
        except ValueError:
            yield "".join(f"{json_text(row)}\n" for row in batch).encode()


def json_text(value: Any) -> str:
    """The value in JSON, also where msgspec stops: integers beyond 64 bits, and text with lone surrogates."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_text(key)}:{json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(decimal.Decimal(value))  # str(int) refuses what has more than 4,300 digits
    if isinstance(value, str):
        return json.dumps(value)
    return _json.encode(value).decode()


def field_text(value: Any) -> str:
    """The value in a field of CSV or a cell of a table: as in JSON, but text without quotes and nothing for null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    text = json_text(value)
    if text == "null":
        return str(value)  # nan and the infinities, which only JSON cannot name
    return text[1:-1] if text.startswith('"') else text


def csv_lines(batches: Batches) -> Iterator[bytes]:
    """A header and one record a row. Raises `DataError` for a column that came after the header."""
    text = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    before = 0
    for batch in batches:
        if writer is None:
            writer = csv.DictWriter(text, list(dict.fromkeys(key for row in batch for key in row)), lineterminator="\n")
            writer.writeheader()
        try:
            writer.writerows({key: field_text(value) for key, value in row.items()} for row in batch)
        except ValueError:
            late = {key for row in batch for key in row}.difference(writer.fieldnames)
            raise DataError(
                f"from row {before + 1:,} on there are columns that the header, already written, has not: "
                f"{', '.join(sorted(late))}; use --format jsonl"
            ) from None
        before += len(batch)
        yield text.getvalue().encode("utf-8", "backslashreplace")
        text.seek(0)
        text.truncate()


def print_table(rows: list[Row]) -> None:
    """A table for a person. Columns that the screen has no room for are named beneath it, and long cells are cut."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    screen = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=MAX_LINE)
    widest = MAX_CELL if sys.stdout.isatty() else MAX_LINE
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    columns: list[list[Text]] = []
    left_out: list[str] = []
    room = screen.width
    for column in dict.fromkeys(key for row in rows for key in row):
        heading, *cells = (
            console.visible(text, keep="") for text in [column, *(field_text(row.get(column)) for row in rows)]
        )
        room -= min(widest, max(map(cell_len, [heading, *cells]))) + 3
        if room < -3 and columns:
            left_out.append(heading)
            continue
        numbers = all(isinstance(row.get(column), int | float | decimal.Decimal | None) for row in rows)
        table.add_column(
            Text(heading), justify="right" if numbers else "left", no_wrap=True, overflow="ellipsis", max_width=widest
        )
        columns.append([Text(cell) for cell in cells])
    for line in zip(*columns, strict=True):
        table.add_row(*line)
    if columns:
        with screen.capture() as drawn:
            screen.print(table)
        console.put(drawn.get())
    if left_out:
        console.say(f"syncell: no room for {len(left_out)} more columns: {', '.join(left_out)}")


def read_json_lines() -> Iterator[Row]:
    """The rows in standard input, an object a line. Raises `DataError` with the number of a line that is none."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"standard input, line {number:,}: not JSON: {error}") from None
        if not isinstance(row, dict):
            found = line[:20].decode(errors="replace").strip()
            raise DataError(f"standard input, line {number:,}: expected an object, one a line, found {found!r}")
        yield row


def read_csv() -> Iterator[Row]:
    """The rows in standard input, by the names in its header. Raises `DataError` with the number of a bad line."""
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline=""), strict=True)
    try:
        header = next(filter(None, reader), [])
        if len(set(header)) < len(header):
            raise DataError(f"standard input, line {reader.line_num:,}: the header names a column twice")
        for record in filter(None, reader):
            if len(record) != len(header):
                raise DataError(
                    f"standard input, line {reader.line_num:,}: expected {len(header)} fields, as in the header, "
                    f"found {len(record)}"
                )
            yield dict(zip(header, record, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"standard input, line {reader.line_num:,}: {error}") from None


class Counted:
    """Rows on their way, and how many have gone by."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row
