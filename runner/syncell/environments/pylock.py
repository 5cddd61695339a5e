"""Lock files: `pylock.toml` beside a manifest, which decides alone and exactly what is installed (PEP 751).

A lock is a stranger's too. It may name wheels, each with its hash; what would run code, or reach for files of this
machine, is refused here, before the installer sees it. That the hashes hold is the installer's to check.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syncell.errors import EnvironmentBuildError

NAME = "pylock.toml"


def read(path: Path) -> str:
    """The text of a lock file. Raises `EnvironmentBuildError` when it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentBuildError(f"{path} cannot be read: {error}") from None


def problems(text: str, *, source_builds: bool) -> list[str]:
    """Everything in a lock that is refused, one line each."""
    try:
        lock = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [f"{NAME} is not valid TOML: {error}; make it anew"]
    packages = lock.get("packages")
    if not str(lock.get("lock-version")).startswith("1.") or not isinstance(packages, list):
        return [f"{NAME} is no lock file of version 1 with [[packages]]; make it anew with `syncell env lock`"]
    found = []
    for package in packages:
        if not isinstance(package, dict) or not isinstance(package.get("name"), str):
            found.append(f"{NAME}: a package without a name; make it anew")
        else:
            found += [f"{NAME}: {package['name']}: {problem}" for problem in _package(package, source_builds)]
    return list(dict.fromkeys(found))


def _package(package: dict[str, Any], source_builds: bool) -> Iterator[str]:
    for kind in ("vcs", "directory", "archive"):
        if kind in package:
            yield f"a source of kind `{kind}` is not installed from a lock; require it by name from a package index"
    wheels = package.get("wheels", [])
    if not wheels and "sdist" in package and not source_builds:
        yield (
            "it has no wheel, and building it would run its code on this machine; choose a version with wheels, or "
            "have the host allow source builds, which run in a jail: Policy(source_builds=True) or "
            "--allow-source-builds"
        )
    for file in [*wheels, *([package["sdist"]] if "sdist" in package else [])]:
        if not isinstance(file, dict) or not file.get("hashes"):
            yield "a file without hashes; make the lock anew with `syncell env lock`"
        elif "path" in file:
            yield f"the file {file['path']} is a path of some machine; have the lock name an address"
