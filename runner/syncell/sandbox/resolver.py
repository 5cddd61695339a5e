"""The cell's name server: one conversation over a socket pair whose other end stands where the cell connected to port
53.

No address of the host listens, so nobody else can ask; and a name that the cell's rules do not allow is answered with
"no such name" without being asked of anybody. Runs in the gate's thread; nothing in here waits.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import struct
from collections.abc import Callable

from syncell.sandbox import dns
from syncell.sandbox.egress import Address
from syncell.sandbox.loop import Loop
from syncell.sandbox.names import ANSWER_SECONDS, Answer, Names

QUESTION_BYTES = 1024
"""The longest question that is read: a name has 255 bytes at most."""
UNREAD_BYTES = 64 * 1024
"""How much a cell may leave unread of its answers before the conversation ends."""


class Conversation:
    """Questions of one cell on one socket. `refused` is called with each name that is not the cell's to ask for."""

    def __init__(self, loop: Loop, names: Names, ours: socket.socket, refused: Callable[[str], None]) -> None:
        self._loop = loop
        self._names = names
        self._socket = ours
        self._refused = refused
        self._questions = bytearray()
        self._answers = bytearray()
        self.open = True
        ours.setblocking(False)
        loop.watch(ours.fileno(), select.EPOLLIN, self._ready)

    def close(self) -> None:
        """Hang up. Safe to call twice."""
        if self.open:
            self.open = False
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _ready(self, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._write()
            if events & ~select.EPOLLOUT:
                self._read()
        except (OSError, ValueError):
            self.close()

    def _read(self) -> None:
        data = self._socket.recv(QUESTION_BYTES)
        if not data:
            return self.close()
        self._questions += data
        while len(self._questions) >= 2:
            (length,) = struct.unpack_from(">H", self._questions)
            if length > QUESTION_BYTES:
                return self.close()
            if len(self._questions) < 2 + length:
                break
            message = bytes(self._questions[2 : 2 + length])
            del self._questions[: 2 + length]
            self._asked(dns.read(message))
        return None

    def _asked(self, question: dns.Question) -> None:
        if not self._names.allows(question.name):
            self._refused(question.name)
        elif question.kind not in (dns.A, dns.AAAA):
            return self._say(dns.answer(question, (), ANSWER_SECONDS))
        return self._names.ask(question.name, functools.partial(self._answered, question))

    def _answered(self, question: dns.Question, answer: Answer) -> None:
        if answer.addresses:
            self._say(dns.answer(question, _reachable(answer.addresses), ANSWER_SECONDS))
        else:
            self._say(dns.refuse(question, dns.SERVER_FAILURE if answer.failed else dns.NO_SUCH_NAME))

    def _say(self, message: bytes) -> None:
        if not self.open:
            return
        self._answers += struct.pack(">H", len(message)) + message
        if len(self._answers) > UNREAD_BYTES:
            self.close()
        else:
            with contextlib.suppress(OSError):  # it hung up; what is to be read says so
                self._write()

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._answers:
                del self._answers[: self._socket.send(self._answers)]
        self._loop.watch(self._socket.fileno(), select.EPOLLIN | (select.EPOLLOUT if self._answers else 0), self._ready)


def _reachable(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    """Without those of IPv6 when the host puts IPv4 first: it has no way to them, and a cell has none to find out."""
    if addresses[0].version == 4:
        return tuple(address for address in addresses if address.version == 4)
    return addresses
