"""Tables as plain data: how a host tells a worker, whose SQLAlchemy is of another version, what to create.

The names and types are the wire's own. Shared by host and worker, like `wire`; no I/O, and no SQLAlchemy.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import msgspec


class ColumnType(msgspec.Struct, omit_defaults=True):
    """A generic type of SQLAlchemy by its class's name. `values` are an Enum's, `item` is an ARRAY's."""

    name: str
    arguments: dict[str, Any] = {}
    values: list[str] = []
    item: Optional[ColumnType] = None


class Column(msgspec.Struct, omit_defaults=True):
    """A column. `server_default` is SQL, or a literal to be quoted when `default_is_sql` is false."""

    name: str
    key: str
    type: ColumnType
    nullable: bool = True
    server_default: Optional[str] = None
    default_is_sql: bool = True
    autoincrement: Union[bool, str] = "auto"
    comment: Optional[str] = None


class ForeignKey(msgspec.Struct, omit_defaults=True):
    """A foreign key: its columns, and what they refer to as `table.column` or `schema.table.column`."""

    columns: list[str]
    refers_to: list[str]
    name: Optional[str] = None
    on_delete: Optional[str] = None
    on_update: Optional[str] = None
    deferrable: Optional[bool] = None
    initially: Optional[str] = None
    use_alter: bool = False


class Unique(msgspec.Struct, omit_defaults=True):
    """A unique constraint over columns."""

    columns: list[str]
    name: Optional[str] = None


class Check(msgspec.Struct, omit_defaults=True):
    """A check constraint, as SQL."""

    text: str
    name: Optional[str] = None


class Index(msgspec.Struct, omit_defaults=True):
    """An index over columns."""

    columns: list[str]
    name: Optional[str] = None
    unique: bool = False


class Table(msgspec.Struct, omit_defaults=True):
    """Everything that decides how a table is created, as plain data."""

    name: str
    columns: list[Column]
    schema: Optional[str] = None
    comment: Optional[str] = None
    primary_key: list[str] = []
    primary_key_name: Optional[str] = None
    foreign_keys: list[ForeignKey] = []
    unique: list[Unique] = []
    checks: list[Check] = []
    indexes: list[Index] = []
