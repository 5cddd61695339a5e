"""uv, run in a jail: what it may write, what it is told, and what its errors mean to the person who reads them.

In its jail uv writes to the build's own folder and to its cache, and nowhere else, whatever a wheel says its files are
called. It never compiles and never lists: both would start the environment's interpreter once wheels are in it, and a
wheel's `.pth` file runs at every start. Files are cloned out of uv's cache where the file system can, else hard-linked;
copying them takes several times as long as everything else that uv does.
"""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Sequence
from pathlib import Path

from syncell.environments import process
from syncell.environments.interpreters import Interpreter
from syncell.environments.recipe import Plan
from syncell.environments.settings import Settings, without_credentials
from syncell.errors import EnvironmentBuildError

INSTALL_SECONDS = 1800.0
"""For one run of uv: half an hour brings gigabytes over a slow line, and ends before somebody who waits gives up."""

SHOWN_CHARACTERS = 700
"""Of uv's explanation in a message; `EnvironmentBuildError.log` has all of it."""

# What a source build may read besides: compilers and headers, names and certificates. Nothing of a user.
_BUILD_TOOLS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc", "/sys")

_NO_WHEEL = (
    "choose a version or an interpreter that has wheels, or have the host allow source builds, which run in a jail: "
    "Recipe(source_builds=True)"
)
_NEXT_STEPS = {
    r"[Hh]ash mismatch": "a file is not the one that was locked: find out why before you make the lock anew",
    r"no usable wheels|has no wheels|no wheels with|Wheels are required|uilding from source is disabled": _NO_WHEEL,
    r"not found in the (package registry|provided package locations)": (
        "check the spelling in MANIFEST.json, and the package places in this machine's settings of pip and uv"
    ),
    r"No solution found": "change the requirement, or the constraint that it conflicts with",
    r"Failed to fetch|error sending request|dns error|[Tt]imed? ?out|Connection refused": (
        "check the network and the package places in this machine's settings of pip and uv, and try again"
    ),
}
_DISK_FULL = re.compile(r"No space left on device|os error 28|Disk quota exceeded|os error 122|\[Errno (28|122)\]")
_NOISE = re.compile(r"(Using|Resolved|Prepared|Installed|Built|Building|Downloading|Downloaded|Creating|warning:).*")


@dataclasses.dataclass(frozen=True)
class Installer:
    """uv with one machine's settings and one interpreter, working in `folder`, which is gone afterwards."""

    interpreter: Interpreter
    settings: Settings
    folder: Path
    source_builds: bool = False

    def install(self, python: Path, plan: Plan, writable: Path) -> None:
        """Install a plan for the interpreter `python` of a virtualenv, all of whose files are under `writable`."""
        target = ["--python", str(python), "--link-mode", "clone", "--no-compile-bytecode", *self._choices(plan)]
        if plan.pylock is not None:
            lock = self._write("pylock.toml", plan.pylock)
            self._run("install", *target, "--requirements", lock, plan=plan, writable=[writable])
            return
        bounds = self._bounds(plan)
        requirements = self._write("requirements.txt", *plan.requirements)
        self._run("install", *target, *bounds, "--requirements", requirements, plan=plan, writable=[writable])
        if plan.without_dependencies:
            alone = self._write("without-dependencies.txt", *plan.without_dependencies)
            self._run("install", *target, *bounds, "--no-deps", "--requirements", alone, plan=plan, writable=[writable])

    def install_into(self, target: Path, plan: Plan) -> None:
        """Install a plan without dependencies into a plain folder."""
        self._run(
            *("install", "--python", str(self.interpreter.executable), "--target", str(target)),
            *("--link-mode", "clone", "--no-compile-bytecode", "--no-deps", *self._choices(plan)),
            *("--requirements", self._write("requirements.txt", *plan.requirements)),
            plan=plan,
            writable=[target],
        )

    def lock(self, plan: Plan) -> str:
        """Resolve a plan and return the text of its pylock.toml, with hashes."""
        lock = self.folder / "pylock.toml"
        self._run(
            *("compile", "--quiet", "--format", "pylock.toml", "--no-header", "--output-file", str(lock)),
            *("--python", str(self.interpreter.executable), *self._choices(plan), *self._bounds(plan)),
            self._write("requirements.in", *plan.requirements),
            plan=plan,
            writable=[],
        )
        return lock.read_text("utf-8")

    def _choices(self, plan: Plan) -> list[str]:
        choices = [] if self.source_builds else ["--only-binary", ":all:"]
        for name in plan.only_binary:
            choices += ["--only-binary", name]
        return [*choices, *(["--prerelease", "allow"] if plan.prereleases else [])]

    def _bounds(self, plan: Plan) -> list[str]:
        files = [*self.settings.constraints, self._write("constraints.txt", *plan.constraints)]
        return [word for file in files for word in ("--constraints", file)]

    def _write(self, name: str, *lines: str) -> str:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    def _run(self, command: str, *arguments: str, plan: Plan, writable: Sequence[Path]) -> None:
        import uv

        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environ = {**self.settings.environ, **_places(plan, self.settings), "TMPDIR": str(temporary)}
        # What a build may write to, it may poison for others: a source build gets a cache and a home of its own.
        cache = self.folder / "cache" if self.source_builds else self.settings.cache
        cache.mkdir(parents=True, exist_ok=True)
        if self.source_builds:
            environ["HOME"] = str(temporary)
        program = uv.find_uv_bin()
        read = ["/"]
        if self.source_builds:
            own = [*self.interpreter.readable, *self.settings.files]
            read = [*_BUILD_TOOLS, program, *map(str, own), str(self.interpreter.executable.parent.parent)]
        finished = process.run(
            self.interpreter,
            "confine.py",
            *(program, "pip", command, *arguments, "--cache-dir", str(cache)),
            jail=process.Jail(execute=tuple(read), write=(str(self.folder), str(cache), *map(str, writable))),
            environ=environ,
            seconds=INSTALL_SECONDS,
        )
        if finished.code != 0:
            raise explained(finished, plan)


def _places(plan: Plan, settings: Settings) -> dict[str, str]:
    """The places that a plan names (the host allowed them), before those of the machine."""
    of_machine = settings.environ
    variables = {}
    if plan.default_index:
        variables["UV_DEFAULT_INDEX"] = plan.default_index[-1]
    for name, places, separator in (
        ("UV_EXTRA_INDEX_URL", plan.extra_indexes, " "),
        ("UV_FIND_LINKS", plan.find_links, ","),
        ("UV_INSECURE_HOST", plan.trusted_hosts, " "),
    ):
        if places:
            variables[name] = separator.join([*places, *filter(None, [of_machine.get(name)])])
            variables.setdefault("UV_INDEX_STRATEGY", of_machine.get("UV_INDEX_STRATEGY", "unsafe-best-match"))
    return variables


def explained(finished: process.Finished, plan: Plan) -> EnvironmentBuildError:
    """What uv said, shortened to what matters, and the next step."""
    log = without_credentials(finished.output)
    if finished.code < 0:
        return EnvironmentBuildError(f"the installer was killed by signal {-finished.code}; try again", log=log)
    if _DISK_FULL.search(log):
        return disk_full(log)
    lines = (re.sub(r"^[^\w`(]+", "", line).strip() for line in log.splitlines())
    core = " ".join(line for line in lines if line and not _NOISE.match(line)) or f"exit code {finished.code}"
    if len(core) > SHOWN_CHARACTERS:
        core = f"{core[:SHOWN_CHARACTERS]}..."
    steps = [step for pattern, step in _NEXT_STEPS.items() if re.search(pattern, log)]
    blamed = [text for text in plan.constraints if re.search(rf"(?<![\w.-]){re.escape(_name(text))}(?![\w.-])", core)]
    if blamed:
        steps.insert(0, f"of these, {', '.join(blamed)} is a constraint of the host")
    step = "; ".join(steps[:2]) or "the whole output is in the log of this error"
    return EnvironmentBuildError(f"{core}\n{step}", log=log)


def disk_full(log: str = "") -> EnvironmentBuildError:
    """The error for a full disk, or a user over quota."""
    return EnvironmentBuildError(
        "the disk is full, or your quota is used up. Free some space (`syncell env prune` removes unused environments), "
        "or put the cache elsewhere, and try again",
        log=log,
    )


def no_space(error: OSError) -> bool:
    """Whether an error of this process says that the disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
