"""Which Python interpreter an environment is made for, and what a jail must let it read to start.

The host's own base interpreter is preferred; else the machine is searched with virtualenv's discovery, and the newest
that matches wins. Always the base interpreter, never a virtualenv's: cells start it directly, so that no file of an
environment is executed before the jail stands. Describing an interpreter means running it and searching a machine means
running many, so both are remembered on disk, for as long as the files they speak of stay as they were: an interpreter
that was moved or upgraded is described anew, and its environments get another key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncell.errors import EnvironmentBuildError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

OLDEST = (3, 9)
"""The worker runs on this version of Python and later."""

PROBE_SECONDS = 20.0
"""For one interpreter to start and describe itself, which takes 30 ms; the rest is for a cold disk."""

# Run by the interpreter that is described. The libraries it was started with are read off its own memory map, since
# build settings name places where a relocatable interpreter no longer is.
_PROBE = """
import json, os, sys, sysconfig
paths = sysconfig.get_paths()
with open("/proc/self/maps") as maps:
    mapped = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
print(json.dumps({
    "version": ".".join(map(str, sys.version_info[:3])) + (
        "" if sys.version_info[3] == "final" else sys.version_info[3][0].replace("c", "rc") + str(sys.version_info[4])),
    "implementation": sys.implementation.name,
    "abi": "cp%d%d%s" % (*sys.version_info[:2], sys.abiflags),
    "platform": sysconfig.get_config_var("MULTIARCH") or sysconfig.get_platform(),
    "build": sys.version + " " + (sysconfig.get_config_var("SOABI") or ""),
    "readable": sorted(
        {os.path.realpath(sys.executable), paths["stdlib"], paths["platstdlib"]}
        | {path for path in mapped if os.path.basename(path).startswith("libpython")}),
}))
"""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """One base interpreter of this machine.

    `version` is its full version, `abi` its wheel tag (`cp311`), `platform` its machine and C library, `build` what
    tells it from another build of the same version. `readable` are the files and folders of its own that it needs to
    start, besides the system's libraries.
    """

    executable: Path
    version: str
    implementation: str
    abi: str
    platform: str
    build: str
    readable: tuple[Path, ...]

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


def find_interpreter(specifier: str | None, cache_dir: Path, environ: Mapping[str, str]) -> Interpreter:
    """The interpreter for a version specifier such as `>=3.9,<3.12`; None takes the host's own.

    Raises `EnvironmentBuildError` when no interpreter of this machine matches, naming those that were found.
    """
    memory = _Memory(cache_dir / "interpreters.json")
    own = memory.describe(Path(os.path.realpath(sys._base_executable)))  # type: ignore[attr-defined]
    if own is None:
        raise EnvironmentBuildError(
            f"the Python interpreter that runs this program, {sys.executable}, cannot be started in isolated "
            "mode; reinstall it"
        )
    if specifier is None:
        return own
    wanted = _specifiers(specifier)
    if wanted.contains(own.version, prereleases=True):
        return own
    found = memory.search(environ)
    for interpreter in found:
        if wanted.contains(interpreter.version):
            return interpreter
    versions = ", ".join(f"{interpreter.version} ({interpreter.executable})" for interpreter in found)
    raise EnvironmentBuildError(
        f"no Python interpreter of this machine matches {specifier!r}, which its manifest asks for; found: "
        f"{versions}. Install one and have it on PATH, or change `python` in MANIFEST.json"
    )


def _specifiers(specifier: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier)


class _Memory:
    """What is known of this machine's interpreters, in one file: descriptions, and the last search."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {"described": {}, "search": None, "found": []}
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(path.read_text())
            if known.keys() == self._known.keys():
                self._known = known

    def describe(self, executable: Path) -> Interpreter | None:
        """Describe an interpreter, running it when its file isn't the one that was described last."""
        try:
            status = executable.stat()
        except OSError:
            return None
        signature = [status.st_mtime_ns, status.st_size, status.st_ino]
        remembered = self._known["described"].get(str(executable))
        if remembered is None or remembered["signature"] != signature:
            facts = _probe(executable)
            if facts is None:
                return None
            remembered = {"signature": signature, "facts": facts}
            self._known["described"][str(executable)] = remembered
            self._save()
        facts = remembered["facts"]
        readable = tuple(map(Path, facts["readable"]))
        return Interpreter(**{**facts, "executable": executable, "readable": readable})

    def search(self, environ: Mapping[str, str]) -> list[Interpreter]:
        """Every usable interpreter of this machine, the newest first."""
        places = _places(environ)
        signature = [[str(place), _modified(place)] for place in places]
        if self._known["search"] != signature:
            self._known["found"] = sorted(map(str, _discover(environ, places)))
            self._known["search"] = signature
            self._save()
        described = [interpreter for path in self._known["found"] if (interpreter := self.describe(Path(path)))]
        usable = [each for each in described if each.implementation == "cpython" and each.release >= OLDEST]
        return sorted(usable, key=_newest_first)

    def _save(self) -> None:
        # Lost or overwritten by another process, it costs a search; it is never half written.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
            with os.fdopen(descriptor, "w") as file:
                json.dump(self._known, file)
            Path(temporary).replace(self._path)


def _newest_first(interpreter: Interpreter) -> tuple[bool, list[int], str]:
    from packaging.version import Version

    # A free-threaded or debug build has few wheels: only when nothing else matches.
    special = not interpreter.abi.removeprefix("cp").isdigit()
    return special, [-part for part in Version(interpreter.version).release], str(interpreter.executable)


def _probe(executable: Path) -> dict[str, Any] | None:
    try:
        probed = subprocess.run(
            [executable, "-I", "-S", "-B", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            env={},
            check=True,
        )
        facts: dict[str, Any] = json.loads(probed.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return facts


def _places(environ: Mapping[str, str]) -> list[Path]:
    """The folders that interpreters are looked for in: PATH, and those of pyenv and uv, on it or not."""
    home = Path(environ.get("HOME", "/"))
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    # A shim is a script that starts one of the versions, or fails: the versions themselves are listed after.
    path = [Path(entry) for entry in environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    folders = [folder for folder in path if folder.is_absolute() and folder.name != "shims"]
    with contextlib.suppress(OSError):
        folders += sorted(version / "bin" for version in (pyenv / "versions").iterdir())
    return list(dict.fromkeys([*folders, Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")]))


def _modified(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _discover(environ: Mapping[str, str], places: list[Path]) -> Iterator[Path]:
    """Search with virtualenv's discovery, which also knows the interpreters that uv manages."""
    from python_discovery import iter_interpreters

    # What it cannot use it reports there; with no handler at all, logging would print that to the terminal.
    logging.getLogger("python_discovery").addHandler(logging.NullHandler())
    path = os.pathsep.join(map(str, places))
    for found in iter_interpreters(f"cpython>={OLDEST[0]}.{OLDEST[1]}", env={**environ, "PATH": path}):
        if found.system_executable is not None:
            yield Path(os.path.realpath(found.system_executable))
