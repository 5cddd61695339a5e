"""Opens syncers: from what a host or a person writes to a cell that stands ready."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
import platformdirs

from syncell import catalog, transfer
from syncell.catalog import BrokenSyncer, FoundSyncer
from syncell.cell import HELLO_SECONDS, Budget, Cell
from syncell.doctor import Finding, examine
from syncell.environments import EnvironmentStore, Lease, Recipe
from syncell.environments.interpreters import find_interpreter
from syncell.errors import DataError, PolicyExceeded, Problem, QuotaExceeded, SpecError, SyncellError
from syncell.logs import SyncerLog
from syncell.sandbox import Gate, Grant, Policy, ceiling, grants, plan, private
from syncell.sandbox.places import Places, to_make
from syncell.sandbox.policy import parse_size
from syncell.sandbox.warden import Warden
from syncell.secrets import HOST, Redactor, Scope, resolve_references
from syncell.spec import Spec, parse_spec
from syncell.syncer import Syncer
from syncell.tenants import TenantDefinition
from syncell_worker import schema, values, wire

if TYPE_CHECKING:
    from syncell.tables import Tables

Reference = str | os.PathLike[str] | Spec


log = logging.getLogger(__name__)

Message = TypeVar("Message", bound=wire.Message)


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a syncer's class takes and offers.

    `options` is a JSON Schema of an object; `members` are the optional ones: `load_batches`, `dump_batches`,
    `describe`, `close`.
    """

    options: dict[str, Any]
    members: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a syncer would be allowed under a policy.

    `granted` are the files and who named them, `made` those of them that do not exist and would be made, `refused` the
    errors that keep it from being opened.
    """

    syncer: str
    folder: Path
    policy: Policy
    granted: tuple[Grant, ...]
    made: tuple[Grant, ...]
    refused: tuple[SyncellError, ...]


class Runner:
    """Opens syncers for one application. Use it as a context manager, or `close` it.

    `state_dir` holds what lives as long as a cell, `cache_dir` environments and kits, which can be rebuilt; both
    follow the XDG base directories by default. `policy` is what syncers are allowed when `open` is told nothing else.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.state_dir = Path(state_dir or platformdirs.user_state_path("syncell", appauthor=False)).absolute()
        self.cache_dir = Path(cache_dir or platformdirs.user_cache_path("syncell", appauthor=False)).absolute()
        self.policy = policy or Policy()
        self.environments = EnvironmentStore(self.cache_dir)
        self._gate = Gate()
        self._opened: set[Syncer] = set()
        self._lock = threading.Lock()
        self._tenants: dict[str, Tenant] = {}
        self._own = Tenant(self)
        self._warden = Warden()
        private.sweep(self._cells)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _cells(self) -> Path:
        return self.state_dir / "cells"

    def open(
        self,
        reference: Reference,
        options: Mapping[str, Any] | None = None,
        *,
        tables: Tables | None = None,
        policy: Policy | None = None,
        constraints: Iterable[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> Syncer:
        """Open a syncer: a name, a folder, a MANIFEST.json or a spec, with options (which win over the spec's).

        `tables` — a SQLAlchemy `MetaData`, tables, or classes with `__table__` — are created in the syncer's database,
        whatever version of SQLAlchemy it has, before any call.
        `constraints` bound the versions of its requirements, as pip's do. `progress` gets a line for each step of a
        build. Raises `SpecError`, `ManifestError`, `OptionsError`, `EnvironmentBuildError`, `SandboxUnavailable`,
        `SyncerError` (what its import or constructor raised) and what ends a cell.
        """
        return self._own.open(
            reference, options, tables=tables, policy=policy, constraints=constraints, progress=progress
        )

    def _open(
        self,
        tenant: Tenant,
        reference: Reference,
        options: Mapping[str, Any] | None,
        *,
        tables: Tables | None,
        policy: Policy | None,
        constraints: Iterable[str],
        progress: Callable[[str], None] | None,
    ) -> Syncer:
        described = _described(tables)
        definition, given, redactor = self._given(reference, options, tenant.scope)
        policy = tenant.allowed(policy)
        drawing = tenant.within(self._draw(definition, given, policy))
        if drawing.refused:
            raise redactor.error(drawing.refused[0])
        starting = self._started(definition, drawing, policy, constraints, progress, redactor=redactor, tenant=tenant)
        with starting as syncer:
            _build(syncer, given, described)
        self._opened.add(syncer)
        return syncer

    def tenant(self, definition: TenantDefinition | str, **quotas: Any) -> Tenant:
        """The runner's verbs in a tenant's name: its definition, or its id and what else a `TenantDefinition` takes.

        Asked again for the same id, it gives the same tenant; another definition holds for what is opened from then on.
        """
        if isinstance(definition, str):
            definition = TenantDefinition(definition, **quotas)
        elif quotas:
            raise TypeError("tenant() takes a definition, or an id and quotas, not both")
        with self._lock:
            tenant = self._tenants.setdefault(definition.id, Tenant(self, definition))
            tenant.definition = definition
            return tenant

    def copy(
        self,
        source: Reference,
        target: Reference,
        *,
        policy: Policy | None = None,
        constraints: Iterable[str] = (),
        progress: Callable[[str], None] | None = None,
        moved: transfer.Progress | None = None,
    ) -> transfer.CopyReport:
        """Move the rows of one syncer's resource into another's, both named by a spec with an `#identifier`.

        `moved` is called with the rows and bytes so far. Built-in targets land whole or not at all.
        """
        return self._own.copy(source, target, policy=policy, constraints=constraints, progress=progress, moved=moved)

    def join(
        self,
        source: Syncer,
        source_identifier: str,
        target: Syncer,
        target_identifier: str,
        *,
        moved: transfer.Progress | None = None,
    ) -> transfer.CopyReport:
        """Copy between two syncers that are open already. When either fails, the other's call is cancelled."""
        return transfer.copy(source, source_identifier, target, target_identifier, progress=moved)

    def spec(self, reference: Reference) -> Spec:
        """What a reference says, read. Raises `SpecError`."""
        if isinstance(reference, Spec):
            return reference
        if isinstance(reference, str):
            return parse_spec(reference)
        return Spec(syncer=os.path.abspath(reference), options={})  # noqa: PTH100 - a path, whatever it looks like

    def recipe(
        self, definition: FoundSyncer, constraints: Iterable[str] = (), *, policy: Policy | None = None
    ) -> Recipe:
        """What the environment of a syncer is made from."""
        policy = policy or self.policy
        return Recipe(
            requirements=definition.manifest.requirements,
            constraints=tuple(constraints),
            python=definition.manifest.python,
            pylock=definition.folder / "pylock.toml" if (definition.folder / "pylock.toml").exists() else None,
            source_builds=policy.source_builds,
            indexes=policy.indexes,
            required=policy.sandbox == "required",
        )

    def find(self, reference: Reference) -> FoundSyncer:
        """The syncer that a reference names; nothing of it runs. Raises `SpecError`, `ManifestError`."""
        return catalog.find(self.spec(reference).syncer)

    def available(self) -> list[FoundSyncer | BrokenSyncer]:
        """Every syncer that has a name: built in, or declared by an installed distribution."""
        return catalog.available()

    def doctor(self) -> tuple[Finding, ...]:
        """What this machine can enforce, found out by trying what a jail should refuse. Some seconds at most."""
        return examine(find_interpreter(None, self.cache_dir, os.environ), self.state_dir)

    def explain(
        self, reference: Reference, options: Mapping[str, Any] | None = None, *, policy: Policy | None = None
    ) -> Explanation:
        """What `open` would allow this syncer, and who said so. Nothing is built, made or run.

        Raises `SpecError` and `ManifestError`.
        """
        return self._explain(self._own, reference, options, policy)

    def _explain(
        self, tenant: Tenant, reference: Reference, options: Mapping[str, Any] | None, policy: Policy | None
    ) -> Explanation:
        definition, given, redactor = self._given(reference, options, tenant.scope)
        policy = tenant.allowed(policy)
        drawing = tenant.within(self._draw(definition, given, policy))
        return Explanation(
            syncer=definition.manifest.name,
            folder=definition.folder,
            policy=policy,
            granted=drawing.granted,
            made=tuple(to_make(drawing.granted)),
            refused=tuple(map(redactor.error, drawing.refused)),
        )

    def close(self) -> None:
        """Close every syncer that is still open."""
        for syncer in list(self._opened):
            syncer.close()
        self._gate.close()
        self._warden.close()

    def inspect(
        self,
        reference: Reference,
        *,
        constraints: Iterable[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> Inspection:
        """What a syncer's class takes and offers. Its module is imported, in a cell that is granted nothing.

        Raises what `open` raises, `OptionsError` excepted.
        """
        definition = self.find(reference)
        nothing = grants.Drawing((), ())
        starting = self._started(
            definition, nothing, self.policy, constraints, progress, redactor=Redactor(), tenant=self._own
        )
        with starting as syncer, syncer:
            manifest = definition.manifest
            syncer.cell.send(
                wire.Inspect(
                    name=manifest.name,
                    folder=str(definition.folder),
                    syncer_class=manifest.syncer_class,
                    environment=str(syncer.environment.path),
                )
            )
            inspected = _answer(syncer, wire.Inspected, Budget(syncer.limits.wall_seconds))
        return Inspection(options=inspected.schema, members=tuple(inspected.members))

    def _given(
        self, reference: Reference, options: Mapping[str, Any] | None, scope: Scope
    ) -> tuple[FoundSyncer, Mapping[str, Any], Redactor]:
        spec = self.spec(reference)
        definition = catalog.find(spec.syncer)
        written = {**spec.options, **(options or {})}
        given, secrets = resolve_references(written, os.environ, syncer=definition.manifest.name, scope=scope)
        return definition, given, Redactor(secrets)

    def _draw(self, definition: FoundSyncer, options: Mapping[str, Any], policy: Policy) -> grants.Drawing:
        manifest, own = definition.manifest, (self.state_dir, self.cache_dir)
        return grants.draw(manifest.name, manifest, options, policy, protected=own)

    @contextlib.contextmanager
    def _started(
        self,
        definition: FoundSyncer,
        drawing: grants.Drawing,
        policy: Policy,
        constraints: Iterable[str],
        progress: Callable[[str], None] | None,
        *,
        redactor: Redactor,
        tenant: Tenant,
    ) -> Iterator[Syncer]:
        """A syncer whose worker has said hello; its cell is ended and its lease given back when the block raises."""
        report = progress or _silent
        release = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(release.close)
            release.enter_context(tenant.slot(policy))
            lease = self.environments.acquire(
                self.recipe(definition, constraints, policy=policy),
                syncer=definition.manifest.name,
                progress=lambda line: report(redactor.text(line)),
            )
            release.callback(lease.close)
            places = Places(drawing.granted)
            release.callback(places.remove)
            allowed = drawing.grants()
            cell = self._start(definition, lease, allowed, policy, redactor)
            undo.callback(cell.end)
            syncer = Syncer(
                definition,
                cell,
                environment=lease.environment,
                grants=allowed,
                policy=policy,
                on_close=release.close,
            )
            release.callback(self._opened.discard, syncer)
            hello = _answer(syncer, wire.Hello, Budget(HELLO_SECONDS))
            unconfined = () if lease.environment.confined else ("builds: its environment was built in half a jail",)
            syncer.jail, syncer.lacking = tuple(hello.layers), (*hello.lacking, *unconfined)
            if syncer.lacking:
                log.warning("%s runs with less than was asked for: %s", syncer.name, "; ".join(syncer.lacking))
            yield syncer
            undo.pop_all()

    def _start(
        self, definition: FoundSyncer, lease: Lease, allowed: grants.Grants, policy: Policy, redactor: Redactor
    ) -> Cell:
        environment = lease.environment
        kit = self.environments.kit(environment.interpreter, required=policy.sandbox == "required")
        folder = private.PrivateFolder(self._cells)
        door = self._gate.admit(allowed.connect) if allowed.connect and policy.sandbox != "off" else None
        try:
            launch = plan.draw(
                interpreter=environment.interpreter.executable,
                kit=kit,
                readable=[*environment.interpreter.readable, kit, environment.path, definition.folder],
                private=folder.path,
                grants=allowed,
                policy=policy,
                door=door.descriptor if door is not None else -1,
            )
            name = definition.manifest.name
            said = SyncerLog(name, redactor)
            cell = Cell(name, launch, folder, said, limits=policy.limits, warden=self._warden, door=door)
        except BaseException:
            if door is not None:
                door.close()
            folder.remove()
            raise
        cell.send(launch.offer)
        return cell


class Tenant:
    """The runner's verbs in a tenant's name: within its policy and quotas, with its secrets. Made by `Runner.tenant`.

    One without a definition is the runner itself, which nothing bounds.
    """

    def __init__(self, runner: Runner, definition: TenantDefinition | None = None) -> None:
        self.definition = definition
        self._runner = runner
        self._lock = threading.Lock()
        self._cells = 0
        self._memory = 0

    def __repr__(self) -> str:
        return f"<Tenant {self.definition.id if self.definition else None!r}>"

    def open(
        self,
        reference: Reference,
        options: Mapping[str, Any] | None = None,
        *,
        tables: Tables | None = None,
        policy: Policy | None = None,
        constraints: Iterable[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> Syncer:
        """Open a syncer, as `Runner.open` does.

        Raises, before anything is started, `PolicyExceeded` when the policy or what options name lies beyond the
        tenant's own, and `QuotaExceeded` when its cells are in use.
        """
        return self._runner._open(
            self, reference, options, tables=tables, policy=policy, constraints=constraints, progress=progress
        )

    def copy(
        self,
        source: Reference,
        target: Reference,
        *,
        policy: Policy | None = None,
        constraints: Iterable[str] = (),
        progress: Callable[[str], None] | None = None,
        moved: transfer.Progress | None = None,
    ) -> transfer.CopyReport:
        """Move the rows of one syncer's resource into another's, as `Runner.copy` does, by two cells of this tenant."""
        from_spec, to_spec = self._runner.spec(source), self._runner.spec(target)
        from_identifier, to_identifier = identifier_of(from_spec), identifier_of(to_spec)
        with (
            self.open(from_spec, policy=policy, constraints=constraints, progress=progress) as reader,
            self.open(to_spec, policy=policy, constraints=constraints, progress=progress) as writer,
        ):
            return self._runner.join(reader, from_identifier, writer, to_identifier, moved=moved)

    def explain(
        self, reference: Reference, options: Mapping[str, Any] | None = None, *, policy: Policy | None = None
    ) -> Explanation:
        """What `open` would allow this syncer and what it would refuse, as `Runner.explain` does."""
        return self._runner._explain(self, reference, options, policy)

    @property
    def policy(self) -> Policy:
        """What its syncers are allowed when `open` is told nothing else, and the most that they may be."""
        own = None if self.definition is None else self.definition.policy
        return self._runner.policy if own is None else own

    @property
    def scope(self) -> Scope:
        """What the references in this tenant's options may lead to."""
        return HOST if self.definition is None else self.definition.scope

    def allowed(self, policy: Policy | None) -> Policy:
        """The policy of an open. Raises `PolicyExceeded`."""
        if self.definition is None:
            return policy or self.policy
        return ceiling.under(policy, self.policy, tenant=self.definition.id)

    def within(self, drawing: grants.Drawing) -> grants.Drawing:
        """What of the grants lies within this tenant's policy, and an error for places that options name beyond it.

        An option that may only be read, where the manifest asks to write as well, grants that: a source needs no more.
        """
        if self.definition is None:
            return drawing
        kept = tuple(grant for grant in drawing.granted if not ceiling.beyond([grant], self.policy))
        places = {grant.place for grant in kept}
        problems = ceiling.beyond((grant for grant in drawing.granted if grant.place not in places), self.policy)
        excess = [PolicyExceeded(self.definition.id, problems)] if problems else []
        return grants.Drawing(kept, (*drawing.refused, *excess))

    @contextlib.contextmanager
    def slot(self, policy: Policy) -> Iterator[None]:
        """Room for one cell under a policy, for as long as the block lasts. Raises `QuotaExceeded`."""
        memory = self._take(policy)
        try:
            yield
        finally:
            with self._lock:
                self._cells -= 1
                self._memory -= memory

    def _take(self, policy: Policy) -> int:
        definition, memory = self.definition, policy.limits.memory
        asked = 0 if memory is None else parse_size(memory)
        with self._lock:
            if definition is not None:
                most, room = definition.max_cells, definition.memory
                if most is not None and self._cells >= most:
                    raise QuotaExceeded(definition.id, "max_cells", allowed=most, reached=self._cells + 1)
                if room is not None and memory is None:
                    raise QuotaExceeded(definition.id, "memory", allowed=parse_size(room), reached=math.inf)
                if room is not None and self._memory + asked > parse_size(room):
                    reached = self._memory + asked
                    raise QuotaExceeded(definition.id, "memory", allowed=parse_size(room), reached=reached)
            self._cells += 1
            self._memory += asked
        return asked


def identifier_of(spec: Spec) -> str:
    """The resource that a spec names. Raises `SpecError` when it names none."""
    if spec.identifier is None:
        raise SpecError(
            spec.syncer, [Problem("identifier", f"which resource? Add it at the end: {spec.syncer}://...#NAME")]
        )
    return spec.identifier


def _answer(syncer: Syncer, kind: type[Message], budget: Budget) -> Message:
    """The worker's answer of this kind. Raises what it says went wrong instead."""
    _, event = syncer.cell.next_event(budget)
    if isinstance(event, wire.Failed):
        syncer.raise_failed(event)
    assert isinstance(event, kind)
    return event


def _described(tables: Tables | None) -> list[schema.Table]:
    if tables is None:
        return []
    from syncell.tables import describe  # SQLAlchemy is for those hosts that have tables

    return describe(tables)


def _build(syncer: Syncer, options: Mapping[str, Any], tables: list[schema.Table]) -> None:
    """Have the worker build the syncer, and wait until it stands."""
    definition, cell = syncer.definition, syncer.cell
    paths = [name for name, value in options.items() if isinstance(value, os.PathLike)]
    plain = {name: os.fspath(value) if name in paths else value for name, value in options.items()}
    try:
        (row,) = values.Encoder().encode([plain])
    except values.Unfaithful as error:
        raise DataError(f"{syncer.name}: an option cannot cross: {error}") from None
    cell.send(
        wire.Open(
            name=definition.manifest.name,
            folder=str(definition.folder),
            syncer_class=definition.manifest.syncer_class,
            environment=str(syncer.environment.path),
            options=msgspec.Raw(row.body),
            option_columns=row.columns,
            option_types=row.types,
            paths=paths,
            tables=tables,
            log_level=cell.log.level,
        )
    )
    opened = _answer(syncer, wire.Opened, Budget(syncer.limits.wall_seconds))
    syncer.name, syncer.members = cell.log.redactor.text(opened.name), frozenset(opened.members)


def _silent(_: str) -> None:
    return
