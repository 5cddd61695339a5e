"""Try what a jail should refuse, before and in it, and say what happened: what `syncell doctor` is told by.

Started by the host as `BASE_INTERPRETER -I -S -B probe.py PLAN`. PLAN is JSON: `parent` (the host's process id), `jail`
(what `jail.enter` takes), `folder` (one outside of the jail, with a `file` in it), `port` (where the host listens on
127.0.0.1) and `abstract` (the name at which it listens as an abstract unix socket). Where the jail's network is the
egress gate, `door` is what leads there, `named` the one port that may be connected to, and `port` another. Prints JSON:
`layers`, `unavailable` (why there is no jail, or empty), `deeds` and `named` (why what is allowed failed, or empty).

To have the doctor look at one more thing, add it to DEEDS. A deed returns when it could be done, and raises OSError or
MemoryError when it was refused. It must be harmless, since it is done outside of the jail as well. Standard library
only.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

# Run as a file by an isolated interpreter, whose path does not lead here.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - no import yet

from syncell_worker import confine, gate, jail

Plan = dict[str, Any]

_NETWORK_SECONDS = 2.0  # to the host's own loopback; a packet that is dropped counts as refused
_PR_GET_NO_NEW_PRIVS = 39

_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True)
class Deed:
    """Something that a jail should refuse, and the protection that this is part of."""

    protection: str
    what: str
    attempt: Callable[[Plan], None]


def _file(plan: Plan, mode: str) -> None:
    with open(f"{plan['folder']}/file", mode):  # noqa: PTH123 - a deed, not a file that is used
        pass


def _make(plan: Plan) -> None:
    os.mkdir(f"{plan['folder']}/made")  # noqa: PTH102 - as above
    os.rmdir(f"{plan['folder']}/made")  # noqa: PTH106 - as above


def _tcp(plan: Plan, port: str = "port") -> None:
    socket.create_connection(("127.0.0.1", plan[port]), timeout=_NETWORK_SECONDS).close()


def _udp(plan: Plan) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"", ("127.0.0.1", plan["port"]))


def _list(plan: Plan) -> None:
    os.listdir(plan["folder"])  # noqa: PTH208 - as above


def _abstract(plan: Plan) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(f"\0{plan['abstract']}")


def _system_call(number: int, *arguments: int) -> None:
    """Raise the OSError that a system call gives, except that which says that it was looked at: wrong arguments."""
    if _libc.syscall(number, *arguments) == -1 and ctypes.get_errno() not in _LOOKED_AT:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


_LOOKED_AT = (0, 2, 3, 9, 14, 22)  # ENOENT, ESRCH, EBADF, EFAULT, EINVAL
# Numbered alike on every architecture, as all system calls since 2018 are.
_IO_URING_SETUP = 425
_X86_64 = os.uname().machine == "x86_64"
_BPF, _PERF_EVENT_OPEN, _KEYCTL, _USERFAULTFD = (321, 298, 250, 323) if _X86_64 else (280, 241, 219, 282)
_PROCESS_VM_READV = 310 if _X86_64 else 270


def _peek(plan: Plan) -> None:
    _system_call(_PROCESS_VM_READV, plan["parent"], 0, 0, 0, 0, 0)


def _privileges(_: Plan) -> None:
    if _libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1:
        raise PermissionError("no_new_privs is set")


def _capabilities(_: Plan) -> None:
    with open("/proc/self/status") as status:  # noqa: PTH123 - as above
        effective = next(line for line in status if line.startswith("CapEff:"))
    if int(effective.split()[1], 16) == 0:
        raise PermissionError("there are none")


def _open_files(_: Plan) -> None:
    with contextlib.ExitStack() as held:
        for _file in range(RLIMITS["NOFILE"] + 1):
            held.callback(os.close, os.dup(0))


def _memory(_: Plan) -> None:
    bytearray(2 * RLIMITS["DATA"])


RLIMITS = {"NOFILE": 64, "DATA": 256 * 1024**2}
"""What the jail of the probe allows, besides what the plan says."""

DEEDS = (
    Deed("files", "read a file that was not granted", lambda plan: _file(plan, "r")),
    Deed("files", "write to one", lambda plan: _file(plan, "r+")),
    Deed("files", "empty one", lambda plan: os.truncate(f"{plan['folder']}/file", 0)),
    Deed("files", "list a folder that was not granted", _list),
    Deed("files", "make something in one", _make),
    Deed("files", "change the mode of a file by its path", lambda plan: os.chmod(f"{plan['folder']}/file", 0o600)),  # noqa: PTH101
    Deed("files", "change its times", lambda plan: os.utime(f"{plan['folder']}/file")),
    Deed("network", "connect by TCP", _tcp),
    Deed("network", "send a datagram by UDP", _udp),
    Deed("network", "connect to an abstract unix socket", _abstract),
    Deed("processes", "signal a process outside", lambda plan: os.kill(plan["parent"], 0)),
    Deed("processes", "look into the memory of a process outside", _peek),
    Deed("processes", "change its priority", lambda plan: os.setpriority(os.PRIO_PROCESS, plan["parent"], 0)),
    Deed("kernel surface", "use io_uring", lambda _: _system_call(_IO_URING_SETUP, 0, 0)),
    Deed("kernel surface", "use bpf", lambda _: _system_call(_BPF, 0, 0, 0)),
    Deed("kernel surface", "use perf events", lambda _: _system_call(_PERF_EVENT_OPEN, 0, 0, 0, 0, 0)),
    Deed("kernel surface", "use the kernel's keys", lambda _: _system_call(_KEYCTL, 0, 0, 0, 0, 0)),
    Deed("kernel surface", "handle page faults", lambda _: _system_call(_USERFAULTFD, -1)),
    Deed("privileges", "gain privileges by a program", _privileges),
    Deed("privileges", "use capabilities", _capabilities),
    Deed("resources", "open more files than allowed", _open_files),
    Deed("resources", "take more memory than allowed, in one process", _memory),
)

GATED_DEEDS = (Deed("network", "connect to a place that was not named, where another one was", _tcp),)
"""What is tried instead in a jail whose connections the egress gate decides about."""

_NAMED = Deed("network", "connect to the place that was named", lambda plan: _tcp(plan, "named"))


def attempt(deed: Deed, plan: Plan) -> str:
    """Why a deed was refused; empty when it was done."""
    try:
        deed.attempt(plan)
    except (OSError, MemoryError) as error:
        return str(error) or type(error).__name__
    return ""


def main() -> None:
    """Do all deeds, enter the jail, do them again, and print what happened."""
    plan = json.loads(sys.argv[1])
    confine.die_with(plan["parent"])
    gated = "door" in plan
    tried = GATED_DEEDS if gated else DEEDS
    before = [attempt(deed, plan) for deed in tried]
    layers: list[str] = []
    unavailable = ""
    plan["jail"]["rlimits"] = {**plan["jail"]["rlimits"], **RLIMITS}
    try:
        layers = jail.enter(**plan["jail"], gate=functools.partial(gate.enter, plan["door"]) if gated else None)
    except jail.Unavailable as error:
        unavailable = str(error)
    after = [attempt(deed, plan) for deed in tried]
    deeds = [
        {"protection": deed.protection, "deed": deed.what, "before": outside, "after": inside}
        for deed, outside, inside in zip(tried, before, after)
    ]
    named = attempt(_NAMED, plan) if gated else ""
    sys.stdout.write(json.dumps({"layers": layers, "unavailable": unavailable, "deeds": deeds, "named": named}))


if __name__ == "__main__":
    main()
