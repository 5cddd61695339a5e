"""A syncer of today: a pydantic 2 model, and SQLAlchemy 2's typed select."""

import pydantic
import sqlalchemy as sa


class Present(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str = "present"
    greeting: str = "hello"

    def load(self, identifier):
        engine = sa.create_engine("sqlite://")
        with engine.connect() as connection:
            rows = connection.execute(sa.select(sa.literal(self.greeting).label("says"))).mappings().all()
        versions = {"pydantic": pydantic.VERSION, "sqlalchemy": sa.__version__}
        return [{**row, **versions} for row in rows]

    def dump(self, identifier, *, data):
        raise NotImplementedError("this syncer only loads")
