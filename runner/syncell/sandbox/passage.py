"""One cell's way through the egress gate: each `connect` and `bind` of it, decided and made by the host; no `listen`.

What must not be broken: the address that was decided is the address that is connected, so the host reads it once and
connects the cell's socket itself, with bytes of its own; no call is ever let through to the kernel. Nothing in here
waits, so no cell can hold up another: a socket that blocks its caller does not block for as long as it connects.

Where the host may not take descriptors out of the cell (`pidfd_getfd`, which containers often forbid), it connects a
socket of its own and puts that in the place of the cell's. Options that the cell set on its own are lost then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import ipaddress
import logging
import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Callable

from syncell.sandbox import egress, notification
from syncell.sandbox.egress import Address, Egress
from syncell.sandbox.loop import Loop
from syncell.sandbox.names import Lookups, Names
from syncell.sandbox.notification import Call
from syncell.sandbox.resolver import Conversation

CONVERSATIONS_OF_CELL = 64
"""Connections of one cell to its name server at once: each costs the host a descriptor."""
ATTEMPTS_OF_CELL = 1024
"""Connections under way at once for one cell, for the same reason; each is a thread of the cell that waits."""

_ADDRESS_BYTES = range(2, 129)  # of a sockaddr, the family included (sockaddr_storage)
# Where the C library looks for name services of the host's. It goes on to DNS where there are none.
_NAME_SERVICES = ("/run/nscd/socket", "/var/run/nscd/socket", "/run/systemd/resolve/", "/run/systemd/userdb/")


log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Denial:
    """What was refused: where a connection was to lead, and the rule that would allow it; or a port to listen on."""

    what: str
    rule: str  # empty for a port: none allows it


@dataclasses.dataclass(frozen=True)
class _Place:
    """An address as the cell wrote it; `scope` is the link of an IPv6 one."""

    address: Address
    port: int
    scope: int = 0

    @classmethod
    def read(cls, data: bytes) -> _Place:
        """From a sockaddr of IPv4 or IPv6. Raises OSError."""
        ipv4 = data[:2] == struct.pack("=H", socket.AF_INET)
        if len(data) < (16 if ipv4 else 24):  # an IPv6 one may come without its scope
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        (port,) = struct.unpack_from(">H", data, 2)
        if ipv4:
            return cls(ipaddress.IPv4Address(data[4:8]), port)
        return cls(ipaddress.IPv6Address(data[8:24]), port, int.from_bytes(data[24:28], sys.byteorder))

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.address.version == 4 else socket.AF_INET6

    def packed(self) -> bytes:
        """The kernel's sockaddr for it, of our own making."""
        if self.address.version == 4:
            return struct.pack("=H", self.family) + struct.pack(">H4s8x", self.port, self.address.packed)
        return (
            struct.pack("=H", self.family)
            + struct.pack(">H4x16s", self.port, self.address.packed)
            + struct.pack("=I", self.scope)
        )


@dataclasses.dataclass
class _Attempt:
    """A connection under way: the call that waits for it, and our descriptor of the socket.

    `blocking`: the cell's socket blocks, so its caller waits. `own`: it is a socket of ours, to be put in the place of
    the cell's, which `cloexec` is about.
    """

    call: Call
    descriptor: int
    blocking: bool
    own: bool
    cloexec: bool


class Passage:
    """Serves one cell, from its listener's arrival at `door` until the last of its processes is gone. Gate's thread."""

    def __init__(
        self, loop: Loop, lookups: Lookups, rules: Egress, door: socket.socket, denied: Callable[[Denial], None]
    ) -> None:
        self._loop = loop
        self._rules = rules
        self._denied = denied
        self._names = Names(rules, lookups)
        self._door: socket.socket | None = door
        self._listener: int | None = None
        self._attempts: dict[int, _Attempt] = {}
        self._conversations: list[Conversation] = []
        # Links on the way to a socket are the host's and followed now, before the cell could make any.
        self._sockets = {rule.socket: _resolved(rule.socket) for rule in rules.rules if rule.socket}
        loop.watch(door.fileno(), select.EPOLLIN, self._arrive)

    def close(self) -> None:
        """Serve no more: whatever the cell still waits for fails. Safe to call twice."""
        self._close_door()
        for descriptor in list(self._attempts):
            self._loop.forget(descriptor)
            os.close(descriptor)
        self._attempts.clear()
        for conversation in self._conversations:
            conversation.close()
        if self._listener is not None:
            self._loop.forget(self._listener)
            os.close(self._listener)
            self._listener = None

    def _close_door(self) -> None:
        if self._door is not None:
            self._loop.forget(self._door.fileno())
            self._door.close()
            self._door = None

    def _arrive(self, _: int) -> None:
        """Take the listener that the cell sends before it runs anything else; it may also end without."""
        assert self._door is not None
        try:
            descriptors = socket.recv_fds(self._door, 1, 1, socket.MSG_CMSG_CLOEXEC)[1]
        except OSError:
            descriptors = []
        self._close_door()
        if descriptors:
            self._listener = descriptors[0]
            self._loop.watch(self._listener, select.EPOLLIN, self._called)

    def _called(self, events: int) -> None:
        assert self._listener is not None
        if not events & select.EPOLLIN:
            return self.close()  # nobody is left whose calls could come
        call = notification.receive(self._listener)
        if call is None:
            return None
        try:
            self._serve(call)
        except OSError as error:
            self._answer(call, error.errno or errno.EACCES)
        except Exception:
            log.exception("The egress gate could not serve a connection; it is refused")
            self._answer(call, errno.EACCES)
        return None

    def _serve(self, call: Call) -> None:
        if call.name == "listen":
            return self._deny(call, Denial("a port", ""))
        if call.length not in _ADDRESS_BYTES:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        data = notification.memory(call)
        pid = notification.process(call)
        (family,) = struct.unpack_from("=H", data)
        if family == socket.AF_UNIX and call.name == "connect":
            folder = os.readlink(f"/proc/{call.thread}/cwd")  # noqa: PTH115
            if self._is_pending(call):
                self._serve_unix(call, pid, data[2:], folder)
        elif self._is_pending(call):
            if family not in (socket.AF_INET, socket.AF_INET6):
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            serve = self._bind if call.name == "bind" else self._serve_internet
            serve(call, pid, _Place.read(data))
        return None

    def _serve_internet(self, call: Call, pid: int, place: _Place, *, asked: bool = False) -> None:
        """Decide; `asked` says that every name that could allow it has been asked just now."""
        address, port = egress.unmapped(place.address), place.port
        names = self._names.of(address)
        if self._rules.is_resolver(address, port, names):
            return self._converse(call, pid)
        if self._rules.allows(address, port, names):
            return self._connect(call, pid, place.family, place.packed())
        stale = [] if asked else self._names.stale(address, port)
        if stale:
            return self._names.ask_all(stale, functools.partial(self._serve_again, call, pid, place))
        return self._deny(call, self._denial(address, port, names))

    def _serve_again(self, call: Call, pid: int, place: _Place) -> None:
        if self._is_pending(call):
            try:
                self._serve_internet(call, pid, place, asked=True)
            except OSError as error:
                self._answer(call, error.errno or errno.EACCES)

    def _denial(self, address: Address, port: int, names: list[str]) -> Denial:
        text = egress.shown(address, port)
        for name in names:
            if self._rules.permits(name, port):  # the name is allowed, the place that it leads to is not
                return Denial(f"{egress.shown(name, port)}, which leads to {address}", text)
        return Denial(egress.shown(names[0], port), egress.shown(names[0], port)) if names else Denial(text, text)

    def _bind(self, call: Call, pid: int, place: _Place) -> None:
        """To a port of the kernel's choice, as clients do that choose where from: nothing can listen on it."""
        if place.port:
            return self._deny(call, Denial(f"port {place.port}", ""))
        descriptor = notification.take_descriptor(pid, call.descriptor)
        try:
            if self._is_pending(call):
                _check(descriptor, place.family)
                self._answer(call, notification.bind(descriptor, place.packed()))
        finally:
            os.close(descriptor)

    def _serve_unix(self, call: Call, pid: int, data: bytes, folder: str) -> None:
        if not data:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if data.startswith(b"\0"):
            path = "@" + os.fsdecode(data[1:])
        else:
            path = os.path.normpath(os.path.join(folder, os.fsdecode(data.partition(b"\0")[0])))  # noqa: PTH118
        if path not in self._sockets:
            if path.startswith(_NAME_SERVICES):
                return self._answer(call, errno.ENOENT)
            return self._deny(call, Denial(f"unix:{path}", f"unix:{path}"))
        if path.startswith("@"):
            return self._connect(call, pid, socket.AF_UNIX, struct.pack("=H", socket.AF_UNIX) + data)
        descriptor = notification.open_without_links(self._sockets[path])
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            place = struct.pack("=H", socket.AF_UNIX) + f"/proc/self/fd/{descriptor}".encode() + b"\0"
            return self._connect(call, pid, socket.AF_UNIX, place)
        finally:
            os.close(descriptor)

    def _connect(self, call: Call, pid: int, family: socket.AddressFamily, place: bytes) -> None:
        if len(self._attempts) >= ATTEMPTS_OF_CELL:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        attempt = self._attempt(call, pid, family)
        try:
            if not self._is_pending(call):  # then it may have been another process that the descriptor was taken from
                os.close(attempt.descriptor)
                return
            _check(attempt.descriptor, family)
            os.set_blocking(attempt.descriptor, False)
            error = notification.connect(attempt.descriptor, place)
        except BaseException:
            os.close(attempt.descriptor)
            raise
        if attempt.blocking and error in (errno.EINPROGRESS, errno.EALREADY):
            self._attempts[attempt.descriptor] = attempt
            self._loop.watch(attempt.descriptor, select.EPOLLOUT, lambda _: self._settled(attempt))
            if seconds := notification.send_timeout(attempt.descriptor):
                self._loop.after(seconds, lambda: self._timed_out(attempt))
        else:
            self._finish(attempt, error)

    def _attempt(self, call: Call, pid: int, family: socket.AddressFamily) -> _Attempt:
        try:
            descriptor = notification.take_descriptor(pid, call.descriptor)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS):
                raise
            flags = notification.flags(pid, call.descriptor)
            with socket.socket(family, socket.SOCK_STREAM) as ours:
                descriptor = ours.detach()
            own = True
        else:
            flags, own = fcntl.fcntl(descriptor, fcntl.F_GETFL), False
        return _Attempt(call, descriptor, not flags & os.O_NONBLOCK, own, bool(flags & os.O_CLOEXEC))

    def _settled(self, attempt: _Attempt) -> None:
        self._finish(attempt, notification.failure(attempt.descriptor))

    def _timed_out(self, attempt: _Attempt) -> None:
        if self._attempts.get(attempt.descriptor) is attempt:
            self._finish(attempt, errno.EINPROGRESS)  # what connect(2) says when SO_SNDTIMEO is over

    def _finish(self, attempt: _Attempt, error: int) -> None:
        """Give the socket back as it was, and let the call return."""
        if self._attempts.pop(attempt.descriptor, None) is not None:
            self._loop.forget(attempt.descriptor)
        try:
            if attempt.blocking:
                os.set_blocking(attempt.descriptor, True)
            if attempt.own and error in (0, errno.EINPROGRESS) and self._listener is not None:
                notification.replace(self._listener, attempt.call, attempt.descriptor, cloexec=attempt.cloexec)
        except OSError as refused:
            error = refused.errno or errno.EACCES
        finally:
            os.close(attempt.descriptor)
        self._answer(attempt.call, error)

    def _converse(self, call: Call, pid: int) -> None:
        """Put one end of a conversation with the cell's own name server in the place of its socket."""
        self._conversations = [conversation for conversation in self._conversations if conversation.open]
        if len(self._conversations) >= CONVERSATIONS_OF_CELL:
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        assert self._listener is not None
        flags = notification.flags(pid, call.descriptor)
        ours, theirs = socket.socketpair()
        with theirs:
            os.set_blocking(theirs.fileno(), not flags & os.O_NONBLOCK)
            try:
                cloexec = bool(flags & os.O_CLOEXEC)
                notification.replace(self._listener, call, theirs.fileno(), cloexec=cloexec)
            except BaseException:
                ours.close()
                raise
        self._conversations.append(Conversation(self._loop, self._names, ours, self._refuse_name))
        self._answer(call, 0)

    def _refuse_name(self, name: str) -> None:
        self._denied(Denial(name, f"{name}:PORT"))

    def _deny(self, call: Call, denial: Denial) -> None:
        self._denied(denial)  # first: whoever learns of the refusal can find out what it was
        self._answer(call, errno.EACCES)

    def _is_pending(self, call: Call) -> bool:
        return self._listener is not None and notification.is_pending(self._listener, call)

    def _answer(self, call: Call, error: int) -> None:
        if self._listener is not None:
            notification.answer(self._listener, call, error)


def _check(descriptor: int, family: socket.AddressFamily) -> None:
    """Refuse what the cell cannot have made itself: a socket of some other kind, which came to it by other ways."""
    domain, kind, protocol = notification.kind(descriptor)
    streams = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET) if domain == socket.AF_UNIX else (socket.SOCK_STREAM,)
    if kind not in streams or protocol not in (0, socket.IPPROTO_TCP):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    if (domain == socket.AF_UNIX) != (family == socket.AF_UNIX):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))


def _resolved(path: str) -> str:
    """Where a granted socket is. The last part is not followed, for a socket is no link."""
    if path.startswith("@"):
        return path
    with contextlib.suppress(OSError):
        return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))  # noqa: PTH118, PTH119, PTH120
    return path
