"""Hand every `connect` and `bind` of this process to the host, for good: the cell's side of the egress gate.

`enter` installs a seccomp filter whose listener goes to the host over an inherited socket. From then on such a call
stops in the kernel until the host has decided, and the host connects or binds the socket itself. The rest is decided
here, by number alone: only stream sockets can be made, nothing can listen, and nothing else can name a peer. So there
is no other call whose arguments the host would have to read, and none that could be changed after it was read:

- `sendto` with an address, TCP fast-open, and datagram sockets, whose `sendmsg` names a peer, are refused;
- socket options that lead packets elsewhere than to the address that was decided are refused: source routes, the
  choice of an interface;
- io_uring, whose operations pass by every filter, is not there.

Must be called after `claim_wire`, while the process has one thread, and before any filter that refuses further ones;
the kernel takes the strictest answer of all filters. Standard library and ctypes only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct

from syncell_worker import jail

# struct seccomp_data: nr, arch, instruction_pointer, args[6]. Both machines store the low half of an argument first.
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_JUMP_EQUAL, _JUMP_SET = 0x15, 0x45  # BPF_JMP|JEQ|K, BPF_JMP|JSET|K
_ALLOW, _ERRNO, _NOTIFY, _KILL = 0x7FFF0000, 0x00050000, 0x7FC00000, 0x80000000

_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
# Once the host has taken a call up, only a fatal signal ends it; a call cut off half way would be asked twice.
_WAIT_KILLABLE = 1 << 5
_PR_SET_NO_NEW_PRIVS = 38

# What `uname -m` says: the kernel's name for the architecture, and the numbers of its calls.
_MACHINES = {
    "x86_64": (0xC000003E, {
        "seccomp": 317, "socket": 41, "connect": 42, "sendto": 44, "sendmsg": 46, "bind": 49, "listen": 50,
        "socketpair": 53, "setsockopt": 54, "sendmmsg": 307, "io_uring_setup": 425,
    }),
    "aarch64": (0xC00000B7, {
        "seccomp": 277, "socket": 198, "connect": 203, "sendto": 206, "sendmsg": 211, "bind": 200, "listen": 201,
        "socketpair": 199, "setsockopt": 208, "sendmmsg": 269, "io_uring_setup": 425,
    }),
}  # fmt: skip
_X32 = 0x40000000  # the bit that marks the numbers of x86_64's second way in

_MSG_FASTOPEN = 0x20000000
_KIND = 0xF  # of a socket's type, whose other bits say non-blocking and close-on-exec
_STREAM, _SEQPACKET = 1, 5
_UNIX, _INET, _INET6 = 1, 2, 10
_TCP = 6
# Level and name of each refused socket option.
_OPTIONS = (
    (0, 4),  # IP_OPTIONS: source routes
    (41, 5), (41, 6), (41, 54), (41, 55), (41, 57), (41, 59),  # IPv6 extension headers: routing and others
    (1, 25), (1, 62),  # SO_BINDTODEVICE, SO_BINDTOIFINDEX
    (6, 23), (6, 30),  # TCP_FASTOPEN, TCP_FASTOPEN_CONNECT
)  # fmt: skip

_Instructions = list[tuple[int, int, int, int]]  # code, jump when true, jump when false, operand


def enter(door: int) -> None:
    """Install the filter, send its listener through the socket `door`, close both. Raises `jail.Unavailable`."""
    machine = platform.machine()
    if machine not in _MACHINES:
        raise jail.Unavailable(f"network: the gate knows no system calls of {machine}, only of {', '.join(_MACHINES)}")
    arch, numbers = _MACHINES[machine]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _unavailable("no_new_privs was refused")
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in build(arch, numbers))
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    flags = _NEW_LISTENER | _WAIT_KILLABLE
    with socket.socket(fileno=door) as host:
        listener = libc.syscall(numbers["seccomp"], _SET_MODE_FILTER, flags, program)
        if listener < 0:
            raise _unavailable("the kernel refused a seccomp filter with a listener (Linux 5.19 gives them)")
        try:
            socket.send_fds(host, [b"\0"], [listener])
        finally:
            os.close(listener)


def build(arch: int, numbers: dict[str, int]) -> _Instructions:
    """The filter's program for one machine."""
    program = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, arch), _result(_KILL)]
    program += [(_LOAD, 0, 0, _NUMBER), (_JUMP_SET, 0, 1, _X32), _result(_KILL)]
    blocks = {
        "connect": [_result(_NOTIFY)],
        "bind": [_result(_NOTIFY)],
        "listen": [_refuse(errno.EACCES)],
        "socket": _socket(),
        "socketpair": _kind(),
        "sendto": [*_without_fast_open(3), *_no_address(4)],
        "sendmsg": [*_without_fast_open(2), _result(_ALLOW)],
        "sendmmsg": [*_without_fast_open(3), _result(_ALLOW)],
        "setsockopt": _options(),
        "io_uring_setup": [_refuse(errno.ENOSYS)],
    }
    for name, block in blocks.items():
        program += [(_LOAD, 0, 0, _NUMBER), (_JUMP_EQUAL, 0, len(block), numbers[name]), *block]
    return [*program, _result(_ALLOW)]


def _socket() -> _Instructions:
    """TCP over IPv4 and IPv6, and unix streams, whose `connect` is decided as well."""
    tcp = [(_LOAD, 0, 0, _argument(2)), (_JUMP_EQUAL, 1, 0, 0), (_JUMP_EQUAL, 0, 4, _TCP)]
    tcp += [(_LOAD, 0, 0, _argument(1)), (_AND, 0, 0, _KIND), (_JUMP_EQUAL, 0, 1, _STREAM), _result(_ALLOW)]
    tcp.append(_refuse(errno.EACCES))
    unix = _kind()
    families = [(_JUMP_EQUAL, 3, 0, _UNIX), (_JUMP_EQUAL, 2 + len(unix), 0, _INET)]
    families += [(_JUMP_EQUAL, 1 + len(unix), 0, _INET6), _refuse(errno.EACCES)]
    return [(_LOAD, 0, 0, _argument(0)), *families, *unix, *tcp]


def _kind() -> _Instructions:
    """Streams and sequenced packets: whatever is sent goes to the one peer that was connected."""
    loaded: _Instructions = [(_LOAD, 0, 0, _argument(1)), (_AND, 0, 0, _KIND)]
    return [
        *loaded,
        (_JUMP_EQUAL, 1, 0, _STREAM),
        (_JUMP_EQUAL, 0, 1, _SEQPACKET),
        _result(_ALLOW),
        _refuse(errno.EACCES),
    ]


def _without_fast_open(flags: int) -> _Instructions:
    # The kernel's own answer where fast-open is switched off, upon which clients connect as usual.
    return [(_LOAD, 0, 0, _argument(flags)), (_JUMP_SET, 0, 1, _MSG_FASTOPEN), _refuse(errno.EOPNOTSUPP)]


def _no_address(pointer: int) -> _Instructions:
    low, high = _argument(pointer), _argument(pointer) + 4
    return [
        (_LOAD, 0, 0, low), (_JUMP_EQUAL, 0, 3, 0), (_LOAD, 0, 0, high), (_JUMP_EQUAL, 0, 1, 0),
        _result(_ALLOW), _refuse(errno.EACCES),
    ]  # fmt: skip


def _options() -> _Instructions:
    block: _Instructions = []
    for level, name in _OPTIONS:
        block += [(_LOAD, 0, 0, _argument(1)), (_JUMP_EQUAL, 0, 3, level)]
        block += [(_LOAD, 0, 0, _argument(2)), (_JUMP_EQUAL, 0, 1, name), _refuse(errno.ENOPROTOOPT)]
    return [*block, _result(_ALLOW)]


def _argument(index: int) -> int:
    return _ARGUMENTS + 8 * index


def _result(action: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, action)


def _refuse(number: int) -> tuple[int, int, int, int]:
    return _result(_ERRNO | number)


def _unavailable(what: str) -> jail.Unavailable:
    number = ctypes.get_errno()
    return jail.Unavailable(f"network: {what} ({errno.errorcode.get(number, number)}: {os.strerror(number)})")
