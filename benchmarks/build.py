"""Build an environment, against the two commands of uv that make the same one.

Both take the same three requirements from the same warm cache and are kept off the network, so that neither measures
it. Each of our builds runs in a process of its own, since one that has built before has imported what building needs.
"""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import uv

from benchmarks.measure import Goal, Result, Stage, by_turns, in_child, seconds
from syncell.environments import EnvironmentStore, Recipe
from syncell.environments.settings import Settings, read_settings
from syncell.manifest import Requirement
from syncell.sandbox.private import remove_tree

REQUIREMENTS = ("pydantic", "requests", "sqlalchemy")
"""With what they depend on. Two of them every environment has anyway, so that both sides install the same."""


def run(stage: Stage) -> list[Result]:
    """Seconds of one build, either way."""
    store = EnvironmentStore(stage.folder / "cache")
    recipe = Recipe(requirements=tuple(Requirement(text=text) for text in REQUIREMENTS))
    with store.acquire(recipe, syncer="benchmark", progress=_silent) as lease:  # fills the cache of uv
        interpreter = lease.environment.interpreter.executable
        versions = lease.environment.versions
    settings = read_settings({**os.environ, "UV_OFFLINE": "1"})

    def ours() -> float:
        store.prune(timedelta(0))
        return in_child(lambda: _build(store, recipe))

    def rival() -> float:
        folder = stage.folder / "rival"
        taken = seconds(lambda: _bare(folder, interpreter, settings))
        installed = {path.name.partition("-")[0] for path in folder.glob("lib/*/site-packages/*.dist-info")}
        assert len(installed) == len(versions)
        remove_tree(folder)
        return taken

    built, bare = by_turns(ours, rival, 5 if stage.quick else 11)
    return [
        Result(
            question=f"build an environment of {', '.join(REQUIREMENTS)}: {len(versions)} packages, warm cache",
            name="build",
            rival="uv venv; uv pip install --compile-bytecode",
            unit="s",
            ours=built,
            rivals=bare,
            goal=Goal("ratio", "at most", 1.3),
        )
    ]


def _build(store: EnvironmentStore, recipe: Recipe) -> float:
    os.environ["UV_OFFLINE"] = "1"
    return seconds(lambda: store.acquire(recipe, syncer="benchmark", progress=_silent))


def _bare(folder: Path, interpreter: Path, settings: Settings) -> None:
    program, environ = uv.find_uv_bin(), {**settings.environ, "UV_CACHE_DIR": str(settings.cache)}
    for command in (
        ("venv", "--quiet", "--python", interpreter, folder),
        ("pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin/python", *REQUIREMENTS),
    ):
        subprocess.run([program, *map(str, command)], env=environ, check=True, cwd="/")


def _silent(_: str) -> None:
    return
