"""The filters, instruction by instruction: what they answer for a call, on either architecture.

A machine that runs the program as the kernel does stands in for the processor that is not this one's; what the kernel
of this one makes of it is shown in `tests/hostile`.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from syncell_worker import gate, seccomp, surface, syscalls

X86, ARM = 0xC000003E, 0xC00000B7
MACHINES = {"x86_64": (X86, 0), "aarch64": (ARM, 1)}
ALLOW, NOTIFY, KILL = 0x7FFF0000, 0x7FC00000, 0x80000000
PID = 4242

GATE = {"network": "gate"}
CELL: dict[str, Any] = {"network": "none", "programs": False, "signals_scoped": True, "modes": False}


def run(program: list[seccomp.Instruction], architecture: int, number: int, *arguments: int) -> int:
    """What the kernel would return for a call."""
    given = [each & 0xFFFFFFFFFFFFFFFF for each in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *given)
    accumulator = at = 0
    while True:
        operation, if_true, if_false, operand = program[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x05:
            at += operand
        elif operation == 0x06:
            return operand
        else:
            met = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}[operation]
            at += if_true if met else if_false


def programs(machine: str, **choices: Any) -> list[list[seccomp.Instruction]]:
    """The filters of a cell: behind the gate, the gate's own comes first."""
    chosen = {**CELL, **choices}
    filters = [gate.RULES] if chosen["network"] == "gate" else []
    return [seccomp.assemble(rules, machine) for rules in (*filters, surface.rules(PID, **chosen))]


def verdict(machine: str, call: str, *arguments: int, **choices: Any) -> str:
    """`allowed`, `asked` (of the host), or the error's name."""
    architecture, column = MACHINES[machine]
    number = syscalls.NUMBERS[call][column]
    if number is None:
        pytest.skip(f"{machine} has no {call}")
    answers = [run(program, architecture, number, *arguments) for program in programs(machine, **choices)]
    # The kernel compares them as signed numbers, without the error, and takes the smallest.
    answer = min(answers, key=lambda answer: ctypes.c_int(answer & 0xFFFF0000).value)
    named = {ALLOW: "allowed", NOTIFY: "asked"}
    return named.get(answer) or errno.errorcode.get(answer & 0xFFFF, "ignored")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("call", "arguments", "choices", "expected"),
    [
        ("bpf", (), {}, "EPERM"),
        ("io_uring_setup", (), {}, "ENOSYS"),
        ("clone", (0x003D0F00,), {}, "allowed"),  # a thread, as the C library makes it
        ("clone", (0x01200011,), {}, "allowed"),  # a child
        ("clone", (0x10000011,), {}, "EPERM"),
        ("clone", (0x8011,), {}, "EPERM"),
        ("ioctl", (0, 0x5412), {}, "EPERM"),
        ("ioctl", (0, 0xFFFFFFFF00005412), {}, "EPERM"),  # the kernel looks at 32 bits only
        ("ioctl", (0, 0x5413), {}, "allowed"),
        ("personality", (0xFFFFFFFF,), {}, "allowed"),
        ("personality", (0x40000,), {}, "EPERM"),
        ("prlimit64", (0,), {}, "allowed"),
        ("prlimit64", (PID,), {}, "allowed"),
        ("prlimit64", (1,), {}, "EPERM"),
        ("setpriority", (0, 0), {}, "allowed"),
        ("setpriority", (0, PID), {}, "allowed"),
        ("setpriority", (0, 1), {}, "EPERM"),
        ("setpriority", (2, 0), {}, "EPERM"),  # all processes of the user
        ("ioprio_set", (1, PID), {}, "allowed"),
        ("ioprio_set", (3, 0), {}, "EPERM"),
        ("kill", (1, 9), {}, "allowed"),  # Landlock's
        ("kill", (1, 9), {"signals_scoped": False}, "EPERM"),
        ("kill", (-1, 9), {"signals_scoped": False}, "EPERM"),
        ("kill", (0, 9), {"signals_scoped": False}, "allowed"),
        ("kill", (-PID, 9), {"signals_scoped": False}, "allowed"),
        ("tgkill", (PID, 77, 6), {"signals_scoped": False}, "allowed"),
        ("tgkill", (1, 1, 6), {"signals_scoped": False}, "EPERM"),
        ("execve", (), {}, "EACCES"),
        ("execve", (), {"programs": True}, "allowed"),
        ("execveat", (), {"programs": True}, "EACCES"),
        ("memfd_create", (0, 1), {}, "allowed"),
        ("memfd_create", (0, 1), {"programs": True}, "ENOSYS"),
        ("memfd_create", (0, 9), {"programs": True}, "allowed"),
        ("setsid", (), {}, "EPERM"),
        ("setsid", (), {"programs": True}, "ignored"),
        ("socket", (2, 1), {}, "EACCES"),
        ("socket", (2, 2), {}, "ESOCKTNOSUPPORT"),
        ("socket", (2, 1, 262), {}, "EPROTONOSUPPORT"),
        ("socket", (2, 0o2000001), GATE, "allowed"),  # SOCK_STREAM | SOCK_CLOEXEC
        ("socket", (2, 1, 6), GATE, "allowed"),
        ("socket", (10, 1), GATE, "allowed"),
        ("socket", (1, 1), GATE, "allowed"),
        ("socket", (1, 1, 1), GATE, "allowed"),  # PF_UNIX
        ("socket", (1, 2), GATE, "ESOCKTNOSUPPORT"),
        ("socket", (1, 5), GATE, "ESOCKTNOSUPPORT"),
        ("socket", (2, 2), GATE, "ESOCKTNOSUPPORT"),
        ("socket", (2, 3), GATE, "ESOCKTNOSUPPORT"),
        ("socket", (16, 3), GATE, "ESOCKTNOSUPPORT"),
        ("socket", (40, 1), GATE, "ESOCKTNOSUPPORT"),
        ("socket", (2, 1, 262), GATE, "EPROTONOSUPPORT"),
        ("socket", (10, 1, 132), GATE, "EPROTONOSUPPORT"),
        ("socket", (2, 2), {"network": "open"}, "allowed"),
        ("socket", (16, 3), {"network": "open"}, "allowed"),
        ("socket", (2, 3), {"network": "open"}, "ESOCKTNOSUPPORT"),
        ("socket", (17, 3), {"network": "open"}, "ESOCKTNOSUPPORT"),
        ("socketpair", (1, 1), {}, "allowed"),
        ("socketpair", (1, 2), {}, "ESOCKTNOSUPPORT"),
        ("socketpair", (1, 2), GATE, "ESOCKTNOSUPPORT"),
        ("socketpair", (1, 5), GATE, "allowed"),
        *((call, (3,), {}, "EACCES") for call in ("connect", "bind", "listen")),
        *((call, (3,), GATE, "asked") for call in ("connect", "bind", "listen")),
        *((call, (3,), {"network": "open"}, "allowed") for call in ("connect", "bind", "listen")),
        ("sendto", (3, 1, 1, 0, 0, 0), GATE, "allowed"),
        ("sendto", (3, 1, 1, 0, 1, 16), GATE, "EACCES"),
        ("sendto", (3, 1, 1, 0, 1 << 32, 16), GATE, "EACCES"),
        ("sendto", (3, 1, 1, 0x20004000, 1, 16), GATE, "ENOTSUP"),  # MSG_FASTOPEN | MSG_NOSIGNAL
        ("sendmsg", (3, 1, 0x20000000), GATE, "ENOTSUP"),
        ("sendmsg", (3, 1, 0x4000), GATE, "allowed"),
        ("sendmmsg", (3, 1, 1, 0x20000000), GATE, "ENOTSUP"),
        ("sendmmsg", (3, 1, 0x20000000, 0), GATE, "allowed"),
        ("setsockopt", (3, 0, 4), GATE, "ENOPROTOOPT"),
        ("setsockopt", (3, 6, 30), GATE, "ENOPROTOOPT"),
        ("setsockopt", (3, 1, 62), GATE, "ENOPROTOOPT"),
        ("setsockopt", (3, 6, 4), GATE, "allowed"),
        ("setsockopt", (3, 0, 30), GATE, "allowed"),
        ("fchmodat", (), {}, "EPERM"),
        ("fchmodat", (), {"modes": True}, "allowed"),
        ("utimensat", (3, 0), {}, "allowed"),
        ("utimensat", (3, 1), {}, "EPERM"),
        ("utimensat", (3, 1 << 32), {}, "EPERM"),
    ],
)
def test_answers(machine: str, call: str, arguments: tuple[int, ...], choices: dict[str, Any], expected: str) -> None:
    assert verdict(machine, call, *arguments, **choices) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_whatever_has_no_rule_is_allowed_and_whatever_is_unknown_is_not_there(machine: str) -> None:
    architecture, column = MACHINES[machine]
    ruled = {numbers[column] for numbers in syscalls.NUMBERS.values()}
    for program in programs(machine, **GATE):
        for number in range(syscalls.LAST + 1):
            if number not in ruled:
                assert run(program, architecture, number) == ALLOW, number
        assert run(program, architecture, syscalls.LAST + 1) & 0xFFFF == errno.ENOSYS
        assert run(program, architecture, -1) & 0xFFFF == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_the_ways_in_of_other_architectures_kill(machine: str) -> None:
    architecture, _ = MACHINES[machine]
    for program in programs(machine, **GATE):
        for other in (X86, ARM, 0x40000003, 0x40000028):  # the last two: i386, arm
            if other != architecture:
                assert run(program, other, 0) == KILL
        assert run(program, architecture, 0x40000000 + 39) == KILL


def test_the_first_rule_of_a_call_that_applies_answers_wherever_the_others_are() -> None:
    rules = [
        seccomp.Rule("kill", 7, when=((seccomp.argument(0, 1),),)),
        seccomp.Rule("bpf", 1),
        seccomp.Rule("kill", 8, unless=((seccomp.argument(1, 9),), (seccomp.argument(1, 15),))),
        seccomp.Rule("kill", seccomp.NOTIFY, when=((seccomp.argument(0, 2), seccomp.argument(1, 9)),)),
    ]
    program = seccomp.assemble(rules, "x86_64")
    answers = [run(program, X86, 62, *arguments) for arguments in ((1, 9), (1, 0), (2, 0), (2, 9), (2, 15), (3, 9))]
    assert answers == [0x50007, 0x50007, 0x50008, NOTIFY, ALLOW, ALLOW]


def test_every_rule_has_a_number_and_every_number_a_rule() -> None:
    ruled = {rule.call for rule in gate.RULES}
    for network, chosen in itertools.product(surface.NETWORKS, itertools.product((False, True), repeat=3)):
        choices = dict(zip(("programs", "signals_scoped", "modes"), chosen, strict=True))
        ruled |= {rule.call for rule in surface.rules(PID, network=network, **choices)}
    assert ruled == set(syscalls.NUMBERS)


def test_a_machine_without_tables_is_refused() -> None:
    with pytest.raises(seccomp.Unsupported, match="riscv64"):
        seccomp.assemble([], "riscv64")


def test_from_424_on_numbers_are_the_same_everywhere() -> None:
    for call, (x86, arm) in syscalls.NUMBERS.items():
        if max(x86 or 0, arm or 0) >= 424:
            assert x86 == arm, call


HEADERS = {0: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 1: "/usr/include/asm-generic/unistd.h"}


@pytest.mark.parametrize("column", HEADERS)
def test_numbers_are_those_of_the_kernels_headers(column: int) -> None:
    header = Path(HEADERS[column])
    if not header.exists():
        pytest.skip(f"{header} is not installed (linux-libc-dev has it)")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    for call, numbers in syscalls.NUMBERS.items():
        if call in found:
            assert numbers[column] == int(found[call]), call
    assert len(found.keys() & syscalls.NUMBERS.keys()) > 100
