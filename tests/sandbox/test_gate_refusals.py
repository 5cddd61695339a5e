"""What the egress gate refuses: attacks, each of which succeeds without it; and how a refusal is told."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.conftest import REFUSAL, SAY, Echo, Open, run
from syncell import AccessDenied, Policy, Runner, SyncerError

ATTACKS = {
    "another port": ("socket.create_connection(('127.0.0.1', port)).sendall(b'x')", "EACCES"),
    "IPv6": ("socket.create_connection(('::1', port))", "EACCES"),
    "IPv4 written as IPv6": ("socket.create_connection(('::ffff:127.0.0.1', port))", "EACCES"),
    "the unspecified address": ("socket.create_connection(('0.0.0.0', port))", "EACCES"),
    "another thread": ("in_thread(lambda: socket.create_connection(('127.0.0.1', port)))", "EACCES"),
    "a port to listen on": ("socket.socket().bind(('127.0.0.1', 47811))", "EACCES"),
    "to listen": ("socket.socket().listen()", "EACCES"),
    "UDP": ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))", "ESOCKTNOSUPPORT"),
    "UDP over IPv6": (
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', port))", "ESOCKTNOSUPPORT"
    ),
    "fast-open": ("socket.socket().sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', port))", "ENOTSUP"),
    "fast-open by message": (
        "socket.socket().sendmsg([b'x'], [], socket.MSG_FASTOPEN, ('127.0.0.1', port))", "ENOTSUP"
    ),
    "fast-open by option": ("socket.socket().setsockopt(6, 30, 1)", "ENOPROTOOPT"),
    "a source route": ("socket.socket().setsockopt(0, 4, bytes([131, 7, 4, 10, 0, 0, 1, 0]))", "ENOPROTOOPT"),
    "a routing header": ("socket.socket(socket.AF_INET6).setsockopt(41, 57, bytes(8))", "ENOPROTOOPT"),
    "another interface": ("socket.socket().setsockopt(1, 25, b'lo')", "ENOPROTOOPT"),
    "netlink": ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).bind((0, 0))", "ESOCKTNOSUPPORT"),
    "vsock": ("socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", "ESOCKTNOSUPPORT"),
    "MPTCP": ("socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)", "EPROTONOSUPPORT"),
    "an algorithm": ("socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)", "ESOCKTNOSUPPORT"),
    "a pair of datagrams": (
        "[end.fileno() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)]", "ESOCKTNOSUPPORT"
    ),
    "a unix socket": ("socket.socket(socket.AF_UNIX).connect(path)", "EACCES"),
    "a unix socket by a relative path": (
        "(os.chdir(os.path.dirname(path)), socket.socket(socket.AF_UNIX).connect(os.path.basename(path)))", "EACCES"
    ),
    "an abstract socket": ("socket.socket(socket.AF_UNIX).connect(abstract)", "EACCES"),
    "io_uring": ("system_call(425, 4, ctypes.create_string_buffer(120))", "ENOSYS"),
}  # fmt: skip


@pytest.fixture
def places(echo: Echo, tmp_path: Path) -> Iterator[dict[str, object]]:
    """What the attacks reach for: a port, a unix socket, an abstract one."""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as abstract:
        server.bind(f"{tmp_path}/socket")
        name = f"\0syncell-attacked-{os.getpid()}"
        abstract.bind(name)
        server.listen()
        abstract.listen()
        yield {"port": echo.port, "path": f"{tmp_path}/socket", "abstract": name}


ATTACKING = (
    REFUSAL
    + """
    import ctypes, os, socket, threading
    def in_thread(attack):
        found = []
        thread = threading.Thread(target=lambda: found.append(refusal(attack)))
        thread.start()
        thread.join()
        if found[0]:
            raise OSError(getattr(errno, found[0]), "")
    def system_call(*numbers):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(*numbers) < 0:
            raise OSError(ctypes.get_errno(), "")
    import errno
"""
)

# What some machine may not have at all, so that the attack fails there without a gate as well.
_MAYBE_MISSING = {
    "fast-open",
    "fast-open by message",
    "vsock",
    "MPTCP",
    "io_uring",
    "another interface",
    "a routing header",
}
_MAYBE_MISSING |= {"an algorithm", "a source route"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_succeeds_without_the_gate_and_fails_with_it(
    opened: Open, places: dict[str, object], closed_port: int, attack: str
) -> None:
    code, refused = ATTACKS[attack]
    body = ATTACKING + f"\n    result = refusal(lambda: {code})"
    without = run(opened(sandbox="off"), body, **places)
    assert without is None or attack in _MAYBE_MISSING, without
    assert run(opened(f"localhost:{closed_port}"), body, **places) == refused


def test_an_address_changed_during_the_call_is_not_where_it_leads(runner: Runner, probe: Path, echo: Echo) -> None:
    """A second thread rewrites the address all the time; whatever the gate reads, it connects to what it decided on."""
    code = """
        import ctypes, socket, struct, threading
        libc = ctypes.CDLL(None, use_errno=True)
        data = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", good, bytes([127, 0, 0, 1]))
        address = ctypes.create_string_buffer(data)
        ports = [struct.pack(">H", port) for port in (good, bad)]
        stop = False
        def rewrite():
            while not stop:
                for port in ports:
                    ctypes.memmove(ctypes.addressof(address) + 2, port, 2)
        thread = threading.Thread(target=rewrite)
        thread.start()
        reached, refused = 0, 0
        for _ in range(1000):
            with socket.socket() as s:
                if libc.connect(s.fileno(), address, 16) == 0:
                    reached += s.getpeername()[1] == bad
                else:
                    refused += ctypes.get_errno() == 13
        stop = True
        thread.join()
        result = [reached, refused]
    """
    for policy, gets_there in ((Policy(sandbox="off"), True), (Policy(connect=[f"127.0.0.1:{echo.port}"]), False)):
        with contextlib.closing(Echo()) as forbidden, runner.open(probe, policy=policy) as syncer:
            reached, refused = run(syncer, code, good=echo.port, bad=forbidden.port)
            assert (bool(reached), bool(forbidden.heard), bool(refused)) == (gets_there, gets_there, not gets_there)


def test_a_link_in_the_place_of_a_granted_socket_is_not_followed(opened: Open, tmp_path: Path) -> None:
    code = REFUSAL + (
        "\n    import os, socket\n    os.path.lexists(granted) and os.unlink(granted); os.symlink(secret, granted)"
        "\n    result = refusal(lambda: socket.socket(socket.AF_UNIX).connect(granted))"
    )
    (folder := tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/secret")
        server.listen()
        names = {"secret": f"{tmp_path}/secret", "granted": f"{folder}/granted"}
        assert run(opened(sandbox="off"), code, **names) is None
        syncer = opened(f"unix:{folder}/granted", read=[folder], write=[folder])
        assert run(syncer, code, **names) == "ELOOP"


class TestDenials:
    """A refusal names what was refused and what would allow it."""

    def test_a_connection(self, opened: Open, echo: Echo, closed_port: int) -> None:
        syncer = opened(f"localhost:{closed_port}")
        for host, shown in (("localhost", "localhost"), ("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")):
            with pytest.raises(AccessDenied) as raised:
                run(syncer, SAY + "\n    result = say(host, port)", host=host, port=echo.port)
            place = f"{shown}:{echo.port}"
            assert raised.value.what == place
            assert str(raised.value) == (
                f"acme: the sandbox refused to connect to {place}; to allow it: Policy(connect=['{place}']) or "
                f"--allow-net {place}"
            )
            assert isinstance(raised.value.__cause__, SyncerError)
            assert raised.value.__cause__.attributes["errno"] == errno.EACCES

    def test_a_name(self, opened: Open) -> None:
        with pytest.raises(AccessDenied) as raised:
            run(opened("localhost:1"), "import socket; socket.create_connection(('api.acme.test', 443))")
        assert raised.value.what == "api.acme.test"
        assert raised.value.flag == "--allow-net api.acme.test:PORT"

    def test_a_unix_socket(self, opened: Open) -> None:
        with pytest.raises(AccessDenied, match=r"--allow-net unix:/run/docker\.sock"):
            run(opened("localhost:1"), "import socket; socket.socket(socket.AF_UNIX).connect('/run/docker.sock')")

    def test_the_place_that_an_error_names_is_told_whatever_was_refused_after_it(
        self, opened: Open, echo: Echo
    ) -> None:
        attempts = "\n    for host in ('localhost', '127.0.0.2'):\n        try:\n            say(host, port)"
        code = SAY + attempts + "\n        except OSError:\n            pass"
        with pytest.raises(AccessDenied, match=rf"--allow-net localhost:{echo.port}"):
            run(opened("localhost:1"), code + "\n    raise OSError(13, 'no way to localhost')", port=echo.port)
        with pytest.raises(AccessDenied, match=rf"--allow-net 127\.0\.0\.2:{echo.port}"):
            run(opened("localhost:1"), code + "\n    raise OSError(13, 'no way')", port=echo.port)

    def test_another_failure_after_a_refusal_is_told_as_itself(self, opened: Open, echo: Echo) -> None:
        attempt = "\n    try:\n        say('127.0.0.1', port)\n    except OSError:\n        pass"
        code = SAY + attempt + "\n    raise KeyError('other')"
        with pytest.raises(SyncerError, match="KeyError"):
            run(opened("localhost:1"), code, port=echo.port)
