"""Syncers of both generations, as their authors wrote them, for the tests of the contract."""

from __future__ import annotations

# What hosts of 2022 ran: a pydantic 1 dataclass over SQLAlchemy 1.4, which captures its metadata as the documentation
# showed, only ever opens savepoints, and never commits.
OLD_DATABASE = """
    from typing import Any, Dict, List
    import logging
    import pathlib

    from pydantic.dataclasses import dataclass
    import sqlalchemy as sa

    log = logging.getLogger(__name__)


    @dataclass
    class Acme:
        database_path: pathlib.Path
        truncate_on_load: bool = True

        __is_database__ = True
        post_inits = 0

        def __post_init_post_parse__(self):
            type(self).post_inits += 1
            self.engine = sa.create_engine(f"sqlite:///{self.database_path.resolve()}", future=True)
            self.cnxn = self.engine.connect()
            sa.event.listen(sa.schema.MetaData, "after_create", self.capture_metadata)

        def capture_metadata(self, metadata, cnxn, **kw):
            self.metadata = metadata

        @property
        def name(self) -> str:
            return "old"

        def load(self, table: str) -> List[Dict[str, Any]]:
            if table == "post_inits":
                return [{"post_inits": self.post_inits}]
            t = self.metadata.tables[table]
            with self.cnxn.begin_nested():
                r = self.cnxn.execute(t.select())
            return [dict(_) for _ in r]

        def dump(self, table: str, *, data: List[Dict[str, Any]]) -> None:
            if not data:
                log.warning(f"no data to write to syncer {self}")
                return
            t = self.metadata.tables[table]
            with self.cnxn.begin_nested():
                if self.truncate_on_load:
                    self.cnxn.execute(t.delete())
                self.cnxn.execute(t.insert(), data)
"""

# What hosts of today run: a pydantic 2 model over SQLAlchemy 2 with a session of its own.
NEW_DATABASE = """
    import pathlib
    from typing import Literal

    import pydantic
    import sqlalchemy as sa
    import sqlalchemy.orm


    class Acme(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)

        database_path: pathlib.Path = pydantic.Field(alias="path")
        load_strategy: Literal["APPEND", "TRUNCATE", "UPSERT"] = "APPEND"

        __is_database__ = True
        _engine: sa.engine.Engine = None
        _session: sa.orm.Session = None
        _calls: list = pydantic.PrivateAttr(default_factory=list)
        _metadata: sa.MetaData = pydantic.PrivateAttr(default_factory=sa.MetaData)

        @pydantic.field_validator("load_strategy", mode="before")
        def case_insensitive(cls, value):
            return value.upper()

        @property
        def name(self):
            return "new"

        @property
        def metadata(self):
            return self._metadata

        @property
        def cnxn(self):
            return self._engine

        def __finalize__(self):
            self._calls.append("finalize")
            self._engine = sa.create_engine(f"sqlite:///{self.database_path}")
            self._session = sa.orm.Session(self._engine)

        def __teardown__(self):
            self._session.close()
            self.database_path.with_suffix(".closed").write_text("closed")

        def load(self, tablename):
            if tablename == "calls":
                return [{"calls": self._calls}]
            return [row._asdict() for row in self._session.execute(self.metadata.tables[tablename].select()).all()]

        def dump(self, tablename, *, data):
            if not data:
                return
            table = self.metadata.tables[tablename]
            if self.load_strategy == "TRUNCATE":
                self._session.execute(table.delete())
            self._session.execute(table.insert(), data)
            self._session.commit()
"""

# The example of the old documentation, to the letter: it forgot the dataclass decorator.
DOCUMENTED = """
    import sqlalchemy as sa


    class Acme:
        __is_database__ = True
        name = "documented"

        def __post_init__(self):
            self.engine = sa.create_engine("sqlite://")
            self.cnxn = self.engine.connect()
            sa.event.listen(sa.schema.MetaData, "after_create", self.capture_metadata)

        def capture_metadata(self, metadata, cnxn, **kw):
            self.metadata = metadata

        def load(self, table):
            rows = self.cnxn.execute(self.metadata.tables[table].select()).fetchall()
            return [dict(row._mapping) for row in rows]

        def dump(self, table, *, data):
            self.cnxn.execute(self.metadata.tables[table].insert(), data)
"""
