"""Calls of `os` that start a program, where a jail allows none: they say so themselves.

The kernel refuses all the same, whatever calls it. But its answer is the one for a file that may not be read, so that
nobody could tell what was refused. `subprocess`, and what is built on it, is told by where it stands (see `failure`).
"""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn


def refuse() -> None:
    """Replace those calls for this process."""
    for name in ("execv", "execve", "posix_spawn", "posix_spawnp"):
        setattr(os, name, refused)


def refused(path: Any, *_: Any, **__: Any) -> NoReturn:
    """As any of them in a jail."""
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
