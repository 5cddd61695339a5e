"""What all tests share: one cache of environments for the whole run, and a runner that must leave nothing behind."""

from __future__ import annotations

import json
import os
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncell import Policy, Runner

MakeSyncer = Callable[..., Path]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments and kits, built once for the whole run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def runner(cache_dir: Path, state_dir: Path) -> Iterator[Runner]:
    """A runner. When it is closed no process, descriptor, thread or private folder of it may be left."""
    before = children(), descriptors(), threading.active_count()
    with Runner(state_dir=state_dir, cache_dir=cache_dir) as runner:
        yield runner
    assert (children(), descriptors(), threading.active_count()) == before
    assert list(state_dir.glob("cells/*")) == []


def children() -> set[int]:
    """The processes that this one started and that are not gone."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def descriptors() -> dict[str, str]:
    """The open descriptors of this process, and where they lead."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            found[link.name] = str(link.readlink())
        except FileNotFoundError:
            continue
    return found


@pytest.fixture
def make_syncer(tmp_path: Path) -> MakeSyncer:
    """Write a syncer's folder from the source of its `syncer.py`; further keys go into its manifest."""

    def make(source: str, *, name: str = "acme", syncer_class: str = "Acme", **manifest: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        manifest = {"name": name, "syncer_class": syncer_class, **manifest}
        (folder / "MANIFEST.json").write_text(json.dumps(manifest))
        (folder / "syncer.py").write_text(textwrap.dedent(source))
        return folder

    return make


@pytest.fixture
def allow_tmp(tmp_path: Path) -> Policy:
    """A policy under which a syncer may read and write the test's own folder."""
    return Policy(read=[tmp_path], write=[tmp_path])


def loading(body: str) -> str:
    """A syncer whose `load` has this body."""
    lines = "\n".join(f"            {line}" for line in body.strip().splitlines())
    return f"""
    import os, sys

    class Acme:
        name = "acme"

        def load(self, identifier):
            if identifier == "alive":
                return [{{"alive": True}}]
{lines}

        def dump(self, identifier, *, data):
            pass
    """


# The least that a syncer may be.
ECHO = """
    class Acme:
        name = "acme"

        def load(self, identifier):
            return [{"identifier": identifier}]

        def dump(self, identifier, *, data):
            pass
"""
