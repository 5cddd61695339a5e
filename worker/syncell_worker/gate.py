"""Hand every `connect`, `bind` and `listen` of this process to the host, for good: the cell's side of the egress gate.

`enter` installs a seccomp filter whose listener goes to the host over an inherited socket. From then on such a call
stops in the kernel until the host has decided. It connects or binds the socket itself, and lets nobody listen: that it
is asked at all is so that it knows. The rest is refused by number alone, as `surface` has it for `gate`: only stream
sockets can be made, and nothing else can name a peer. So there is no other call whose arguments the host would have to
read, and none that could be changed after it was read.

Must be called after `claim_wire`, while the process has one thread and `no_new_privs`, and before the filter of
`surface`, which refuses further ones; the kernel takes the strictest answer of all filters. Standard library only.
"""

from __future__ import annotations

import os
import socket

from syncell_worker import jail, seccomp
from syncell_worker.seccomp import NOTIFY, Rule

RULES = tuple(Rule(call, NOTIFY) for call in ("connect", "bind", "listen"))
"""What the host decides."""


def enter(door: int) -> None:
    """Install the filter, send its listener through the socket `door`, close both. Raises `jail.Unavailable`."""
    with socket.socket(fileno=door) as host:
        try:
            listener = seccomp.install(RULES, listener=True)
        except seccomp.Unsupported as error:
            raise jail.Unavailable(f"network: no egress gate: {error}") from None
        try:
            socket.send_fds(host, [b"\0"], [listener])
        finally:
            os.close(listener)
