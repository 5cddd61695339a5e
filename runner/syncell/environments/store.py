"""The store of environments: find one by its key or build it once, lease it, list them, prune the unused.

Opening a syncer whose environment is ready costs a few milliseconds here, so neither uv nor virtualenv is imported on
that path. `cache_dir` holds `environments` (the shelf, and who used which), `kits`, and what is remembered of this
machine's interpreters; all of it can be removed and built again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from syncell.environments import kit
from syncell.environments.build import Environment, build
from syncell.environments.installer import Installer, disk_full, no_space
from syncell.environments.interpreters import Interpreter, find_interpreter
from syncell.environments.recipe import Plan, Recipe, digest
from syncell.environments.settings import Settings, read_settings
from syncell.environments.shelf import Lock, Shelf
from syncell.errors import EnvironmentBuildError, SandboxUnavailable
from syncell.sandbox.private import remove_tree

NAME_CHARACTERS = 200
"""Of a syncer's name in the record of who used an environment: a file's name holds 255."""


@dataclasses.dataclass(frozen=True)
class Listed:
    """An environment in the store: who used it and when (seconds since 1970), and whether a cell holds it now."""

    environment: Environment
    users: tuple[str, ...]
    last_used: float
    in_use: bool


class Lease:
    """An environment in use: it is not pruned before the lease is closed, or this process ends."""

    def __init__(self, environment: Environment, lock: Lock) -> None:
        self.environment = environment
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the environment back. Safe to call twice."""
        self._lock.release()


class EnvironmentStore:
    """The environments and kits under one cache folder, shared by every process that is given the same folder."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._root = cache_dir / "environments"
        self._shelf = Shelf(self._root)

    def acquire(self, recipe: Recipe, *, syncer: str, progress: Callable[[str], None]) -> Lease:
        """Lease the environment of a recipe, building it first when it isn't there.

        `progress` gets a line for each step of a build. Raises `EnvironmentBuildError`, which names the syncer, and
        `SandboxUnavailable` when a jail is required and this machine cannot give it. When it is not required, the
        environment is then built with the layers that stand, under a key of its own.
        """

        def say(line: str) -> None:
            progress(f"{syncer}: {line}")

        with _of(syncer):
            plan, interpreter, settings = self._resolve(recipe)
            if recipe.required:
                return self._lease(plan, interpreter, settings, syncer, say)
            unconfined = dataclasses.replace(plan, confined=False)
            for known in (plan, unconfined):
                key = known.key(interpreter, settings)
                if self._shelf.ready(digest(key), key):
                    return self._lease(known, interpreter, settings, syncer, say)
            try:
                return self._lease(plan, interpreter, settings, syncer, say)
            except SandboxUnavailable:
                say("this machine cannot give a whole jail, so its environment is built with what stands of it")
                return self._lease(unconfined, interpreter, settings, syncer, say)

    def _lease(
        self, plan: Plan, interpreter: Interpreter, settings: Settings, syncer: str, say: Callable[[str], None]
    ) -> Lease:
        key = plan.key(interpreter, settings)
        name = digest(key)
        lock = self._shelf.hold(
            name,
            key,
            functools.partial(
                build,
                plan=plan,
                interpreter=interpreter,
                settings=settings,
                app_data=self._cache_dir / "virtualenv",
                progress=say,
            ),
            waiting=lambda: say("waiting for another process that builds the same environment"),
        )
        try:
            self._record(name, syncer)
            return Lease(Environment.read(name, self._shelf.path(name)), lock)
        except BaseException:
            lock.release()
            raise

    def key(self, recipe: Recipe, *, syncer: str) -> str:
        """The key under which the environment of a recipe is in the store, or would be once it is built.

        Raises `EnvironmentBuildError` when it never could be.
        """
        with _of(syncer):
            plan, interpreter, settings = self._resolve(recipe)
            return digest(plan.key(interpreter, settings))

    def lock(self, recipe: Recipe, *, syncer: str) -> str:
        """Resolve a recipe anew and return the text of its pylock.toml. Raises `EnvironmentBuildError`."""
        with _of(syncer):
            plan, interpreter, settings = self._resolve(dataclasses.replace(recipe, pylock=None))
            if plan.without_dependencies:
                raise EnvironmentBuildError(
                    f"{', '.join(plan.without_dependencies)}: a requirement with --no-deps cannot be locked, since a "
                    "lock is complete; remove --no-deps from MANIFEST.json"
                )
            self._cache_dir.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="lock-", dir=self._cache_dir))
            try:
                return Installer(interpreter, settings, folder).lock(plan)
            finally:
                remove_tree(folder)

    def kit(self, interpreter: Interpreter, *, required: bool = True) -> Path:
        """The folder of the worker's own code for an interpreter, built first when it isn't there.

        Raises `SandboxUnavailable` when a jail is `required` to build it and this machine has none.
        """
        with _of("the worker's kit"):
            return kit.kit(interpreter, self._cache_dir / "kits", os.environ, required=required)

    def list(self) -> tuple[Listed, ...]:
        """Every environment, the last used first."""
        found = []
        for name in self._shelf.digests():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # being removed, or of another version
                used = {user.name: user.stat().st_mtime for user in self._users(name)}
                environment = Environment.read(name, self._shelf.path(name))
                found.append(
                    Listed(
                        environment,
                        users=tuple(sorted(map(urllib.parse.unquote, used))),
                        last_used=max(used.values(), default=environment.created),
                        in_use=self._shelf.in_use(name),
                    )
                )
        return tuple(sorted(found, key=lambda listed: listed.last_used, reverse=True))

    def prune(self, unused_for: timedelta) -> tuple[Listed, ...]:
        """Remove the environments that nobody used for so long, and what killed builds left; return those removed.

        Never removes one that is in use.
        """
        self._shelf.sweep()
        before = time.time() - unused_for.total_seconds()
        removed = []
        for listed in self.list():
            name = listed.environment.key
            if listed.last_used <= before and self._shelf.remove(name):
                remove_tree(self._record_of(name))
                removed.append(listed)
        return tuple(removed)

    def _resolve(self, recipe: Recipe) -> tuple[Plan, Interpreter, Settings]:
        return recipe.plan(), find_interpreter(recipe.python, self._cache_dir, os.environ), read_settings(os.environ)

    def _record_of(self, name: str) -> Path:
        return self._root / f"{name}.users"

    def _users(self, name: str) -> Iterator[Path]:
        return self._record_of(name).glob("*")

    def _record(self, name: str, syncer: str) -> None:
        """Note who uses an environment now: a file for each, whose time is that of the last use."""
        file = self._record_of(name) / urllib.parse.quote(syncer, safe=" ")[:NAME_CHARACTERS]
        file.parent.mkdir(exist_ok=True)
        file.touch()


@contextlib.contextmanager
def _of(syncer: str) -> Iterator[None]:
    """Name the syncer in what goes wrong, and say a full disk or another error of the system in the tree's terms."""
    try:
        yield
    except EnvironmentBuildError as error:
        raise EnvironmentBuildError(f"{syncer}: {error}", log=error.log) from error.__cause__
    except SandboxUnavailable as error:
        raise SandboxUnavailable(f"{syncer}: {error}") from error.__cause__
    except OSError as error:
        if no_space(error):
            raise EnvironmentBuildError(f"{syncer}: {disk_full()}") from error
        raise EnvironmentBuildError(f"{syncer}: its environment could not be built: {error}") from error
