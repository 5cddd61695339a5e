"""Whatever form of rows a syncer's `load` returns, the host gets plain dictionaries of the same values."""

from __future__ import annotations

import datetime as dt
import uuid
import zoneinfo
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import MakeSyncer
from syncell import Runner

SOURCE = """
    import datetime as dt, decimal, uuid
    {imports}

    class Acme:
        name = "acme"

        def load(self, identifier):
            return getattr(self, identifier)()

        def dump(self, identifier, *, data): ...

    {forms}
"""


def source(imports: str, **forms: str) -> str:
    """A syncer with one method for each form of result."""
    methods = "".join(f"\n        def {name}(self):\n            {body}\n" for name, body in forms.items())
    return SOURCE.format(imports=imports, forms=methods)


ROWS = [{"id": 1, "note": "a"}, {"id": 2, "note": None}]


@pytest.mark.parametrize(
    ("requirements", "old"),
    [(["sqlalchemy>=1.4,<2", "pydantic>=1.10,<2"], True), (["sqlalchemy>=2", "pydantic>=2"], False)],
    ids=["old", "new"],
)
def test_rows_of_python_pydantic_and_sqlalchemy(
    runner: Runner, make_syncer: MakeSyncer, requirements: list[str], *, old: bool
) -> None:
    imports = """
    import collections, dataclasses, types
    import pydantic
    import sqlalchemy as sa

    ROWS = [{"id": 1, "note": "a"}, {"id": 2, "note": None}]

    class Model(pydantic.BaseModel):
        id: int
        note: "str | None" = None

    @dataclasses.dataclass
    class Data:
        id: int
        note: object

    Named = collections.namedtuple("Named", "id note")

    def query():
        engine = sa.create_engine("sqlite://")
        statement = sa.text("SELECT 1 AS id, 'a' AS note UNION SELECT 2, NULL ORDER BY 1")
        return engine.connect().execute(statement)
    """.replace("str | None", "typing.Optional[str]").replace("import collections", "import typing, collections")
    forms = {
        "lists": "return ROWS",
        "tuples": "return tuple(ROWS)",
        "generator": "yield from ROWS",
        "iterator": "return iter(ROWS)",
        "mappings": "return [types.MappingProxyType(row) for row in ROWS]",
        "ordered": "return [collections.OrderedDict(row) for row in ROWS]",
        "models": "return [Model(**row) for row in ROWS]",
        "dataclasses": "return [Data(**row) for row in ROWS]",
        "named_tuples": "return [Named(**row) for row in ROWS]",
        "result": "return query()",
        "fetched": "return query().fetchall()",
        "dict_rows": "return [dict(row._mapping) for row in query()]",
        "row_mappings": "return query().mappings().all()",
    }
    if old:
        forms["legacy_rows"] = "return [dict(row) for row in query()]"
    with runner.open(make_syncer(source(imports, **forms), requirements=requirements)) as acme:
        for form in forms:
            assert acme.load(form) == ROWS, form


def test_frames_of_pandas_polars_and_pyarrow_and_scalars_of_numpy(runner: Runner, make_syncer: MakeSyncer) -> None:
    imports = """
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    COLUMNS = {
        "id": list(range(2500)),
        "when": [dt.datetime(2024, 1, 1) + dt.timedelta(seconds=n) for n in range(2500)],
        "note": ["x"] * 2500,
    }
    """
    forms = {
        "pandas": "return pd.DataFrame(COLUMNS)",
        "polars": "return pl.DataFrame(COLUMNS)",
        "pyarrow": "return pa.table(COLUMNS)",
        "missing": (
            "return pd.DataFrame({'a': pd.array([1, None], dtype='Int64'), 'b': [pd.Timestamp(2024, 1, 1), pd.NaT]})"
        ),
        "scalars": (
            "return [{'int': np.int64(1), 'float': np.float32(0.5), 'bool': np.bool_(True), 'text': np.str_('x'),"
            " 'when': np.datetime64('2024-01-01T10:00'), 'nat': np.datetime64('NaT'), 'list': np.array([1, 2]),"
            " 'span': pd.Timedelta(seconds=1), 'zoned': pd.Timestamp('2024-01-01', tz='Europe/Paris'), 'na': pd.NA}]"
        ),
    }
    folder = make_syncer(source(imports, **forms), requirements=["numpy", "pandas", "polars", "pyarrow", "tzdata"])
    expected = [{"id": n, "when": dt.datetime(2024, 1, 1) + dt.timedelta(seconds=n), "note": "x"} for n in range(2500)]
    with runner.open(folder) as acme:
        for form in ("pandas", "polars", "pyarrow"):
            rows = acme.load(form)
            assert rows == expected, form
            assert {type(value) for value in rows[0].values()} == {int, dt.datetime, str}
        assert acme.load("missing") == [{"a": 1, "b": dt.datetime(2024, 1, 1)}, {"a": None, "b": None}]
        (scalars,) = acme.load("scalars")
    assert scalars == {
        "int": 1, "float": 0.5, "bool": True, "text": "x", "when": dt.datetime(2024, 1, 1, 10), "nat": None,
        "list": [1, 2], "span": dt.timedelta(seconds=1), "na": None,
        "zoned": dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    }  # fmt: skip
    assert [type(scalars[name]) for name in ("int", "float", "bool", "text")] == [int, float, bool, str]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.datetimes(),
    st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30))])),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@pytest.fixture(scope="module")
def keeper(cache_dir: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A syncer that gives back what it was given."""
    folder = tmp_path_factory.mktemp("keeper") / "keeper"
    folder.mkdir()
    (folder / "MANIFEST.json").write_text('{"name": "keeper", "syncer_class": "Keeper"}')
    (folder / "syncer.py").write_text(
        "class Keeper:\n"
        "    name = 'keeper'\n"
        "    kept = []\n"
        "    def load(self, identifier):\n"
        "        return self.kept\n"
        "    def dump(self, identifier, *, data):\n"
        "        self.kept = data\n"
    )
    with (
        Runner(cache_dir=cache_dir, state_dir=tmp_path_factory.mktemp("state")) as runner,
        runner.open(folder) as syncer,
    ):
        yield syncer


def typed(value: Any) -> Any:
    """A value together with the types of everything in it."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return [(key, typed(item)) for key, item in value.items()]
    return type(value), value


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=5))
def test_every_value_comes_back_equal_and_of_its_type_through_a_real_cell(keeper: Any, rows: list[Any]) -> None:
    keeper.dump("x", data=rows)
    assert typed(keeper.load("x")) == typed(rows)


def test_not_a_number_the_infinities_and_a_tuple(keeper: Any) -> None:
    keeper.dump("x", data=[{"nan": float("nan"), "inf": float("-inf"), "decimal": Decimal("NaN"), "tuple": (1, (2,))}])
    (row,) = keeper.load("x")
    assert row["nan"] != row["nan"]
    assert row["decimal"].is_nan()
    assert (row["inf"], row["tuple"]) == (float("-inf"), [1, [2]])


def test_a_column_may_hold_different_types_and_rows_different_keys(keeper: Any) -> None:
    rows = [{"a": uuid.UUID(int=1), "b": 1}, {"b": "text", "a": 2**200, "c": dt.date(2024, 1, 1)}, {}]
    keeper.dump("x", data=rows)
    assert typed(keeper.load("x")) == typed(rows)
