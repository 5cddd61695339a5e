"""A denial says what was refused, and what would allow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import MakeSyncer
from syncell import AccessDenied, Policy, Runner, SyncerError

CURIOUS = """
    import ctypes, errno, os, socket, socketserver, subprocess, urllib.request

    class Acme:
        name = "acme"

        def load(self, identifier):
            return getattr(self, identifier)()

        def run(self):
            subprocess.run(["/bin/ls"])

        def run_by_shell(self):
            os.popen("ls")

        def spawn(self):
            os.posix_spawn("/bin/ls", ["ls"], {})

        def spawn_by_name(self):
            os.posix_spawnp("ls", ["ls"], {})

        def become(self):
            os.execv("/bin/ls", ["ls"])

        def become_with_environment(self):
            os.execve("/bin/ls", ["ls"], {})

        def become_by_name(self):
            os.execvp("ls", ["ls"])

        def become_by_list(self):
            os.execlp("ls", "ls")

        def udp(self):
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        def udp_over_ipv6(self):
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

        def raw(self):
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

        def mptcp(self):
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)

        def sctp(self):
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)

        def datagrams(self):
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

        def netlink(self):
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)

        def packet(self):
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW)

        def vsock(self):
            socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)

        def crypto(self):
            socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)

        def pair(self):
            socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

        def interfaces(self):
            socket.if_nameindex()

        def udp_wrapped(self):
            try:
                self.udp()
            except OSError as error:
                raise RuntimeError("cannot ask") from error

        def udp_by_a_driver(self):
            library = ctypes.CDLL(None, use_errno=True)
            assert library.socket(socket.AF_INET, socket.SOCK_DGRAM, 0) == -1
            raise RuntimeError("driver: " + os.strerror(ctypes.get_errno()))

        def tcp_by_a_driver(self):
            library = ctypes.CDLL(None, use_errno=True)
            assert library.socket(socket.AF_INET, socket.SOCK_STREAM, 0) == -1
            raise RuntimeError("cannot connect to db: " + os.strerror(ctypes.get_errno()))

        def name_by_a_driver(self):
            try:
                self.look_up()
            except OSError as error:
                said = str(error)
            raise RuntimeError("driver: " + said)

        def file_by_a_driver(self):
            raise RuntimeError("cannot open /srv/connect.db: " + os.strerror(errno.EACCES))

        def named_file_by_a_driver(self):
            raise RuntimeError("cannot open 'socket.db': " + os.strerror(errno.EACCES))

        def listen(self):
            socket.socket().listen()

        def serve(self):
            socketserver.TCPServer(("127.0.0.1", 47811), None)

        def serve_anywhere(self):
            socket.create_server(("127.0.0.1", 0))

        def udp_and_then_another_thing(self):
            try:
                self.udp()
            except OSError:
                pass
            raise KeyError("other")

        def connect(self):
            socket.create_connection(("127.0.0.1", 9), 5)

        def look_up(self):
            socket.getaddrinfo("db.example.com", 5432)

        def fetch(self):
            urllib.request.urlopen("http://example.com")

        def wrapped(self):
            try:
                self.fetch()
            except OSError as error:
                raise RuntimeError("cannot fetch") from error

        def own(self):
            raise PermissionError("not you")

        def dump(self, identifier, *, data): ...
"""


NO_NETWORK = Policy()
SOME_NETWORK = Policy(connect=["192.0.2.1:9"])


def denial(runner: Runner, folder: Path, attempt: str, policy: Policy) -> AccessDenied:
    with runner.open(folder, policy=policy) as acme, pytest.raises(AccessDenied) as caught:
        acme.load(attempt)
    assert isinstance(caught.value.__cause__, SyncerError)
    return caught.value


@pytest.mark.parametrize(
    "attempt",
    [
        *("run", "run_by_shell", "spawn", "spawn_by_name"),
        *("become", "become_with_environment", "become_by_name", "become_by_list"),
    ],
)
def test_a_program_that_was_refused_is_told_as_one(runner: Runner, make_syncer: MakeSyncer, attempt: str) -> None:
    denied = denial(runner, make_syncer(CURIOUS), attempt, NO_NETWORK)
    assert denied.what == "programs"
    assert denied.flag == "--allow-subprocess"


@pytest.mark.parametrize(
    "attempt", ["connect", "look_up", "fetch", "wrapped", "listen", "serve", "tcp_by_a_driver", "name_by_a_driver"]
)
def test_without_a_network_a_denial_names_what_would_allow_to_connect(
    runner: Runner, make_syncer: MakeSyncer, attempt: str
) -> None:
    denied = denial(runner, make_syncer(CURIOUS), attempt, NO_NETWORK)
    assert denied.what == "the network"
    assert denied.flag == "--allow-net HOST:PORT"


KINDS = {
    "udp": "a UDP socket",
    "udp_over_ipv6": "a UDP socket",
    "udp_wrapped": "a UDP socket",
    "raw": "a raw socket",
    "mptcp": "an MPTCP socket",
    "sctp": "an SCTP socket",
    "datagrams": "a unix socket of datagrams",
    "netlink": "a netlink socket",
    "packet": "a packet socket",
    "vsock": "a vsock socket",
    "crypto": "a socket of another kind than TCP",
    "pair": "a socket of another kind than TCP",
    "interfaces": "a socket of another kind than TCP",
    "udp_by_a_driver": "a socket of another kind than TCP",
}


@pytest.mark.parametrize("attempt", KINDS)
def test_a_kind_of_socket_that_no_policy_allows_is_named(runner: Runner, make_syncer: MakeSyncer, attempt: str) -> None:
    folder = make_syncer(CURIOUS)
    denied = denial(runner, folder, attempt, SOME_NETWORK)
    assert (denied.what, denied.allow, denied.flag) == (KINDS[attempt], "", "")
    assert str(denied) == (
        f"acme: the sandbox refused to make {KINDS[attempt]}; no policy allows it: connect by TCP, and have names "
        "looked up by the system's resolver"
    )
    denied = denial(runner, folder, attempt, NO_NETWORK)
    assert (denied.what, denied.flag) == (KINDS[attempt], "--allow-net HOST:PORT")
    assert str(denied).endswith(', both of which need Policy(connect=["HOST:PORT"]) or --allow-net HOST:PORT')


@pytest.mark.parametrize(
    ("attempt", "what"), [("listen", "a port"), ("serve", "port 47811"), ("serve_anywhere", "a port")]
)
def test_to_listen_is_refused_by_name(runner: Runner, make_syncer: MakeSyncer, attempt: str, what: str) -> None:
    denied = denial(runner, make_syncer(CURIOUS), attempt, SOME_NETWORK)
    assert (denied.what, denied.allow, denied.flag) == (what, "", "")
    assert str(denied) == (
        f"acme: the sandbox refused to listen on {what}; no policy allows it: a syncer connects to others, from a "
        "port of the system's choice (0)"
    )


@pytest.mark.parametrize("attempt", ["own", "file_by_a_driver", "named_file_by_a_driver", "udp_and_then_another_thing"])
@pytest.mark.parametrize("policy", [NO_NETWORK, SOME_NETWORK], ids=["no network", "some network"])
def test_what_is_no_refusal_of_the_network_is_not_told_as_one(
    runner: Runner, make_syncer: MakeSyncer, attempt: str, policy: Policy
) -> None:
    with runner.open(make_syncer(CURIOUS), policy=policy) as acme, pytest.raises(SyncerError):
        acme.load(attempt)


def test_errors_of_the_syncers_own_are_left_alone(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(CURIOUS)
    with runner.open(folder) as acme, pytest.raises(SyncerError, match="not you"):
        acme.load("own")
    with runner.open(folder, policy=Policy(sandbox="off")) as acme, pytest.raises(SyncerError, match="refused"):
        acme.load("connect")
