"""Open with a ready environment, against an interpreter that starts bare and imports what the syncer imports.

What is left between the two is everything that syncell does: manifest, lease, plan, kit, jail, hello, options.
"""

from __future__ import annotations

import subprocess

from benchmarks.measure import Goal, Result, Stage, by_turns, seconds
from benchmarks.opened import SYNCERS
from syncell import Policy
from syncell.environments import Environment


def run(stage: Stage) -> list[Result]:
    """Milliseconds to open a syncer, and to start an interpreter that imports the same."""
    pairs = 7 if stage.quick else 21
    results = []
    for folder, imports in (("bare", ""), ("imports_sqlalchemy", "sqlalchemy")):
        with stage.runner.open(SYNCERS / folder) as syncer:
            rival = _interpreter(syncer.environment, imports)
        ours, rivals = by_turns(
            lambda folder=folder: open_milliseconds(stage, folder),  # type: ignore[misc]
            lambda rival=rival: seconds(lambda: subprocess.run(rival, check=True)) * 1e3,  # type: ignore[misc]
            pairs,
        )
        results.append(
            Result(
                question=f"open with a ready environment, the syncer importing {imports or 'nothing'}",
                name="open",
                rival=f"python -I -S, importing {imports or 'nothing'}",
                unit="ms",
                ours=ours,
                rivals=rivals,
                goal=Goal("difference", "at most", 60.0),
            )
        )
    return results


def open_milliseconds(stage: Stage, folder: str, policy: Policy | None = None) -> float:
    """Milliseconds until a syncer of `benchmarks/syncers` stands ready. Closing it does not count."""
    opened = []
    taken = seconds(lambda: opened.append(stage.runner.open(SYNCERS / folder, policy=policy)))
    opened[0].close()
    return taken * 1e3


def _interpreter(environment: Environment, imports: str) -> list[str]:
    """The rival's command. It leaves as soon as it has imported: taking an interpreter down is no part of a start."""
    path = f"sys.path.append({str(environment.site_packages)!r})"
    code = f"import sys, posix; {path}; {imports and f'import {imports}; '}posix._exit(0)"
    return [str(environment.interpreter.executable), "-I", "-S", "-c", code]
