"""Syncers that take more than they were given: each goes past its limit unwatched, and is ended when it is watched.

Every case runs twice in cells that differ in one limit only, so each shows that it can fail.
"""

from __future__ import annotations

import dataclasses
import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from conftest import MakeSyncer
from syncell import LimitExceeded, Limits, Policy, Runner

MIB = 1024**2
PATIENCE_SECONDS = 60.0
UNLIMITED = Limits(processes=None, disk=None, log=None, wall_seconds=120)

SOURCE = """
    import mmap, os, signal, sys, tempfile, threading, time

    MIB = 1024**2

    def fork(child, *arguments):
        pid = os.fork()
        if pid == 0:
            try:
                child(*arguments)
            finally:
                os._exit(0)
        return pid

    def touch(memory, size):
        for start in range(0, size, 4096):
            memory[start] = 1

    class Acme:
        name = "acme"

        def dump(self, identifier, *, data):
            pass

        def load(self, identifier):
            if identifier == "alive":
                return [{"alive": True}]
            go = threading.Event()
"""


@dataclasses.dataclass(frozen=True)
class Bomb:
    """What a syncer does, and the limit that it goes past. It returns what it took, once it has taken more.

    One that a jail would keep from its deed is `free`: it runs without a jail, under the warden alone.
    """

    limit: str
    allowed: int
    body: str
    free: bool = False


# Each ends with holding what it took for longer than the warden needs to see it.
BOMBS = {
    "anonymous memory": Bomb(
        "memory", 96 * MIB, "held = bytearray(b'x') * (200 * MIB)\ngo.wait(2)\nreturn [{'took': len(held)}]"
    ),
    "shared memory": Bomb(
        "memory",
        96 * MIB,
        "held = mmap.mmap(-1, 200 * MIB)\ntouch(held, 200 * MIB)\ngo.wait(2)\nreturn [{'took': len(held)}]",
    ),
    "a file of memory, written and never mapped": Bomb(
        "memory",
        96 * MIB,
        """
        file = os.memfd_create("bomb")
        for _ in range(200):
            os.write(file, b"x" * MIB)
        go.wait(2)
        return [{"took": os.fstat(file).st_size}]
        """,
    ),
    "memory split over children": Bomb(
        "memory",
        96 * MIB,
        """
        def hold():
            held = bytearray(b"x") * (40 * MIB)
            time.sleep(2)
        children = [fork(hold) for _ in range(5)]
        for child in children:
            os.waitpid(child, 0)
        return [{"took": 200 * MIB}]
        """,
    ),
    "memory in a child that leaves the session": Bomb(
        "memory",
        96 * MIB,
        """
        def hold():
            os.setsid()
            held = bytearray(b"x") * (200 * MIB)
            time.sleep(2)
        os.waitpid(fork(hold), 0)
        return [{"took": 200 * MIB}]
        """,
        free=True,
    ),
    "memory in a process that cannot be looked at": Bomb(
        "memory",
        96 * MIB,
        """
        import ctypes
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        file = os.memfd_create("bomb")
        for _ in range(200):
            os.write(file, b"x" * MIB)
        go.wait(2)
        return [{"took": os.fstat(file).st_size}]
        """,
    ),
    "processor time split over children": Bomb(
        "cpu_seconds",
        2,
        """
        def spin():
            end = time.process_time() + 0.5
            while time.process_time() < end:
                pass
        for _ in range(6):
            os.waitpid(fork(spin), 0)
        return [{"took": 3}]
        """,
    ),
    "processor time of children that nobody waits for": Bomb(
        "cpu_seconds",
        2,
        """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        def spin():
            end = time.process_time() + 0.5
            while time.process_time() < end:
                pass
        for _ in range(7):
            fork(spin)
            try:
                os.wait()
            except ChildProcessError:
                pass
        return [{"took": 3}]
        """,
    ),
    "processes": Bomb(
        "processes",
        20,
        """
        children = [fork(time.sleep, 3) for _ in range(40)]
        for child in children:
            os.waitpid(child, 0)
        return [{"took": len(children)}]
        """,
    ),
    "threads": Bomb(
        "processes",
        20,
        """
        threads = [threading.Thread(target=go.wait, args=(3,)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [{"took": len(threads)}]
        """,
    ),
    "disk": Bomb(
        "disk",
        20 * MIB,
        """
        with tempfile.NamedTemporaryFile() as file:
            for _ in range(50):
                file.write(b"x" * MIB)
            file.flush()
            go.wait(3)
        return [{"took": 50 * MIB}]
        """,
    ),
    "disk by deleted files that are still open": Bomb(
        "disk",
        20 * MIB,
        """
        files = [tempfile.TemporaryFile() for _ in range(10)]
        for file in files:
            file.write(b"x" * (5 * MIB))
            file.flush()
        go.wait(3)
        return [{"took": 50 * MIB}]
        """,
    ),
    "disk by empty files": Bomb(
        "disk",
        MIB,
        """
        folder = tempfile.mkdtemp()
        for number in range(3000):
            open(os.path.join(folder, str(number)), "w").close()
        go.wait(3)
        return [{"took": 3000 * 1024}]
        """,
    ),
    "disk in folders nested too deep to be counted": Bomb(
        "disk",
        20 * MIB,
        """
        os.chdir(tempfile.mkdtemp())
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
        with open("big", "wb") as file:
            file.write(b"x" * (50 * MIB))
        go.wait(3)
        return [{"took": 50 * MIB}]
        """,
    ),
    "rows": Bomb("rows", 1500, "return ({'took': number} for number in range(1501, 6000))"),
    "bytes of rows": Bomb("row_bytes", 2 * MIB, "return ({'took': 3 * MIB, 'x': 'x' * 1000} for _ in range(5000))"),
    "logs": Bomb(
        "log", 5 * MIB, "for _ in range(100):\n    os.write(2, b'x' * 102400)\nreturn [{'took': 100 * 102400}]"
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_goes_past_its_limit_and_is_ended_by_it(runner: Runner, make_syncer: MakeSyncer, name: str) -> None:
    bomb = BOMBS[name]
    if name.endswith("cannot be looked at") and os.geteuid() == 0:
        pytest.skip("the superuser looks at every process")
    body = textwrap.indent(textwrap.dedent(bomb.body).strip(), " " * 12)
    folder = make_syncer(f"{SOURCE}\n{body}\n")
    sandbox: Literal["required", "off"] = "off" if bomb.free else "required"
    with runner.open(folder, policy=Policy(limits=UNLIMITED, sandbox=sandbox)) as acme:
        assert acme.load("orders")[0]["took"] > bomb.allowed
    limited = Policy(limits=dataclasses.replace(UNLIMITED, **{bomb.limit: bomb.allowed}), sandbox=sandbox)
    with runner.open(folder, policy=Policy(limits=UNLIMITED)) as other:
        with runner.open(folder, policy=limited) as acme, pytest.raises(LimitExceeded) as caught:
            acme.load("orders")
        assert (caught.value.limit, caught.value.allowed) == (bomb.limit, bomb.allowed)
        assert caught.value.reached >= bomb.allowed
        assert other.load("alive") == [{"alive": True}]
    with runner.open(folder, policy=limited) as again:
        assert again.load("alive") == [{"alive": True}]


FORK_BOMB = """
    import os

    class Acme:
        name = "acme"

        def load(self, identifier):
            while True:
                try:
                    os.fork()
                except OSError:
                    pass

        def dump(self, identifier, *, data):
            pass
"""


def test_a_fork_bomb_is_ended_whole(runner: Runner, make_syncer: MakeSyncer) -> None:
    """That it goes past the limit without one is left to reason: nothing on the machine would survive the proof."""
    with runner.open(make_syncer(FORK_BOMB), policy=Policy(limits=Limits(processes=32))) as acme:
        session = acme.cell.pid
        with pytest.raises(LimitExceeded, match="processes"):
            acme.load("orders")
    wait_until(lambda: processes_of(session) == [])


def wait_until(holds: Callable[[], bool]) -> None:
    """Give the kernel time for what it was told: a process that was killed is gone a moment later."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def processes_of(session: int) -> list[str]:
    """The processes of a session that are not gone."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(stat.parent.name)
    return found
