"""One table inside an open transaction: which columns it has, how rows get into it, how it is created from them."""

from __future__ import annotations

import functools
import sqlite3
from itertools import groupby
from typing import Any

from .values import Stored, column_type, storable, type_keeps_text

# Rows that have the same columns in the same order: the columns, and what each of them holds.
Group = tuple[tuple[str, ...], list[Stored]]


def quoted(name: str) -> str:
    """Return an identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


class Table:
    """A table, there already or yet to be created.

    One that is there keeps its columns and their types. One that this object creates takes both from the rows, and is
    changed when a later batch needs it: it comes out the same however the rows were cut into batches.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        described = connection.execute("SELECT lower(name), type, pk FROM pragma_table_info(?)", (name,)).fetchall()
        # Column -> declared type. SQLite compares the names of columns in lower case.
        self._types: dict[str, str] = {column: declared for column, declared, _ in described}
        self._primary_key = [column for _, column in sorted((pk, column) for column, _, pk in described if pk)]
        self._created_here = not described
        self._rows_read = 0

    @property
    def exists(self) -> bool:
        return bool(self._types)

    def truncate(self) -> None:
        """Delete all rows, if there is a table."""
        if self.exists:
            self._connection.execute(f"DELETE FROM {quoted(self._name)}")  # noqa: S608 - quoted

    def insert(self, batch: list[dict[str, Any]], *, upsert: bool) -> None:
        """Insert rows; with `upsert`, a row whose key is there already changes that row's other columns instead.

        A column that a row does not name is left to the table: its default on insert, as it was on update.
        """
        groups = [
            (columns, self._stored(columns, [tuple(row.values()) for row in rows]))
            for columns, rows in groupby(batch, key=tuple)
        ]
        if self._created_here:
            if upsert:
                raise LookupError(
                    f"no table {self._name!r}, and UPSERT needs one with a key; create it with a PRIMARY KEY first"
                )
            self._reshape(groups)
        for columns, stored in groups:
            records = zip(*(column.values for column in stored))
            self._connection.executemany(self._statement(columns, upsert=upsert), records)

    def _stored(self, columns: tuple[str, ...], records: list[tuple[Any, ...]]) -> list[Stored]:
        if not columns:
            raise ValueError(f"{self._name}: row {self._rows_read + 1:,} has no columns")
        if not self._created_here:
            unknown = [column for column in columns if column.lower() not in self._types]
            if unknown:
                raise LookupError(
                    f"table {self._name!r} has no column {', '.join(map(repr, unknown))} (row"
                    f" {self._rows_read + 1:,}); it has {', '.join(map(repr, self._types))}"
                )
        first_row = self._rows_read + 1
        self._rows_read += len(records)
        return [
            storable(
                values,
                column=f"{self._name}.{column}",
                first_row=first_row,
                keeps_text=self._created_here or type_keeps_text(self._types[column.lower()]),
            )
            for column, values in zip(columns, zip(*records))
        ]

    def _reshape(self, groups: list[Group]) -> None:
        """Create the table, or change the one created here, so that it keeps the values of `groups` as they are."""
        kinds: dict[str, set[type]] = {}
        for columns, stored in groups:
            for column, (_, found) in zip(columns, stored):
                kinds.setdefault(column, set()).update(found)
        needed = {column: column_type(found) for column, found in kinds.items()}
        if not self.exists:
            self._types = needed
            self._create(self._name)
            return
        for column, declared in needed.items():
            if column not in self._types:
                self._types[column] = declared
                self._connection.execute(f"ALTER TABLE {quoted(self._name)} ADD COLUMN {quoted(column)} {declared}")
        mixed = [column for column in needed if kinds[column] and self._types[column] not in ("", needed[column])]
        if mixed:
            self._types.update(dict.fromkeys(mixed, ""))
            self._rebuild()

    def _create(self, name: str) -> None:
        columns = ", ".join(f"{quoted(column)} {declared}".rstrip() for column, declared in self._types.items())
        self._connection.execute(f"CREATE TABLE {quoted(name)} ({columns})")

    def _rebuild(self) -> None:
        """Give the table the types that it should have by now. SQLite has no other way to change them."""
        table, rebuilt = quoted(self._name), f"{self._name} (rebuilt)"
        self._create(rebuilt)
        self._connection.execute(f"INSERT INTO {quoted(rebuilt)} SELECT * FROM {table}")  # noqa: S608 - quoted
        self._connection.execute(f"DROP TABLE {table}")
        self._connection.execute(f"ALTER TABLE {quoted(rebuilt)} RENAME TO {table}")

    def _statement(self, columns: tuple[str, ...], *, upsert: bool) -> str:
        names = ", ".join(map(quoted, columns))
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO {quoted(self._name)} ({names}) VALUES ({marks})"  # noqa: S608 - quoted
        if not upsert:
            return insert
        absent = [column for column in self._key if column not in map(str.lower, columns)]
        if absent:
            raise LookupError(f"UPSERT into {self._name!r}: the rows lack {', '.join(map(repr, absent))} of its key")
        changes = ", ".join(
            f"{quoted(column)} = excluded.{quoted(column)}" for column in columns if column.lower() not in self._key
        )
        conflict = f"ON CONFLICT ({', '.join(map(quoted, self._key))})"
        return f"{insert} {conflict} DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"

    @functools.cached_property
    def _key(self) -> list[str]:
        """The columns that tell rows apart: the primary key, or else those of a unique index over whole columns."""
        if self._primary_key:
            return self._primary_key
        indexes = self._connection.execute(
            'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial ORDER BY seq DESC', (self._name,)
        ).fetchall()
        for (index,) in indexes:
            columns = [
                column
                for (column,) in self._connection.execute(
                    "SELECT lower(name) FROM pragma_index_info(?) ORDER BY seqno", (index,)
                )
            ]
            if None not in columns:  # an expression has no name
                return columns
        raise LookupError(f"UPSERT needs a primary key or a unique index, and table {self._name!r} has neither")
