"""Rows in delimited text files: one `<identifier>.csv`, or `<identifier>.zip` that holds it, per resource.

Standard library only. Files are read and written as streams of batches, so that memory does not grow with them. What
must not be broken: a file that is not well formed is an error that names its line, never a row with shifted columns.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import logging
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal, Optional, TextIO

from . import files
from .values import PLAIN, as_text

log = logging.getLogger(__name__)

Row = dict[str, Any]

# Rows per batch: larger ones only cost memory, smaller ones time.
BATCH_ROWS = 1_000

# What is looked for in a file's first line when no delimiter was given; the first is what is written then.
_DELIMITERS = (",", "|", ";", "\t")

# Characters in one field. The csv module stops at 128 Ki, less than a document or an image in base64; no limit at all
# would let a quote that is never closed take the rest of a file, however large, into memory. The limit is the
# process's, which is this syncer's own.
csv.field_size_limit(64 * 1024 * 1024)


@dataclasses.dataclass
class CSV:
    """Load and dump delimited text files in one directory. README.md describes every option."""

    directory: Path
    delimiter: Optional[str] = None
    escape_character: Optional[str] = None
    zipped: bool = False
    date_time_format: Optional[str] = None
    quoting: Literal["MINIMAL", "ALL"] = "MINIMAL"
    header: bool = True
    empty_as_null: bool = False
    save_strategy: Literal["OVERWRITE", "APPEND"] = "OVERWRITE"

    name = "csv"

    def __post_init__(self) -> None:
        problems = []
        if self.delimiter == "\\t":  # what a person writes for a tab where no tab can be typed
            self.delimiter = "\t"
        for option in ("delimiter", "escape_character"):
            value = getattr(self, option)
            if value is not None and (len(value) != 1 or value in '"\r\n'):
                problems.append(f"{option}: expected one character, neither a quote nor a line break, not {value!r}")
        if self.delimiter is not None and self.delimiter == self.escape_character:
            problems.append(f"escape_character: {self.escape_character!r} is the delimiter already")
        for option, allowed in (("quoting", ("ALL", "MINIMAL")), ("save_strategy", ("APPEND", "OVERWRITE"))):
            value = getattr(self, option).upper()
            setattr(self, option, value)
            if value not in allowed:
                problems.append(f"{option}: expected {' or '.join(allowed)}, not {value!r}")
        if problems:
            raise ValueError("; ".join(problems))

    def load(self, identifier: str) -> list[Row]:
        """Return all rows of the file. Raises FileNotFoundError, and ValueError when the file is not well formed."""
        return list(chain.from_iterable(self.load_batches(identifier)))

    def load_batches(self, identifier: str) -> Iterator[list[Row]]:
        """Yield the rows of the file in batches."""
        path = self._path(identifier)
        with self._reading(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            rows = self._rows(text, path)
            while batch := list(islice(rows, BATCH_ROWS)):
                yield batch

    def dump(self, identifier: str, *, data: list[Row]) -> None:
        """Write the rows as the file, or after those that it holds, as `save_strategy` says."""
        self.dump_batches(identifier, batches=iter([data]))

    def dump_batches(self, identifier: str, *, batches: Iterator[list[Row]]) -> None:
        """Write the rows of all batches: all of them, or on any failure none. The first batch decides the columns."""
        path = self._path(identifier)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._writing(path) as raw:
            existing = self._copy_existing(path, raw) if self.save_strategy == "APPEND" else None
            with _utf8(raw) as text:
                writer = csv.writer(
                    text,
                    delimiter=self.delimiter or self._delimiter_in(path, appending=existing is not None),
                    escapechar=self.escape_character,
                    doublequote=self.escape_character is None,
                    quoting=csv.QUOTE_ALL if self.quoting == "ALL" else csv.QUOTE_MINIMAL,
                )
                columns: tuple[str, ...] = ()
                written = 0
                for batch in filter(None, batches):
                    if not columns:
                        columns = self._columns(identifier, batch, existing)
                        if self.header and existing is None:
                            writer.writerow(columns)
                    writer.writerows(self._records(identifier, columns, batch, written))
                    written += len(batch)

    def _path(self, identifier: str) -> Path:
        return files.resource(self.directory, identifier, ".zip" if self.zipped else ".csv")

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[IO[bytes]]:
        """Open the file, or the one inside the archive."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise files.missing(path) from None
        with file:
            if not self.zipped:
                yield file
                return
            try:
                with zipfile.ZipFile(file) as archive, archive.open(_member(archive, path)) as member:
                    yield member
            except zipfile.BadZipFile as error:
                raise ValueError(f"{path}: {error}") from error

    def _rows(self, text: TextIO, path: Path) -> Iterator[Row]:
        records = self._reader(text)
        values = ([value or None for value in record] for record in records) if self.empty_as_null else records
        try:
            first = next(filter(None, records), None)
            if first is None:
                return
            if self.header:
                columns = first
            else:
                columns = [f"column_{number}" for number in range(1, len(first) + 1)]
                values = chain([[value or None for value in first] if self.empty_as_null else first], values)
            self._check_header(columns, path)
            width = len(columns)
            for record in values:
                if len(record) == width:
                    yield dict(zip(columns, record))
                elif record:  # a blank line is no row
                    raise ValueError(
                        f"{path}, line {records.line_num:,}: expected {width} fields, as in the first line,"
                        f" found {len(record)}"
                    )
        except csv.Error as error:
            raise ValueError(f"{path}, line {records.line_num:,}: {error}") from error
        except UnicodeDecodeError as error:  # met in what was read ahead
            raise ValueError(f"{path}, after line {records.line_num:,}: not UTF-8: {error.reason}") from error

    def _reader(self, text: TextIO) -> Any:
        delimiter, lines = self.delimiter, iter(text)
        if delimiter is None:
            first = next(lines, "")
            delimiter, lines = _delimiter_of(first), chain([first], lines)
        # A doubled quote is understood beside the escape character: other programs write both.
        return csv.reader(lines, delimiter=delimiter, escapechar=self.escape_character, strict=True)

    def _delimiter_in(self, path: Path, *, appending: bool) -> str:
        """The delimiter of the file that rows are appended to, and of a new one."""
        if not appending:
            return _DELIMITERS[0]
        with self._reading(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            return _delimiter_of(text.readline())

    def _check_header(self, columns: list[str], path: Path) -> None:
        repeated = sorted({column for column in columns if columns.count(column) > 1})
        if repeated:
            raise ValueError(f"{path}: the header repeats {', '.join(map(repr, repeated))}; every column needs a name")
        if self.delimiter and len(columns) == 1 and any(other in columns[0] for other in _DELIMITERS):
            log.warning("%s has one column, %r; is %r the right delimiter?", path, columns[0], self.delimiter)

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[IO[bytes]]:
        """Open what becomes the file, or the one inside the archive, once the block ends well."""
        with files.replacing(path) as file:
            if not self.zipped:
                yield file
                return
            # The size is not known before the end, and may be past what a classic archive can hold.
            name = f"{path.stem}.csv"
            with (
                zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open(name, "w", force_zip64=True) as member,
            ):
                yield member

    def _copy_existing(self, path: Path, target: IO[bytes]) -> Optional[list[str]]:
        """Copy what the file holds and return its first record; None when there is none."""
        if not path.exists():
            return None
        with self._reading(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            first = next(filter(None, self._reader(text)), None)
        with self._reading(path) as raw:
            last = b"\n"
            while chunk := raw.read(1024 * 1024):
                target.write(chunk)
                last = chunk[-1:]
        if first and last not in b"\r\n":
            target.write(b"\r\n")
        return first

    def _columns(self, identifier: str, batch: list[Row], existing: Optional[list[str]]) -> tuple[str, ...]:
        if existing is not None and self.header:
            return tuple(existing)
        columns = tuple(dict.fromkeys(chain.from_iterable(batch)))
        if not columns:
            raise ValueError(f"{identifier}: rows without a single column have no form in CSV")
        if existing is not None and len(existing) != len(columns):
            raise ValueError(f"{identifier}: the file has {len(existing)} columns, the rows have {len(columns)}")
        return columns

    def _records(self, identifier: str, columns: tuple[str, ...], batch: list[Row], before: int) -> Iterator[Any]:
        """Yield the values of each row in the order of `columns`; `before` rows were written already."""
        plain = PLAIN.issuperset(map(type, chain.from_iterable(map(dict.values, batch))))
        for number, row in enumerate(batch, before + 1):
            values: Iterable[Any] = row.values()
            if tuple(row) != columns:
                unknown = [column for column in row if column not in columns]
                if unknown:
                    raise ValueError(
                        f"{identifier}: row {number:,} has {', '.join(map(repr, unknown))}, but the columns are already"
                        f" {', '.join(map(repr, columns))}; give the first row every column, or dump all rows at once"
                    )
                values = [row.get(column) for column in columns]
            if not plain:
                where = f"{identifier}: row {number:,}"
                values = [
                    value if type(value) in PLAIN else self._field(value, column, where)
                    for column, value in zip(columns, values)
                ]
            yield values

    def _field(self, value: Any, column: str, where: str) -> Any:
        try:
            return as_text(value, self.date_time_format)
        except TypeError as error:
            raise TypeError(f"{where}, column {column!r}: {error}") from error


def _delimiter_of(line: str) -> str:
    """The common delimiter that cuts this line into the most fields."""
    return max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([line], delimiter=delimiter), [])))


@contextlib.contextmanager
def _utf8(raw: IO[bytes]) -> Iterator[TextIO]:
    """Write UTF-8 to a binary file, which stays open: it is its owner's to finish."""
    text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    try:
        yield text
    finally:
        text.detach()


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    """The file to read: the one of the archive's own name, or the only one."""
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if f"{path.stem}.csv" in names:
        return f"{path.stem}.csv"
    if len(names) == 1:
        return names[0]
    raise FileNotFoundError(f"{path} holds no {path.stem}.csv; it holds {', '.join(names) or 'nothing'}")
