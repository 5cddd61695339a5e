"""A folder of wheels that a test makes, as the only place packages come from; and a store over an empty cache."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from environments.elsewhere import Opener
from environments.wheels import WheelFolder
from syncell.environments import EnvironmentStore, Lease, Recipe, process
from syncell.manifest import Requirement


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(cache: Path) -> EnvironmentStore:
    return EnvironmentStore(cache)


@pytest.fixture
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pip nor uv is told anything by this machine."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "config"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))


@pytest.fixture
def wheels(tmp_path: Path, no_settings: None, monkeypatch: pytest.MonkeyPatch) -> WheelFolder:
    """The only packages there are: one to require, and small stand-ins for what every syncer may import.

    Whatever a test adds has a name that is no package's elsewhere.
    """
    folder = WheelFolder(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder.path))
    for name in ("syncelltest_acme", "pydantic", "sqlalchemy"):
        folder.add(name)
    return folder


@pytest.fixture
def guest_where(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """The worker's code, as `process.GUEST`, with a module that says something else: the kernel cannot be changed."""

    def guest_where(module: str, given: str, without: str) -> Path:
        guest = shutil.copytree(process.GUEST, tmp_path / "guest" / "syncell_worker")
        text = (guest / module).read_text()
        assert given in text
        (guest / module).write_text(text.replace(given, without))
        return guest

    return guest_where


@pytest.fixture
def without_landlock(guest_where: Callable[[str, str, str], Path]) -> Path:
    """The worker's code as it would be on a kernel without Landlock."""
    return guest_where("jail.py", "return max(int(version), 0)", "return 0")


@pytest.fixture
def acquire(store: EnvironmentStore) -> Iterator[Callable[..., Lease]]:
    """Lease the environment of some requirements; the leases end with the test."""
    with contextlib.ExitStack() as leases:

        def acquire(
            *requirements: str | Requirement, progress: Callable[[str], None] = lambda _: None, **more: object
        ) -> Lease:
            parsed = tuple(each if isinstance(each, Requirement) else Requirement(each) for each in requirements)
            recipe = Recipe(requirements=parsed, **more)  # type: ignore[arg-type]
            return leases.enter_context(store.acquire(recipe, syncer="acme", progress=progress))

        yield acquire


@pytest.fixture
def open_elsewhere(cache: Path) -> Iterator[Callable[..., Opener]]:
    """Start a process that leases an environment from the same cache."""
    started = []

    def start(*requirements: str, pause: str = "", wrapper: tuple[str, ...] = (), at: Path | None = None) -> Opener:
        started.append(Opener(at or cache, *requirements, pause=pause, wrapper=wrapper))
        return started[-1]

    yield start
    for opener in started:
        if opener.process.poll() is None:
            opener.process.kill()
        opener.process.communicate()
