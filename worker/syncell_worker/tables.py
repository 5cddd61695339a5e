"""Plain tables to tables of this environment's SQLAlchemy, 1.4 or 2, and into the syncer's database.

Types that 1.4 does not have fall back to what creates the same column there: `Double` to a float of 53 bits, `Uuid` to
the database's own UUID where it has one and 32 characters elsewhere. SQLAlchemy is imported from the environment, and
only when there are tables.
"""

from __future__ import annotations

import uuid
from typing import Any

from syncell_worker import schema


def create(syncer: Any, tables: list[schema.Table]) -> None:
    """Create the tables that are missing in the syncer's database, under its own schema, and commit.

    A syncer that is no database needs none. `after_create` listeners of the `MetaData` class fire, so that the syncer
    may capture its metadata there; when it neither had nor captured any, it is given this one. Raises `AttributeError`
    when it says that it is a database, and has nothing to connect with.
    """
    import sqlalchemy as sa

    bind = next(filter(None, (getattr(syncer, name, None) for name in ("cnxn", "engine", "_engine"))), None)
    if bind is None:
        if not getattr(syncer, "__is_database__", False):
            return
        raise AttributeError(
            f"{type(syncer).__name__} says __is_database__ and has no cnxn, which __post_init__ or __init__ has to set"
        )
    metadata: Any = getattr(syncer, "metadata", None)
    if not isinstance(metadata, sa.MetaData):
        metadata = sa.MetaData()
    ours = build(tables)
    theirs = [
        # A table that the syncer has already is its own; ours would be a second of the same name.
        metadata.tables.get(_full_name(table, metadata)) if _full_name(table, metadata) in metadata.tables
        else _to_metadata(table, metadata)
        for table in ours
    ]  # fmt: skip
    in_transaction = getattr(bind, "in_transaction", bool)()
    metadata.create_all(bind, tables=theirs)
    if not in_transaction and getattr(bind, "in_transaction", bool)() and hasattr(bind, "commit"):
        bind.commit()  # a Connection of 2.x began by itself; left open, a syncer's savepoints would never land
    if not isinstance(getattr(syncer, "metadata", None), sa.MetaData):
        object.__setattr__(syncer, "metadata", metadata)


def _full_name(table: Any, metadata: Any) -> str:
    schema = table.schema or metadata.schema
    return f"{schema}.{table.name}" if schema else str(table.name)


def _to_metadata(table: Any, metadata: Any) -> Any:
    # `schema=None` is the receiving metadata's own schema, for the table and for what it refers to.
    return table.to_metadata(metadata) if table.schema else table.to_metadata(metadata, schema=None)


def build(tables: list[schema.Table]) -> list[Any]:
    """The same tables in one new `MetaData`, in the order given."""
    import sqlalchemy as sa

    metadata = sa.MetaData()
    return [_table(sa, metadata, table) for table in tables]


def _table(sa: Any, metadata: Any, table: schema.Table) -> Any:
    columns = [_column(sa, column, table) for column in table.columns]
    constraints: list[Any] = []
    if table.primary_key_name:
        constraints.append(sa.PrimaryKeyConstraint(*table.primary_key, name=table.primary_key_name))
    constraints += [
        sa.ForeignKeyConstraint(
            key.columns,
            key.refers_to,
            name=key.name,
            ondelete=key.on_delete,
            onupdate=key.on_update,
            deferrable=key.deferrable,
            initially=key.initially,
            use_alter=key.use_alter,
        )
        for key in table.foreign_keys
    ]
    constraints += [sa.UniqueConstraint(*unique.columns, name=unique.name) for unique in table.unique]
    constraints += [sa.CheckConstraint(sa.text(check.text), name=check.name) for check in table.checks]
    made = sa.Table(table.name, metadata, *columns, *constraints, schema=table.schema, comment=table.comment)
    by_name = {column.name: column for column in made.columns}
    for index in table.indexes:
        sa.Index(index.name, *(by_name[name] for name in index.columns), unique=index.unique)
    return made


def _column(sa: Any, column: schema.Column, table: schema.Table) -> Any:
    default = column.server_default
    return sa.Column(
        column.name,
        _type(sa, column.type),
        key=column.key,
        primary_key=column.name in table.primary_key,
        nullable=column.nullable,
        server_default=sa.text(default) if default is not None and column.default_is_sql else default,
        autoincrement=column.autoincrement,
        comment=column.comment,
    )


def _type(sa: Any, kind: schema.ColumnType) -> Any:
    if kind.name == "ARRAY":
        assert kind.item is not None
        return sa.ARRAY(_type(sa, kind.item), **kind.arguments)
    if kind.name == "Enum":
        return sa.Enum(*kind.values, **kind.arguments)
    if kind.name == "Double" and not hasattr(sa, "Double"):
        return sa.Float(**{"precision": 53, **kind.arguments})
    if kind.name == "Uuid" and not hasattr(sa, "Uuid"):
        return _uuid_of_1_4(sa, as_uuid=kind.arguments.get("as_uuid", True))
    return getattr(sa, kind.name)(**kind.arguments)


def _uuid_of_1_4(sa: Any, *, as_uuid: bool) -> Any:
    from sqlalchemy.dialects import postgresql

    class Uuid(sa.types.TypeDecorator):  # type: ignore[misc]
        """What 2.x calls `Uuid`: PostgreSQL's own type, and 32 hexadecimal digits elsewhere."""

        impl = sa.CHAR(32)
        cache_ok = True

        def load_dialect_impl(self, dialect: Any) -> Any:
            native = dialect.name == "postgresql"
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True) if native else sa.CHAR(32))

        def process_bind_param(self, value: Any, dialect: Any) -> Any:
            if value is None:
                return None
            value = value if isinstance(value, uuid.UUID) else uuid.UUID(value)
            return value if dialect.name == "postgresql" else value.hex

        def process_result_value(self, value: Any, dialect: Any) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
            if value is None:
                return None
            value = value if isinstance(value, uuid.UUID) else uuid.UUID(value)
            return value if as_uuid else str(value)

    return Uuid()
