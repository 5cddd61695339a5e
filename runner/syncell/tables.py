"""The host's tables as plain data, for a worker whose SQLAlchemy is of another version.

Objects of SQLAlchemy cannot cross to another version of it, and are never pickled. Everything that decides how a table
is created is taken down in `schema.Table`, with types in their generic form; what has none is an error that names table
and column. The worker rebuilds the tables in its environment's SQLAlchemy (`syncell_worker.tables`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from syncell.errors import DataError
from syncell_worker import schema

# The generic types that have a counterpart in every SQLAlchemy from 1.4 on, and the arguments that decide their column.
# A subclass stands before its base.
_TYPES: tuple[tuple[type[Any], str, tuple[str, ...]], ...] = (
    (sa.Enum, "Enum", ("name", "native_enum", "create_constraint", "length")),
    (sa.UnicodeText, "UnicodeText", ("length",)),
    (sa.Text, "Text", ("length",)),
    (sa.Unicode, "Unicode", ("length",)),
    (sa.String, "String", ("length",)),
    (sa.SmallInteger, "SmallInteger", ()),
    (sa.BigInteger, "BigInteger", ()),
    (sa.Integer, "Integer", ()),
    (sa.Double, "Double", ("precision", "asdecimal")),
    (sa.Float, "Float", ("precision", "asdecimal")),
    (sa.Numeric, "Numeric", ("precision", "scale", "asdecimal")),
    (sa.Boolean, "Boolean", ("create_constraint", "name")),
    (sa.DateTime, "DateTime", ("timezone",)),
    (sa.Date, "Date", ()),
    (sa.Time, "Time", ("timezone",)),
    (sa.Interval, "Interval", ("native", "second_precision", "day_precision")),
    (sa.LargeBinary, "LargeBinary", ("length",)),
    (sa.JSON, "JSON", ("none_as_null",)),
    (sa.Uuid, "Uuid", ("as_uuid",)),
)

Tables = sa.MetaData | Iterable[Any]
"""A `MetaData`, or tables, or classes that have one as `__table__`."""


def describe(tables: Tables) -> list[schema.Table]:
    """Plain tables, referred ones before those that refer to them. Raises `DataError` for what has no plain form."""
    chosen = list(tables.tables.values()) if isinstance(tables, sa.MetaData) else [_table(item) for item in tables]
    problems: list[str] = []
    ordered = [table for metadata in _metadatas(chosen) for table in metadata.sorted_tables if table in chosen]
    described = [_describe(table, problems) for table in ordered]
    if problems:
        raise DataError("\n  - ".join(["these tables cannot be recreated in a syncer's environment:", *problems]))
    return described


def _table(item: Any) -> sa.Table:
    table = item if isinstance(item, sa.Table) else getattr(item, "__table__", None)
    if not isinstance(table, sa.Table):
        raise DataError(f"expected a table, or a class that has one as __table__; got {item!r:.80}")
    return table


def _metadatas(tables: Iterable[sa.Table]) -> Iterable[sa.MetaData]:
    return {id(table.metadata): table.metadata for table in tables}.values()


def _describe(table: sa.Table, problems: list[str]) -> schema.Table:
    columns = []
    for column in table.columns:
        try:
            columns.append(_column(column))
        except ValueError as error:
            problems.append(f"{table.fullname}.{column.name}: {error}")
    unique: list[schema.Unique] = []
    checks: list[schema.Check] = []
    for constraint in _in_order(table.constraints):
        if isinstance(constraint, sa.UniqueConstraint):
            unique.append(schema.Unique(name=_name(constraint), columns=_names(constraint.columns)))
        # A type may bring a check of its own (Boolean, Enum); the same type brings it again on the other side.
        elif isinstance(constraint, sa.CheckConstraint) and not getattr(constraint, "_type_bound", False):
            checks.append(schema.Check(name=_name(constraint), text=_text(constraint.sqltext)))
    return schema.Table(
        name=str(table.name),
        schema=_text_or_none(table.schema),
        comment=table.comment,
        columns=columns,
        primary_key=_names(table.primary_key.columns),
        primary_key_name=_name(table.primary_key),
        foreign_keys=[_foreign_key(constraint) for constraint in _in_order(table.foreign_key_constraints)],
        unique=unique,
        checks=checks,
        indexes=list(_indexes(table, problems)),
    )


def _column(column: sa.Column[Any]) -> schema.Column:
    if column.computed is not None or column.identity is not None:
        raise ValueError("a computed or identity column has no plain form; leave it out, or let its database fill it")
    return schema.Column(
        name=str(column.name),
        key=str(column.key),
        type=_type(column.type),
        nullable=bool(column.nullable),
        **_server_default(column),
        autoincrement=column.autoincrement if isinstance(column.autoincrement, bool) else "auto",
        comment=column.comment,
    )


def _type(kind: sa.types.TypeEngine[Any]) -> schema.ColumnType:
    while isinstance(kind, sa.types.TypeDecorator) and not isinstance(kind, sa.Interval):
        kind = kind.impl_instance  # what a decorator does to values stays with the host; the column is its inner type's
    if isinstance(kind, sa.ARRAY):
        return schema.ColumnType(name="ARRAY", item=_type(kind.item_type), arguments={"dimensions": kind.dimensions})
    try:
        generic = kind.as_generic()
    except NotImplementedError:
        raise ValueError(f"the type {kind!r} has no generic form; use a generic type of SQLAlchemy") from None
    for base, name, arguments in _TYPES:
        if isinstance(generic, base):
            given = {argument: getattr(generic, argument, None) for argument in arguments}
            values = list(generic.enums) if isinstance(generic, sa.Enum) else []
            return schema.ColumnType(
                name=name,
                arguments={
                    key: str(value) if isinstance(value, str) else value
                    for key, value in given.items()
                    if value is not None
                },
                values=values,
            )
    raise ValueError(f"the type {kind!r} has no generic form; use a generic type of SQLAlchemy")


def _server_default(column: sa.Column[Any]) -> dict[str, Any]:
    if column.server_default is None:
        return {}
    default = getattr(column.server_default, "arg", None)
    if isinstance(default, str):
        return {"server_default": default, "default_is_sql": False}
    if isinstance(default, sa.TextClause):
        return {"server_default": default.text}
    raise ValueError("its server default is not given as text, which is all that every version understands")


def _foreign_key(constraint: sa.ForeignKeyConstraint) -> schema.ForeignKey:
    return schema.ForeignKey(
        name=_name(constraint),
        columns=list(map(str, constraint.column_keys)),
        refers_to=[str(element.target_fullname) for element in constraint.elements],
        on_delete=constraint.ondelete,
        on_update=constraint.onupdate,
        deferrable=constraint.deferrable,
        initially=constraint.initially,
        use_alter=bool(constraint.use_alter),
    )


def _indexes(table: sa.Table, problems: list[str]) -> Iterator[schema.Index]:
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        columns = [str(expression.name) for expression in index.expressions if isinstance(expression, sa.Column)]
        if len(columns) != len(index.expressions):
            problems.append(f"{table.fullname}: the index {index.name} is on an expression, which has no plain form")
        else:
            yield schema.Index(name=_name(index), columns=columns, unique=bool(index.unique))


def _in_order(constraints: Iterable[Any]) -> list[Any]:
    return sorted(constraints, key=lambda constraint: getattr(constraint, "_creation_order", 0))


def _names(columns: Iterable[Any]) -> list[str]:
    return [str(column.name) for column in columns]


def _name(constraint: Any) -> str | None:
    return _text_or_none(constraint.name if isinstance(constraint.name, str) else None)


def _text_or_none(text: str | None) -> str | None:
    return None if text is None else str(text)  # a plain one: SQLAlchemy's names are a subclass


def _text(clause: Any) -> str:
    return str(clause.compile(compile_kwargs={"literal_binds": True}))
