"""A system call filter: rules as data in, a BPF program out, installed for good. It decides nothing itself.

What a cell may not ask of the kernel is written in `surface`, what it asks of its host in `gate`; this module turns
such rules into the kernel's classic BPF and hands it over. The rules of one call become one block, which no jump
leaves; the first of them that applies answers. A call that has no rule is allowed: the kernel remembers that for each
number, and does not run the program for it again.

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

_LOAD, _MASK, _SKIP, _RETURN = 0x20, 0x54, 0x05, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_JMP|JA, BPF_RET|K
_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST = 0x15, 0x25, 0x35  # BPF_JMP|{JEQ,JGT,JGE}|K
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data

_ALLOW, _KILL_PROCESS, _ERRNO, _NOTIFY = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000

_SET_MODE_FILTER = 1
# Once the listener's holder has taken a call up, only a fatal signal ends it: one cut off half way would be made twice.
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5

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

NOTIFY = -1
"""In the place of an error: the call waits for whoever holds the filter's listener, and returns what that says."""


class Rule(NamedTuple):
    """Refuse `call` with `error` (0: it does nothing and says that it did), or let its host answer (`NOTIFY`).

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
    blocks: dict[str, list[Instruction]] = {}
    for rule in rules:
        blocks.setdefault(rule.call, []).extend(_refusal(rule))
    for call, block in blocks.items():
        number = syscalls.NUMBERS[call][column]
        if number is not None:
            program += [(_IF_EQUAL, 0, len(block) + 1, number), *block, (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _ALLOW))
    return program


def _refusal(rule: Rule) -> list[Instruction]:
    """What answers when the rule applies, and else goes on behind itself."""
    assert not (rule.when and rule.unless)
    refuse = (_RETURN, 0, 0, _NOTIFY if rule.error == NOTIFY else _ERRNO | rule.error)
    block: list[Instruction] = [] if rule.when else [refuse]
    for case in reversed(rule.when or rule.unless):
        tests: list[Instruction] = [refuse if rule.when else (_SKIP, 0, 0, len(block))]
        for offset, value, mask in reversed(case):
            masked = [] if mask == 0xFFFFFFFF else [(_MASK, 0, 0, mask)]
            tests = [(_LOAD, 0, 0, _ARGUMENTS_AT + offset), *masked, (_IF_EQUAL, 0, len(tests), value), *tests]
        block = tests + block
    return block


def install(rules: Iterable[Rule], *, listener: bool = False) -> int:
    """Enforce the rules on the calling thread and on all that it starts, for good. Raises `Unsupported`.

    Needs `no_new_privs`, and that the process has no other thread yet. Gives the descriptor of the filter's listener,
    when one is asked for: without one, what is to `NOTIFY` fails.
    """
    if sys.maxsize < 2**32:
        raise Unsupported("its tables of system calls are for 64 bit, and this interpreter is not")
    machine = os.uname().machine
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in assemble(rules, machine))
    instructions = ctypes.create_string_buffer(packed, len(packed))
    # struct sock_fprog: how many instructions, and where they are.
    program = struct.pack("@HP", len(packed) // 8, ctypes.addressof(instructions))
    call, flags = syscalls.NUMBERS["seccomp"][_ARCHITECTURES[machine][1]], _NEW_LISTENER | _WAIT_KILLABLE
    descriptor: int = _libc.syscall(call, _SET_MODE_FILTER, flags if listener else 0, program)
    if descriptor < 0:
        number = ctypes.get_errno()
        reason = f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
        needs = "Linux 5.19, for its listener" if listener else "CONFIG_SECCOMP_FILTER"
        raise Unsupported(f"the kernel refused the filter ({reason}); it needs {needs}")
    return descriptor
