"""Which names lead where, for one cell: asked of the host's own resolver, kept for a while, asked again.

A cell never learns an address but of a name that its rules allow, and no other name is ever asked for, so that a
question carries nothing out. Whether an address may be connected to is decided by the names that led to it within the
last `ADDRESS_SECONDS`; after that they are asked again. All of `Names` runs in the gate's thread; only `Lookups` has
others.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from syncell.sandbox.egress import Address, Egress, canonical, is_localhost, unmapped

ANSWER_SECONDS = 60
"""How long a name is not asked again: as short as providers that balance load by names make theirs."""
ADDRESS_SECONDS = 300
"""How long an address counts as its name's: a program may try many addresses, slowly, before it comes to this one."""
FAILURE_SECONDS = 5
"""How long a name that has no answer is not asked for again: programs retry at once."""
LOOKUPS_AT_ONCE = 8
"""Threads that wait for the host's resolver, which gives no other way to wait."""
LOOKUPS_OF_CELL = 32
"""Names that one cell may wait for: so it cannot keep all threads from the others for long."""
NAMES_OF_CELL = 1024
"""Names that are remembered for one cell; the oldest make room."""
JOIN_SECONDS = 5.0
"""For a lookup under way when a runner closes: the resolver's usual time-out. What takes longer is left: a daemon."""

_LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


@dataclasses.dataclass(frozen=True)
class Answer:
    """The addresses of a name, none when it has none; `failed` says that the resolver could not tell."""

    addresses: tuple[Address, ...] = ()
    failed: bool = False


Then = Callable[[Answer], None]


class Lookups:
    """Threads that ask the host's resolver. `post` hands what is to be done to the gate's own thread."""

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._waiting: deque[tuple[str, Then]] = deque()
        self._threads: set[threading.Thread] = set()

    def ask(self, name: str, then: Then) -> None:
        """Look a name up, and call `then` with the answer in the gate's thread."""
        self._waiting.append((name, then))
        self._start()

    def join(self) -> None:
        """Wait for the threads, not for long; what they find is dropped."""
        self._waiting.clear()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self) -> None:
        while self._waiting and len(self._threads) < LOOKUPS_AT_ONCE:
            name, then = self._waiting.popleft()
            thread = threading.Thread(target=self._look, args=(name, then), name=f"syncell-lookup-{name}", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _look(self, name: str, then: Then) -> None:
        found = look_up(name)
        self._post(functools.partial(self._done, threading.current_thread(), then, found))

    def _done(self, thread: threading.Thread, then: Then, found: Answer) -> None:
        self._threads.discard(thread)
        self._start()
        then(found)


def look_up(name: str) -> Answer:
    """What the host's resolver says. It may take as long as that takes."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Answer(failed=error.errno not in (socket.EAI_NONAME, socket.EAI_NODATA))
    except (OSError, UnicodeError):
        return Answer(failed=True)
    addresses = (ipaddress.ip_address(str(where[0]).partition("%")[0]) for *_, where in found)
    return Answer(tuple(dict.fromkeys(map(unmapped, addresses))))


@dataclasses.dataclass
class _Known:
    """What is known of a name: its answer and until when that is not asked again; until when each address is its."""

    answer: Answer
    until: float
    addresses: dict[Address, float]


class Names:
    """The answers that one cell got, and those it waits for."""

    def __init__(self, egress: Egress, lookups: Lookups) -> None:
        self._egress = egress
        self._lookups = lookups
        self._known: dict[str, _Known] = {}
        self._waiting: dict[str, list[Then]] = {}

    def of(self, address: Address) -> list[str]:
        """The names that led to an address lately."""
        now = time.monotonic()
        return [name for name, known in self._known.items() if known.addresses.get(address, 0.0) > now]

    def stale(self, address: Address, port: int) -> list[str]:
        """The names that could allow a connection to an address if they were asked, or asked again."""
        now = time.monotonic()
        once = (name for name, known in self._known.items() if address in known.addresses)
        possible = dict.fromkeys([*self._egress.candidates(port), *once])
        return [name for name in possible if name not in self._known or self._known[name].until <= now]

    def allows(self, name: str) -> bool:
        """Whether a cell may ask for the addresses of a name."""
        try:
            return self._egress.answers(canonical(name))
        except ValueError:
            return False

    def ask(self, name: str, then: Then) -> None:
        """Call `then` with the answer for a name as a cell writes it, now or later, in the gate's thread."""
        try:
            name = canonical(name)
        except ValueError:
            return then(Answer())
        if not self._egress.answers(name):
            if not is_localhost(name):
                return then(Answer())
            self._keep(name, Answer(_LOOPBACK))  # no secret, and so a refusal can tell which port was meant
        known = self._known.get(name)
        if known is not None and known.until > time.monotonic():
            return then(known.answer)
        if name not in self._waiting and len(self._waiting) >= LOOKUPS_OF_CELL:
            return then(Answer(failed=True))
        self._waiting.setdefault(name, []).append(then)
        if len(self._waiting[name]) == 1:
            self._lookups.ask(name, functools.partial(self._found, name))
        return None

    def ask_all(self, names: Iterable[str], then: Callable[[], None]) -> None:
        """Ask for all of these, and call `then` once all are answered."""
        left = set(names)

        def answered(name: str, _: Answer) -> None:
            left.discard(name)
            if not left:
                then()

        for name in list(left):
            self.ask(name, functools.partial(answered, name))

    def _found(self, name: str, answer: Answer) -> None:
        self._keep(name, answer)
        for then in self._waiting.pop(name, []):
            then(answer)

    def _keep(self, name: str, answer: Answer) -> None:
        now = time.monotonic()
        before = self._known.pop(name, None)
        addresses = {} if before is None else {which: until for which, until in before.addresses.items() if until > now}
        addresses |= dict.fromkeys(answer.addresses, now + ADDRESS_SECONDS)
        seconds = ANSWER_SECONDS if answer.addresses else FAILURE_SECONDS
        self._known[name] = _Known(answer, now + seconds, addresses)
        if len(self._known) > NAMES_OF_CELL:
            del self._known[next(iter(self._known))]
