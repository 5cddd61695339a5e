"""Opens syncers: from what a host or a person writes to a cell that stands ready."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
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
from syncell.errors import DataError, Problem, SpecError, SyncellError
from syncell.logs import SyncerLog
from syncell.sandbox import Gate, Grant, Policy, grants, plan, private
from syncell.sandbox.places import Places, to_make
from syncell.sandbox.warden import Warden
from syncell.secrets import Redactor, resolve_references
from syncell.spec import Spec, parse_spec
from syncell.syncer import Syncer
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
        described = _described(tables)
        definition, given, redactor = self._given(reference, options)
        policy = policy or self.policy
        drawing = self._draw(definition, given, policy)
        if drawing.refused:
            raise redactor.error(drawing.refused[0])
        with self._started(definition, drawing, policy, constraints, progress, redactor=redactor) as syncer:
            _build(syncer, given, described)
        self._opened.add(syncer)
        return syncer

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
        from_spec, to_spec = self.spec(source), self.spec(target)
        from_identifier, to_identifier = identifier_of(from_spec), identifier_of(to_spec)
        with (
            self.open(from_spec, policy=policy, constraints=constraints, progress=progress) as reader,
            self.open(to_spec, policy=policy, constraints=constraints, progress=progress) as writer,
        ):
            return self.join(reader, from_identifier, writer, to_identifier, moved=moved)

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
        definition, given, redactor = self._given(reference, options)
        policy = policy or self.policy
        drawing = self._draw(definition, given, policy)
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
        starting = self._started(definition, nothing, self.policy, constraints, progress, redactor=Redactor())
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
        self, reference: Reference, options: Mapping[str, Any] | None
    ) -> tuple[FoundSyncer, Mapping[str, Any], Redactor]:
        spec = self.spec(reference)
        definition = catalog.find(spec.syncer)
        written = {**spec.options, **(options or {})}
        given, secrets = resolve_references(written, os.environ, syncer=definition.manifest.name)
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
    ) -> Iterator[Syncer]:
        """A syncer whose worker has said hello; its cell is ended and its lease given back when the block raises."""
        report = progress or _silent
        lease = self.environments.acquire(
            self.recipe(definition, constraints, policy=policy),
            syncer=definition.manifest.name,
            progress=lambda line: report(redactor.text(line)),
        )
        with contextlib.ExitStack() as undo:
            undo.callback(lease.close)
            places = Places(drawing.granted)
            undo.callback(places.remove)
            allowed = drawing.grants()
            cell = self._start(definition, lease, allowed, policy, redactor)
            undo.callback(cell.end)
            syncer = Syncer(
                definition,
                cell,
                environment=lease.environment,
                grants=allowed,
                policy=policy,
                on_close=lambda: self._closed(syncer, lease, places),
            )
            hello = _answer(syncer, wire.Hello, Budget(HELLO_SECONDS))
            unconfined = () if lease.environment.confined else ("builds: its environment was built in half a jail",)
            syncer.jail, syncer.lacking = tuple(hello.layers), (*hello.lacking, *unconfined)
            if syncer.lacking:
                log.warning("%s runs with less than was asked for: %s", syncer.name, "; ".join(syncer.lacking))
            yield syncer
            undo.pop_all()

    def _closed(self, syncer: Syncer, lease: Lease, places: Places) -> None:
        self._opened.discard(syncer)
        places.remove()
        lease.close()

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
