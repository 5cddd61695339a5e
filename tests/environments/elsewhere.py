"""A second process that leases environments, so that a test can end it or keep it waiting half way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_OPENER = """
import sys
from pathlib import Path
from syncell.environments import EnvironmentStore, Recipe
from syncell.manifest import Requirement

cache, pause, *requirements = sys.argv[1:]

def progress(line):
    print(line, flush=True)
    if pause and pause in line:
        sys.stdin.readline()

recipe = Recipe(requirements=tuple(map(Requirement, requirements)))
with EnvironmentStore(Path(cache)).acquire(recipe, syncer="acme", progress=progress) as lease:
    print("leased", lease.environment.key, flush=True)
    sys.stdin.readline()
"""


class Opener:
    """Another process that leases an environment: it prints its progress, and waits for a line when told to pause."""

    def __init__(self, cache: Path, *requirements: str, pause: str = "", wrapper: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-c", _OPENER, str(cache), pause, *requirements],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def wait_for(self, part: str) -> list[str]:
        """Read what it prints up to the line that holds `part`; all of it."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.strip())
            if part in line:
                return lines
        assert self.process.stderr is not None
        raise AssertionError(f"{part!r} was not printed: {lines}\n{self.process.stderr.read()}")

    def go_on(self) -> None:
        """Let it go on from where it pauses."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, signal: int | None = None) -> tuple[int, str, str]:
        """Wait for its end, after a signal if one is given: its exit code, the rest of stdout, and stderr."""
        if signal is not None:
            self.process.send_signal(signal)
        output, error = self.process.communicate(timeout=60)
        return self.process.returncode, output, error
