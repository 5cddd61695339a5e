"""What the attacks are aimed at: files that nobody granted, a neighbour of the same user, servers on this machine.

Attacks run on one opened syncer for each kind of sandbox, since each is made in a child of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syncell import Policy, Runner, Syncer

ATTACKER = Path(__file__).parent / "attacker"
Attempt = Callable[[str], dict[str, str]]


@pytest.fixture(scope="module")
def hostile_runner(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(state_dir=tmp_path_factory.mktemp("state"), cache_dir=cache_dir) as runner:
        yield runner


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since some attempts are made on it."""
    return shutil.copytree(
        ATTACKER, tmp_path_factory.mktemp("code") / "attacker", ignore=shutil.ignore_patterns("__pycache__")
    )


@pytest.fixture(scope="module")
def world(
    hostile_runner: Runner, attacker: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Where everything is, told to the attacker as an option."""
    root = tmp_path_factory.mktemp("world")
    granted, outside = root / "granted", root / "outside"
    for folder in (granted, outside):
        folder.mkdir()
    (outside / "secret").write_text("hunter2")
    for name in ("victim", "disposable"):
        (outside / name).touch()
    (granted / "others").write_text("kept from all")
    (granted / "others").chmod(0)
    if os.geteuid() == 0:
        os.chown(granted / "others", 12345, 12345)
    with hostile_runner.open(attacker, {"world": {}}) as acme, contextlib.ExitStack() as stack:
        environment = acme.environment
        kit = hostile_runner.environments.kit(environment.interpreter)
        neighbour = stack.enter_context(_neighbour())
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for kind, address in (
            (socket.SOCK_STREAM, str(root / "stream")),
            (socket.SOCK_DGRAM, str(root / "datagram")),
            (socket.SOCK_STREAM, f"\0syncell-{os.getpid()}"),
        ):
            unix = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            unix.bind(address)
            if kind == socket.SOCK_STREAM:
                unix.listen(64)
        yield {
            "host": os.getpid(),
            "neighbour": neighbour,
            "outside": str(outside),
            "granted": str(granted),
            "environment": str(environment.site_packages),
            "kit": str(kit),
            "cache": str(cache_dir),
            "own_code": str(attacker),
            "port": server.getsockname()[1],
            "unix_path": str(root / "stream"),
            "unix_datagram": str(root / "datagram"),
            "unix_abstract": f"@syncell-{os.getpid()}",
        }


@contextlib.contextmanager
def _neighbour() -> Iterator[int]:
    """A process of the same user, in a session of its own, as another tenant's cell would be."""
    started = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with started:
        assert started.stdout is not None
        assert started.stdin is not None
        started.stdout.readline()
        yield started.pid
        started.stdin.close()


def _attempts(syncer: Syncer) -> Attempt:
    def attempt(name: str) -> dict[str, str]:
        (said,) = syncer.load(name)
        return said

    return attempt


def _opened(runner: Runner, attacker: Path, world: dict[str, Any], **policy: Any) -> Syncer:
    granted = [world["granted"]]
    return runner.open(attacker, {"world": world}, policy=Policy(read=granted, write=granted, **policy))


@pytest.fixture(scope="module")
def unconfined(hostile_runner: Runner, attacker: Path, world: dict[str, Any]) -> Iterator[Attempt]:
    with _opened(hostile_runner, attacker, world, sandbox="off") as syncer:
        yield _attempts(syncer)


@pytest.fixture(scope="module")
def confined(hostile_runner: Runner, attacker: Path, world: dict[str, Any]) -> Iterator[Attempt]:
    with _opened(hostile_runner, attacker, world) as syncer:
        yield _attempts(syncer)


@pytest.fixture(scope="module")
def confined_with_programs(hostile_runner: Runner, attacker: Path, world: dict[str, Any]) -> Iterator[Attempt]:
    with _opened(hostile_runner, attacker, world, subprocess=True) as syncer:
        yield _attempts(syncer)
