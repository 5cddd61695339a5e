"""The command as a person starts it: a real process, after which no process and no private folder may be left."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

import syncell as package
import syncell_worker
from cli.command import COMMAND_SECONDS, Run, Start, end, workers


@pytest.fixture
def environ(cache_dir: Path, state_dir: Path) -> dict[str, str]:
    """The variables that the command is started with."""
    sources = [str(Path(module.__path__[0]).parent) for module in (package, syncell_worker)]
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")}
    return kept | {
        "PYTHONPATH": os.pathsep.join(sources),
        "SYNCELL_CACHE_DIR": str(cache_dir),
        "SYNCELL_STATE_DIR": str(state_dir),
        "NO_COLOR": "1",
        "TERM": "xterm",
    }


@pytest.fixture
def start(environ: dict[str, str], state_dir: Path, tmp_path: Path) -> Iterator[Start]:
    """Start `syncell` with these arguments, in the test's own folder, its three streams being pipes."""
    with contextlib.ExitStack() as cleanup:

        def start(
            *arguments: str,
            environ: Mapping[str, str] = environ,
            stdout: IO[bytes] | int = subprocess.PIPE,
            stderr: IO[bytes] | int = subprocess.PIPE,
            start_new_session: bool = False,
        ) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", "syncell", *arguments],
                cwd=tmp_path,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                start_new_session=start_new_session,
            )
            cleanup.callback(end, process)
            return process

        yield start
    assert workers(state_dir) == {}
    assert list(state_dir.glob("cells/*")) == []


@pytest.fixture
def syncell(start: Start) -> Run:
    """Run `syncell` to its end."""

    def run(*arguments: str, typed: str = "", **rest: Any) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **rest)
        output, errors = process.communicate(typed.encode(), timeout=COMMAND_SECONDS)
        # A stream that leads elsewhere is not read here.
        return subprocess.CompletedProcess(
            process.args, process.returncode, (output or b"").decode(), (errors or b"").decode()
        )

    return run


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal of 80 columns: (its own end, the program's)."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    yield ours, theirs
    for descriptor in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(descriptor)
