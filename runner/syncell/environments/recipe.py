"""What an environment is made from, what of it is refused, and the key that names the result.

A manifest is a stranger's. Its requirements may choose packages; they may not choose where packages come from, run code
on the way (a source build, a URL, a repository, an editable folder), or read files of this machine. Everything that is
refused is refused at once, with what would allow it. Two recipes with one key give one environment: whatever decides
the content is in the key, and nothing else is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as ParsedRequirement
from packaging.utils import canonicalize_name

from syncell.environments import pylock
from syncell.environments.interpreters import Interpreter
from syncell.environments.settings import Settings, without_credentials
from syncell.errors import EnvironmentBuildError
from syncell.manifest import Requirement

BASELINE = ("pydantic", "sqlalchemy")
"""What every syncer may import without asking, as its contract says. Requirements and constraints pick the version."""

FORMAT = 1
"""Raised when environments are built differently, so that those built before are not used any more."""

# Installer arguments that say nothing about a new environment of wheels.
_WITHOUT_EFFECT = {
    "-I", "-U", "-q", "-v", "--compile", "--disable-pip-version-check", "--force-reinstall", "--ignore-installed",
    "--no-cache-dir", "--no-color", "--no-compile", "--no-input", "--no-warn-conflicts", "--no-warn-script-location",
    "--no-build-isolation", "--no-use-pep517", "--prefer-binary", "--quiet", "--upgrade", "--use-pep517", "--verbose",
}  # fmt: skip
_WITHOUT_EFFECT_WITH_VALUE = {"--progress-bar", "--retries", "--timeout", "--upgrade-strategy"}

# Installer arguments that say where packages come from, and what of a plan they choose.
_PLACES = {
    "-i": "default_index",
    "--index-url": "default_index",
    "--default-index": "default_index",
    "--extra-index-url": "extra_indexes",
    "--index": "extra_indexes",
    "-f": "find_links",
    "--find-links": "find_links",
    "--trusted-host": "trusted_hosts",
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe in the installer's terms: checked, normalised and sorted.

    `requirements` are installed with what they depend on, `without_dependencies` alone, after those. With a `pylock`
    (its text) only that is installed, and the requirements are what it must fulfil. `reachable` are the addresses that
    builds from source may connect to, besides those of the indexes in force. What is built without being `confined`,
    any layer of its jail missing, has another key, so that no cell whose policy requires a jail is ever given it.
    """

    requirements: tuple[str, ...]
    without_dependencies: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    prereleases: bool = False
    only_binary: tuple[str, ...] = ()
    default_index: tuple[str, ...] = ()
    extra_indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    reachable: tuple[str, ...] = ()
    pylock: str | None = None
    source_builds: bool = False
    confined: bool = True

    def key(self, interpreter: Interpreter, settings: Settings) -> str:
        """The text that names an environment: everything that decides its content, and no credentials."""
        plan = dataclasses.asdict(self)
        if self.pylock is not None:
            plan["pylock"] = hashlib.sha256(self.pylock.encode()).hexdigest()
        made_for = dataclasses.asdict(interpreter)
        made_for["executable"] = str(interpreter.executable)
        del made_for["readable"]
        key = {"format": FORMAT, "plan": plan, "interpreter": made_for, "settings": settings.key}
        return without_credentials(json.dumps(key, indent=1, sort_keys=True))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the environment of a syncer is made from.

    `requirements`, `python` (a version specifier) and `pylock` (a lock file) are the syncer's. The host's are
    `constraints`, which bound versions as pip's do; `source_builds`, which lets code of packages run in a jail to build
    them; `indexes`, the places beyond the machine's own settings that requirements may name, and that builds from
    source may connect to; and whether a jail is `required` to build them.
    """

    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[str, ...] = ()
    python: str | None = None
    pylock: Path | None = None
    source_builds: bool = False
    indexes: tuple[str, ...] = ()
    required: bool = True

    def plan(self) -> Plan:
        """The recipe in the installer's terms. Raises `EnvironmentBuildError` that names everything it refuses."""
        reading = _Reading(self)
        for requirement in self.requirements:
            reading.add(requirement)
        lock = None
        if self.pylock is not None:
            lock = pylock.read(self.pylock)
            reading.problems += pylock.problems(lock, source_builds=self.source_builds)
        for constraint in self.constraints:
            reading.constrain(constraint)
        if reading.problems:
            raise EnvironmentBuildError("\n  - ".join(["its requirements are refused:", *reading.problems]))
        baseline = [name for name in BASELINE if name not in reading.names and lock is None]
        return Plan(
            requirements=tuple(sorted({*reading.requirements, *baseline})),
            without_dependencies=tuple(sorted(set(reading.without_dependencies))),
            constraints=tuple(sorted(set(reading.constraints))),
            prereleases=reading.prereleases,
            only_binary=tuple(reading.only_binary),
            reachable=tuple(sorted(set(self.indexes))) if self.source_builds else (),
            pylock=lock,
            source_builds=self.source_builds,
            confined=True,
            **{place: tuple(dict.fromkeys(named)) for place, named in reading.places.items()},
        )


def digest(key: str) -> str:
    """The short name of a key: 128 bits in hexadecimal, a folder's name."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


class _Reading:
    """One pass over a recipe: what it comes to, and every problem on the way."""

    def __init__(self, recipe: Recipe) -> None:
        self._source_builds = recipe.source_builds
        self._indexes = {place.rstrip("/") for place in recipe.indexes}
        self.problems: list[str] = []
        self.names: set[str] = set()
        self.requirements: list[str] = []
        self.without_dependencies: list[str] = []
        self.constraints: list[str] = []
        self.prereleases = False
        self.only_binary: list[str] = []
        self.places: dict[str, list[str]] = {place: [] for place in _PLACES.values()}

    def add(self, requirement: Requirement) -> None:
        text = self._normalised(requirement.text)
        into, hashes = self.requirements, []
        arguments = _split(requirement.arguments)
        for name, value in arguments:
            if name in _WITHOUT_EFFECT or name in _WITHOUT_EFFECT_WITH_VALUE:
                continue
            if name == "--no-deps":
                into = self.without_dependencies
            elif name == "--pre":
                self.prereleases = True
            elif name == "--hash" and value:
                hashes.append(f"--hash={value}")
            elif name == "--only-binary" and value:
                self.only_binary.append(value)
            elif name in _PLACES and value:
                self._place(requirement.text, name, value)
            else:
                self.problems.append(
                    f"{requirement.text}: the installer argument {name} may run code or read files of this machine; "
                    "remove it from MANIFEST.json"
                )
        if text is not None:
            into.append(" ".join([text, *sorted(hashes)]))

    def constrain(self, constraint: str) -> None:
        try:
            parsed = ParsedRequirement(constraint)
        except InvalidRequirement as error:
            self.problems.append(f"constraint {constraint!r} is no version requirement: {_first_line(error)}")
            return
        if parsed.url or parsed.extras:
            self.problems.append(f"constraint {constraint!r}: a constraint bounds a version, as in `name<2`")
        else:
            self.constraints.append(_canonical(parsed))

    def _normalised(self, text: str) -> str | None:
        try:
            parsed = ParsedRequirement(text)
        except InvalidRequirement:
            return self._direct(text, text)
        self.names.add(canonicalize_name(parsed.name))
        return self._direct(text, parsed.url) if parsed.url else _canonical(parsed)

    def _direct(self, text: str, reference: str) -> str | None:
        shown = without_credentials(text)
        scheme = reference.partition("://")[0] if "://" in reference else ""
        if scheme in ("", "file") or text.startswith("-"):
            self.problems.append(
                f"{shown}: paths and editable folders of this machine are not installed; publish it to a package "
                "index, or put its code into the syncer's folder"
            )
        elif not self._source_builds:
            self.problems.append(
                f"{shown}: installing from an address runs its code on this machine; require it by name from a package "
                "index, or have the host allow source builds, which run in a jail: Policy(source_builds=True) or "
                "--allow-source-builds"
            )
        else:
            return text
        return None

    def _place(self, text: str, name: str, value: str) -> None:
        if value.rstrip("/") in self._indexes:
            self.places[_PLACES[name]].append(value)
        else:
            shown = without_credentials(value)
            self.problems.append(
                f"{text}: {name} {shown} would change where packages come from; set it in this machine's settings of "
                f"pip or uv, or have the host allow that place: Policy(indexes=[{shown!r}]) or --allow-index {shown}"
            )


def _split(arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Installer arguments as (name, value), however they are written."""
    with_value = {*_PLACES, *_WITHOUT_EFFECT_WITH_VALUE, "--hash", "--only-binary"}
    words = [word for argument in arguments for word in argument.split()]
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not equals and words and (name in with_value or not words[0].startswith("-")):
            value = words.pop(0)
        yield name, value


def _canonical(parsed: ParsedRequirement) -> str:
    extras = f"[{','.join(sorted(map(canonicalize_name, parsed.extras)))}]" if parsed.extras else ""
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    return f"{canonicalize_name(parsed.name)}{extras}{parsed.specifier}{marker}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
