"""A denial says what was refused, and what would allow it."""

from __future__ import annotations

import pytest

from conftest import MakeSyncer
from syncell import AccessDenied, Policy, Runner, SyncerError

CURIOUS = """
    import os, socket, subprocess, urllib.request

    class Acme:
        name = "acme"

        def load(self, identifier):
            return getattr(self, identifier)()

        def run(self):
            subprocess.run(["/bin/ls"])

        def become(self):
            os.execvp("ls", ["ls"])

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


@pytest.mark.parametrize(
    ("attempt", "flag"),
    [
        ("run", "--allow-subprocess"),
        ("become", "--allow-subprocess"),
        ("connect", "--allow-net"),
        ("look_up", "--allow-net"),
        ("fetch", "--allow-net"),
        ("wrapped", "--allow-net"),
    ],
)
def test_a_denial_names_what_would_allow_it(runner: Runner, make_syncer: MakeSyncer, attempt: str, flag: str) -> None:
    with runner.open(make_syncer(CURIOUS)) as acme, pytest.raises(AccessDenied) as caught:
        acme.load(attempt)
    assert caught.value.flag.startswith(flag)
    assert isinstance(caught.value.__cause__, SyncerError)


def test_errors_of_the_syncers_own_are_left_alone(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(CURIOUS)
    with runner.open(folder) as acme, pytest.raises(SyncerError, match="not you"):
        acme.load("own")
    with runner.open(folder, policy=Policy(sandbox="off")) as acme, pytest.raises(SyncerError, match="refused"):
        acme.load("connect")
