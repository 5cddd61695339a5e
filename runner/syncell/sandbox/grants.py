"""Which files one cell may read and write and where it may connect to, and who said so.

Passing is granting: an option that the manifest's permissions name as a path, or that the host passes as a
`pathlib.Path`, is granted, since the host named it. A literal path in a manifest grants nothing. `/`, the home folder
and syncell's own folders are never granted by an option, nor a folder that holds them: only a policy can. The same goes
for hosts: an option names one host and one port, never a wildcard or a network.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from syncell.errors import AccessDenied, OptionsError, Problem
from syncell.manifest import Expansion, Manifest
from syncell.sandbox import egress
from syncell.sandbox.policy import Policy


@dataclasses.dataclass(frozen=True)
class Grants:
    """Absolute paths with their symbolic links resolved, a folder covering what is beneath it; rules of `egress`."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()

    def covers(self, action: str, path: str) -> bool:
        """Whether `path` may be read or written (`action` is `"read"` or `"write"`)."""
        real = os.path.realpath(path)
        return any(_within(real, granted) for granted in getattr(self, action))


def draw(
    syncer: str, manifest: Manifest, options: Mapping[str, Any], policy: Policy, protected: Iterable[Path]
) -> Grants:
    """The grants of one cell.

    Raises `OptionsError` for options that would grant a protected place, and `AccessDenied` when the manifest asks
    for something that no option names and the policy does not allow.
    """
    allowed = Grants(read=tuple(map(os.path.realpath, policy.read)), write=tuple(map(os.path.realpath, policy.write)))
    asked = manifest.permissions.expand(options)
    if manifest.permissions.subprocess and not policy.subprocess:
        raise AccessDenied.programs(syncer)
    granted: dict[str, list[str]] = {"read": list(allowed.read), "write": list(allowed.write)}
    problems = []
    for action in ("read", "write"):
        for path in map(_real, getattr(asked.requested, action)):
            if not allowed.covers(action, path):
                raise AccessDenied.path(syncer, action, path)
        for path in map(_real, [*getattr(asked.named, action), *_paths(options)]):
            place = _protected_by(path, protected)
            if place is None:
                granted[action].append(path)
            elif not allowed.covers(action, path):
                problems.append(
                    Problem(
                        path,
                        f"no option grants it, since the syncer could then {action} {place}; use a folder of its own, "
                        f"or allow it: Policy({action}=[{path!r}]) or --allow-{action} {path}",
                    )
                )
    if problems:
        raise OptionsError(syncer, problems)
    connect = _places(syncer, asked, policy)
    read, write = (tuple(dict.fromkeys(granted[action])) for action in ("read", "write"))
    return Grants(read=read, write=write, connect=connect)


def _places(syncer: str, asked: Expansion, policy: Policy) -> tuple[str, ...]:
    """Where the cell may connect to."""
    allowed = egress.Egress.of(policy.connect)
    for text in asked.requested.connect:
        try:
            rule = egress.parse(text)
        except ValueError as error:
            raise OptionsError(syncer, [Problem("permissions.connect", str(error))]) from None
        if not allowed.covers(rule):
            raise AccessDenied.connection(syncer, rule.text, rule.text)
    named, problems = [], []
    for text in asked.named.connect:
        try:
            named.append(egress.parse_option(text).text)
        except ValueError as error:
            problems.append(Problem("an option that names a host", str(error)))
    if problems:
        raise OptionsError(syncer, problems)
    return tuple(dict.fromkeys([*policy.connect, *named]))


def _paths(options: Mapping[str, Any]) -> list[str]:
    return [os.fspath(value) for value in options.values() if isinstance(value, os.PathLike)]


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))  # noqa: PTH111 - it may not exist yet


def _protected_by(path: str, protected: Iterable[Path]) -> str | None:
    """The protected place that a grant of `path` would open, if any."""
    if path == "/":
        return "the whole machine"
    home = os.path.realpath(Path.home())
    if _within(home, path):
        return f"your home folder {home}"
    for place in map(os.path.realpath, protected):
        if _within(place, path) or _within(path, place):
            return f"syncell's own folder {place}"
    return None


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
