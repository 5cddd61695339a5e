"""The protocol between a host and a worker: frames, messages and the rules of their order. No I/O in here.

Bytes go in through `Connection.receive` and events come out; `Connection.send` turns a message into buffers to write.
Both sides use the same class, and both check the same table of transitions, so that a peer that breaks the rules is
noticed at the frame where it does. `docs/protocol.md` says the same in prose, for other languages.

A frame is a header of four big-endian unsigned 32-bit numbers and a payload:

    length of the payload | kind | call id | length of the head

A CONTROL frame's payload is one msgpack map, a tagged message; its head is empty. A ROWS frame's payload is a head (a
msgpack map: row count, columns, their types) and a body (a msgpack array of maps) that can be passed on unread.

Evolution is additive: a new field has a default, an unknown field is ignored, a new message needs a new version.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Union

import msgspec

from syncell_worker import schema

VERSIONS = (1,)
"""The protocol versions spoken here, best first."""

MAX_PAYLOAD = 64 * 1024 * 1024
"""Bytes. Batches are about 1 MiB; only a single huge row comes near this."""

MAX_HEAD = 512 * 1024
"""Bytes. Room for a spreadsheet's 16,384 columns; a reader keeps a decoder for each distinct head, so it is bounded."""

_HEADER = struct.Struct(">4I")
HEADER_SIZE = _HEADER.size
_CONTROL, _ROWS = 1, 2

Buffer = Union[bytes, bytearray, memoryview]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Message(msgspec.Struct, tag_field="type", omit_defaults=True, kw_only=True):
    """What travels in a control frame. The tag is the class's name in lower case."""


class Offer(Message, tag="offer"):
    """Host, first: the versions it speaks, and the jail that must stand before anything else is read."""

    versions: list[int]
    read: list[str] = []
    write: list[str] = []
    execute: list[str] = []
    rlimits: dict[str, int] = {}
    jail: str = "required"
    network: str = "none"
    door: int = -1


class Hello(Message, tag="hello"):
    """Worker: the version it picked, and the layers of the jail that now hold; `lacking` says what does not."""

    version: int
    layers: list[str] = []
    lacking: list[str] = []
    pid: int = 0
    python: str = ""


class Open(Message, tag="open"):
    """Host: become an interpreter of `environment` and build the syncer of `folder`.

    The options are one row: `options` is its body, `option_columns` and `option_types` its head. `paths` names those
    options that are paths. `log_level` is the lowest level of log records that the host wants.
    """

    name: str
    folder: str
    syncer_class: str
    environment: str
    options: msgspec.Raw
    option_columns: tuple[str, ...] = ()
    option_types: dict[str, str] = {}
    paths: list[str] = []
    tables: list[schema.Table] = []
    log_level: int = 30


class Inspect(Message, tag="inspect"):
    """Host, instead of `Open`: import the syncer of `folder` in `environment`, and say what its class takes."""

    name: str
    folder: str
    syncer_class: str
    environment: str


class Inspected(Message, tag="inspected"):
    """Worker: the class's options as a JSON Schema of an object, and its optional members. Then it exits."""

    schema: dict[str, Any]
    members: list[str] = []


class Opened(Message, tag="opened"):
    """Worker: the syncer stands; its name, and which optional members it has."""

    name: str
    members: list[str] = []


class Load(Message, tag="load"):
    """Host: send the rows of this identifier."""

    identifier: str


class Dump(Message, tag="dump"):
    """Host: rows for this identifier follow, until `End`."""

    identifier: str


class End(Message, tag="end"):
    """Host: no more rows for this call. `rows` is how many there were."""

    rows: Count = 0


class Cancel(Message, tag="cancel"):
    """Host: the result of this call is no longer wanted."""


class Close(Message, tag="close"):
    """Host: close the syncer and exit."""


class Done(Message, tag="done"):
    """Worker: the call ended well. `rows` is how many were sent or received."""

    rows: Count = 0


class Problem(msgspec.Struct, frozen=True):
    """One refused option."""

    where: str
    message: str


class Failed(Message, tag="failed"):
    """Worker: the call (or the opening) did not end well.

    `kind` is `syncer` (an exception of the syncer's, described by the other fields), `manifest` or `options` (see
    `problems`), `sandbox` (the jail does not stand), `version` (none in common) or `cancelled`. `refused` says what the
    system did not let the syncer have, where the exception shows it: a `program`, a `socket` (none can be made), or the
    kind of socket that there is not, such as `udp`.
    """

    kind: str
    name: str = ""
    message: str = ""
    traceback: str = ""
    attributes: dict[str, Any] = {}
    problems: list[Problem] = []
    refused: str = ""


class Log(Message, tag="log"):
    """Worker, at any time: a record of the syncer's `logging`. `level` is logging's number."""

    level: int
    logger: str
    message: str


class Closed(Message, tag="closed"):
    """Worker, last: everything is closed."""


class Rows(msgspec.Struct, frozen=True):
    """One batch of rows: what a ROWS frame holds. `types` names the type of each column that is not plain."""

    count: int
    columns: tuple[str, ...]
    types: dict[str, str]
    head: Buffer
    body: Buffer


class _Head(msgspec.Struct, omit_defaults=True):
    rows: Count
    columns: tuple[str, ...] = ()
    types: dict[str, str] = {}


class WireError(Exception):
    """The protocol was broken. Never raised itself."""


class LocalProtocolError(WireError):
    """This side tried to send what the protocol does not allow here."""


class RemoteProtocolError(WireError):
    """The other side sent what the protocol does not allow here."""


HOST, WORKER = "host", "worker"

# The whole order of the protocol. Read: in this state, from this side, this message leads to that state.
# Log is allowed from the worker once it has said hello, and changes nothing.
TRANSITIONS: dict[tuple[str, str, type], str] = {
    ("START", HOST, Offer): "OFFERED",
    ("OFFERED", WORKER, Hello): "GREETED",
    ("OFFERED", WORKER, Failed): "CLOSED",
    ("GREETED", HOST, Open): "OPENING",
    ("GREETED", HOST, Inspect): "INSPECTING",
    ("INSPECTING", WORKER, Inspected): "CLOSED",
    ("INSPECTING", WORKER, Failed): "CLOSED",
    ("OPENING", WORKER, Opened): "READY",
    ("OPENING", WORKER, Failed): "CLOSED",
    ("READY", HOST, Load): "LOADING",
    ("LOADING", WORKER, Rows): "LOADING",
    ("LOADING", WORKER, Done): "READY",
    ("LOADING", WORKER, Failed): "READY",
    ("LOADING", HOST, Cancel): "LOADING",
    ("READY", HOST, Dump): "DUMPING",
    ("DUMPING", HOST, Rows): "DUMPING",
    ("DUMPING", HOST, End): "SETTLING",
    ("DUMPING", HOST, Cancel): "SETTLING",
    # A syncer may fail before it has seen all rows. The rest of that call's frames is then ignored.
    ("DUMPING", WORKER, Failed): "READY",
    ("SETTLING", WORKER, Done): "READY",
    ("SETTLING", WORKER, Failed): "READY",
    ("SETTLING", HOST, Cancel): "SETTLING",
    ("READY", HOST, Close): "CLOSING",
    ("CLOSING", WORKER, Closed): "CLOSED",
}
_CALL_STATES = {"LOADING", "DUMPING", "SETTLING"}
_LOG_STATES = {"GREETED", "INSPECTING", "OPENING", "READY", "LOADING", "DUMPING", "SETTLING", "CLOSING"}

Event = tuple[int, Any]
"""A call id (0 outside calls) and a message or `Rows`."""

_encoder = msgspec.msgpack.Encoder()
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_message = msgspec.msgpack.Decoder(
    Union[Offer, Hello, Open, Inspect, Inspected, Opened, Load, Dump, End, Cancel, Close, Done, Failed, Log, Closed]
).decode


def encode_head(count: int, columns: tuple[str, ...], types: dict[str, str]) -> bytes:
    """The head of a ROWS frame, for `Rows.head`."""
    return _encoder.encode(_Head(rows=count, columns=columns, types=types))


class Connection:
    """One side's view of one conversation: `role` is `HOST` or `WORKER`."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.peer = WORKER if role == HOST else HOST
        self.state = "START"
        self.call = 0
        self._offered: list[int] = []
        self._partial = bytearray()

    def send(self, event: Message | Rows, call: int = 0) -> list[Buffer]:
        """The buffers that carry this message, in order.

        Raises `LocalProtocolError` when it is out of turn, too large, or holds text that is not Unicode; then nothing
        has changed.
        """
        if isinstance(event, Rows):
            size = len(event.head) + len(event.body)
            kind, head, payload = _ROWS, len(event.head), [event.head, event.body]
        else:
            try:
                payload = [_encoder.encode(event)]
            except UnicodeEncodeError as error:
                raise LocalProtocolError(f"{type(event).__name__} holds text that is not Unicode: {error}") from None
            size = len(payload[0])
            kind, head = _CONTROL, 0
        self._check(size, kind, head, LocalProtocolError)
        self._step(self.role, event, call, LocalProtocolError)
        return [_HEADER.pack(size, kind, call, head), *payload]

    def receive(self, data: Buffer) -> list[Event]:
        """Take bytes from the peer, give the events that they complete.

        Raises `RemoteProtocolError`; after that nothing can be sent or received any more.
        Rows events keep a view of `data`: the caller must not change it afterwards. What is held of an unfinished
        frame is one buffer of its bytes, however small the pieces in which a peer sends it.
        """
        try:
            return self._receive(data)
        except RemoteProtocolError:
            self.state, self._partial = "BROKEN", bytearray()
            raise

    def _receive(self, data: Buffer) -> list[Event]:
        if self._partial:
            self._partial += data
            data = self._partial
        events: list[Event] = []
        start = 0
        while len(data) - start >= HEADER_SIZE:
            size, kind, call, head = _HEADER.unpack_from(data, start)
            self._check(size, kind, head, RemoteProtocolError)
            end = start + HEADER_SIZE + size
            if end > len(data):
                break
            event = self._parse(kind, memoryview(data)[start + HEADER_SIZE : end], head)
            start = end
            if not self._ended(call, event):
                self._step(self.peer, event, call, RemoteProtocolError)
                events.append((call, event))
        if start or data is not self._partial:
            self._partial = bytearray(memoryview(data)[start:])
        return events

    @staticmethod
    def _check(size: int, kind: int, head: int, error: type) -> None:
        if kind not in (_CONTROL, _ROWS):
            raise error(f"not a frame of this protocol (kind {kind})")
        if size > MAX_PAYLOAD:
            raise error(f"a frame of {size} bytes exceeds the limit of {MAX_PAYLOAD}")
        if head > MAX_HEAD:
            raise error(f"a head of {head} bytes exceeds the limit of {MAX_HEAD}: too many columns")
        if head > size or (kind == _CONTROL and head):
            raise error(f"a head of {head} bytes does not fit a frame of {size}")

    @staticmethod
    def _parse(kind: int, payload: memoryview, head: int) -> Any:
        try:
            if kind == _CONTROL:
                return _decode_message(payload)
            described = _decode_head(payload[:head])
        # msgspec's own errors are ValueErrors, and so is text that is not UTF-8.
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError(f"a frame that cannot be read: {error}") from None
        return Rows(described.rows, described.columns, described.types, payload[:head], payload[head:])

    def _ended(self, call: int, event: Any) -> bool:
        """Whether this frame belongs to a call that is over: the host had not yet seen its end when it sent it."""
        if self.role == HOST or not call or not isinstance(event, (Rows, End, Cancel)):
            return False
        return call == self.call and self.state == "READY"

    def _step(self, sender: str, event: Any, call: int, error: type) -> None:
        kind = type(event)
        if kind is Log and sender == WORKER and self.state in _LOG_STATES:
            return
        after = TRANSITIONS.get((self.state, sender, kind))
        if after is None:
            raise error(f"{kind.__name__} from the {sender} in state {self.state}")
        if kind is Offer:
            self._offered = event.versions
        elif kind is Hello and event.version not in self._offered:
            raise error(f"version {event.version} was not among the offered {self._offered}")
        if self.state == "READY" and kind in (Load, Dump):
            if call <= self.call:
                raise error(f"call {call} after call {self.call}")
            self.call = call
        elif call != (self.call if self.state in _CALL_STATES else 0):
            raise error(f"{kind.__name__} for call {call} during call {self.call}")
        self.state = after


def pick_version(offered: list[int]) -> int | None:
    """The best version that both sides speak, or None."""
    return next((version for version in VERSIONS if version in offered), None)
