"""When an error of a syncer is a refusal of the egress gate: drivers and clients wrap it, and rename it, in their own.

The gate knows what it refused; the error only has to look like what such a refusal comes to. A syncer that went on
after a refusal, and failed over something else, must not be told that the sandbox was behind it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from syncell.errors import AccessDenied, SyncerError
from syncell.sandbox.passage import Denial

_REFUSED = os.strerror(errno.EACCES)
# What a name that is not answered comes to, in the words of the C library, of Python and of libpq.
_UNNAMED = ("gaierror", "Name or service not known", "could not translate host name", f"Errno {socket.EAI_NONAME}]")


def connection(error: SyncerError, denials: Sequence[Denial]) -> AccessDenied | None:
    """The refused connection that an error tells of: the last one that its text fits."""
    text = f"{error.type}\n{error.message}\n{error.traceback}"
    for denial in reversed(denials):
        host = denial.rule.removeprefix("unix:") if denial.rule.startswith("unix:") else denial.rule.rpartition(":")[0]
        by_name = denial.rule.endswith(":PORT")
        if host in text or (any(sign in text for sign in _UNNAMED) if by_name else _REFUSED in text):
            return AccessDenied.connection(error.syncer, denial.what, denial.rule)
    return None
