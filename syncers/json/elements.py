"""Read a JSON array of objects element by element, so that memory does not grow with the file.

The standard library decodes only whole documents; this slides a window over the file and decodes one element at a time
with the same decoder. No I/O but the reading of the file given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

# Characters per read: some thousand rows.
_CHUNK = 1024 * 1024
# The longest token that a cut makes unreadable somewhere else than at the very end: `-Infinity`, or `\\u` with digits.
_LONGEST_TOKEN = 16

_decode = json.JSONDecoder().raw_decode
_skip_space = re.compile(r"[ \t\r\n]*").match


def elements(file: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the objects of the array in `file`; an empty file holds none.

    Raises ValueError, with the line, when it holds anything else.
    """
    window = _Window(file)
    if not window.peek():
        return
    if window.peek() != "[":
        raise window.error("expected an array of objects (lines=true reads one object per line)")
    window.take("[")
    if window.peek() != "]":
        yield window.decode_object()
        while window.peek() == ",":
            window.take(",")
            yield window.decode_object()
    window.take("]")
    if window.peek():
        raise window.error("expected nothing after the array")


class _Window:
    """The part of a text file that is in memory: `text` from `position` on is still to be decoded."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.text = ""
        self.position = 0
        self.lines_before = 0
        self.ended = False

    def peek(self) -> str:
        """Skip white space and return the next character, which stays; an empty string at the end."""
        while True:
            match = _skip_space(self.text, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self.text) or self.ended:
                return self.text[self.position : self.position + 1]
            self._read()

    def take(self, character: str) -> None:
        if self.peek() != character:
            raise self.error(f"expected {character!r}")
        self.position += 1

    def decode_object(self) -> dict[str, Any]:
        if self.peek() != "{":
            raise self.error("expected an object, since every row is one")
        row: dict[str, Any]
        while True:
            try:
                row, self.position = _decode(self.text, self.position)
            except json.JSONDecodeError as error:
                cut = error.pos + _LONGEST_TOKEN > len(self.text) or error.msg.startswith("Unterminated string")
                if self.ended or not cut:
                    self.position = error.pos
                    raise self.error(error.msg) from None
                self._read()
            else:
                return row

    def error(self, message: str) -> ValueError:
        line = self.lines_before + self.text.count("\n", 0, self.position) + 1
        found = self.text[self.position : self.position + 20]
        return ValueError(f"line {line:,}: {message}, found {found!r}" if found else f"line {line:,}: {message}")

    def _read(self) -> None:
        """Drop what was decoded and read on, at least as much as is kept: a huge row then costs linear time."""
        self.lines_before += self.text.count("\n", 0, self.position)
        kept = self.text[self.position :]
        more = self.file.read(max(_CHUNK, len(kept)))
        self.ended = not more
        self.text, self.position = kept + more, 0
