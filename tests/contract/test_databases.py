"""A host's tables reach a syncer's database, whatever SQLAlchemy each of them has."""

from __future__ import annotations

import datetime as dt
import sqlite3
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from conftest import MakeSyncer
from contract.generations import DOCUMENTED, NEW_DATABASE, OLD_DATABASE
from syncell import DataError, Policy, Runner, SyncerError

OLD = ["pydantic>=1.10,<2", "sqlalchemy>=1.4,<2"]
NEW = ["pydantic>=2", "sqlalchemy>=2"]


class Base(orm.DeclarativeBase):
    """What a host declares."""


class Customer(Base):
    __tablename__ = "customers"

    guid: orm.Mapped[uuid.UUID] = orm.mapped_column(primary_key=True)
    username: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    created: orm.Mapped[dt.datetime] = orm.mapped_column(index=True)
    balance: orm.Mapped[Decimal] = orm.mapped_column(sa.Numeric(10, 2), server_default=sa.text("0"))
    note: orm.Mapped[str | None] = orm.mapped_column(sa.Text)


class Order(Base):
    __tablename__ = "orders"

    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    customer: orm.Mapped[uuid.UUID] = orm.mapped_column(sa.ForeignKey("customers.guid", ondelete="CASCADE"))
    score: orm.Mapped[float] = orm.mapped_column(sa.Double)
    paid: orm.Mapped[bool]
    day: orm.Mapped[dt.date]
    raw: orm.Mapped[bytes | None]
    kind: orm.Mapped[str] = orm.mapped_column(sa.Enum("web", "shop", name="kind"))
    extra: orm.Mapped[Any | None] = orm.mapped_column(sa.JSON)


CUSTOMERS = [
    {
        "guid": uuid.UUID(int=number),
        "username": f"user{number}",
        "created": dt.datetime(2024, 1, 1, 12, 30, number),
        "balance": Decimal("1.50"),
        "note": None,
    }
    for number in range(3)
]
ORDERS = [
    {
        "id": number,
        "customer": uuid.UUID(int=number),
        "score": number / 4,
        "paid": True,
        "day": dt.date(2024, 1, 2),
        "raw": b"\x00\x01",
        "kind": "web",
        "extra": {"a": [1, None]},
    }
    for number in range(3)
]

GENERATIONS = pytest.mark.parametrize(
    ("source", "requirements", "options"),
    [(OLD_DATABASE, OLD, {"database_path": "{path}"}), (NEW_DATABASE, NEW, {"path": "{path}"})],
    ids=["old", "new"],
)


@GENERATIONS
def test_rows_of_a_hosts_tables_round_trip_through_a_syncers_database(
    runner: Runner,
    make_syncer: MakeSyncer,
    tmp_path: Path,
    source: str,
    requirements: list[str],
    options: dict[str, str],
) -> None:
    database = tmp_path / "data" / "acme.db"
    database.parent.mkdir()
    policy = Policy(read=[database.parent], write=[database.parent])
    folder = make_syncer(source, requirements=requirements)
    options = {key: value.format(path=database) for key, value in options.items()}
    for _ in range(2):  # the second time against tables that are there
        with runner.open(folder, options, tables=Base.metadata, policy=policy) as acme:
            acme.dump("customers", data=CUSTOMERS if not _ else [])
            acme.dump("orders", data=ORDERS if not _ else [])
            assert acme.load("customers") == CUSTOMERS
            assert acme.load("orders") == ORDERS
    with sqlite3.connect(database) as connection:  # what never committed is nevertheless in the file
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (3,)
        (created,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'orders'").fetchone()
    connection.close()
    assert "REFERENCES customers (guid) ON DELETE CASCADE" in created


def test_old_and_new_run_side_by_side_and_hooks_ran_once(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    place = tmp_path / "data"
    place.mkdir()
    policy = Policy(read=[place], write=[place])
    with (
        runner.open(
            make_syncer(OLD_DATABASE, name="old", requirements=OLD),
            {"database_path": str(place / "old.db")},
            tables=[Customer],
            policy=policy,
        ) as old,
        runner.open(
            make_syncer(NEW_DATABASE, name="new", requirements=NEW),
            {"path": str(place / "new.db"), "load_strategy": "truncate"},
            tables=[Customer.__table__],
            policy=policy,
        ) as new,
    ):
        assert (old.name, new.name) == ("old", "new")
        old.dump("customers", data=CUSTOMERS)
        report = runner.join(old, "customers", new, "customers")
        assert report.rows == 3
        assert new.load("customers") == CUSTOMERS
        assert old.load("post_inits") == [{"post_inits": 1}]
        assert new.load("calls") == [{"calls": ["finalize"]}]
    assert (place / "new.closed").read_text() == "closed"


@pytest.mark.parametrize("requirements", [OLD, NEW], ids=["old", "new"])
def test_the_example_of_the_old_documentation_works_to_the_letter(
    runner: Runner, make_syncer: MakeSyncer, requirements: list[str]
) -> None:
    folder = make_syncer(DOCUMENTED, requirements=requirements)
    with runner.open(folder, tables=[Customer]) as acme:
        acme.dump("customers", data=CUSTOMERS)
        assert acme.load("customers") == CUSTOMERS


def test_a_syncers_schema_is_inherited_and_tables_of_the_host_keep_their_own(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(
        """
        import sqlalchemy as sa

        class Acme:
            name = "acme"
            __is_database__ = True

            def __init__(self):
                self.cnxn = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
                with self.cnxn.begin() as connection:
                    connection.execute(sa.text("ATTACH ':memory:' AS inner"))
                self.metadata = sa.MetaData(schema="inner")

            def load(self, identifier):
                return [{"tables": sorted(self.metadata.tables), "has": sa.inspect(self.cnxn).get_table_names("inner")}]

            def dump(self, identifier, *, data): ...
        """,
    )
    metadata = sa.MetaData()
    parent = sa.Table("parents", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table("children", metadata, sa.Column("parent", sa.ForeignKey(parent.c.id)))
    with runner.open(folder, tables=metadata) as acme:
        assert acme.load("x") == [{"tables": ["inner.children", "inner.parents"], "has": ["children", "parents"]}]


def test_a_syncer_that_says_it_is_a_database_and_has_no_connection_is_told(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"
            __is_database__ = True
            def load(self, identifier): ...
            def dump(self, identifier, *, data): ...
        """
    )
    with pytest.raises(SyncerError, match=r"no cnxn.*__post_init__"):
        runner.open(folder, tables=[Customer])


@GENERATIONS
def test_a_database_that_the_host_passes_as_a_path_can_be_made_and_opened_again(
    runner: Runner,
    make_syncer: MakeSyncer,
    tmp_path: Path,
    source: str,
    requirements: list[str],
    options: dict[str, str],
) -> None:
    (tmp_path / "data").mkdir()
    folder = make_syncer(source, requirements=requirements)
    given = dict.fromkeys(options, tmp_path / "data" / "acme.db")
    for rows in (CUSTOMERS, []):
        with runner.open(folder, given, tables=[Customer]) as acme:
            acme.dump("customers", data=rows)
            assert acme.load("customers") == CUSTOMERS


def test_tables_are_nothing_to_a_syncer_that_is_no_database(runner: Runner, tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    with runner.open("json", {"directory": place}, tables=Base.metadata) as plain:
        plain.dump("orders", data=[{"id": 1}])
        assert plain.load("orders") == [{"id": 1}]


def test_a_decorated_type_is_its_inner_type_and_a_column_keeps_its_key(runner: Runner, make_syncer: MakeSyncer) -> None:
    class Shout(sa.types.TypeDecorator[str]):
        impl = sa.String(30)
        cache_ok = True

        def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
            return value.upper() if value else value

    table = sa.Table("t", sa.MetaData(), sa.Column("the name", Shout, key="name", primary_key=True))
    with runner.open(make_syncer(DOCUMENTED), tables=[table]) as acme:
        acme.dump("t", data=[{"name": "x"}])
        assert acme.load("t") == [{"the name": "x"}]


def test_what_has_no_generic_form_is_told_all_at_once(runner: Runner) -> None:
    from sqlalchemy.dialects import postgresql

    metadata = sa.MetaData()
    sa.Table(
        "odd",
        metadata,
        sa.Column("address", postgresql.INET),
        sa.Column("twice", sa.Integer, sa.Computed("1 + 1")),
        sa.Column("fine", postgresql.JSONB),
        sa.Index("by_lower", sa.text("lower(fine)")),
    )
    with pytest.raises(DataError) as caught:
        runner.open("csv://directory=.", tables=metadata)
    for part in ("odd.address", "odd.twice", "by_lower"):
        assert part in str(caught.value)
    assert "odd.fine" not in str(caught.value)
    with pytest.raises(DataError, match="__table__"):
        runner.open("csv://directory=.", tables=[object()])
