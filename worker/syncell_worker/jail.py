"""Confine this process, for good: resource limits, no privileges, a Landlock allow-list of files, a system call filter.

`enter` is called once, before a single line of a syncer or of its environment runs; everything the process does later,
and every process it starts, stays inside. It fails closed: what cannot be enforced raises `Unavailable`, and the caller
must not go on. Unprivileged, nothing but ctypes; Landlock's ABI is asked for, never guessed from the kernel's version.

This is the one place that says the order of the steps, and holds what is Landlock's; `capabilities` and `seccomp` are
the other layers, `surface` what the filter refuses. What each stops and what it does not is in `docs/sandbox.md`.
Source: the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import struct
from collections.abc import Callable, Iterable
from typing import Optional

from syncell_worker import capabilities, seccomp, surface

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
# To bind and to connect.
_TCP, _TCP_SINCE_ABI = 1 << 0 | 1 << 1, 4
# Abstract unix sockets, and signals to processes outside.
_SCOPES, _SCOPES_SINCE_ABI = 1 << 0 | 1 << 1, 6

_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This machine cannot give a protection; the message says which and why."""


def landlock_abi() -> int:
    """The version of Landlock that the running kernel enforces; 0 when there is none."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    return max(int(version), 0)


def enter(
    read: Iterable[str],
    write: Iterable[str],
    execute: Iterable[str],
    rlimits: dict[str, int],
    *,
    network: str = "none",
    modes: bool = False,
    gate: Optional[Callable[[], None]] = None,
    lacking: Optional[list[str]] = None,
) -> list[str]:
    """Confine the calling process, which has one thread, and return the names of the layers that now hold.

    `read`, `write` and `execute` are absolute paths of files and folders; those that do not exist grant nothing, and
    without one in `execute` no program can be started. `rlimits` maps names such as `NOFILE` to their value, soft and
    hard alike. `network` is one of `surface.NETWORKS`; `gate` installs the egress gate. `modes` allows to change modes
    and times of files by their path.

    Raises `Unavailable` for the first protection that cannot be had; or, when it is given a list, adds what it would
    have raised to `lacking` and goes on with the rest.
    """
    execute = list(execute)
    abi = landlock_abi()

    # The order: privileges go first, since everything after is open to those who have none only because of it; the gate
    # before the filter, which allows no other; the filter last, for it refuses calls that the steps before it make.
    def limit() -> str:
        _limit(rlimits)
        return "rlimits"

    def give_up_privileges() -> str:
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise _unavailable("privileges: no_new_privs was refused")
        return "no_new_privs"

    def drop_capabilities() -> str:
        if not capabilities.drop():
            raise _unavailable("privileges: not all capabilities could be dropped")
        return "capabilities"

    def confine_files() -> str:
        _restrict_files(abi, read, write, execute, tcp=network == "open")
        return f"landlock-{abi}"

    def stand_behind_gate() -> str:
        if gate is None:
            raise Unavailable("network: connections to some hosts only need the egress gate, and there is none")
        gate()
        return "gate"

    def filter_calls() -> str:
        # Without the gate nobody would decide about connections: there are none, then.
        sockets = "none" if network == "gate" and "gate" not in layers else network
        rules = surface.rules(
            os.getpid(), network=sockets, programs=bool(execute), signals_scoped=abi >= _SCOPES_SINCE_ABI, modes=modes
        )
        try:
            seccomp.install(rules)
        except seccomp.Unsupported as error:
            raise Unavailable(f"kernel surface, processes and network: no seccomp filter: {error}") from None
        return "seccomp"

    steps = [limit, give_up_privileges, drop_capabilities, confine_files]
    steps += [stand_behind_gate, filter_calls] if network == "gate" else [filter_calls]
    layers: list[str] = []
    for step in steps:
        try:
            layers.append(step())
        except Unavailable as error:
            if lacking is None:
                raise
            lacking.append(str(error))
    return layers


def _limit(rlimits: dict[str, int]) -> None:
    for name, value in rlimits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, ceiling = resource.getrlimit(kind)
        # Only a privileged process could go above its ceiling, and no cell is meant to.
        bound = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        # At the soft limit of processor time comes a signal that says why, at the hard one only SIGKILL.
        resource.setrlimit(kind, (bound, bound + 1 if name == "CPU" and ceiling == resource.RLIM_INFINITY else bound))


def _restrict_files(abi: int, read: Iterable[str], write: Iterable[str], execute: Iterable[str], *, tcp: bool) -> None:
    if abi < MINIMUM_ABI:
        found = f"Landlock ABI {abi}" if abi else "no Landlock"
        raise Unavailable(
            f"files: this kernel has {found}, and confining files needs ABI {MINIMUM_ABI} (Linux 6.2, with "
            "`landlock` among the enabled security modules)"
        )
    handled = (1 << _RIGHTS_OF_ABI.get(abi, _RIGHTS_SINCE_ABI_5)) - 1
    # struct landlock_ruleset_attr: handled_access_fs, handled_access_net (ABI 4), scoped (ABI 6).
    # A process that may make sockets at all has its connections made by the gate, outside: it needs no TCP of its own.
    handled_tcp = 0 if tcp else _TCP
    attributes = struct.pack("=Q", handled)
    if abi >= _TCP_SINCE_ABI:
        attributes += struct.pack("=Q", handled_tcp)
    if abi >= _SCOPES_SINCE_ABI:
        attributes += struct.pack("=Q", _SCOPES)
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
