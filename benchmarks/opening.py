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
    return [_compare(stage, "bare", imports=None), _compare(stage, "imports_sqlalchemy", imports="sqlalchemy")]


def _compare(stage: Stage, folder: str, imports: str | None) -> Result:
    with stage.runner.open(SYNCERS / folder) as syncer:
        rival = _interpreter(syncer.environment, imports)
    ours, rivals = by_turns(
        lambda: open_milliseconds(stage, folder),
        # Without a time-out: with one, `subprocess` looks for the end now and then, and notices it late.
        lambda: seconds(lambda: subprocess.run(rival, check=True)) * 1e3,
        starts(stage),
    )
    return Result(
        question=f"open with a ready environment, the syncer importing {imports or 'nothing'}",
        name="open",
        rival=f"python -I -S, importing {imports or 'nothing'}",
        unit="ms",
        ours=ours,
        rivals=rivals,
        goal=Goal("difference", "at most", 60.0),
    )


def starts(stage: Stage) -> int:
    """Turns of something as short as a start: more, since each says little."""
    return 7 if stage.quick else 21


def open_milliseconds(stage: Stage, folder: str, policy: Policy | None = None) -> float:
    """Milliseconds until a syncer of `benchmarks/syncers` stands ready. Closing it does not count."""
    opened = []
    taken = seconds(lambda: opened.append(stage.runner.open(SYNCERS / folder, policy=policy)))
    opened[0].close()
    return taken * 1e3


def _interpreter(environment: Environment, imports: str | None) -> list[str]:
    """The rival's command. It leaves as soon as it has imported: taking an interpreter down is no part of a start."""
    code = "import sys, posix; "
    if imports:
        code += f"sys.path.append({str(environment.site_packages)!r}); import {imports}; "
    return [str(environment.interpreter.executable), "-I", "-S", "-c", f"{code}posix._exit(0)"]
