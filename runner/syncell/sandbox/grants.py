"""Which files one cell may read and write and where it may connect to, and who said so.

Passing is granting: an option that the manifest's permissions name as a path, or that the host passes as a
`pathlib.Path`, is granted, since the host named it. A literal path in a manifest grants nothing. `/`, the home folder
and syncell's own folders are never granted by an option, nor a folder that holds them: only a policy can. The same goes
for hosts: an option names one host and one port, never a wildcard or a network.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from syncell.errors import AccessDenied, OptionsError, Problem, SyncellError
from syncell.manifest import Manifest, Permissions
from syncell.sandbox import egress
from syncell.sandbox.policy import Policy

FileAction = Literal["read", "write"]
Action = Literal[FileAction, "connect"]
_FILE_ACTIONS: tuple[FileAction, ...] = ("read", "write")

BY_POLICY = "policy"
"""The origin of a grant that the policy names itself."""


_DATABASES = (".db", ".db3", ".duckdb", ".s3db", ".sqlite", ".sqlite3")


@dataclasses.dataclass(frozen=True)
class Grant:
    """One allowed place: a path, its links resolved, a folder covering what is beneath it; or a rule of `egress`.

    `origin` says who named it: the policy, or an option. `folder` says that it was written as a folder, with a slash at
    its end or as the place of a file.
    """

    action: Action
    place: str
    origin: str
    folder: bool = False

    @property
    def missing(self) -> bool:
        """Whether it is not there, so that there is nothing yet that a jail could allow."""
        return self.action != "connect" and not os.path.lexists(self.place)


@dataclasses.dataclass(frozen=True)
class Grants:
    """Absolute paths with their symbolic links resolved, a folder covering what is beneath it; rules of `egress`.

    `missing` are those paths that were not there when the cell was started.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def covers(self, action: FileAction, path: str) -> bool:
        """Whether `path` may be read or written."""
        real = os.path.realpath(path)
        return any(_within(real, granted) for granted in (self.read if action == "read" else self.write))

    def missed(self, path: str) -> bool:
        """Whether `path` lies in what was granted and not there."""
        return any(_within(os.path.realpath(path), missing) for missing in self.missing)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What a syncer would be granted, and the errors that keep it from being opened."""

    granted: tuple[Grant, ...]
    refused: tuple[SyncellError, ...]

    def grants(self) -> Grants:
        """The grants as they hold now. Call it once what can be made was made."""
        read, write, connect = (
            tuple(dict.fromkeys(it.place for it in self.granted if it.action == action))
            for action in (*_FILE_ACTIONS, "connect")
        )
        return Grants(read, write, connect, missing=tuple(it.place for it in self.granted if it.missing))


def draw(
    syncer: str, manifest: Manifest, options: Mapping[str, Any], policy: Policy, protected: Iterable[Path]
) -> Drawing:
    """What one cell is granted.

    Among what is refused are an `OptionsError` for options that would grant a protected place, and an `AccessDenied`
    for each thing that the manifest asks for, no option names and the policy does not allow.
    """
    refused: list[SyncellError] = []
    if manifest.permissions.subprocess and not policy.subprocess:
        refused.append(AccessDenied.programs(syncer))
    by_policy = {
        action: [_grant(action, path, BY_POLICY) for path in getattr(policy, action)] for action in _FILE_ACTIONS
    }
    granted: list[Grant] = []
    problems = []
    for action in _FILE_ACTIONS:
        granted += by_policy[action]
        asked = map(_real, getattr(manifest.permissions.expand(options).requested, action))
        refused += [AccessDenied.path(syncer, action, path) for path in asked if not _covered(path, by_policy[action])]
        for grant in _named(action, manifest.permissions, options):
            place = _protected_by(grant.place, protected)
            if place is None:
                granted.append(grant)
                beside = _beside(grant)
                if beside is not None and _protected_by(beside.place, protected) is None:
                    granted.append(beside)
            elif not _covered(grant.place, by_policy[action]):
                problems.append(
                    Problem(
                        grant.place,
                        f"no option grants it, since the syncer could then {action} {place}; use a folder of its own, "
                        f"or allow it: Policy({action}=[{grant.place!r}]) or --allow-{action} {grant.place}",
                    )
                )
    if problems:
        refused.append(OptionsError(syncer, problems))
    places = _places(syncer, manifest.permissions, options, policy)
    return Drawing((*granted, *places.granted), (*refused, *places.refused))


def _places(syncer: str, permissions: Permissions, options: Mapping[str, Any], policy: Policy) -> Drawing:
    """Where the cell may connect to."""
    granted = [Grant("connect", text, BY_POLICY) for text in policy.connect]
    refused: list[SyncellError] = []
    problems = []
    allowed = egress.Egress.of(policy.connect)
    for text in permissions.expand(options).requested.connect:
        try:
            rule = egress.parse(text)
        except ValueError as error:
            problems.append(Problem("permissions.connect", str(error)))
        else:
            if not allowed.covers(rule):
                refused.append(AccessDenied.connection(syncer, rule.text, rule.text))
    for template, text in _filled("connect", permissions, options):
        try:
            place = egress.parse_option(text).text
        except ValueError as error:
            problems.append(Problem("an option that names a host", str(error)))
        else:
            granted.append(Grant("connect", place, f"option {template}, which the manifest asks to connect to"))
    if problems:
        refused.append(OptionsError(syncer, problems))
    return Drawing(tuple(granted), tuple(refused))


def _named(action: FileAction, permissions: Permissions, options: Mapping[str, Any]) -> Iterator[Grant]:
    """What the host named by passing options."""
    for template, path in _filled(action, permissions, options):
        yield _grant(action, path, f"option {template}, which the manifest asks to {action}")
    for name, value in options.items():
        if isinstance(value, os.PathLike):
            yield _grant(action, os.fspath(value), f"option {{{name}}}, passed as a Path")


def _filled(action: Action, permissions: Permissions, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each template by which an option names something, and what it names."""
    for template in getattr(permissions, action):
        alone = Permissions().model_copy(update={action: (template,)})
        for text in getattr(alone.expand(options).named, action):
            yield template, text


def _grant(action: FileAction, path: str, origin: str) -> Grant:
    return Grant(action, _real(path), origin, folder=path.endswith(("/", "/..")))


def _beside(grant: Grant) -> Grant | None:
    """The folder of a database file: its engine cannot open the file without making journals and locks beside it."""
    if not grant.place.endswith(_DATABASES) or os.path.isdir(grant.place):  # noqa: PTH112 - paths are text here
        return None
    origin = f"{grant.origin}: a database, which needs files beside it"
    return dataclasses.replace(grant, place=os.path.dirname(grant.place), origin=origin, folder=True)  # noqa: PTH120


def _covered(path: str, granted: Iterable[Grant]) -> bool:
    return any(_within(path, grant.place) for grant in granted)


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
