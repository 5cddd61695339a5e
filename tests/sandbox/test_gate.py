"""The egress gate: a cell connects to where it was allowed, by any means, as if there were no gate."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeSyncer
from sandbox.conftest import PROBE, REFUSAL, SAY, Echo, Open, run
from syncell import AccessDenied, Policy, Runner
from syncell.sandbox import names, notification


@pytest.fixture(params=["taken", "replaced"])
def sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to a cell's socket: to take it out of the cell, or, where that is not allowed, to put another there."""

    def forbidden(pid: int, descriptor: int) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "replaced":  # what a container's own filter answers; nothing else of it is needed here
        monkeypatch.setattr(notification, "take_descriptor", forbidden)
    return str(request.param)


@pytest.mark.usefixtures("sockets")
class TestAllowed:
    """What is allowed works as it would without a gate."""

    @pytest.mark.parametrize("how", [{}, {"timeout": 5}])
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_a_plain_socket(self, opened: Open, echo: Echo, host: str, how: dict[str, int]) -> None:
        syncer = opened(f"{host}:{echo.port}")
        assert (
            run(syncer, SAY + "\n    result = say(host, port, **how)", host=host, port=echo.port, how=how) == b"hello"
        )
        assert "gate" in syncer.jail

    def test_ipv6_and_ipv4_written_as_ipv6(self, opened: Open, echo: Echo) -> None:
        syncer = opened(f"[::1]:{echo.port}", f"127.0.0.1:{echo.port}")
        for host in ("::1", "::ffff:127.0.0.1"):
            assert run(syncer, SAY + "\n    result = say(host, port)", host=host, port=echo.port) == b"hello"

    def test_a_blocking_socket_still_blocks_and_a_non_blocking_one_does_not(self, opened: Open, echo: Echo) -> None:
        code = """
            import fcntl, os, select, socket
            def flags(s):
                return bool(fcntl.fcntl(s, fcntl.F_GETFL) & os.O_NONBLOCK), os.get_inheritable(s.fileno())
            with socket.socket() as a, socket.socket() as b:
                a.connect(("127.0.0.1", port))
                b.setblocking(False)
                b.set_inheritable(True)
                code = b.connect_ex(("127.0.0.1", port))
                select.select([], [b], [], 5)
                error = b.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                result = [flags(a), flags(b), code, error, b.getpeername()[1]]
        """
        blocking, other, code, error, peer = run(opened(f"127.0.0.1:{echo.port}"), code, port=echo.port)
        assert (blocking, other) == ([False, False], [True, True])
        assert code in (0, errno.EINPROGRESS)
        assert (error, peer) == (0, echo.port)

    def test_asyncio_many_at_once(self, opened: Open, echo: Echo) -> None:
        code = """
            import asyncio
            async def say(number):
                reader, writer = await asyncio.open_connection("localhost", port)
                writer.write(b"%05d" % number)
                said = await reader.readexactly(5)
                writer.close()
                return int(said)
            async def all():
                return await asyncio.gather(*map(say, range(200)))
            result = asyncio.run(all()) == list(range(200))
        """
        assert run(opened(f"localhost:{echo.port}"), code, port=echo.port) is True

    def test_threads_many_at_once(self, opened: Open, echo: Echo) -> None:
        code = (
            SAY
            + """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(32) as pool:
        result = list(pool.map(lambda _: say("localhost", port), range(200))) == [b"hello"] * 200
"""
        )
        assert run(opened(f"localhost:{echo.port}"), code, port=echo.port) is True

    def test_a_process_that_the_cell_forked(self, opened: Open, echo: Echo) -> None:
        code = (
            SAY
            + """
    import os
    pid = os.fork()
    if not pid:
        os._exit(say("localhost", port) == b"hello")
    result = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
        )
        assert run(opened(f"localhost:{echo.port}"), code, port=echo.port) == 1

    def test_a_unix_socket_that_was_granted(self, opened: Open, tmp_path: Path) -> None:
        path = f"{tmp_path}/granted"
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as abstract:
            server.bind(path)
            abstract.bind(b"\0syncell-test-" + tmp_path.name.encode())
            for listening, place in ((server, path), (abstract, f"\0syncell-test-{tmp_path.name}")):
                listening.listen()
                syncer = opened("unix:" + place.replace("\0", "@"))
                code = "import socket; s = socket.socket(socket.AF_UNIX); s.connect(place); s.sendall(b'hello')"
                run(syncer, code, place=place)
                with listening.accept()[0] as connection:
                    assert connection.recv(5) == b"hello"


@pytest.mark.usefixtures("sockets")
def test_what_keeps_a_connection_from_coming_about_is_told_as_it_is(
    opened: Open, closed_port: int, tmp_path: Path
) -> None:
    unreachable = "255.255.255.255"  # the kernel refuses a stream to everybody by itself, wherever this runs
    syncer = opened(f"localhost:{closed_port}", f"{unreachable}:1", f"unix:{tmp_path}/nothing")
    code = REFUSAL + "\n    import socket\n    result = refusal(lambda: socket.create_connection((host, port)))"
    assert run(syncer, code, host="localhost", port=closed_port) == "ECONNREFUSED"
    assert run(syncer, code, host=unreachable, port=1) == "ENETUNREACH"
    code = REFUSAL + "\n    import socket\n    result = refusal(lambda: socket.socket(socket.AF_UNIX).connect(path))"
    assert run(syncer, code, path=f"{tmp_path}/nothing") == "ENOENT"


@pytest.fixture
def full() -> Iterator[int]:
    """A port whose server never takes what comes: once its queue is full, a connection takes for ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for connection in waiting:
            connection.close()


@pytest.mark.usefixtures("sockets")
def test_connections_that_take_for_ever_hold_up_nobody(opened: Open, echo: Echo, full: int) -> None:
    slow, other = opened(f"127.0.0.1:{full}", f"127.0.0.1:{echo.port}"), opened(f"127.0.0.1:{echo.port}")
    code = (
        SAY
        + """
    import threading
    def wait():
        with socket.socket() as s:
            s.connect(("127.0.0.1", full))
    for _ in range(50):
        threading.Thread(target=wait, daemon=True).start()
    result = say("127.0.0.1", port)
"""
    )
    assert run(slow, code, full=full, port=echo.port) == b"hello"
    assert run(other, SAY + "\n    result = say('127.0.0.1', port)", port=echo.port) == b"hello"


def test_a_socket_waits_for_a_connection_as_long_as_it_was_told_to(opened: Open, full: int) -> None:
    code = """
        import socket, struct
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 200_000))
            result = s.connect_ex(("127.0.0.1", full))
    """
    assert run(opened(f"127.0.0.1:{full}"), code, full=full) == run(opened(sandbox="off"), code, full=full)


class TestNames:
    """Names are answered by the gate: those that are allowed, by the host's resolver."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What the host's resolver was asked. It is a table here: a test cannot put names into the machine's own."""
        asked: list[str] = []

        def look_up(name: str) -> names.Answer:
            asked.append(name)
            return table.get(name, names.Answer())

        table = {name: names.Answer((ipaddress.ip_address(where),)) for name, where in HOSTS.items()}
        monkeypatch.setattr(names, "look_up", look_up)
        return asked

    def test_an_allowed_name_is_answered_and_no_other_is_asked_of_anybody(self, opened: Open, asked: list[str]) -> None:
        syncer = opened("db.acme.test:5432", "*.eu.acme.test:443")
        code = """
            import socket
            def addresses(name):
                try:
                    return sorted({found[4][0] for found in socket.getaddrinfo(name, 1)})
                except socket.gaierror as error:
                    return error.errno == socket.EAI_NONAME
            result = [addresses(name) for name in given]
        """
        given = [
            "db.acme.test",
            "DB.Acme.TEST.",
            "a.eu.acme.test",
            "eu.acme.test",
            "secret.evil.test",
            "db.acme.test.evil.test",
        ]
        found = run(syncer, code, given=given)
        assert found == [["203.0.113.7"], ["203.0.113.7"], ["203.0.113.8"], True, True, True]
        assert sorted(asked) == ["a.eu.acme.test", "db.acme.test"]

    def test_a_name_is_no_way_to_this_machine(self, opened: Open, asked: list[str], echo: Echo) -> None:
        code = SAY + "\n    result = say('loop.acme.test', port)"
        with pytest.raises(AccessDenied) as raised:
            run(opened(f"*.acme.test:{echo.port}"), code, port=echo.port)
        assert raised.value.what == f"loop.acme.test:{echo.port}, which leads to 127.0.0.1"
        assert raised.value.allow == f"Policy(connect=['127.0.0.1:{echo.port}'])"
        assert not echo.heard
        both = opened(f"*.acme.test:{echo.port}", f"127.0.0.1:{echo.port}")
        assert run(both, code, port=echo.port) == b"hello"

    def test_an_address_counts_for_the_name_that_led_to_it(
        self, opened: Open, asked: list[str], echo: Echo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = _own_address()
        monkeypatch.setitem(HOSTS, "own.acme.test", own)
        monkeypatch.setattr(names, "look_up", lambda name: names.Answer((ipaddress.ip_address(HOSTS[name]),)))
        say = SAY + "\n    result = say(host, port)"
        by_name = opened(f"own.acme.test:{echo.port}")
        assert run(by_name, say, host="own.acme.test", port=echo.port) == b"hello"
        assert run(opened(f"own.acme.test:{echo.port}"), say, host=own, port=echo.port) == b"hello"  # asked by the gate
        wild = opened(f"*.acme.test:{echo.port}")
        with pytest.raises(AccessDenied, match=own):
            run(wild, say, host=own, port=echo.port)
        assert run(wild, say, host="own.acme.test", port=echo.port) == b"hello"
        assert run(wild, say, host=own, port=echo.port) == b"hello"
        # Its answers have expired, and the name leads elsewhere now.
        monkeypatch.setattr(names, "ADDRESS_SECONDS", 0)
        monkeypatch.setattr(names, "ANSWER_SECONDS", 0)
        late = opened(f"own.acme.test:{echo.port}")
        monkeypatch.setitem(HOSTS, "own.acme.test", "203.0.113.9")
        with pytest.raises(AccessDenied):
            run(late, say, host=own, port=echo.port)

    def test_garbage_for_the_name_server_harms_nobody(self, opened: Open, asked: list[str]) -> None:
        syncer = opened("db.acme.test:5432")
        code = """
            import os, socket
            for data in (b"", b"\\0\\5hello", b"\\xff\\xff", b"\\0\\x0c" + bytes(12), os.urandom(5000)):
                with socket.create_connection(("203.0.113.53", 53)) as s:
                    s.settimeout(5)
                    try:
                        s.sendall(data)
                        s.shutdown(socket.SHUT_WR)
                        while s.recv(100):
                            pass
                    except ConnectionError:
                        pass
            kept = []
            try:
                while len(kept) < 1000:
                    kept.append(socket.create_connection(("203.0.113.53", 53)))
            except ConnectionRefusedError:
                pass
            result = len(kept)
            kept.clear()
        """
        assert run(syncer, code) <= 64
        assert run(syncer, "import socket; result = socket.gethostbyname('db.acme.test')") == "203.0.113.7"


HOSTS = {
    "db.acme.test": "203.0.113.7",
    "a.eu.acme.test": "203.0.113.8",
    "loop.acme.test": "127.0.0.1",
}


def _own_address() -> str:
    """An address of this machine that is not loopback's: the only other place where a test's server can be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback's")
        return str(probe.getsockname()[0])


def test_an_option_grants_the_host_that_it_names(runner: Runner, make_syncer: MakeSyncer, echo: Echo) -> None:
    source = PROBE.replace(
        'name = "acme"', 'name = "acme"\n\n        def __init__(self, host, port):\n            pass'
    )
    folder = make_syncer(source, permissions={"connect": ["{host}:{port:5432}"]})
    with runner.open(folder, {"host": "localhost", "port": echo.port}) as syncer:
        assert syncer.grants.connect == (f"localhost:{echo.port}",)
        assert run(syncer, SAY + "\n    result = say('localhost', port)", port=echo.port) == b"hello"


def test_the_gate_ends_with_its_runner_and_starts_again(runner: Runner, probe: Path, echo: Echo) -> None:
    for _ in range(2):
        with runner.open(probe, policy=Policy(connect=[f"localhost:{echo.port}"])) as syncer:
            assert run(syncer, SAY + "\n    result = say('localhost', port)", port=echo.port) == b"hello"
            assert "syncell-gate" in [thread.name for thread in threading.enumerate()]
        runner.close()
        assert "syncell-gate" not in [thread.name for thread in threading.enumerate()]


def test_a_cell_that_dies_while_it_connects_leaves_nothing(runner: Runner, probe: Path, full: int) -> None:
    with runner.open(probe, policy=Policy(connect=[f"127.0.0.1:{full}"])) as syncer:
        code = """
            import os, socket, threading, time
            def wait():
                socket.socket().connect(("127.0.0.1", full))
            for _ in range(10):
                threading.Thread(target=wait, daemon=True).start()
            time.sleep(0.2)
            os.kill(os.getpid(), 9)
        """
        with pytest.raises(Exception, match="SIGKILL"):
            run(syncer, code, full=full)
