"""Options that several verbs take: declared once, as dataclasses, and given to each verb as one object."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from syncell import Limits, Policy, Runner, Spec, Tenant, read_tenants
from syncell.cli import console

_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """`90`, `90s`, `15m`, `1.5h`, `30d`, `2w`."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text)
    try:
        return timedelta(**{_UNITS[matched[2]]: float(matched[1])}) if matched else _refuse_duration(text)
    except OverflowError:
        return _refuse_duration(text)


def _refuse_duration(text: str) -> timedelta:
    raise typer.BadParameter(f"{text!r} is no length of time; write seconds, or a number with s, m, h, d or w: 30d")


def _timeout(text: str) -> float:
    seconds = duration(text).total_seconds()
    if not seconds:
        raise typer.BadParameter("it must be more than zero")
    return seconds


def _size(limit: str) -> Callable[[str], str]:
    def size(text: str) -> str:
        try:
            Limits(**{limit: text})  # type: ignore[arg-type]
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return text

    return size


def _place(text: str) -> str:
    try:
        Policy(connect=[text])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


SyncerArgument = Annotated[str, typer.Argument(metavar="SYNCER", help="A name, a folder, a MANIFEST.json or a spec.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def identifier_in(spec: Spec) -> str:
    """The resource that a spec names; a usage error when it names none."""
    if spec.identifier is None:
        raise typer.BadParameter(f"which resource? Name it at the end: {spec.syncer}://...#NAME", param_hint="SPEC")
    return spec.identifier


@dataclasses.dataclass(frozen=True)
class Session:
    """Where syncell keeps its things, and how much it says."""

    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="SYNCELL_STATE_DIR", show_default="XDG state folder", help="What lives as long as a process."
        ),
    ] = None
    cache_dir: Annotated[
        Path | None,
        typer.Option(envvar="SYNCELL_CACHE_DIR", show_default="XDG cache folder", help="Environments; can be rebuilt."),
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print rows, JSON and errors, nothing else.")] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what syncers log and print, and whole tracebacks.")
    ] = False

    def runner(self, policy: Policy | None = None) -> Runner:
        """The runner of this command, with logs shown as asked."""
        console.configure_logging(quiet=self.quiet, verbose=self.verbose)
        return Runner(state_dir=self.state_dir, cache_dir=self.cache_dir, policy=policy)


@dataclasses.dataclass(frozen=True)
class Constraints:
    """Bounds on what is installed for a syncer."""

    constraint: Annotated[
        list[str],
        typer.Option(
            "--constraint",
            "-c",
            metavar="REQUIREMENT|FILE",
            help="Bound a version that syncers get, as in 'sqlalchemy<2'; or a file of such lines, as pip takes.",
        ),
    ] = dataclasses.field(default_factory=list)

    def requirements(self) -> list[str]:
        """All constraints, those in files included."""
        return [line for given in self.constraint for line in ([given] if _is_requirement(given) else _lines(given))]


def _is_requirement(given: str) -> bool:
    return "/" not in given and not given.endswith(".txt")


def _lines(file: str) -> list[str]:
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="--constraint") from None
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        if line.startswith("-"):
            raise typer.BadParameter(f"{file}, line {number}: only requirements", param_hint="--constraint")
    return [line for line in lines if line]


@dataclasses.dataclass(frozen=True)
class Builds:
    """What the building of environments is allowed."""

    allow_index: Annotated[
        list[str],
        typer.Option(
            metavar="URL", help="Let requirements name a package index, and builds from source connect to its host."
        ),
    ] = dataclasses.field(default_factory=list)
    allow_source_builds: Annotated[
        bool,
        typer.Option(
            "--allow-source-builds", help="Build packages that have no wheel, which runs their code, in a sandbox."
        ),
    ] = False

    def policy(self) -> Policy:
        """The policy that these options say."""
        return Policy(indexes=self.allow_index, source_builds=self.allow_source_builds)


@dataclasses.dataclass(frozen=True)
class Access(Builds):
    """What the syncers of this command are allowed, and the building of their environments."""

    allow_read: Annotated[
        list[Path], typer.Option(metavar="PATH", help="Let syncers read a file, or a folder and all beneath it.")
    ] = dataclasses.field(default_factory=list)
    allow_write: Annotated[
        list[Path], typer.Option(metavar="PATH", help="Let syncers write a file, or a folder and all beneath it.")
    ] = dataclasses.field(default_factory=list)
    allow_net: Annotated[
        list[str],
        typer.Option(
            parser=_place, metavar="HOST:PORT", help="Let syncers connect, as in db.acme.com:5432 or '*.acme.com:443'."
        ),
    ] = dataclasses.field(default_factory=list)
    allow_subprocess: Annotated[
        bool, typer.Option("--allow-subprocess", help="Let syncers start programs, in the same sandbox.")
    ] = False
    memory: Annotated[
        str | None,
        typer.Option(parser=_size("memory"), metavar="SIZE", help="Memory of a syncer's processes, as in 512MiB."),
    ] = None
    disk: Annotated[
        str | None,
        typer.Option(
            parser=_size("disk"),
            metavar="SIZE",
            show_default="10GiB",
            help="Disk that a syncer may use for its temporary files.",
        ),
    ] = None
    max_rows: Annotated[
        int | None, typer.Option(min=1, metavar="ROWS", help="End a syncer that returns more rows than this.")
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=_timeout,
            metavar="DURATION",
            show_default=f"{Limits().wall_seconds:g} s",
            help="How long to wait for a syncer within one call, as in 90, 15m or 2h.",
        ),
    ] = None
    sandbox: Annotated[
        Literal["required", "best-effort", "off"],
        typer.Option(help="What to do where a protection is missing: refuse, go on without it, or confine nothing."),
    ] = "required"
    explain: Annotated[
        bool, typer.Option("--explain", help="Print what syncers would be allowed, and by what; run nothing.")
    ] = False

    def policy(self, base: Policy | None = None) -> Policy:
        """The policy that these options say; what none of them says is as in `base`, a tenant's."""
        base = base or Policy()
        limits: dict[str, Any] = {
            "memory": self.memory,
            "disk": self.disk,
            "rows": self.max_rows,
            "wall_seconds": self.timeout,
        }
        allowed: dict[str, Any] = {
            "read": self.allow_read,
            "write": self.allow_write,
            "connect": self.allow_net,
            "indexes": self.allow_index,
            "source_builds": self.allow_source_builds,
            "subprocess": self.allow_subprocess,
            "sandbox": self.sandbox if self.sandbox != Access.sandbox else None,
        }
        return dataclasses.replace(
            base,
            **{name: value for name, value in allowed.items() if value},
            limits=dataclasses.replace(base.limits, **{name: it for name, it in limits.items() if it is not None}),
        )


@dataclasses.dataclass
class Acting:
    """In whose name this command acts: set once, by what stands before the verb."""

    tenants: Path | None = None
    tenant: str | None = None


acting = Acting()


def in_name_of(runner: Runner) -> Runner | Tenant:
    """Whoever opens the syncers of this command: the tenant that `--tenant` names before the verb, else the runner."""
    file, name = acting.tenants, acting.tenant
    if name is None and file is None:
        return runner
    if name is None or file is None:
        missing = "--tenants FILE, which defines it" if file is None else "--tenant ID, whose name to act in"
        raise typer.BadParameter(f"add {missing}", param_hint="--tenant" if file is None else "--tenants")
    definitions = read_tenants(file)
    if name not in definitions:
        known = ", ".join(definitions) or "none"
        raise typer.BadParameter(f"{file} defines no tenant {name!r}, but: {known}", param_hint="--tenant")
    return runner.tenant(definitions[name])


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of every dataclass among its parameters: the parser sees fields, the verb objects."""
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters = []
    for name, parameter in inspect.signature(verb).parameters.items():
        if name in groups:
            parameters += _parameters_of(groups[name])
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        verb(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]
