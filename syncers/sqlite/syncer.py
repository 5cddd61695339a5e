"""Rows in the tables of one SQLite database file.

Standard library only. A dump is one transaction, so that it lands whole or not at all; a load is one statement, so that
it sees one state of the table. What must not be broken: every identifier and column name is quoted, and every value is
bound.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sqlite3
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Optional

from .table import Table, quoted

log = logging.getLogger(__name__)

Row = dict[str, Any]

# Rows per batch: larger ones only cost memory, smaller ones time.
BATCH_ROWS = 1_000

# How long to wait for another process that writes to the same database: longer than a large transaction takes to
# commit, shorter than a person waits before looking for the reason.
BUSY_SECONDS = 30


@dataclasses.dataclass
class SQLite:
    """Load and dump the tables of a database file. README.md describes every option."""

    database_path: Path
    load_strategy: Optional[Literal["APPEND", "TRUNCATE", "UPSERT"]] = None
    truncate_on_load: Optional[bool] = None

    name = "sqlite"

    def __post_init__(self) -> None:
        if self.load_strategy is None:
            self.load_strategy = "TRUNCATE" if self.truncate_on_load else "APPEND"
        self.load_strategy = self.load_strategy.upper()  # type: ignore[assignment]
        if self.load_strategy not in ("APPEND", "TRUNCATE", "UPSERT"):
            raise ValueError(f"load_strategy: expected APPEND, TRUNCATE or UPSERT, not {self.load_strategy!r}")
        truncates = self.load_strategy == "TRUNCATE"
        if self.truncate_on_load not in (None, truncates):
            raise ValueError(
                f"truncate_on_load: {self.truncate_on_load} contradicts load_strategy {self.load_strategy}; give one"
            )

    def load(self, identifier: str) -> list[Row]:
        """Return all rows of a table or view. Raises FileNotFoundError, or LookupError when there is no such table."""
        return list(chain.from_iterable(self.load_batches(identifier)))

    def load_batches(self, identifier: str) -> Iterator[list[Row]]:
        """Yield the rows of a table or view in batches."""
        if not self.database_path.exists():
            raise self._missing_database()
        # Open for writing too, where that is allowed: only so can what a killed writer left be rolled back first.
        with self._connection("rw") as connection:
            if not Table(connection, identifier).exists:
                raise _missing_table(connection, identifier)
            cursor = connection.execute(f"SELECT * FROM {quoted(identifier)}")  # noqa: S608 - quoted
            columns = [column for column, *_ in cursor.description]
            while rows := cursor.fetchmany(BATCH_ROWS):
                yield [dict(zip(columns, row)) for row in rows]

    def dump(self, identifier: str, *, data: list[Row]) -> None:
        """Write the rows into a table, as `load_strategy` says; a missing table is created."""
        self.dump_batches(identifier, batches=iter([data]))

    def dump_batches(self, identifier: str, *, batches: Iterator[list[Row]]) -> None:
        """Write the rows of all batches in one transaction: all of them, or on any failure none."""
        if not self.database_path.parent.is_dir():
            raise FileNotFoundError(f"{self.database_path}: there is no folder {self.database_path.parent}; create it")
        made_here = not self.database_path.exists()
        try:
            with self._connection("rwc") as connection:
                connection.execute("BEGIN IMMEDIATE")
                table = Table(connection, identifier)
                if self.load_strategy == "TRUNCATE":
                    table.truncate()
                for batch in filter(None, batches):
                    table.insert(batch, upsert=self.load_strategy == "UPSERT")
                # Without this, closing the connection rolls everything back.
                if table.exists:
                    connection.execute("COMMIT")
                else:
                    log.warning("%s: no rows, so there are no columns to create the table from", identifier)
        finally:
            if made_here and self.database_path.exists() and not self.database_path.stat().st_size:
                self.database_path.unlink()

    @contextlib.contextmanager
    def _connection(self, mode: str) -> Iterator[sqlite3.Connection]:
        """Open the database in one of SQLite's URI modes, with no transactions but those asked for."""
        uri = f"{self.database_path.absolute().as_uri()}?mode={mode}"
        try:
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
            with contextlib.closing(connection):
                yield connection
        except sqlite3.Error as error:
            if "unable to open" in str(error) or "readonly" in str(error):
                # SQLite does not say why; the system does. Never while the database is open: closing a file gives up
                # every lock that this process has on it.
                self.database_path.open("rb" if mode == "rw" else "ab").close()
            raise type(error)(f"{self.database_path}: {error}") from error

    def _missing_database(self) -> FileNotFoundError:
        folder = self.database_path.parent
        if not folder.is_dir():
            return FileNotFoundError(f"{self.database_path} does not exist, since there is no folder {folder}")
        near = sorted(path.name for path in folder.iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3"))
        return FileNotFoundError(
            f"{self.database_path} does not exist; databases in {folder}: {', '.join(near) or 'none'}"
        )


def _missing_table(connection: sqlite3.Connection, identifier: str) -> LookupError:
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " ORDER BY name"
    )
    return LookupError(f"no table {identifier!r}; the database holds {', '.join(name for (name,) in names) or 'none'}")
