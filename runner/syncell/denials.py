"""When an error of a syncer is a refusal of its network: drivers and clients wrap it, and rename it, in their own.

Behind the egress gate, the gate knows what it refused; the error only has to look like what such a refusal comes to. A
syncer that went on after a refusal, and failed over something else, must not be told that the sandbox was behind it.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator, Sequence
from itertools import chain

from syncell.errors import AccessDenied, SyncerError
from syncell.sandbox.passage import Denial

KINDS = {
    "udp": "a UDP socket",
    "raw": "a raw socket",
    "sctp": "an SCTP socket",
    "mptcp": "an MPTCP socket",
    "unix-datagram": "a unix socket of datagrams",
    "netlink": "a netlink socket",
    "packet": "a packet socket",
    "vsock": "a vsock socket",
}
"""The kinds of socket that a worker tells of by name, none of which any policy allows."""

_REFUSED = os.strerror(errno.EACCES)
_NO_SUCH_KIND = os.strerror(errno.ESOCKTNOSUPPORT)
# What a name that is not answered comes to, in the words of the C library, of Python and of libpq.
_UNNAMED = ("gaierror", "Name or service not known", "could not translate host name", f"Errno {socket.EAI_NONAME}]")
# The same where there is nobody to ask; and the errors of libpq, which has no words for a socket that it cannot make.
_UNCONNECTED = (
    *("gaierror", "Temporary failure in name resolution", "could not translate host name"),
    *(f"Errno {socket.EAI_AGAIN}]", "psycopg.OperationalError", "psycopg2.OperationalError"),
)
_NAME = re.compile(r"\S*/\S*|(['\"])[^'\"\s]*\1")  # of a file, by its path or in quotes
_OF_CONNECTIONS = re.compile("connect|socket", re.IGNORECASE)


def connection(error: SyncerError, denials: Sequence[Denial]) -> AccessDenied | None:
    """The refusal of the gate that an error tells of: the last one that it names, or else the last that fits its text.

    Drivers look for other places meanwhile, such as the cloud that they may run in.
    """
    text = f"{error.type}\n{error.message}\n{error.traceback}"
    refused = _REFUSED in text or error.attributes.get("errno") == errno.EACCES
    unnamed = any(sign in text for sign in _UNNAMED)
    newest = denials[::-1]
    named = (denial for denial in newest if denial.rule and _host(denial.rule) in text)
    fitting = (denial for denial in newest if (unnamed if denial.rule.endswith(":PORT") else refused))
    for denial in chain(named, fitting):
        if not denial.rule:
            return AccessDenied.listening(error.syncer, denial.what)
        return AccessDenied.connection(error.syncer, denial.what, denial.rule)
    return None


def _host(rule: str) -> str:
    return rule.removeprefix("unix:") if rule.startswith("unix:") else rule.rpartition(":")[0]


def kind(error: SyncerError, refused: str, *, connects: bool) -> AccessDenied | None:
    """The refusal of a kind of socket that an error tells of.

    `refused` is what the worker saw of it; `connects` says whether the syncer may connect to anything.
    """
    if refused in KINDS:
        return AccessDenied.socket(error.syncer, KINDS[refused], connects=connects)
    if any(_NO_SUCH_KIND in line for line in _said(error)):
        return AccessDenied.socket(error.syncer, "a socket of another kind than TCP", connects=connects)
    return None


def network(error: SyncerError) -> bool:
    """Whether an error is what drivers make of it that there is no network at all."""
    return any(
        any(sign in line for sign in _UNCONNECTED)
        or (_REFUSED in line and _OF_CONNECTIONS.search(_NAME.sub("", line)) is not None)
        for line in _said(error)
    )


def _said(error: SyncerError) -> Iterator[str]:
    """What the error says, and every error behind it, line by line: not the lines of source in its traceback."""
    yield error.type
    yield from error.message.splitlines()
    yield from (line for line in error.traceback.splitlines() if not line.startswith(" "))
