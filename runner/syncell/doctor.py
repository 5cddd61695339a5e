"""What this machine can enforce, found out by trying it.

A child process does what a jail should refuse, first outside of it and then inside; and a tree of processes outgrows
what it may use, under the eyes of a warden. Nothing is asked for that can be tried. What is tried is in the worker's
`probe`, so that adding to it is one entry there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from syncell.environments import process
from syncell.environments.interpreters import Interpreter
from syncell.sandbox import Gate, Limits
from syncell.sandbox.private import remove_tree
from syncell.sandbox.warden import Warden

PROBE_SECONDS = 60.0
"""For all deeds: they take a fraction of a second; the rest is for a machine under heavy load."""

WARDEN_SECONDS = 10.0
"""For the warden to see what it needs a twentieth of a second for."""

REMEDIES = {
    "files": "a kernel with Landlock ABI 3 (Linux 6.2 or later), `landlock` among its security modules (the kernel's "
    "parameter lsm=), and a container whose seccomp profile lets its system calls through",
    "network": "a kernel with seccomp filters (CONFIG_SECCOMP_FILTER) on x86_64 or aarch64",
    "processes": "Landlock ABI 6 (Linux 6.12 or later) and a kernel with seccomp filters; or bubblewrap, where it may "
    "make namespaces",
    "kernel surface": "a kernel with seccomp filters (CONFIG_SECCOMP_FILTER) on x86_64 or aarch64",
    "privileges": "a kernel that lets a process drop what it has: every Linux since 3.5, unless a container forbids it",
    "resources": "a /proc that shows the processes of this user, as every Linux mounts it",
}
"""What would give a protection that is missing."""

GATE_REMEDY = (
    "Linux 5.19 or later with seccomp filters, on x86_64 or aarch64; without it, syncers that may connect to something "
    "are not opened, and all others are"
)

_HOG_BYTES = 64 * 1024**2
# Shared memory, in a child: what no limit of a process itself would count.
_HOG = f"""
import mmap, os, time
held = mmap.mmap(-1, {_HOG_BYTES})
if os.fork() == 0:
    held[:] = b"x" * {_HOG_BYTES}
time.sleep({WARDEN_SECONDS})
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was tried: `ok` when it was refused, `why` it was or was not, and what would help."""

    protection: str
    deed: str
    ok: bool
    why: str
    remedy: str = ""


def examine(interpreter: Interpreter, state_dir: Path) -> tuple[Finding, ...]:
    """Try everything. Raises `EnvironmentBuildError` when the child does not end in time."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=state_dir))
    try:
        return (*_probe(interpreter, folder), _gate(interpreter, folder), _watch(interpreter, folder))
    finally:
        remove_tree(folder)


def _probe(interpreter: Interpreter, folder: Path) -> list[Finding]:
    (folder / "file").write_text("nothing of value\n")
    abstract = f"syncell-{folder.name}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{abstract}")
        unix.listen()
        done = process.run(
            interpreter,
            "probe.py",
            jail=process.Jail(read=_readable(interpreter), modes=False),
            environ={},
            seconds=PROBE_SECONDS,
            details={"folder": str(folder), "port": server.getsockname()[1], "abstract": abstract},
        )
    try:
        said = json.loads(done.output)
    except ValueError:
        what = done.output.strip() or f"exit code {done.code}"
        return [Finding(name, "try anything", False, f"the probe failed: {what}", REMEDIES[name]) for name in REMEDIES]
    layers = ", ".join(said["layers"]) or said["unavailable"]
    return [_finding(deed, layers) for deed in said["deeds"]]


def _readable(interpreter: Interpreter) -> tuple[str, ...]:
    return (*process.SYSTEM, "/proc/self", *map(str, interpreter.readable), str(process.GUEST))


def _gate(interpreter: Interpreter, folder: Path) -> Finding:
    """Whether a process that may connect to one place connects to that one only."""
    gate = Gate()
    with socket.create_server(("127.0.0.1", 0)) as named, socket.create_server(("127.0.0.1", 0)) as other:
        allowed = named.getsockname()[1]
        door = gate.admit([f"127.0.0.1:{allowed}"])
        try:
            done = process.run(
                interpreter,
                "probe.py",
                jail=process.Jail(read=_readable(interpreter), network="gate"),
                environ={},
                seconds=PROBE_SECONDS,
                details={
                    "folder": str(folder),
                    "port": other.getsockname()[1],
                    "door": door.descriptor,
                    "named": allowed,
                },
                inherited=(door.descriptor,),
            )
        finally:
            door.close()
            gate.close()
    try:
        said = json.loads(done.output)
    except ValueError:
        what = done.output.strip() or f"exit code {done.code}"
        return Finding("network", "stand at the egress gate", False, f"the probe failed: {what}", GATE_REMEDY)
    (deed,) = said["deeds"]
    if said["unavailable"] or said["named"]:
        why = said["unavailable"] or f"the place that was named could not be connected to: {said['named']}"
        return Finding(deed["protection"], deed["deed"], False, why, GATE_REMEDY)
    return _finding(deed, ", ".join(said["layers"]))


def _finding(deed: dict[str, str], layers: str) -> Finding:
    protection, refused = deed["protection"], deed["after"]
    if not refused:
        return Finding(protection, deed["deed"], False, f"nothing refused it; layers: {layers}", REMEDIES[protection])
    where = "outside of a jail as well" if deed["before"] else "in a jail only"
    return Finding(protection, deed["deed"], True, f"{refused} ({where})")


def _watch(interpreter: Interpreter, folder: Path) -> Finding:
    """Whether a tree of processes that outgrows its memory is ended."""
    deed = "take more memory than allowed, shared between processes"
    warden = Warden()
    hog = subprocess.Popen(
        [str(interpreter.executable), "-I", "-S", "-c", _HOG],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )
    watch = warden.watch(hog.pid, str(folder), Limits(memory=_HOG_BYTES // 2))
    ended = os.pidfd_open(hog.pid)
    try:
        select.select([ended], [], [], WARDEN_SECONDS)  # looked at, not reaped: see the warden
    finally:
        os.close(ended)
        watch.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(hog.pid, signal.SIGKILL)
        hog.wait()
        warden.close()
    if watch.reached is not None and watch.reached.reached < float("inf"):
        return Finding("resources", deed, True, f"ended by the warden at {watch.reached.reached / 1024**2:.0f} MiB")
    why = "the warden saw nothing" if watch.reached is None else f"not measured{watch.reached.hint}"
    return Finding("resources", deed, False, why, REMEDIES["resources"])
