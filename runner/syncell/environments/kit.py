"""The kit: the worker's own code and a private msgspec for one kind of interpreter, as cells find it.

It is never installed into an environment, so a syncer may bring any msgspec of its own. Built once for each version of
the worker's source and each Python ABI, then read-only, on a shelf like the environments'.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from syncell.environments.build import compile_folder
from syncell.environments.installer import Installer
from syncell.environments.interpreters import Interpreter
from syncell.environments.process import GUEST
from syncell.environments.recipe import Plan, digest
from syncell.environments.settings import read_settings
from syncell.environments.shelf import Shelf
from syncell.errors import SandboxUnavailable
from syncell.sandbox.private import remove_tree

MSGSPEC = "msgspec>=0.18"
"""The oldest that has all the worker uses; the newest for each interpreter is taken."""


def kit(interpreter: Interpreter, root: Path, environ: Mapping[str, str], *, required: bool) -> Path:
    """The folder of the kit for an interpreter, under `root`, built in a jail, which may be `required`.

    Raises `EnvironmentBuildError` and `SandboxUnavailable`.
    """
    shelf, sources = Shelf(root), _sources()

    def hold(confined: bool) -> Path:
        key = _key(interpreter, sources, confined=confined)
        filling = functools.partial(
            _build, sources=sources, interpreter=interpreter, environ=environ, confined=confined
        )
        shelf.hold(digest(key), key, filling, lambda: None).release()
        return shelf.path(digest(key))

    try:
        return hold(confined=True)
    except SandboxUnavailable:
        if required:
            raise
        return hold(confined=False)


def _key(interpreter: Interpreter, sources: Mapping[str, bytes], *, confined: bool) -> str:
    return json.dumps(
        {
            "abi": interpreter.abi,
            "confined": confined,
            "msgspec": MSGSPEC,
            "platform": interpreter.platform,
            "worker": {name: hashlib.sha256(text).hexdigest() for name, text in sources.items()},
        },
        indent=1,
        sort_keys=True,
    )


def _sources() -> dict[str, bytes]:
    return {str(path.relative_to(GUEST)): path.read_bytes() for path in sorted(GUEST.rglob("*.py"))}


def _build(
    aside: Path,
    final: Path,
    *,
    sources: Mapping[str, bytes],
    interpreter: Interpreter,
    environ: Mapping[str, str],
    confined: bool,
) -> None:
    work = aside / "work"
    work.mkdir()
    Installer(interpreter, read_settings(environ), work).install_into(
        aside, Plan(requirements=(MSGSPEC,), confined=confined)
    )
    remove_tree(work)
    (aside / ".lock").unlink(missing_ok=True)  # uv's own
    for name, text in sources.items():
        path = aside / "syncell_worker" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    compile_folder(aside, aside, final, interpreter, required=confined)
