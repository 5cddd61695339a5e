"""The host's tables and rows through every pairing of pydantic, SQLAlchemy and Python that syncers may have."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import MakeSyncer
from syncell import Policy, Runner

SOURCE = """
    import sys

    import pydantic
    import sqlalchemy as sa


    class Acme:
        __is_database__ = True
        name = "acme"

        def __post_init__(self):
            self.engine = sa.create_engine("sqlite://", future=True)
            self.cnxn = self.engine.connect()

        def load(self, table):
            if table == "versions":
                return [{"pydantic": pydantic.VERSION, "sqlalchemy": sa.__version__, "python": sys.version_info[:2]}]
            with self.cnxn.begin():
                return [dict(row._mapping) for row in self.cnxn.execute(self.metadata.tables[table].select())]

        def dump(self, table, *, data):
            with self.cnxn.begin():
                self.cnxn.execute(self.metadata.tables[table].insert(), data)
"""

EVERYTHING = sa.Table(
    "everything",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("small", sa.SmallInteger, nullable=False),
    sa.Column("big", sa.BigInteger, unique=True),
    sa.Column("text", sa.Text),
    sa.Column("string", sa.String(20), index=True),
    sa.Column("unicode", sa.Unicode(20)),
    sa.Column("numeric", sa.Numeric(12, 3)),
    sa.Column("float", sa.Float),
    sa.Column("double", sa.Double),
    sa.Column("boolean", sa.Boolean(create_constraint=True, name="is_boolean")),
    sa.Column("date", sa.Date),
    sa.Column("time", sa.Time),
    sa.Column("datetime", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
    sa.Column("interval", sa.Interval),
    sa.Column("binary", sa.LargeBinary),
    sa.Column("json", sa.JSON),
    sa.Column("uuid", sa.Uuid),
    sa.Column("enum", sa.Enum("a", "b", name="letters")),
    sa.CheckConstraint("small > 0", name="small_is_positive"),
    sa.UniqueConstraint("text", "string", name="one_of_each"),
)
ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "small": 1,
        "big": 2**60 + number,
        "text": "long",
        "string": f"s{number}",
        "unicode": "ü",
        "numeric": Decimal("1234.500"),
        "float": 0.5,
        "double": 0.1,
        "boolean": True,
        "date": dt.date(2024, 1, 2),
        "time": dt.time(3, 4, 5),
        "datetime": dt.datetime(2024, 1, 2, 3, 4, 5, 6),
        "interval": dt.timedelta(days=1, seconds=2),
        "binary": b"\x00\xff",
        "json": {"a": [1, None, "x"]},
        "uuid": uuid.UUID(int=number),
        "enum": "b",
    }
    for number in range(3)
]


def pythons() -> list[str]:
    """Those of the versions that syncers run on which this machine has."""
    roots = [Path("/usr/bin"), Path("/usr/local/bin"), *Path.home().glob(".pyenv/versions/*/bin")]
    own = ".".join(map(str, sys.version_info[:2]))
    wanted = ("3.9", "3.11", "3.13")
    found = {version for version in wanted for root in roots if os.access(root / f"python{version}", os.X_OK)}
    return sorted(found | {own}, key=lambda version: int(version.partition(".")[2]))


@pytest.mark.parametrize("python", pythons())
def test_every_type_of_column_round_trips_in_every_pairing(
    runner: Runner, make_syncer: MakeSyncer, python: str
) -> None:
    pairings = itertools.product(["pydantic>=1.10,<2", "pydantic>=2"], ["sqlalchemy>=1.4,<2", "sqlalchemy>=2"])
    for number, requirements in enumerate(pairings):
        folder = make_syncer(
            SOURCE, name=f"on-{python}-{number}", requirements=list(requirements), python=f"=={python}.*"
        )
        # Nobody published a wheel of SQLAlchemy 1.4 for Python 3.13: it is built from source, in a jail.
        policy = Policy(source_builds=python == "3.13" and "sqlalchemy>=1.4,<2" in requirements)
        with runner.open(folder, tables=[EVERYTHING], policy=policy) as acme:
            (versions,) = acme.load("versions")
            assert versions["pydantic"].startswith("1." if "<2" in requirements[0] else "2.")
            assert versions["sqlalchemy"].startswith("1.4" if "<2" in requirements[1] else "2.")
            assert versions["python"] == [int(part) for part in python.split(".")]
            acme.dump("everything", data=ROWS)
            assert acme.load("everything") == ROWS


@pytest.mark.skipif("3.9" not in pythons(), reason="SQLAlchemy 1.4.0 has wheels up to Python 3.9 only")
def test_the_oldest_sqlalchemy_of_the_contract(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(SOURCE, requirements=["sqlalchemy==1.4.0"], python="==3.9.*")
    with runner.open(folder, tables=[EVERYTHING]) as acme:
        assert acme.load("versions")[0]["sqlalchemy"] == "1.4.0"
        acme.dump("everything", data=ROWS)
        assert acme.load("everything") == ROWS
