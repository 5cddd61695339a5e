"""Run one program in a jail: what installs an environment may write where it builds, and nowhere else.

Started by the host as `BASE_INTERPRETER -I -S -B confine.py PLAN PROGRAM [ARGUMENT...]`. Enters the jail and becomes
the program, which dies with the host. PLAN is JSON: `parent` (the host's process id), `jail` (what `jail.enter`
takes), `required` (whether all of it is, or what can be had is enough) and, where the jail's network is the egress
gate, `door` (the descriptor that leads there). Standard library only.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import sys
from typing import Any, Optional

# Run as a file by an isolated interpreter, whose path does not lead here.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - no import yet

from syncell_worker import gate, jail

JAIL_UNAVAILABLE = 78
"""The exit code (EX_CONFIG of sysexits.h) that says: this machine cannot give the jail, and nothing was run."""

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, even by SIGKILL, and end now if it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def enter(plan: dict[str, Any]) -> bool:
    """Tie this process to the host and confine it; False when a jail that is required cannot be had.

    Why, or what a jail that is not required lacks, is said on stderr.
    """
    die_with(plan["parent"])
    door = plan.get("door")
    lacking: Optional[list[str]] = None if plan["required"] else []
    if door is not None:
        os.set_inheritable(door, False)  # without the gate it would stay open, and be the program's
    stand_at_gate = None if door is None else functools.partial(gate.enter, door)
    try:
        jail.enter(**plan["jail"], gate=stand_at_gate, lacking=lacking)
    except jail.Unavailable as error:
        sys.stderr.write(f"{error}\n")
        return False
    for protection in lacking or ():
        sys.stderr.write(f"warning: it runs without a protection: {protection}\n")
    return True


def main() -> None:
    """Become the program in argv, unless the jail cannot be had."""
    if not enter(json.loads(sys.argv[1])):
        sys.exit(JAIL_UNAVAILABLE)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - there is no shell to speak of


if __name__ == "__main__":
    main()
