"""The launch plan: the command, the environment and the jail of one worker process, as plain data.

The command line names the interpreter and the worker's own file and nothing else; the environment is built from
nothing; what the jail allows goes through the pipe. So neither can tell a neighbour, who may read them, anything.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from syncell.sandbox.gate import ASKED_OF_GATE
from syncell.sandbox.grants import Grants
from syncell.sandbox.policy import Policy
from syncell_worker import wire

# Of what the kernel says about a process, what is about that process only: beside it stand the whole machine's mounts
# and connections.
_PROCESS_READ = (
    "auxv", "cgroup", "cmdline", "comm", "environ", "fd", "fdinfo", "io", "limits", "maps", "smaps", "smaps_rollup",
    "stat", "statm", "status",
)  # fmt: skip
# What any program needs of a Linux system to run: its libraries, time zones, certificates, how names are resolved.
# None of it is particular to a user. What a machine lacks is skipped.
_SYSTEM_READ = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/usr/share/ca-certificates",
    "/usr/share/locale", "/usr/share/mime", "/usr/local/share/ca-certificates",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/mime.types", "/etc/os-release", "/etc/alternatives",
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
    *(f"/proc/self/{name}" for name in _PROCESS_READ),
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/kernel/osrelease",
    "/sys/devices/system/cpu",
)  # fmt: skip
_SYSTEM_WRITE = ("/dev/null", "/dev/zero", "/dev/full")
_SYSTEM_PROGRAMS = ("/bin", "/usr/bin", "/usr/local/bin", "/lib", "/lib64", "/usr/lib", "/usr/libexec")
# The host's locale and zone decide what text and naive times mean; a syncer must see them as its host does.
_PASSED_ON = ("TZ", "LANG", "LC_ALL", "LC_CTYPE", "LC_TIME", "LC_NUMERIC")

# So that names in it are asked of the gate, too, and it knows what leads where.
_NOT_BEHIND_GATE = ("/etc/hosts",)


@dataclasses.dataclass(frozen=True)
class LaunchPlan:
    """How to start one worker: everything that `subprocess.Popen` and the worker's jail are told."""

    command: tuple[str, ...]
    environ: dict[str, str]
    offer: wire.Offer


def draw(
    *,
    interpreter: Path,
    kit: Path,
    readable: Iterable[Path],
    private: Path,
    grants: Grants,
    policy: Policy,
    door: int = -1,
) -> LaunchPlan:
    """The plan of one cell. `readable` is what its own code needs, `private` the folder that holds its home and tmp.

    `door` is what the worker inherits of the egress gate, where there is something that it may connect to.
    """
    home, temporary = str(private / "home"), str(private / "tmp")
    environ = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environ.setdefault("LANG", "C.UTF-8")
    environ |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "USER": "syncer", "LOGNAME": "syncer"}
    environ |= {"HOME": home, "TMPDIR": temporary, **policy.env}
    gated = door >= 0
    if gated:
        environ = {**ASKED_OF_GATE, **environ}
    own = [home, temporary]
    return LaunchPlan(
        command=(str(interpreter), "-I", "-S", "-B", str(kit / "syncell_worker" / "__main__.py")),
        environ=environ,
        offer=wire.Offer(
            versions=list(wire.VERSIONS),
            read=[
                *(path for path in _SYSTEM_READ if not gated or path not in _NOT_BEHIND_GATE),
                *map(str, readable),
                *own,
                *grants.read,
            ],
            write=[*_SYSTEM_WRITE, *own, *grants.write],
            execute=[*_SYSTEM_PROGRAMS, *map(str, readable)] if policy.subprocess else [],
            rlimits=policy.limits.rlimits(),
            jail=policy.sandbox,
            network="gate" if gated else "none",
            door=door,
        ),
    )
