"""A syncer of 2022: a pydantic 1 dataclass, and SQLAlchemy 1.4's way of selecting."""

import pydantic
import sqlalchemy as sa
from pydantic.dataclasses import dataclass


@dataclass
class Past:
    greeting: str = "hello"

    def __post_init_post_parse__(self):
        self.engine = sa.create_engine("sqlite://")

    @property
    def name(self):
        return "past"

    def load(self, directive):
        statement = sa.select([sa.literal(self.greeting).label("says")])  # SQLAlchemy 2 refuses this list
        rows = self.engine.execute(statement).fetchall()
        versions = {"pydantic": pydantic.VERSION, "sqlalchemy": sa.__version__}
        return [{**dict(row), **versions} for row in rows]

    def dump(self, directive, *, data):
        raise NotImplementedError("this syncer only loads")
