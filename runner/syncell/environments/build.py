"""Build one environment in a folder aside: make a virtualenv, install, compile, verify, and say what is in it.

Nothing of the environment is executed here, from the first wheel on: the installer does not start its interpreter
again, bytecode is compiled by the base interpreter in a jail, and what is installed is read from metadata. In the
folder, `venv` is the virtualenv and `environment.json` stands beside it, out of every wheel's reach.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from syncell.environments import distributions, process
from syncell.environments.installer import DISK_FULL, Installer, disk_full
from syncell.environments.interpreters import Interpreter
from syncell.environments.recipe import Plan
from syncell.environments.settings import Settings
from syncell.environments.shelf import size_of
from syncell.errors import EnvironmentBuildError
from syncell.sandbox.private import remove_tree

COMPILE_SECONDS = 900.0
"""For bytecode: a gigabyte of packages takes about a minute; the rest is for a machine under heavy load."""

DESCRIPTION_NAME = "environment.json"


@dataclasses.dataclass(frozen=True)
class Environment:
    """A published environment. `path` is the virtualenv, `versions` what is installed, `size` in bytes.

    `confined` says whether it was built in a jail that lacked nothing.
    Its own interpreter is never started; `interpreter` is the base one that cells start with.
    """

    key: str
    path: Path
    interpreter: Interpreter
    site_packages: Path
    versions: Mapping[str, str]
    size: int
    created: float
    confined: bool = True

    @classmethod
    def read(cls, digest: str, folder: Path) -> Environment:
        """The environment in a published folder."""
        said: dict[str, Any] = json.loads((folder / DESCRIPTION_NAME).read_text())
        interpreter = said.pop("interpreter")
        interpreter["executable"] = Path(interpreter["executable"])
        interpreter["readable"] = tuple(map(Path, interpreter["readable"]))
        said["site_packages"] = folder / said["site_packages"]
        return cls(key=digest, path=folder / "venv", interpreter=Interpreter(**interpreter), **said)


def build(
    aside: Path,
    final: Path,
    *,
    plan: Plan,
    interpreter: Interpreter,
    settings: Settings,
    app_data: Path,
    progress: Callable[[str], None],
) -> None:
    """Fill `aside` with an environment that will stand at `final`. Raises `EnvironmentBuildError`."""
    venv, work = aside / "venv", aside / "work"
    work.mkdir()
    count = "from its lock file" if plan.pylock is not None else f"with {len(plan.requirements)} requirements"
    progress(f"building its environment for Python {interpreter.version} {count}")
    site_packages = _create(venv, interpreter, app_data)
    before = _own_files(venv)
    Installer(interpreter, settings, work).install(venv / "bin/python", plan, writable=venv)
    remove_tree(work)
    after = _own_files(venv)
    if replaced := [name for name, content in before.items() if after.get(name) != content]:
        raise EnvironmentBuildError(
            f"one of its packages replaces {', '.join(replaced)}, the environment's own; remove it from MANIFEST.json"
        )
    versions = distributions.installed(site_packages)
    _verify(plan, versions, interpreter)
    progress(f"compiling {len(versions)} packages")
    compile_folder(site_packages, aside, final, interpreter, required=plan.confined)
    described = {
        "interpreter": {
            **dataclasses.asdict(interpreter),
            "executable": str(interpreter.executable),
            "readable": list(map(str, interpreter.readable)),
        },
        "site_packages": str(site_packages.relative_to(aside)),
        "versions": versions,
        "size": size_of(venv),
        "created": time.time(),
        "confined": plan.confined,
    }
    (aside / DESCRIPTION_NAME).write_text(json.dumps(described, indent=1))


def compile_folder(folder: Path, aside: Path, final: Path, interpreter: Interpreter, *, required: bool) -> None:
    """Compile the bytecode of `folder` in a jail that can write to it and read the interpreter, and nothing else."""
    compiled = process.run(
        interpreter,
        "compile.py",
        jail=process.Jail(
            read=(*process.SYSTEM, *map(str, interpreter.readable), str(process.GUEST)),
            write=(str(folder),),
            required=required,
        ),
        environ={},
        seconds=COMPILE_SECONDS,
        details={"folder": str(folder), "recorded": str(final / folder.relative_to(aside))},
    )
    if compiled.code != 0:
        if DISK_FULL.search(compiled.output):
            raise disk_full(compiled.output)
        said = compiled.output.strip() or f"exit code {compiled.code}"
        raise EnvironmentBuildError(f"its bytecode could not be compiled: {said}", log=compiled.output)


def _create(venv: Path, interpreter: Interpreter, app_data: Path) -> Path:
    """Make a virtualenv that holds nothing, and return its site-packages."""
    import virtualenv

    app_data.mkdir(parents=True, exist_ok=True)
    try:
        session = virtualenv.cli_run(
            [
                *("--python", str(interpreter.executable), "--app-data", str(app_data)),
                *("--no-seed", "--no-periodic-update", "--activators", ""),
                str(venv),
            ],
            setup_logging=False,
            # Nothing of the user's virtualenv settings decides what is made here.
            env={"PATH": os.defpath, "HOME": str(app_data), "VIRTUALENV_CONFIG_FILE": os.devnull},
        )
    except (RuntimeError, SystemExit) as error:
        raise EnvironmentBuildError(
            f"virtualenv cannot make one for Python {interpreter.version} ({interpreter.executable}): {error}. A newer "
            "virtualenv may; or have `python` in MANIFEST.json name another interpreter"
        ) from error
    site_packages = Path(session.creator.purelib)
    # virtualenv's patch of distutils would run at every start of a cell, for installers that never run there.
    for patch in ("_virtualenv.pth", "_virtualenv.py"):
        (site_packages / patch).unlink(missing_ok=True)
    # What Python needs and no more of this machine. Told so, uv writes scripts that find their interpreter beside them,
    # wherever the folder ends up.
    (venv / "pyvenv.cfg").write_text(
        f"home = {interpreter.executable.parent}\n"
        "include-system-site-packages = false\n"
        f"version = {interpreter.version}\n"
        "relocatable = true\n"
    )
    return site_packages


def _own_files(venv: Path) -> dict[str, str | bytes]:
    """What a virtualenv is made of, before packages: its configuration, and the links to its interpreter."""
    interpreters = {f"bin/{path.name}": str(path.readlink()) for path in (venv / "bin").iterdir() if path.is_symlink()}
    return {**interpreters, "pyvenv.cfg": distributions.read_regular(venv / "pyvenv.cfg")}


def _verify(plan: Plan, versions: Mapping[str, str], interpreter: Interpreter) -> None:
    requirements = (*plan.requirements, *plan.without_dependencies)
    wrong = distributions.unfulfilled(requirements, versions, interpreter)
    wrong += distributions.violated(plan.constraints, versions, interpreter)
    if wrong and plan.pylock is not None:
        wrong.insert(0, "pylock.toml does not fulfil what it must; make it anew with `syncell env lock`:")
    elif wrong:
        wrong.insert(0, "what was installed does not fulfil what it must, perhaps for want of a dependency:")
    if wrong:
        raise EnvironmentBuildError("\n  - ".join(wrong))
