"""A system call filter: rules as data in, a BPF program out, installed for good. It decides nothing itself.

What a cell may not ask of the kernel is written in `surface`; this module turns such rules into the kernel's classic
BPF and hands it over. Every rule becomes a block of its own that ends in a verdict, so no jump leaves its block and
no rule depends on another's place. A call that has no rule is allowed: the kernel remembers that for each number, and
does not run the program for it again.

Two things hold whatever the rules say. A call made the way of another architecture (32 bit, x32) kills the process: its
numbers mean other calls. A call newer than `syscalls.LAST` does not exist.

Standard library only; no libseccomp. Source: the kernel's Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

from syncell_worker import syscalls

# How the kernel names an architecture (AUDIT_ARCH_*), and its column in `syscalls.NUMBERS`.
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# Set in the number of every call made the x32 way. -1, which tracers use, has it too and is no call at all.
_X32_BIT, _NO_CALL = 0x40000000, 0xFFFFFFFF

_LOAD, _MASK, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST = 0x15, 0x25, 0x35  # BPF_JMP|{JEQ,JGT,JGE}|K
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data

_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

_PR_SET_SECCOMP, _FILTER_MODE = 22, 2

_libc = ctypes.CDLL(None, use_errno=True)

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, operand."""


class Unsupported(Exception):
    """No filter can be had here; the message says why."""


class Condition(NamedTuple):
    """True when 32 bits of a call's arguments, at `offset` bytes into them, masked, equal `value`."""

    offset: int
    value: int
    mask: int = 0xFFFFFFFF


def argument(index: int, value: int, mask: int = 0xFFFFFFFF) -> Condition:
    """A condition on the low 32 bits of an argument: all that the kernel looks at in an int, an id or a flag."""
    return Condition(8 * index, value & mask, mask)


def null(index: int) -> tuple[Condition, Condition]:
    """The conditions under which a pointer is null."""
    return Condition(8 * index, 0), Condition(8 * index + 4, 0)


Case = tuple[Condition, ...]
"""Conditions that must all hold."""


class Rule(NamedTuple):
    """Refuse `call` with `error` (0: it does nothing and says that it did).

    Refused `when` one of its cases holds, or `unless` one does; always, when it has cases of neither kind. It has cases
    of one kind at most.
    """

    call: str
    error: int
    when: tuple[Case, ...] = ()
    unless: tuple[Case, ...] = ()


def assemble(rules: Iterable[Rule], machine: str) -> list[Instruction]:
    """The program that enforces the rules on `machine`, as `os.uname` names it. Raises `Unsupported`."""
    if machine not in _ARCHITECTURES:
        raise Unsupported(f"its tables of system calls are for {' and '.join(_ARCHITECTURES)}, and this is {machine}")
    architecture, column = _ARCHITECTURES[machine]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 0, 2, _X32_BIT),
        (_IF_EQUAL, 1, 0, _NO_CALL),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_IF_GREATER, 0, 1, syscalls.LAST),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for rule in rules:
        number = syscalls.NUMBERS[rule.call][column]
        if number is not None:
            block = _verdict(rule)
            program += [(_IF_EQUAL, 0, len(block), number), *block]
    program.append((_RETURN, 0, 0, _ALLOW))
    return program


def _verdict(rule: Rule) -> list[Instruction]:
    assert not (rule.when and rule.unless)
    refuse, allow = (_RETURN, 0, 0, _ERRNO | rule.error), (_RETURN, 0, 0, _ALLOW)
    met, otherwise = (refuse, allow) if rule.when else (allow, refuse)
    block: list[Instruction] = []
    for case in rule.when or rule.unless:
        tests: list[Instruction] = [met]
        for offset, value, mask in reversed(case):
            masked = [] if mask == 0xFFFFFFFF else [(_MASK, 0, 0, mask)]
            tests = [(_LOAD, 0, 0, _ARGUMENTS_AT + offset), *masked, (_IF_EQUAL, 0, len(tests), value), *tests]
        block += tests
    return [*block, otherwise]


def install(rules: Iterable[Rule]) -> None:
    """Enforce the rules on the calling thread and on all that it starts, for good. Raises `Unsupported`.

    Needs `no_new_privs`, and that the process has no other thread yet.
    """
    if sys.maxsize < 2**32:
        raise Unsupported("its tables of system calls are for 64 bit, and this interpreter is not")
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in assemble(rules, os.uname().machine))
    instructions = ctypes.create_string_buffer(packed, len(packed))
    # struct sock_fprog: how many instructions, and where they are.
    program = struct.pack("@HP", len(packed) // 8, ctypes.addressof(instructions))
    if _libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, program, 0, 0):
        number = ctypes.get_errno()
        reason = f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
        raise Unsupported(f"the kernel refused the filter ({reason}); it needs CONFIG_SECCOMP_FILTER")
