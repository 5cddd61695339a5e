"""The interpreters of this machine: which is chosen, and what is known of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from syncell.environments import interpreters
from syncell.environments.interpreters import Interpreter, find_interpreter
from syncell.errors import EnvironmentBuildError

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def find(specifier: str | None, cache: Path, **environ: str) -> Interpreter:
    return find_interpreter(specifier, cache, {**os.environ, **environ})


def test_hosts_own_base_interpreter_is_preferred(cache: Path) -> None:
    own = find(None, cache)
    assert own.executable == Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    assert (own.version, own.release) == (sys.version.split()[0], sys.version_info[:2])
    assert own.abi == f"cp{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}"
    assert find(">=3.9", cache) == own


def test_interpreter_starts_with_what_is_said_to_be_readable(cache: Path) -> None:
    own = find(None, cache)
    assert own.executable in own.readable
    assert all(path.is_absolute() and path.exists() for path in own.readable)
    assert Path(os.__file__).parent in own.readable


def test_interpreter_is_described_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = find(None, cache)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was run again"))
    assert find(None, cache) == own


def fake_interpreter(path: Path, version: str) -> None:
    """A program that describes itself as an interpreter would."""
    facts = {
        "version": version,
        "implementation": "cpython",
        "abi": "cp399",
        "platform": "none",
        "build": version,
        "readable": [],
    }
    path.write_text(f"#!/bin/sh\ncat <<'FACTS'\n{json.dumps(facts)}\nFACTS\n")
    path.chmod(0o755)


def test_upgraded_interpreter_is_described_anew(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "_base_executable", str(python))
    fake_interpreter(python, "3.99.1")
    before = find(None, cache)
    fake_interpreter(python, "3.99.10")
    after = find(None, cache)
    assert (before.version, after.version) == ("3.99.1", "3.99.10")


def test_removed_interpreter_is_not_used(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "_base_executable", str(python))
    fake_interpreter(python, "3.99.1")
    find(None, cache)
    python.unlink()
    with pytest.raises(EnvironmentBuildError, match="cannot be started"):
        find(None, cache)


def test_no_match_names_what_was_found(cache: Path) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"matches '>=3\.98'.*found: .*3\.\d+\.\d+ \(/"):
        find(">=3.98", cache)


def test_other_interpreter_of_the_machine_is_found_and_the_newest_wins(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that describe themselves as the test says stand for what discovery finds, which differs by machine."""
    versions = {"one": "3.97.1", "two": "3.97.10", "old": "3.8.9"}
    found = []
    for name, version in versions.items():
        fake_interpreter(tmp_path / name, version)
        found.append(tmp_path / name)
    monkeypatch.setattr(interpreters, "_discover", lambda environ, places: iter(found))
    assert find(">=3.97", cache).version == "3.97.10"
    assert find("==3.97.1", cache).version == "3.97.1"
    with pytest.raises(EnvironmentBuildError) as raised:
        find("<3.9", cache)
    assert "3.8.9" not in str(raised.value), "the worker does not run on it"


def test_machine_is_searched_again_when_a_folder_changed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    searches = []

    def discover(environ: Mapping[str, str], places: list[Path]) -> list[Path]:
        searches.append(places)
        return []

    monkeypatch.setattr(interpreters, "_discover", discover)
    for _ in range(2):
        with pytest.raises(EnvironmentBuildError):
            find(">=3.98", cache, PATH=str(folder))
    assert len(searches) == 1
    (folder / "python3.98").write_text("")
    with pytest.raises(EnvironmentBuildError):
        find(">=3.98", cache, PATH=str(folder))
    assert len(searches) == 2
    assert folder in searches[0]


def test_search_of_a_real_machine_passes_over_folders_it_cannot_read(cache: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    (tmp_path / "file").write_text("")
    base = Path(sys._base_executable).resolve().parent  # type: ignore[attr-defined]
    path = os.pathsep.join([str(closed), str(tmp_path / "file"), str(tmp_path / "missing"), "relative", str(base)])
    with pytest.raises(EnvironmentBuildError, match=rf"found: .*{OWN}\.\d+"):
        find(">=3.98", cache, PATH=path, HOME=str(tmp_path), PYENV_ROOT=str(tmp_path))
