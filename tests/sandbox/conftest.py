"""A syncer that runs what a test sends it, and servers on loopback for it to reach, or not to."""

from __future__ import annotations

import contextlib
import selectors
import socket
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeSyncer
from syncell import Policy, Runner, Syncer

PROBE = """
    class Acme:
        name = "acme"

        def load(self, code):
            found = {}
            exec(code, found)
            return [{"result": found.get("result")}]

        def dump(self, identifier, *, data):
            pass
"""


# What code of the probe may begin with: it says something to a server, or which error an attempt ends with.
SAY = """
    import socket

    def say(host, port, **how):
        with socket.create_connection((host, port), **how) as connection:
            connection.sendall(b"hello")
            return connection.recv(5)
"""
REFUSAL = """
    def refusal(attack):
        try:
            attack()
        except OSError as error:
            import errno
            return errno.errorcode.get(error.errno, error.errno)
        return None
"""


@pytest.fixture
def probe(make_syncer: MakeSyncer) -> Path:
    """A syncer whose `load` runs the code that is its identifier, and gives what that calls `result`."""
    return make_syncer(PROBE)


Open = Callable[..., Syncer]


def run(syncer: Syncer, code: str, **names: object) -> Any:
    """Run code in a cell, with these names set; what it calls `result`."""
    given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    return syncer.load(given + textwrap.dedent(code))[0]["result"]


@pytest.fixture
def opened(runner: Runner, probe: Path) -> Iterator[Open]:
    """Open the probe so that it may connect to these places."""
    with contextlib.ExitStack() as opened:
        yield lambda *connect, **policy: opened.enter_context(
            runner.open(probe, policy=Policy(connect=connect, **policy))
        )


class Echo:
    """Says back what it hears, on every address of the machine, in one thread: `port` is where, `heard` who called."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256)
        self.port: int = self._server.getsockname()[1]
        self._ended, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Hang up on everybody."""
        self._end.close()
        self._thread.join()
        self._ended.close()
        self._server.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for waited_for in (self._server, self._ended):
                selector.register(waited_for, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._ended:
                        for other in list(selector.get_map().values()):
                            if other.fileobj not in (self._server, self._ended):
                                other.fileobj.close()  # type: ignore[union-attr]
                        return
                    if key.fileobj is self._server:
                        connection, where = self._server.accept()
                        self.heard.append(where[0])
                        selector.register(connection, selectors.EVENT_READ)
                    else:
                        self._answer(selector, key.fileobj)  # type: ignore[arg-type]

    @staticmethod
    def _answer(selector: selectors.BaseSelector, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
            connection.sendall(data)
        except ConnectionError:
            data = b""
        if not data:
            selector.unregister(connection)
            connection.close()


@pytest.fixture
def echo(runner: Runner) -> Iterator[Echo]:
    """A server of streams. It stands within the life of the runner, which counts threads and descriptors."""
    with contextlib.closing(Echo()) as server:
        yield server


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
