"""Every form of class that real syncers have, built from options, with each hook run exactly once."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import MakeSyncer
from syncell import OptionsError, Runner, SyncerError

PYDANTIC_1 = ["pydantic>=1.10,<2"]
PYDANTIC_2 = ["pydantic>=2"]

# Every hook there is. What each form calls itself, and what nothing calls, must come to once each.
BODY = """
    counts = []

    class Hooks:
        def __post_init__(self, *_):
            counts.append("__post_init__")

        def __post_init_post_parse__(self):
            counts.append("__post_init_post_parse__")

        def __post_init__post_parse__(self):
            counts.append("__post_init__post_parse__")

        def __finalize__(self):
            counts.append("__finalize__")

        def load(self, identifier):
            told = {"counts": sorted(counts), "port": self.port, "kind": type(self.port).__name__}
            return [{**told, "region": getattr(self, "region", None)}]

        def dump(self, identifier, *, data): ...
"""

FORMS: dict[str, tuple[str, list[str]]] = {
    "plain class": (
        """
    class Acme(Hooks):
        name = "acme"
        def __init__(self, port: int, region: str = "north"):
            self.port, self.region = port, region
    """,
        [],
    ),
    "stdlib dataclass": (
        """
    import dataclasses

    @dataclasses.dataclass
    class Acme(Hooks):
        port: int
        region: str = "north"
        name: str = "acme"
    """,
        [],
    ),
    "pydantic 1 dataclass": (
        """
    from pydantic.dataclasses import dataclass

    @dataclass
    class Acme(Hooks):
        port: int
        region: str = "north"
        name = "acme"
    """,
        PYDANTIC_1,
    ),
    "pydantic 1 model": (
        """
    import pydantic

    class Acme(Hooks, pydantic.BaseModel):
        port: int
        region: str = "north"
        name: str = "acme"
    """,
        PYDANTIC_1,
    ),
    "pydantic 2 dataclass": (
        """
    from pydantic.dataclasses import dataclass

    @dataclass
    class Acme(Hooks):
        port: int
        region: str = "north"

        @property
        def name(self):
            return "acme"
    """,
        PYDANTIC_2,
    ),
    "pydantic 2 model": (
        """
    import pydantic

    class Acme(Hooks, pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")

        port: int
        region: str = pydantic.Field("north", alias="regionName")

        @property
        def name(self):
            return "acme"
    """,
        PYDANTIC_2,
    ),
    "class that calls its hooks itself": (
        """
    class Acme(Hooks):
        name = "acme"
        def __init__(self, port: int, region: str = "north"):
            self.port, self.region = port, region
            self.__post_init__()
            self.__post_init_post_parse__()
            self.__post_init__post_parse__()
            self.__finalize__()
    """,
        [],
    ),
}


def source_of(form: str) -> str:
    return BODY + FORMS[form][0]


@pytest.mark.parametrize("form", FORMS)
def test_text_is_converted_and_every_hook_runs_once(runner: Runner, make_syncer: MakeSyncer, form: str) -> None:
    with runner.open(make_syncer(source_of(form), requirements=FORMS[form][1]), {"port": "8080"}) as acme:
        assert acme.name == "acme"
        (told,) = acme.load("x")
    assert told == {
        "counts": ["__finalize__", "__post_init__", "__post_init__post_parse__", "__post_init_post_parse__"],
        "port": 8080,
        "kind": "int",
        "region": "north",
    }


@pytest.mark.parametrize("form", FORMS)
def test_options_that_do_not_fit_are_told_by_field_without_their_values(
    runner: Runner, make_syncer: MakeSyncer, form: str
) -> None:
    with pytest.raises(OptionsError) as caught:
        runner.open(make_syncer(source_of(form), requirements=FORMS[form][1]), {"port": "s3cret-port"})
    assert [problem.where for problem in caught.value.problems] == ["port"]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_options_and_members_are_told_without_building_anything(
    runner: Runner, make_syncer: MakeSyncer, form: str
) -> None:
    inspection = runner.inspect(make_syncer(source_of(form), requirements=FORMS[form][1]))
    region = "regionName" if "alias" in FORMS[form][0] else "region"
    assert inspection.options["required"] == ["port"]
    assert inspection.options["properties"]["port"]["type"] == "integer"
    assert inspection.options["properties"][region]["default"] == "north"
    assert inspection.members == ()


def test_a_pydantic_1_dataclass_takes_aliases_and_drops_what_it_does_not_know(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    source = """
    from pydantic import Field
    from pydantic.dataclasses import dataclass

    class Config:
        allow_population_by_field_name = True

    @dataclass(config=Config)
    class Acme:
        account: str = Field(..., alias="accountName")
        name = "acme"
        def load(self, identifier):
            return [{"account": self.account}]
        def dump(self, identifier, *, data): ...
    """
    with runner.open(make_syncer(source, requirements=PYDANTIC_1), {"accountName": "a", "unknown": 1}) as acme:
        assert acme.load("x") == [{"account": "a"}]


def test_a_pydantic_2_model_that_forbids_more_says_so(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(source_of("pydantic 2 model"), requirements=PYDANTIC_2)
    with runner.open(folder, {"port": 1, "regionName": "south"}) as acme:
        assert acme.load("x")[0]["region"] == "south"
    with pytest.raises(OptionsError) as caught:
        runner.open(folder, {"port": 1, "unknown": "s3cret"})
    assert [problem.where for problem in caught.value.problems] == ["unknown"]
    assert "s3cret" not in str(caught.value)


def test_what_is_open_is_closed_in_order_each_once_whatever_failed(
    runner: Runner, make_syncer: MakeSyncer, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    place = tmp_path / "told"
    place.mkdir()
    source = """
    import pathlib

    class Acme:
        name = "acme"
        __is_database__ = True

        def __init__(self, folder):
            self.folder = pathlib.Path(folder)
            outer = self

            class Engine:
                def dispose(self):
                    outer.tell("dispose")

            class Connection:
                engine = Engine()
                def close(self):
                    outer.tell("cnxn")
                    raise RuntimeError("cannot close")

            self.cnxn = Connection()
            self.engine = Connection.engine

        def tell(self, what):
            with (self.folder / "told.txt").open("a") as file:
                file.write(what + " ")

        def load(self, identifier):
            raise ValueError("the first error")

        def dump(self, identifier, *, data): ...

        def __teardown__(self):
            self.tell("teardown")

        def close(self):
            self.tell("close")
    """
    with (
        pytest.raises(SyncerError, match="the first error"),
        runner.open(make_syncer(source), {"folder": place}) as acme,
    ):
        acme.load("x")
    assert (place / "told.txt").read_text().split() == ["cnxn", "dispose", "teardown", "close"]
    assert "cannot close" in caplog.text


def test_a_syncer_whose_tables_cannot_be_created_is_closed_all_the_same(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Any
) -> None:
    import sqlalchemy as sa

    place = tmp_path / "told"
    place.mkdir()
    source = """
    import pathlib

    class Acme:
        name = "acme"
        __is_database__ = True
        def __init__(self, folder):
            self.folder = folder
        def load(self, identifier): ...
        def dump(self, identifier, *, data): ...
        def close(self):
            (self.folder / "closed").touch()
    """
    tables = [sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer))]
    with pytest.raises(SyncerError, match="cnxn"):
        runner.open(make_syncer(source), {"folder": place}, tables=tables)
    assert (place / "closed").exists()
