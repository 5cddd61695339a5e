"""A folder becomes an object: its module imported, its class checked, its options converted or refused by name."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import pydantic
import pytest

from syncell_worker import lifecycle, loader, options, wire

Write = Callable[..., str]
SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Importing a syncer changes the interpreter, which in a cell serves nothing else."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: pathlib.Path) -> Write:
    """Write the files of a syncer's folder: `syncer="..."` is syncer.py."""

    def write(folder: str = "acme", **sources: str) -> str:
        for name, source in sources.items():
            file = (tmp_path / folder / name.replace("__", "/")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source))
        return str(tmp_path / folder)

    return write


# Importing.


def test_relative_imports_of_siblings_and_folders_work(write: Write) -> None:
    folder = write(
        syncer="""
        from . import util
        from .deep.er import value
        from .util import value as again
        found = util.value, value, again
        """,
        util="value = 1",
        deep__er="value = 2",
    )
    module = loader.import_syncer(folder, "acme")
    assert module.found == (1, 2, 1)
    assert sys.modules[module.__name__] is module


def test_absolute_imports_of_siblings_work(write: Write) -> None:
    folder = write(syncer="import own_sibling\nfound = own_sibling.value", own_sibling="value = 1")
    assert loader.import_syncer(folder, "acme").found == 1


@pytest.mark.parametrize("name", ["json", "pydantic", "packaging"])
def test_a_sibling_never_shadows_the_standard_library_or_an_installed_package(write: Write, name: str) -> None:
    for loaded in [module for module in sys.modules if module.partition(".")[0] == "packaging"]:
        del sys.modules[loaded]
    folder = write(
        syncer=f"from .{name} import mine\nimport {name}\nfound = {name}.__file__, mine", **{name: "mine = 1"}
    )
    where, own = loader.import_syncer(folder, "acme").found
    assert not where.startswith(folder)
    assert own == 1


def test_dataclasses_and_annotations_of_a_syncer_resolve_in_its_own_module(write: Write) -> None:
    folder = write(
        syncer="""
        from __future__ import annotations
        import dataclasses, pathlib
        @dataclasses.dataclass
        class Acme:
            directory: pathlib.Path
            name = "acme"
            def load(self, table): ...
            def dump(self, table, *, data): ...
        """
    )
    syncer_class = loader.find_class(loader.import_syncer(folder, "acme"), "Acme")
    assert lifecycle.build(syncer_class, {"directory": "in"}).directory == pathlib.Path("in")


@pytest.mark.parametrize("name", ["my-syncer", "my.syncer", "1st", "zażółć", "json"])
def test_any_folder_and_name_will_do(write: Write, name: str) -> None:
    folder = write(folder=name, syncer="from . import util\nfound = util.value", util="value = 1")
    assert loader.import_syncer(folder, name).found == 1
    assert "json" not in sys.modules or not str(sys.modules["json"].__file__).startswith(folder)


@pytest.mark.parametrize(
    ("source", "error"),
    [("import nowhere_to_be_found", ImportError), ("def", SyntaxError), ("raise SystemExit", SystemExit)],
)
def test_what_an_import_raises_is_the_syncers(write: Write, source: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        loader.import_syncer(write(syncer=source), "acme")


# The class.


def find(write: Write, source: str, class_name: str = "Acme") -> list[wire.Problem]:
    module = loader.import_syncer(write(syncer=source), "acme")
    with pytest.raises(loader.ManifestProblems) as refused:
        loader.find_class(module, class_name)
    return refused.value.problems


def test_a_class_that_is_not_there_is_named_with_the_nearest_that_is(write: Write) -> None:
    (problem,) = find(write, "class Acmee: ...\nAcme = 5")
    assert problem == wire.Problem("syncer_class", "syncer.py has no class Acme; did you mean Acmee?")


def test_every_missing_member_is_reported_at_once(write: Write) -> None:
    problems = find(write, "class Acme: ...")
    assert [problem.message for problem in problems] == [
        "class Acme has no load, and needs it",
        "class Acme has no dump, and needs it",
    ]


class Base:
    """The members that every syncer has. A syncer need not derive from anything; these do to be short."""

    name = "acme"

    def load(self, table: str) -> list[Any]:
        return []

    def dump(self, table: str, *, data: list[Any]) -> None: ...


def test_a_name_may_come_from_the_instance_and_must_come() -> None:
    class Named:
        def __init__(self) -> None:
            self.name = "own"

    assert lifecycle.build(Named, {}).name == "own"

    class Nameless: ...

    with pytest.raises(loader.ManifestProblems) as refused:
        lifecycle.build(Nameless, {})
    assert refused.value.problems == [wire.Problem("syncer_class", "class Nameless has no name, and needs it")]


def test_optional_members_are_told_when_they_can_be_called() -> None:
    class Some(Base):
        describe = None

        def load_batches(self, table: str) -> Iterator[list[Any]]:
            return iter([])

        def close(self) -> None: ...

    assert loader.members(Some()) == ["load_batches", "close"]


# Options.


class Mode(enum.Enum):
    FAST = "fast"
    TWO = 2


class Word(str, enum.Enum):  # noqa: UP042 - as it is written where Python 3.10 must run it
    YES = "yes"


def old_optional(kind: Any) -> Any:
    """`Optional[kind]`, as it is written for older Pythons; of another class than `kind | None`."""
    return typing.Optional[kind]  # noqa: UP045


def built_with(annotation: Any, value: Any) -> Any:
    """What a class gets that annotates its option like this."""

    class Annotated(Base):
        def __init__(self, value: Any) -> None:
            self.value = value

    Annotated.__init__.__annotations__["value"] = annotation
    return lifecycle.build(Annotated, {"value": value}).value


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (int, "5", 5),
        (int, "-5", -5),
        (int, 5, 5),
        (float, "0.5", 0.5),
        (float, "5", 5.0),
        (float, 5, 5),
        (str, "5", "5"),
        (bytes, "5", "5"),
        (Any, "5", "5"),
        (pathlib.Path, "in/x", pathlib.Path("in/x")),
        (pathlib.Path, pathlib.Path("in"), pathlib.Path("in")),
        *[(bool, text, True) for text in ("true", "True", "YES", "on", "1")],
        *[(bool, text, False) for text in ("false", "False", "NO", "off", "0")],
        (bool, True, True),
        (Mode, "fast", Mode.FAST),
        (Mode, "FAST", Mode.FAST),
        (Mode, "2", Mode.TWO),
        (Mode, 2, Mode.TWO),
        (Mode, Mode.FAST, Mode.FAST),
        (Word, "yes", Word.YES),
        (Literal["a", 2], "2", 2),
        (Literal["a", 2], "a", "a"),
        (int | None, "5", 5),
        (int | None, None, None),
        (old_optional(int), "5", 5),
        (old_optional(int), None, None),
        (Mode | None, "fast", Mode.FAST),
        (int | pathlib.Path, "in", pathlib.Path("in")),
        (int | str, "5", "5"),
        (str | int | None, "5", "5"),
        (list[int], ["5"], ["5"]),
        (old_optional(Literal["a"]), "a", "a"),
        ("int", "5", 5),
        ("Unknown", "5", "5"),
        ({"not": "a type"}, "5", "5"),
    ],
    ids=repr,
)
def test_text_becomes_the_annotated_type(annotation: Any, given: Any, expected: Any) -> None:
    found = built_with(annotation, given)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "given", "message"),
    [
        (int, SECRET, "expected a whole number, got other text"),
        (int, "5.5", "expected a whole number, got other text"),
        (int, [SECRET], "expected a whole number, got list"),
        (int, None, "expected a whole number, got NoneType"),
        (float, SECRET, "expected a number, got other text"),
        (bool, SECRET, "expected true or false, got other text"),
        (pathlib.Path, 5, "expected a path, got int"),
        (Mode, SECRET, "expected one of fast, 2"),
        (Literal["a", 2], SECRET, "expected one of a, 2"),
        (int | None, SECRET, "expected a whole number, got other text"),
        (int | float, SECRET, "expected a number, got other text"),
    ],
    ids=repr,
)
def test_text_that_does_not_fit_is_refused_without_being_quoted(annotation: Any, given: Any, message: str) -> None:
    with pytest.raises(options.OptionProblems) as refused:
        built_with(annotation, given)
    assert refused.value.problems == [wire.Problem("value", message)]


def test_every_problem_of_the_options_is_reported_at_once_by_name() -> None:
    @dataclasses.dataclass
    class Acme(Base):
        host: str
        port: int = 5432
        timeout: float = 1.0

    with pytest.raises(options.OptionProblems) as refused:
        lifecycle.build(Acme, {"prot": SECRET, "unrelated": SECRET, "port": SECRET, "timeout": "1.5"})
    assert refused.value.problems == [
        wire.Problem("prot", "no such option; did you mean port?"),
        wire.Problem("unrelated", "no such option; known: host, port, timeout"),
        wire.Problem("port", "expected a whole number, got other text"),
        wire.Problem("host", "required, and missing"),
    ]


def test_a_class_that_takes_any_keyword_gets_every_option() -> None:
    class Open(Base):
        def __init__(self, port: int = 1, **rest: Any) -> None:
            self.given = {"port": port, **rest}

    assert lifecycle.build(Open, {"port": "5", "anything": "goes"}).given == {"port": 5, "anything": "goes"}


def test_a_class_without_a_constructor_takes_no_options() -> None:
    with pytest.raises(options.OptionProblems) as refused:
        lifecycle.build(Base, {"x": 1})
    assert refused.value.problems == [wire.Problem("x", "no such option; known: none")]


def test_what_a_constructor_raises_is_the_syncers() -> None:
    class Broken(Base):
        def __init__(self) -> None:
            raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        lifecycle.build(Broken, {})


# Classes that validate themselves.


class Settings(pydantic.BaseModel):
    name: ClassVar[str] = "acme"
    port: int
    mode: Mode = Mode.FAST
    token: str = ""

    @pydantic.field_validator("token")
    @classmethod
    def _token(cls, token: str) -> str:
        if token:
            raise ValueError(f"the token {token!r} is not a token")
        return token


def test_pydantic_models_convert_their_own_options() -> None:
    syncer = lifecycle.build(Settings, {"port": "5", "mode": "fast"})
    assert (syncer.port, syncer.mode) == (5, Mode.FAST)


def test_what_pydantic_refuses_is_reported_by_field_without_any_value() -> None:
    given = {"port": SECRET, "mode": SECRET, "token": f"{SECRET}\n'{SECRET}'"}
    with pytest.raises(options.OptionProblems) as refused:
        lifecycle.build(Settings, given)
    told = {problem.where: problem.message for problem in refused.value.problems}
    assert list(told) == ["port", "mode", "token"]
    assert "integer" in told["port"]
    assert told["port"].endswith("(got str)")
    assert "is not a token" in told["token"]
    assert SECRET not in str(told)


def test_a_value_that_a_validator_quotes_in_pythons_notation_is_left_out_as_well() -> None:
    with pytest.raises(options.OptionProblems) as refused:
        lifecycle.build(Settings, {"port": 1, "token": f"{SECRET}\n{SECRET}"})
    assert refused.value.problems == [
        wire.Problem("token", "Value error, the token '...' is not a token (got str)"),
    ]


def test_a_missing_field_of_a_model_is_reported_by_name() -> None:
    with pytest.raises(options.OptionProblems) as refused:
        lifecycle.build(Settings, {})
    assert refused.value.problems == [wire.Problem("port", "Field required")]


def test_pydantic_dataclasses_convert_their_own_options() -> None:
    @pydantic.dataclasses.dataclass
    class Acme(Base):
        directory: pathlib.Path
        port: int = 1

    assert lifecycle.build(Acme, {"directory": "in", "port": "5"}).port == 5
    with pytest.raises(options.OptionProblems) as refused:
        lifecycle.build(Acme, {"port": [SECRET], "unknown": SECRET})
    assert {problem.where for problem in refused.value.problems} >= {"directory", "port"}
    assert SECRET not in str(refused.value.problems)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pydantic 1 does not run on Python 3.14")
def test_dataclasses_of_pydantic_1_take_aliases_and_drop_what_they_do_not_know() -> None:
    from pydantic import v1

    calls = []

    class Config:
        allow_population_by_field_name = True

    @v1.dataclasses.dataclass(config=Config)
    class Acme(Base):
        account: str = v1.Field(alias="accountName")
        port: int = 1

        def __post_init_post_parse__(self) -> None:
            calls.append((self.account, self.port))

    syncer = lifecycle.build(Acme, {"accountName": "x", "port": "5", "unknown": 1})
    assert (syncer.account, syncer.port) == ("x", 5)
    assert calls == [("x", 5)]
    with pytest.raises(options.OptionProblems) as refused:
        lifecycle.build(Acme, {"port": SECRET})
    assert {problem.where for problem in refused.value.problems} == {"accountName", "port"}
    assert SECRET not in str(refused.value.problems)
