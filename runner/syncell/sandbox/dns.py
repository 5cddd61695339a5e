"""Questions and answers of the domain name system, as bytes: as much of RFC 1035 as a resolver for one cell needs.

Over a stream each message follows its length in two bytes. One question a message, asked by a program that nobody
trusts: whatever does not read is a ValueError. No I/O in here.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable

from syncell.sandbox.egress import Address

A, AAAA = 1, 28
INTERNET = 1
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3

_HEADER = struct.Struct(">6H")
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE, _OPERATION = 0x8000, 0x0100, 0x0080, 0x7800
_NAME_OF_QUESTION = 0xC000 | _HEADER.size  # a pointer to where the question's name stands


@dataclasses.dataclass(frozen=True)
class Question:
    """What was asked: `name` without the dot at its end, `kind` such as `A`; `text` is the question as it came."""

    number: int
    name: str
    kind: int
    wants_recursion: bool
    text: bytes


def read(message: bytes) -> Question:
    """The one question of a message. Raises ValueError."""
    if len(message) < _HEADER.size:
        raise ValueError("shorter than a header")
    number, flags, questions, _, _, _ = _HEADER.unpack_from(message)
    if flags & (_RESPONSE | _OPERATION) or questions != 1:
        raise ValueError("not one plain question")
    labels, at = [], _HEADER.size
    while length := message[at] if at < len(message) else 64:
        if length > 63 or at + 1 + length > len(message):
            raise ValueError("a name that ends nowhere")
        labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    if len(message) < at + 5:
        raise ValueError("a question without a kind")
    kind, _ = struct.unpack_from(">2H", message, at + 1)
    text = message[_HEADER.size : at + 5]
    return Question(number, ".".join(labels), kind, bool(flags & _RECURSION_DESIRED), text)


def answer(question: Question, addresses: Iterable[Address], seconds: int) -> bytes:
    """The answer that names those addresses that are of the kind asked for, good for `seconds`."""
    version = {A: 4, AAAA: 6}.get(question.kind)
    records = [
        struct.pack(">3HIH", _NAME_OF_QUESTION, question.kind, INTERNET, seconds, len(address.packed)) + address.packed
        for address in addresses
        if address.version == version
    ]
    return _message(question, NO_ERROR, records)


def refuse(question: Question, code: int) -> bytes:
    """The answer that says why there is none."""
    return _message(question, code, [])


def _message(question: Question, code: int, records: list[bytes]) -> bytes:
    flags = _RESPONSE | _RECURSION_AVAILABLE | code | (_RECURSION_DESIRED if question.wants_recursion else 0)
    return _HEADER.pack(question.number, flags, 1, len(records), 0, 0) + question.text + b"".join(records)
