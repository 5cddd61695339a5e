"""What a manifest's requirements may ask for, and what makes two environments one."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from syncell.environments.interpreters import Interpreter
from syncell.environments.recipe import Recipe, digest
from syncell.environments.settings import Settings, read_settings
from syncell.errors import EnvironmentBuildError
from syncell.manifest import Requirement

INTERPRETER = Interpreter(
    executable=Path("/opt/python/bin/python3.11"),
    version="3.11.7",
    implementation="cpython",
    abi="cp311",
    platform="x86_64-linux-gnu",
    build="3.11.7 (main)",
    readable=(Path("/opt/python/lib/python3.11"),),
)


def recipe(*requirements: str | Requirement, **more: object) -> Recipe:
    parsed = tuple(each if isinstance(each, Requirement) else Requirement(each) for each in requirements)
    return Recipe(requirements=parsed, **more)  # type: ignore[arg-type]


@pytest.fixture
def settings(no_settings: None) -> Settings:
    return read_settings(os.environ)


@pytest.fixture
def key(settings: Settings) -> Callable[..., str]:
    def key(*requirements: str | Requirement, **more: object) -> str:
        return recipe(*requirements, **more).plan().key(INTERPRETER, settings)

    return key


def refused(*requirements: str | Requirement, **more: object) -> str:
    with pytest.raises(EnvironmentBuildError) as raised:
        recipe(*requirements, **more).plan()
    return str(raised.value)


def test_everything_that_is_refused_is_said_at_once() -> None:
    message = refused(
        "a @ https://example.invalid/a.whl",
        "git+https://example.invalid/b",
        "./c",
        "-e .",
        Requirement("d", ("--index-url", "https://example.invalid/simple")),
        Requirement("e", ("-r", "/etc/passwd")),
        Requirement("f", ("--config-settings=x=y", "--no-binary", ":all:")),
        constraints=("g @ file:///g", "not a requirement!"),
    )
    for part in (
        "a @",
        "git+https",
        "./c",
        "-e .",
        "d: --index-url",
        "e: ",
        "-r",
        "f: ",
        "--no-binary",
        "g @",
        "not a req",
    ):
        assert part in message
    assert "--config-settings" in message
    assert "Policy(source_builds=True)" in message
    assert "Policy(indexes=['https://example.invalid/simple'])" in message


def test_refusal_does_not_repeat_credentials() -> None:
    message = refused(
        "a @ https://user:hunter2@example.invalid/a.whl",
        Requirement("b", ("--extra-index-url=https://user:hunter2@example.invalid/simple",)),
    )
    assert "hunter2" not in message


@pytest.mark.parametrize("argument", ["--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--trusted-host"])
def test_place_that_the_host_allows_may_be_named(argument: str) -> None:
    place = "https://example.invalid/simple"
    assert "would change where packages come from" in refused(Requirement("a", (argument, place)))
    allowed = recipe(Requirement("a", (argument, place)), indexes=(f"{place}/",)).plan()
    named = [*allowed.default_index, *allowed.extra_indexes, *allowed.find_links, *allowed.trusted_hosts]
    assert named == [place]


def test_address_is_installed_when_the_host_allows_source_builds() -> None:
    requirement = "a @ https://example.invalid/a.tar.gz"
    assert requirement in recipe(requirement, source_builds=True).plan().requirements
    assert "paths and editable folders" in refused("-e .", "./a", "a @ file:///a", source_builds=True)


def test_arguments_without_effect_are_accepted() -> None:
    arguments = ("--upgrade", "--upgrade-strategy", "eager", "--no-cache-dir", "-q", "--prefer-binary")
    assert recipe(Requirement("a", arguments)).plan() == recipe("a").plan()


def test_arguments_with_effect_are_kept() -> None:
    plan = recipe(Requirement("a", ("--pre", "--hash=sha256:00")), Requirement("b", ("--no-deps",))).plan()
    assert plan.prereleases
    assert "a --hash=sha256:00" in plan.requirements
    assert plan.without_dependencies == ("b",)


def test_order_spelling_and_repetition_make_no_other_environment(key: Callable[..., str]) -> None:
    one = key("Foo_Bar[b,a] >=1,<2", "baz", "baz", constraints=("X<1", "y"))
    other = key("baz", "foo-bar[A,B]<2,>=1", constraints=("y", "x<1"))
    assert one == other


def test_whatever_decides_the_content_makes_another_environment(
    key: Callable[..., str], settings: Settings, tmp_path: Path
) -> None:
    lock = tmp_path / "pylock.toml"
    keys = [
        key("a"),
        key("a>1"),
        key("a[x]"),
        key("a", "b"),
        key("a", constraints=("a<2",)),
        key(Requirement("a", ("--pre",))),
        key(Requirement("a", ("--no-deps",))),
        key("a", source_builds=True),
    ]
    for version in ("1", "2"):
        lock.write_text(f'lock-version = "1.0"\npackages = []\n# {version}')
        keys.append(key("a", pylock=lock))
    plan = recipe("a").plan()
    others = (
        dataclasses.replace(INTERPRETER, executable=Path("/elsewhere/python")),
        dataclasses.replace(INTERPRETER, version="3.11.8"),
        dataclasses.replace(INTERPRETER, build="rebuilt"),
    )
    keys += [plan.key(other, settings) for other in others]
    keys.append(plan.key(INTERPRETER, dataclasses.replace(settings, key={"variables": {"UV_INDEX": "x"}})))
    assert len({digest(key) for key in keys}) == len(keys)


def test_key_holds_no_credentials(settings: Settings) -> None:
    place = "https://user:hunter2@example.invalid/simple"
    plan = recipe(Requirement("a", ("--index-url", place)), indexes=(place,)).plan()
    key = plan.key(INTERPRETER, settings)
    assert "hunter2" not in key
    assert json.loads(key)["plan"]["default_index"] == ["https://example.invalid/simple"]


def test_baseline_is_added_unless_it_is_named() -> None:
    assert recipe("a").plan().requirements == ("a", "pydantic", "sqlalchemy")
    assert recipe("Pydantic<2", "SQLAlchemy").plan().requirements == ("pydantic<2", "sqlalchemy")


def test_lock_that_reaches_beyond_wheels_with_hashes_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "pylock.toml"
    lock.write_text(
        """
lock-version = "1.0"
[[packages]]
name = "repository"
vcs = { type = "git", url = "https://example.invalid/a" }
[[packages]]
name = "folder"
directory = { path = "." }
[[packages]]
name = "unhashed"
wheels = [{ url = "https://example.invalid/a-1-py3-none-any.whl", hashes = {} }]
[[packages]]
name = "local"
wheels = [{ path = "/etc/a-1-py3-none-any.whl", hashes = { sha256 = "00" } }]
[[packages]]
name = "source"
sdist = { url = "https://example.invalid/a-1.tar.gz", hashes = { sha256 = "00" } }
"""
    )
    message = refused(pylock=lock)
    for part in (
        "repository: ",
        "`vcs`",
        "folder: ",
        "unhashed: ",
        "local: ",
        "source: ",
        "Policy(source_builds=True)",
    ):
        assert part in message


@pytest.mark.parametrize("text", ["not toml", "lock-version = '2.0'\npackages = []", "lock-version = '1.0'"])
def test_lock_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "pylock.toml").write_text(text)
    assert "make it anew" in refused(pylock=tmp_path / "pylock.toml")


def test_lock_that_cannot_be_read_is_an_error_of_the_tree(tmp_path: Path) -> None:
    assert "cannot be read" in refused(pylock=tmp_path / "missing")
