"""uv, run in a jail: what it may write, what it is told, and what its errors mean to the person who reads them.

In its jail uv writes to the build's own folder and to its cache, and nowhere else, whatever a wheel says its files are
called. What builds from source connects to the package places in force, and nowhere else. uv never compiles and never
lists: both would start the environment's interpreter once wheels are in it, and a wheel's `.pth` file runs at every
start. Files are cloned out of uv's cache where the file system can, else hard-linked; copying them takes several times
as long as everything else that uv does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from syncell.environments import process
from syncell.environments.interpreters import Interpreter
from syncell.environments.recipe import Plan
from syncell.environments.settings import (
    DEFAULT_INDEX,
    DEFAULT_INDEX_FILES,
    Settings,
    folders,
    remote,
    without_credentials,
)
from syncell.errors import EnvironmentBuildError
from syncell.sandbox import Gate, egress
from syncell.sandbox.gate import Door
from syncell.sandbox.passage import Denial

INSTALL_SECONDS = 1800.0
"""For one run of uv: half an hour brings gigabytes over a slow line, and ends before somebody who waits gives up."""

SHOWN_CHARACTERS = 700
"""Of uv's explanation in a message; `EnvironmentBuildError.log` has all of it."""

# What a source build may read besides packages and Python: compilers and headers, certificates, how names are resolved.
# Nothing of a user, and nothing that only an administrator should see. Names in /etc/hosts are asked of the gate, too,
# which then knows what leads where.
_BUILD_TOOLS = (
    "/usr", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys/devices/system/cpu",
    "/etc/alternatives", "/etc/ca-certificates", "/etc/group", "/etc/host.conf", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd", "/etc/pki/tls/certs", "/etc/resolv.conf",
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero",
)  # fmt: skip

_NO_WHEEL = (
    "choose a version or an interpreter that has wheels, or have the host allow source builds, which run in a jail: "
    "Policy(source_builds=True) or --allow-source-builds"
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
DISK_FULL = re.compile(r"No space left on device|os error 28|Disk quota exceeded|os error 122|\[Errno (28|122)\]")
_NOISE = re.compile(r"(Using|Resolved|Prepared|Installed|Built|Building|Downloading|Downloaded|Creating|warning:).*")


@dataclasses.dataclass(frozen=True)
class Installer:
    """uv with one machine's settings and one interpreter, working in `folder`, which is gone afterwards."""

    interpreter: Interpreter
    settings: Settings
    folder: Path

    def install(self, python: Path, plan: Plan, writable: Path) -> None:
        """Install a plan for the interpreter `python` of an empty virtualenv, all of whose files are under `writable`.

        In one run: uv starts that interpreter to ask about it, and may do so no more once a wheel is installed.
        """
        target = ["--python", str(python), "--link-mode", "clone", "--no-compile-bytecode", *self._choices(plan)]
        if plan.pylock is not None:
            files = [self._write("pylock.toml", plan.pylock)]
        else:
            target += self._bounds(plan)
            files = [self._write("requirements.txt", *plan.requirements)]
            if plan.without_dependencies:
                alone = self._write("without-dependencies.txt", *plan.without_dependencies)
                files += [self._resolve(plan, files[0], "--overrides", alone), alone]
                target.append("--no-deps")
        self._run("install", *target, *_each("--requirements", files), plan=plan, writable=[writable])

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
        requirements = self._write("requirements.in", *plan.requirements)
        return Path(self._resolve(plan, requirements, "--format", "pylock.toml", to="pylock.toml")).read_text("utf-8")

    def _resolve(self, plan: Plan, requirements: str, *arguments: str, to: str = "resolved.txt") -> str:
        """Find the versions that fulfil a plan, with what they depend on, and return the file that names them."""
        resolved = str(self.folder / to)
        arguments += ("--quiet", "--no-header", "--no-annotate", "--python", str(self.interpreter.executable))
        chosen = (*arguments, *self._choices(plan), *self._bounds(plan))
        self._run("compile", requirements, *chosen, "--output-file", resolved, plan=plan, writable=[])
        return resolved

    def _choices(self, plan: Plan) -> list[str]:
        choices = [] if plan.source_builds else ["--only-binary", ":all:"]
        if self.settings.no_index:
            choices.append("--no-index")
        for name in plan.only_binary:
            choices += ["--only-binary", name]
        return [*choices, *(["--prerelease", "allow"] if plan.prereleases else [])]

    def _bounds(self, plan: Plan) -> list[str]:
        return _each("--constraints", [*self.settings.constraints, self._write("constraints.txt", *plan.constraints)])

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
        cache = self.folder / "cache" if plan.source_builds else self.settings.cache
        cache.mkdir(parents=True, exist_ok=True)
        if plan.source_builds:
            environ["HOME"] = str(temporary)
        program = uv.find_uv_bin()
        read: Sequence[str] = ["/"]
        if plan.source_builds:
            places = folders([*plan.default_index, *plan.extra_indexes], plan.find_links)
            own = [*self.interpreter.readable, *self.settings.files, *places]
            read = [*_BUILD_TOOLS, program, *map(str, own), str(self.interpreter.executable.parent.parent)]
        with _door(plan, self.settings) if plan.source_builds else contextlib.nullcontext() as door:
            finished = process.run(
                self.interpreter,
                "confine.py",
                *(program, "pip", command, *arguments, "--cache-dir", str(cache)),
                jail=process.Jail(
                    execute=tuple(read),
                    write=(str(self.folder), str(cache), *map(str, writable)),
                    network="open" if door is None else "gate",
                    required=plan.confined,
                ),
                environ=environ,
                seconds=INSTALL_SECONDS,
                door=door,
            )
        if finished.code != 0:
            raise explained(finished, plan, refused=() if door is None else door.denials)


def _each(argument: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (argument, value)]


def _places(plan: Plan, settings: Settings) -> dict[str, str]:
    """The places that a plan names (the host allowed them), before those of the machine."""
    variables = {}
    if plan.default_index:
        variables["UV_DEFAULT_INDEX"] = plan.default_index[-1]
    for name, places, separator in (
        ("UV_EXTRA_INDEX_URL", plan.extra_indexes, " "),
        ("UV_FIND_LINKS", plan.find_links, ","),
        ("UV_INSECURE_HOST", plan.trusted_hosts, " "),
    ):
        if places:
            variables[name] = separator.join([*places, *filter(None, [settings.environ.get(name)])])
    if plan.extra_indexes and "UV_INDEX_STRATEGY" not in settings.environ:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


@contextlib.contextmanager
def _door(plan: Plan, settings: Settings) -> Iterator[Door]:
    """A way to the package places in force, through an egress gate that is there for one run of uv."""
    with (
        contextlib.closing(Gate()) as gate,
        contextlib.closing(gate.admit(reachable(plan, settings))) as door,
    ):
        yield door


def reachable(plan: Plan, settings: Settings) -> list[str]:
    """The egress rules of builds from source: one host and port for each place in force.

    These are the places of the plan and of the machine's settings, and its proxies. Raises `EnvironmentBuildError` that
    names all that are none.
    """
    indexes = [*(plan.default_index or settings.default_index), *plan.extra_indexes, *plan.find_links]
    rules, wrong = [], []
    for place in dict.fromkeys([*filter(remote, [*indexes, *plan.reachable]), *settings.places]):
        try:
            rules.append(egress.parse_option(place).text)
        except ValueError:
            wrong.append(
                f"{without_credentials(place)}: expected an address as in https://packages.acme.com:8443/simple"
            )
    if wrong:
        told = (
            "builds from source connect to the places in the settings of pip and uv, proxies and Policy(indexes=[...]):"
        )
        raise EnvironmentBuildError("\n  - ".join([told, *wrong]))
    if egress.parse_option(DEFAULT_INDEX).text in rules:
        rules.append(egress.parse_option(DEFAULT_INDEX_FILES).text)
    return rules


def explained(finished: process.Finished, plan: Plan, refused: Iterable[Denial] = ()) -> EnvironmentBuildError:
    """What uv said, shortened to what matters, and the next step; `refused` are connections that were, on the way."""
    log = without_credentials(finished.output)
    if finished.code < 0:
        return EnvironmentBuildError(f"the installer was killed by signal {-finished.code}; try again", log=log)
    if DISK_FULL.search(log):
        return disk_full(log)
    lines = (re.sub(r"^[^\w`(]+", "", line).strip() for line in log.splitlines())
    core = " ".join(line for line in lines if line and not _NOISE.match(line)) or f"exit code {finished.code}"
    core = core.removeprefix("error: ").replace(" cause: ", ": ")
    if len(core) > SHOWN_CHARACTERS:
        core = f"{core[:SHOWN_CHARACTERS]}..."
    steps = [step for pattern, step in _NEXT_STEPS.items() if re.search(pattern, core)][:1]
    steps = _allowing(refused) or steps
    blamed = [text for text in plan.constraints if re.search(rf"(?<![\w.-]){re.escape(_name(text))}(?![\w.-])", core)]
    if blamed:
        steps.insert(0, f"of these, {', '.join(blamed)} is a constraint of the host")
    step = "; ".join(steps) or "the whole output is in the log of this error"
    return EnvironmentBuildError(f"{core}\n{step}", log=log)


def _allowing(refused: Iterable[Denial]) -> list[str]:
    """The step after refused connections, where there are any: what would allow them."""
    places = {}
    for denial in refused:
        host, _, port = denial.rule.rpartition(":")  # of a name that was only asked for, no port is known
        address = f"{'http' if port == '80' else 'https'}://{host}"
        if port.isdigit() and port not in ("80", "443"):
            address += f":{port}"
        with contextlib.suppress(ValueError):  # neither a unix socket nor whatever a build asked for is a host
            if host != "unix":
                egress.parse_option(address)
                places[address] = denial.what
    if not places:
        return []
    return [
        f"on the way a connection to {', '.join(places.values())} was refused, since builds from source connect to "
        f"package places only; if packages come from there, have the host allow it: Policy(indexes={[*places]!r}) or "
        + " ".join(f"--allow-index {address}" for address in places)
    ]


def disk_full(log: str = "") -> EnvironmentBuildError:
    """The error for a full disk, or a user over quota."""
    return EnvironmentBuildError(
        "the disk is full, or your quota is used up. Free some space (`syncell env prune` removes unused "
        "environments), or put the cache elsewhere, and try again",
        log=log,
    )


def no_space(error: OSError) -> bool:
    """Whether an error of this process says that the disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
