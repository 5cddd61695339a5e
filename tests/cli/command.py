"""What the tests of the command line share: types of the fixtures, and what they look at."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[bytes]"]
MakeSyncer = Callable[..., Path]

COMMAND_SECONDS = 120.0
"""For one command, the build of an environment on a busy machine included; only a hang takes longer."""


def screen(ours: int, theirs: int) -> str:
    """All that a program wrote to its terminal, once the program has ended."""
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # EIO is how a terminal says that its other end is closed
        while chunk := os.read(ours, 65536):
            written += chunk
    return written.decode()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that a failed test left, and close its pipes."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def workers(state_dir: Path) -> dict[int, str]:
    """The processes whose home is a cell's private folder."""
    found = {}
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"HOME={state_dir}/cells/".encode() in environ.read_bytes():
                found[int(environ.parent.name)] = (environ.parent / "cmdline").read_text()
    return found


def asleep(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process waits for something."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
