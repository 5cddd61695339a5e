"""Describe an exception as plain data, for a host that has none of its classes.

Nothing an exception does can stop its own report: its `__str__`, its attributes and its source lines are all foreign.
"""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from syncell_worker import values, wire

_MAX_TEXT = 64 * 1024  # characters of a message or a traceback: a screenful is read, never a megabyte
_MAX_ATTRIBUTES = 32
_MAX_CHAIN = 16  # causes of causes
_MAKING_A_SOCKET = ("socket", "__init__")
# Where the standard library, or what stands in for it in a jail, is when a program, or a socket, was refused to it.
_REFUSALS: dict[tuple[Any, str], str] = {
    ("subprocess", "_execute_child"): "program",
    ("syncell_worker.programs", "refused"): "program",
    _MAKING_A_SOCKET: "socket",
}
# Kinds of socket by family, and by type or protocol; `socket` itself is not imported for them.
_INTERNET = (2, 10)
_FAMILIES = {1: "unix-datagram", 16: "netlink", 17: "packet", 40: "vsock"}
_TYPES, _PROTOCOLS = {2: "udp", 3: "raw"}, {132: "sctp", 262: "mptcp"}
_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - one comparison a frame


def describe(error: BaseException, kind: str = "syncer") -> wire.Failed:
    """The exception's qualified name, text, plain attributes, and traceback from the syncer's first frame on."""
    return wire.Failed(
        kind=kind,
        name=_qualified(type(error)),
        message=_text(error),
        traceback=_traceback(error),
        attributes=_attributes(error),
        refused=_refused(error),
    )


def _qualified(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as failed:
        text = f"<its text cannot be shown: __str__ raised {type(failed).__name__}>"
    return _shorten(text)


def _shorten(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[: _MAX_TEXT // 2]}\n[... {len(text) - _MAX_TEXT} characters left out ...]\n{text[-_MAX_TEXT // 2 :]}"


def _traceback(error: BaseException) -> str:
    first: TracebackType | None = error.__traceback__
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_HERE):
        first = first.tb_next
    try:
        return _shorten("".join(traceback.format_exception(type(error), error, first)))
    except BaseException:
        return f"{_qualified(type(error))}: its traceback cannot be shown\n"


def _refused(error: BaseException) -> str:
    """What the system refused that has no path to tell by, wherever in the chain of causes it stands."""
    cause: BaseException | None = error
    refused = ""
    with contextlib.suppress(BaseException):
        for _ in range(_MAX_CHAIN):
            if cause is None or (refused := _refusal(cause)):
                break
            cause = cause.__cause__ or cause.__context__
    return refused


def _refusal(error: BaseException) -> str:
    if _qualified(type(error)) == "socket.gaierror":  # no name is resolved without a socket
        return "socket"
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if not isinstance(error, OSError) or last is None:
        return ""
    place = (last.tb_frame.f_globals.get("__name__"), last.tb_frame.f_code.co_name)
    if error.errno == errno.EACCES:
        return _REFUSALS.get(place, "")
    if place == _MAKING_A_SOCKET and error.errno in (errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT):
        return _kind(last.tb_frame.f_locals)
    return ""


def _kind(given: Mapping[str, object]) -> str:
    """The kind of socket that these arguments ask for; empty when it has no name here."""
    family, kind, protocol = (given.get(name) for name in ("family", "type", "proto"))
    if not isinstance(family, int) or not isinstance(kind, int) or not isinstance(protocol, int):
        return ""
    if family in _INTERNET:
        return _PROTOCOLS.get(protocol) or _TYPES.get(kind & 0xF, "")
    return _FAMILIES.get(family, "")


def _attributes(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        named = dict(vars(error))
        if isinstance(error, OSError):
            named.update(errno=error.errno, strerror=error.strerror, filename=error.filename)
        for name, value in list(named.items())[:_MAX_ATTRIBUTES]:
            if isinstance(value, os.PathLike):
                value = os.fspath(value)  # noqa: PLW2901 - the plain form of the same thing
            if type(value) in (str, int, float, bool) and not name.startswith("_"):
                values.faithful(value)
                found[_shorten(name)] = _shorten(value) if isinstance(value, str) else value
    except BaseException:
        return {}
    return {name: value for name, value in found.items() if not isinstance(value, int) or abs(value) < 2**63}
