"""Confine this process, for good: no new privileges, resource limits, and a Landlock allow-list of files.

`enter` is called once, before a single line of a syncer or of its environment runs; everything the process does later,
and every process it starts, stays inside. It fails closed: what cannot be enforced raises `Unavailable`, and the caller
must not go on. Unprivileged, nothing but ctypes; Landlock's ABI is asked for, never guessed from the kernel's version.

What Landlock handles and what it does not is in `docs/sandbox.md`. Source: the kernel's
Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import struct
from collections.abc import Iterable

# The numbers are the same on every architecture, as for all system calls since 2020.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
# Removing and making entries of every kind, except device nodes, which no grant ever allows.
_CHANGE_DIR = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _TRUNCATE | _CHANGE_DIR | _REFER

# The first ABI that covers truncate(2); below it, a cell could empty files that nobody granted.
MINIMUM_ABI = 3
# How many rights each ABI knows (ioctl on devices came with the fifth).
_RIGHTS_OF_ABI = {3: 15, 4: 15}
_RIGHTS_SINCE_ABI_5 = 16
# Abstract unix sockets and signals to processes outside, since ABI 6.
_SCOPES = 1 << 0 | 1 << 1

_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This machine cannot give a protection; the message says which and why."""


def landlock_abi() -> int:
    """The version of Landlock that the running kernel enforces; 0 when there is none."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    return max(int(version), 0)


def enter(read: Iterable[str], write: Iterable[str], execute: Iterable[str], rlimits: dict[str, int]) -> list[str]:
    """Confine the calling process and return the names of the layers that now hold.

    `read`, `write` and `execute` are absolute paths of files and folders; those that do not exist grant nothing.
    `rlimits` maps names such as `NOFILE` to their value, soft and hard alike. Raises `Unavailable`.
    """
    abi = landlock_abi()
    if abi < MINIMUM_ABI:
        found = f"Landlock ABI {abi}" if abi else "no Landlock"
        raise Unavailable(
            f"files: this kernel has {found}, and confining files needs ABI {MINIMUM_ABI} (Linux 6.2, with "
            "`landlock` among the enabled security modules)"
        )
    for name, value in rlimits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, ceiling = resource.getrlimit(kind)
        # Only a privileged process could go above its ceiling, and no cell is meant to.
        bound = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        # At the soft limit of processor time comes a signal that says why, at the hard one only SIGKILL.
        resource.setrlimit(kind, (bound, bound + 1 if name == "CPU" and ceiling == resource.RLIM_INFINITY else bound))
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _unavailable("privileges: no_new_privs was refused")
    _restrict_files(abi, read, write, execute)
    return ["rlimits", "no_new_privs", f"landlock-{abi}"]


def _restrict_files(abi: int, read: Iterable[str], write: Iterable[str], execute: Iterable[str]) -> None:
    handled = (1 << _RIGHTS_OF_ABI.get(abi, _RIGHTS_SINCE_ABI_5)) - 1
    # struct landlock_ruleset_attr: handled_access_fs, handled_access_net (ABI 4), scoped (ABI 6).
    attributes = struct.pack("=QQQ", handled, 0, _SCOPES) if abi >= 6 else struct.pack("=Q", handled)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        raise _unavailable("files: Landlock refused the ruleset")
    try:
        for rights, paths in ((_READ, read), (_WRITE, write), (_EXECUTE | _READ, execute)):
            for path in paths:
                _allow(ruleset, rights & handled, path)
        if _libc.syscall(_RESTRICT_SELF, ruleset, 0):
            raise _unavailable("files: Landlock refused to confine this process")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, rights: int, path: str) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or behind a folder that this user cannot enter: it grants nothing either way
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _ON_FILES  # a folder's rights on a file are refused as invalid
        rule = struct.pack("=Qi", rights, fd)
        if _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0):
            raise _unavailable(f"files: Landlock refused the rule for {path}")
    finally:
        os.close(fd)


def _unavailable(what: str) -> Unavailable:
    number = ctypes.get_errno()
    return Unavailable(f"{what} ({errno.errorcode.get(number, number)}: {os.strerror(number)})")
