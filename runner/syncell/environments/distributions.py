"""What is installed in an environment, read from the metadata that wheels carry; nothing of it is ever imported.

Everything here was written by strangers: files are read without following links, and in bounds.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from syncell.environments.interpreters import Interpreter

READ_BYTES = 256 * 1024
"""Of a file: in METADATA, name and version stand at its head, the long description after them."""


def installed(site_packages: Path) -> dict[str, str]:
    """Versions by canonical name."""
    found = {}
    with os.scandir(site_packages) as entries:
        for entry in entries:
            if entry.name.endswith(".dist-info") and entry.is_dir(follow_symlinks=False):
                headers = _headers(Path(entry.path, "METADATA"))
                if "name" in headers and "version" in headers:
                    found[canonicalize_name(headers["name"])] = headers["version"]
    return dict(sorted(found.items()))


def unfulfilled(requirements: tuple[str, ...], versions: Mapping[str, str], interpreter: Interpreter) -> list[str]:
    """Which requirements the installed versions do not fulfil, and what is there instead."""
    found = []
    for requirement in _applying(requirements, interpreter):
        version = versions.get(canonicalize_name(requirement.name))
        if version is None:
            found.append(f"{requirement} is not installed")
        elif not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement} is not fulfilled by version {version}, which is installed")
    return found


def violated(constraints: tuple[str, ...], versions: Mapping[str, str], interpreter: Interpreter) -> list[str]:
    """Which constraints the installed versions break."""
    there = tuple(text for text in constraints if canonicalize_name(Requirement(text).name) in versions)
    return unfulfilled(there, versions, interpreter)


def _applying(requirements: tuple[str, ...], interpreter: Interpreter) -> Iterator[Requirement]:
    """The requirements whose marker holds for the interpreter."""
    environment: dict[str, str] = {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": ".".join(map(str, interpreter.release)),
        "python_full_version": interpreter.version,
        "implementation_version": interpreter.version,
    }
    for text in requirements:
        with contextlib.suppress(InvalidRequirement):  # an address without a name: nothing to compare it with
            requirement = Requirement(text.partition(" --hash=")[0])
            if requirement.marker is None or requirement.marker.evaluate(environment):
                yield requirement


def _headers(path: Path) -> dict[str, str]:
    """The header fields of a METADATA file that stand on one line, by their names in lower case."""
    fields: dict[str, str] = {}
    for line in read_regular(path).decode(errors="replace").splitlines():
        if not line:
            break
        name, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            fields.setdefault(name.lower(), value.strip())
    return fields


def read_regular(path: Path) -> bytes:
    """The first bytes of a regular file; nothing of anything else, nor through a link that stands in its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, READ_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
