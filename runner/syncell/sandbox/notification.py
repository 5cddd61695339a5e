"""The host's end of a seccomp listener: a cell's trapped calls, what they point at, and the answers. Linux only.

Nothing of a trapped call is to be trusted but its id, and that only while `is_pending`: the process may be gone, and
its number another's. So whatever is read from, or taken out of, a process by its number is used after the id was
checked again. Source: the kernel's Documentation/userspace-api/seccomp_filter.rst and seccomp_unotify(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import os
import socket
import struct

_RECEIVE, _SEND, _IS_PENDING, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
# struct seccomp_notif: id, pid, flags, and struct seccomp_data: nr, arch, instruction_pointer, args[6].
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")  # id, val, error, flags
_ADDED = struct.Struct("=QIIII")  # id, flags, srcfd, newfd, newfd_flags
_AT_THIS_NUMBER = 1  # SECCOMP_ADDFD_FLAG_SETFD
_PIDFD_GETFD, _OPENAT2 = 438, 437  # the same on every architecture
# On x86_64 and on aarch64: no number of the one is another trapped call's of the other.
_CALLS = {42: "connect", 203: "connect", 49: "bind", 200: "bind", 50: "listen", 201: "listen"}
_NO_LINKS = 0x04  # RESOLVE_NO_SYMLINKS
_SO_DOMAIN, _SO_PROTOCOL = 39, 38

_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True)
class Call:
    """One trapped `connect`, `bind` or `listen`: its id, the thread that made it, its descriptor, where the address is.

    `listen` has no address; what stands for it is whatever the registers held.
    """

    id: int
    name: str
    thread: int
    descriptor: int
    pointer: int
    length: int


def receive(listener: int) -> Call | None:
    """The next call, or None when it is gone already."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer, True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, thread, _, which, _, _, descriptor, pointer, length, *_ = _NOTIFICATION.unpack(buffer)
    # The kernel reads ints where the registers hold 64 bits.
    return Call(number, _CALLS[which], thread, ctypes.c_int(descriptor).value, pointer, ctypes.c_int(length).value)


def is_pending(listener: int, call: Call) -> bool:
    """Whether the thread still waits in this call, so that its number is still its own."""
    try:
        fcntl.ioctl(listener, _IS_PENDING, struct.pack("=Q", call.id))
    except OSError:
        return False
    return True


def answer(listener: int, call: Call, error: int) -> None:
    """Let the call return: 0, or -1 with this error. One that is gone is not missed."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(listener, _SEND, _RESPONSE.pack(call.id, 0, -error, 0))


def replace(listener: int, call: Call, descriptor: int, *, cloexec: bool) -> None:
    """Put a descriptor of ours in the place of the call's own. Raises OSError."""
    flags = os.O_CLOEXEC if cloexec else 0
    fcntl.ioctl(listener, _ADD_DESCRIPTOR, _ADDED.pack(call.id, _AT_THIS_NUMBER, descriptor, call.descriptor, flags))


def memory(call: Call) -> bytes:
    """The bytes that the call points at. Raises OSError."""
    descriptor = os.open(f"/proc/{call.thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.pread(descriptor, call.length, call.pointer) if call.pointer < 1 << 63 else b""
    except OSError:
        found = b""
    finally:
        os.close(descriptor)
    if len(found) != call.length:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return found


def process(call: Call) -> int:
    """The process of the call's thread: pidfds are of processes. Raises OSError."""
    with open(f"/proc/{call.thread}/status", "rb") as status:  # noqa: PTH123 - this is on the way of every connection
        for line in status:
            if line.startswith(b"Tgid:"):
                return int(line[5:])
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def take_descriptor(pid: int, descriptor: int) -> int:
    """A descriptor of ours for what a process has open. Raises OSError, PermissionError where it is not allowed."""
    process = os.pidfd_open(pid)
    try:
        taken: int = _libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
    finally:
        os.close(process)
    if taken < 0:
        raise _error()
    return taken


def flags(pid: int, descriptor: int) -> int:
    """The flags of a socket that a process has open, such as O_NONBLOCK. Raises OSError."""
    link = os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115
    if not link.startswith("socket:"):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    with open(f"/proc/{pid}/fdinfo/{descriptor}", "rb") as info:  # noqa: PTH123
        for line in info:
            if line.startswith(b"flags:"):
                return int(line[6:], 8)
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def kind(descriptor: int) -> tuple[int, int, int]:
    """The family, type and protocol of a socket. Raises OSError."""
    domain, protocol = _option(descriptor, _SO_DOMAIN, 4), _option(descriptor, _SO_PROTOCOL, 4)
    values = [struct.unpack("=i", value)[0] for value in (domain, _option(descriptor, socket.SO_TYPE, 4), protocol)]
    return values[0], values[1], values[2]


def failure(descriptor: int) -> int:
    """The error that a socket holds, 0 when there is none."""
    return int.from_bytes(_option(descriptor, socket.SO_ERROR, 4), "little")


def send_timeout(descriptor: int) -> float:
    """How long a socket lets its caller wait for a connection, in seconds; 0 for as long as it takes."""
    seconds, microseconds = struct.unpack("@ll", _option(descriptor, socket.SO_SNDTIMEO, 16))
    return float(seconds + microseconds / 1e6)


def connect(descriptor: int, address: bytes) -> int:
    """Connect a socket, whoever else has it open, to the address in these bytes; the error, 0 when there is none."""
    return 0 if _libc.connect(descriptor, address, len(address)) == 0 else ctypes.get_errno()


def bind(descriptor: int, address: bytes) -> int:
    """Bind a socket, whoever else has it open; the error, 0 when there is none."""
    return 0 if _libc.bind(descriptor, address, len(address)) == 0 else ctypes.get_errno()


def open_without_links(path: str) -> int:
    """A descriptor for a path (O_PATH), no part of which may be a symbolic link. Raises OSError."""
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS)
    descriptor: int = _libc.syscall(_OPENAT2, -100, os.fsencode(path), how, len(how))
    if descriptor < 0:
        raise _error()
    return descriptor


def _option(descriptor: int, name: int, size: int) -> bytes:
    value, length = ctypes.create_string_buffer(size), ctypes.c_uint(size)
    if _libc.getsockopt(descriptor, socket.SOL_SOCKET, name, value, ctypes.byref(length)):
        raise _error()
    return value.raw


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
