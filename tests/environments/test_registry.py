"""The same against the real package registry, with this machine's own settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from syncell.environments import EnvironmentStore, Interpreter, Lease, Recipe
from syncell.environments.interpreters import OLDEST, find_interpreter
from syncell.errors import EnvironmentBuildError
from syncell.manifest import Requirement

Acquire = Callable[..., Lease]


@pytest.fixture
def lock(store: EnvironmentStore, tmp_path: Path) -> Path:
    """A lock of two packages and the baseline."""
    requirements = (Requirement("six"), Requirement("idna"))
    path = tmp_path / "pylock.toml"
    path.write_text(store.lock(Recipe(requirements=requirements), syncer="acme"))
    return path


def test_environments_whose_requirements_conflict_live_side_by_side(acquire: Acquire) -> None:
    old = acquire("idna<3", "six==1.16.0").environment
    new = acquire("idna>=3", constraints=("pydantic>=2", "sqlalchemy>=2")).environment
    assert old.versions["idna"].startswith("2.")
    assert old.versions["six"] == "1.16.0"
    assert not new.versions["idna"].startswith("2.")
    assert {"pydantic", "sqlalchemy"} <= old.versions.keys() & new.versions.keys()


def test_unknown_requirement_is_said_with_the_next_step(acquire: Acquire) -> None:
    with pytest.raises(
        EnvironmentBuildError, match=r"acme: .*syncell-there-is-no-such-package.*\n.*spelling"
    ) as raised:
        acquire("syncell-there-is-no-such-package")
    assert len(str(raised.value)) < 1000


def test_requirement_without_a_wheel_is_said_with_what_would_allow_it(acquire: Acquire) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"acme: .*docopt.*\n.*Policy\(source_builds=True\)"):
        acquire("docopt==0.6.2")


def test_requirement_without_a_wheel_is_built_with_what_its_build_needs_when_the_host_allows_it(
    acquire: Acquire,
) -> None:
    assert acquire("docopt==0.6.2", source_builds=True).environment.versions["docopt"] == "0.6.2"


def test_version_that_does_not_exist_is_said(acquire: Acquire) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"acme: .*idna==0\.0\.0\.1"):
        acquire("idna==0.0.0.1")


def test_lock_is_installed_exactly(lock: Path, acquire: Acquire, store: EnvironmentStore) -> None:
    environment = acquire("six", pylock=lock).environment
    assert {"six", "idna", "pydantic", "sqlalchemy"} <= environment.versions.keys()
    for name, version in environment.versions.items():
        assert f'name = "{name}"\nversion = "{version}"' in lock.read_text()


def test_lock_with_a_wrong_hash_is_not_installed(lock: Path, acquire: Acquire) -> None:
    text = lock.read_text()
    start = text.index('sha256 = "', text.index('name = "six"')) + len('sha256 = "')
    digit = "0" if text[start] != "0" else "1"
    lock.write_text(f"{text[:start]}{digit}{text[start + 1 :]}")
    with pytest.raises(EnvironmentBuildError, match=r"acme: .*[Hh]ash mismatch.*six.*\n.*not the one that was locked"):
        acquire("six", pylock=lock)


def test_lock_that_no_longer_fits_the_manifest_is_said(lock: Path, acquire: Acquire) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"make it anew") as raised:
        acquire("six<1", "iniconfig", pylock=lock, constraints=("idna<3",))
    assert "iniconfig is not installed" in str(raised.value)
    assert "six<1 is not fulfilled by version" in str(raised.value)
    assert "idna<3 is not fulfilled by version" in str(raised.value)


def other_interpreter(cache: Path) -> Interpreter | None:
    own = find_interpreter(None, cache, os.environ)
    try:
        return find_interpreter(f">={OLDEST[0]}.{OLDEST[1]},!={own.release[0]}.{own.release[1]}.*", cache, os.environ)
    except EnvironmentBuildError:
        return None


def test_manifest_chooses_another_interpreter(cache: Path, store: EnvironmentStore, acquire: Acquire) -> None:
    other = other_interpreter(cache)
    if other is None:
        pytest.skip("this machine has one version of Python only")
    environment = acquire("six", python=f"=={other.version}").environment
    assert environment.interpreter == other
    assert f"python{other.release[0]}.{other.release[1]}" in str(environment.site_packages)
    tag = f"cpython-{other.release[0]}{other.release[1]}"
    assert list(environment.site_packages.glob(f"__pycache__/six.{tag}.pyc"))
    assert list(store.kit(other).glob(f"syncell_worker/__pycache__/wire.{tag}.pyc"))
