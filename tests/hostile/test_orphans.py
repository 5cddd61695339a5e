"""Nothing that a cell starts outlives it."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeSyncer
from syncell import Limits, Policy, Runner

# Limits for which no warden is needed, which would otherwise know the orphan if it looked at the right moment.
UNWATCHED = Limits(processes=None, disk=None)

# Forks twice, so that nobody is its parent, and leaves session and group where it can.
ORPHAN = """
    import contextlib, os, pathlib, time

    class Acme:
        name = "acme"

        def __init__(self, mark: str):
            self.mark = mark

        def load(self, identifier):
            if os.fork():
                os.wait()
                while not pathlib.Path(self.mark).exists():
                    time.sleep(0.01)
                return []
            with contextlib.suppress(OSError):
                os.setsid()
            if os.fork():
                os._exit(0)
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            for fd in range(3, 1000):
                with contextlib.suppress(OSError):
                    os.close(fd)
            pathlib.Path(self.mark + "-writing").write_text(str(os.getpid()))
            pathlib.Path(self.mark + "-writing").rename(self.mark)
            time.sleep(600)

        def dump(self, identifier, *, data): ...
"""


def orphan(runner: Runner, folder: Path, mark: Path, **policy: Any) -> int:
    """A descriptor of the orphan that a cell left behind, which is closed by now."""
    with runner.open(
        folder, {"mark": str(mark)}, policy=Policy(write=[mark.parent], read=[mark.parent], **policy)
    ) as acme:
        acme.load("orders")
        return os.pidfd_open(int(mark.read_text()))


def ended(process: int, seconds: float) -> bool:
    return bool(select.select([process], [], [], seconds)[0])


@pytest.mark.parametrize("programs", [False, True])
def test_an_orphan_ends_with_its_cell(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, programs: bool) -> None:
    process = orphan(runner, make_syncer(ORPHAN), tmp_path / "mark", subprocess=programs)
    try:
        assert ended(process, 30), "it outlived its cell"
    finally:
        os.close(process)


def test_without_a_jail_an_orphan_would_live_on(runner: Runner, make_syncer: MakeSyncer, tmp_path: Path) -> None:
    """What the other test is about. It cannot be seen not to end; half a second is longer than a signal takes."""
    process = orphan(runner, make_syncer(ORPHAN), tmp_path / "mark", sandbox="off", limits=UNWATCHED)
    try:
        assert not ended(process, 0.5)
    finally:
        os.kill(int((tmp_path / "mark").read_text()), 9)
        assert ended(process, 30)
        os.close(process)
