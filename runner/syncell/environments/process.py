"""Run one confined process to its end: what installs or compiles an environment.

Each runs in its own session and jail, with a clean environment, for a bounded time. Whatever ends the wait (success,
the bound, Ctrl-C, any error), its whole process group is killed before this room is left; and should the host be
killed, the kernel kills the process too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from syncell import cancellation
from syncell.environments.interpreters import Interpreter
from syncell.errors import EnvironmentBuildError, SandboxUnavailable
from syncell.sandbox.gate import ASKED_OF_GATE, Door
from syncell_worker import wire

GUEST = Path(wire.__file__).parent
"""The worker's source, whichever way it was installed; `wire` is the only part of it that the host imports."""

JAIL_UNAVAILABLE = 78
"""The exit code of the worker's `confine` that says: there is no jail on this machine, and nothing was run."""

OUTPUT_BYTES = 1024 * 1024
"""Of the output, kept from its end. Installers say little, but a source build may print without end."""

SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
"""What any program needs to start: the dynamic loader and the system's libraries."""

RLIMITS = {"CORE": 0}


@dataclasses.dataclass(frozen=True)
class Jail:
    """What a process may do: absolute paths to read, to write (and read), to execute (and read); and the network.

    `network` is `"none"`, `"open"` or `"gate"`. `modes` allows to change modes and times of files by their path. Unless
    it is `required`, the process goes on with those of its layers that this machine can give: only for hosts that run
    syncers so as well.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    network: str = "none"
    modes: bool = True  # installers do; what they run on is data that they were given to unpack
    required: bool = True

    def plan(self) -> dict[str, object]:
        """What the worker's `jail.enter` takes."""
        return {
            "read": [*self.read, *self.write],
            "write": [*self.write, os.devnull],
            "execute": list(self.execute),
            "rlimits": RLIMITS,
            "network": self.network,
            "modes": self.modes,
        }


@dataclasses.dataclass(frozen=True)
class Finished:
    """How a process ended (its exit code, negative for a signal) and what it printed."""

    code: int
    output: str


def run(
    interpreter: Interpreter,
    script: str,
    *arguments: str,
    jail: Jail,
    environ: Mapping[str, str],
    seconds: float,
    details: Mapping[str, object] | None = None,
    inherited: Collection[int] = (),
    door: Door | None = None,
) -> Finished:
    """Run one of the worker's scripts by a base interpreter, isolated and without `site`.

    The script enters `jail` before it does anything, and gets `details`, `arguments` and the `inherited` descriptors.
    `door` leads to the egress gate, where that is the jail's network.
    Raises `SandboxUnavailable` when a jail is required that this machine cannot give, `EnvironmentBuildError` when the
    time is up, `Cancelled`.
    """
    told = {"parent": os.getpid(), "jail": jail.plan(), "required": jail.required, **(details or {})}
    if door is not None:
        told["door"] = door.descriptor
        environ, inherited = {**environ, **ASKED_OF_GATE}, (*inherited, door.descriptor)
    plan = json.dumps(told)
    command = [str(interpreter.executable), "-I", "-S", "-B", str(GUEST / script), plan, *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environ),
        cwd="/",  # no project's settings are found from there
        start_new_session=True,
        pass_fds=inherited,
    )
    if door is not None:
        door.inherited()
    output = bytearray()
    try:
        in_time = _listen(process, output, seconds)
    finally:
        # Not reaped yet, so the group's id cannot have become another's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        assert process.stdout is not None
        process.stdout.close()
    said = output.decode(errors="replace")
    if not in_time:
        raise EnvironmentBuildError(f"{script} did not end within {seconds:g} s and was killed; try again", log=said)
    if code == JAIL_UNAVAILABLE:
        raise SandboxUnavailable(
            f"environments are built in a jail, and this machine cannot give it: {said.strip()}. `syncell doctor` says "
            'more. To build with what it can give, for syncers that run so: Policy(sandbox="best-effort") or '
            "--sandbox best-effort"
        )
    return Finished(code, said)


def _listen(process: subprocess.Popen[bytes], output: bytearray, seconds: float) -> bool:
    """Gather what a process prints until it ends, without reaping it; False when the time was up before."""
    assert process.stdout is not None
    stdout, ended = process.stdout.fileno(), os.pidfd_open(process.pid)
    os.set_blocking(stdout, False)
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    poll.register(ended, select.POLLIN)
    cancellation.register(poll)
    try:
        while ready := {descriptor for descriptor, _ in poll.poll(max(deadline - time.monotonic(), 0) * 1000)}:
            cancellation.check("the building of an environment")
            # A grandchild may hold the other end for longer than the process lives: its end is what counts.
            if stdout in ready and not _read(stdout, output):
                poll.unregister(stdout)
            elif ended in ready and stdout not in ready:
                return True
        return False
    finally:
        os.close(ended)


def _read(descriptor: int, output: bytearray) -> bool:
    """Take what is there and keep its end; False at the end of the file."""
    chunk = os.read(descriptor, OUTPUT_BYTES)
    output += chunk
    del output[:-OUTPUT_BYTES]
    return bool(chunk)
