"""The syncer that a host holds: `.name`, `.load()`, `.dump()`, as if its class had been imported.

One object stands for one cell. Any thread may use it, one at a time: a second call while one is under way is an error
that says so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from syncell import cancellation, denials
from syncell.catalog import FoundSyncer
from syncell.cell import QUEUE_BYTES, Budget, Cell, wait
from syncell.environments import Environment
from syncell.errors import (
    AccessDenied,
    Cancelled,
    CellUnusable,
    DataError,
    LimitExceeded,
    ManifestError,
    OptionsError,
    Problem,
    ProtocolError,
    SandboxUnavailable,
    SpecError,
    SyncellError,
    SyncerError,
)
from syncell.sandbox import Grants, Policy
from syncell_worker import values, wire

CANCEL_SECONDS = 5.0
"""For a syncer to notice that its call is cancelled: between two batches it does at once. Then its cell is ended."""


class Syncer:
    """An opened syncer. Made by `Runner.open`; use it as a context manager, or `close` it.

    `jail` lists the layers that confine it, `lacking` the protections that it does without (`"best-effort"` only).
    """

    def __init__(
        self,
        definition: FoundSyncer,
        cell: Cell,
        *,
        environment: Environment,
        grants: Grants,
        policy: Policy,
        on_close: Callable[[], None],
    ) -> None:
        self.definition = definition
        self.environment = environment
        self.grants = grants
        self.policy = policy
        self.limits = policy.limits
        self.cell = cell
        self.name: str = definition.manifest.name
        self.members: frozenset[str] = frozenset()
        self.jail: tuple[str, ...] = ()
        self.lacking: tuple[str, ...] = ()
        self._on_close = on_close
        self._turn = threading.Lock()

    def __repr__(self) -> str:
        return f"<Syncer {self.name!r} {self.cell.state.lower()}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def load(self, identifier: str) -> list[dict[str, Any]]:
        """All rows of a resource. Raises `SyncerError`, `AccessDenied`, `LimitExceeded`, `WorkerCrashed`..."""
        return [row for batch in self.stream(identifier) for row in batch]

    def stream(self, identifier: str) -> Generator[list[dict[str, Any]], None, None]:
        """The rows of a resource in batches of at most 1,000, holding no more than a few in memory.

        A stream that is closed or dropped half way cancels the call; the syncer can be used again.
        """
        budget = self._take_turn()
        try:
            call = self.start(wire.Load, identifier)
            try:
                rows = size = 0
                while isinstance((event := self.cell.next_event(budget)[1]), wire.Rows):
                    rows, size = self.counted(event, rows, size)
                    yield self._decoded(event)
            except BaseException:
                self.cancel(call)
                raise
            self.check_count(self.finish(event), rows)
        finally:
            self._turn.release()

    def dump(self, identifier: str, *, data: Iterable[Mapping[str, Any]]) -> None:
        """Write rows to a resource: a list, or any iterable of mappings.

        Memory is bounded when `data` is lazy and the syncer takes batches (`dump_batches`). Raises `DataError` when a
        value cannot cross, and what `load` raises.
        """
        rows = iter(data)
        with self.calling() as budget:
            call = self.start(wire.Dump, identifier)
            encoder = values.Encoder()
            sent = 0
            with self.cancelling(call):
                while not self.cell.events and (batch := list(islice(rows, values.BATCH_ROWS))):
                    for frame in self._encoded(encoder, batch):
                        self.cell.send(frame, call)
                        while self.cell.queued > QUEUE_BYTES and not self.cell.events:
                            self._raise_failure()
                            wait(budget, self.cell)
                        if self.cell.events:
                            break
                    sent += len(batch)
                if not self.cell.events:
                    self.cell.send(wire.End(rows=sent), call)
                _, event = self.cell.next_event(budget)
            self.finish(event)

    def close(self) -> None:
        """Close the syncer and end its cell. Safe to call twice."""
        self.cell.close()
        self._on_close()

    @contextlib.contextmanager
    def calling(self) -> Iterator[Budget]:
        """Take this syncer's turn for one call. Raises `CellUnusable` when another has it, or the cell has ended."""
        budget = self._take_turn()
        try:
            yield budget
        finally:
            self._turn.release()

    def _take_turn(self) -> Budget:
        if not self._turn.acquire(blocking=False):
            raise CellUnusable(
                f"{self.name}: another call on this syncer is still under way (in another thread, or a stream that "
                "was neither exhausted nor closed); open one syncer for each"
            )
        if not self.cell.alive:
            self._turn.release()
            raise CellUnusable(f"{self.name}: this syncer is closed, or its cell has ended; open it again")
        return Budget(self.limits.wall_seconds)

    def start(self, request: type[wire.Load | wire.Dump], identifier: str) -> int:
        """Begin a call for a resource; its id. Raises `SpecError`."""
        call = self.cell.call + 1
        if self.cell.door is not None:
            self.cell.door.denials.clear()
        self.cell.send(request(identifier=_identifier(identifier)), call)
        return call

    @contextlib.contextmanager
    def cancelling(self, call: int) -> Iterator[None]:
        """Cancel the call when the block is left early, so that the cell is ready again or ended, never in between."""
        try:
            yield
        except BaseException:
            self.cancel(call)
            raise

    def cancel(self, call: int) -> None:
        """Cancel a call and wait, not for long, until the syncer has let go of it; else end its cell."""
        if not self.cell.alive or self.cell.state not in ("LOADING", "DUMPING", "SETTLING"):
            return
        budget = Budget(CANCEL_SECONDS)
        try:
            self.cell.send(wire.Cancel(), call)
            with cancellation.shielded():
                while isinstance(self.cell.next_event(budget)[1], wire.Rows):
                    pass
        except SyncellError:
            self.cell.end()
        except BaseException:
            self.cell.end()
            raise

    def finish(self, event: Any) -> wire.Done:
        """The answer that ended a call. Raises what it says went wrong."""
        if isinstance(event, wire.Failed):
            self.raise_failed(event)
        assert isinstance(event, wire.Done)
        return event

    def counted(self, event: wire.Rows, rows: int, size: int) -> tuple[int, int]:
        """The rows and bytes of a call with those of this frame. Raises `LimitExceeded`, and then the cell is ended."""
        rows += event.count
        size += len(event.head) + len(event.body)
        if self.limits.rows is not None and rows > self.limits.rows:
            raise self.cell.exceeded("rows", rows)
        if self.limits.row_bytes is not None and size > int(self.limits.row_bytes):
            raise self.cell.exceeded("row_bytes", size)
        return rows, size

    def check_count(self, done: wire.Done, rows: int) -> None:
        """Raise `ProtocolError` when the worker counted other rows than arrived."""
        if done.rows != rows:
            raise ProtocolError(f"{self.name}: it says it sent {done.rows} rows, and {rows} arrived")

    def raise_failed(self, failed: wire.Failed) -> NoReturn:
        """Raise the error of the tree that a failure of the worker stands for. No secret is in it."""
        raise self.cell.log.redactor.error(self._error_of(failed))

    def _error_of(self, failed: wire.Failed) -> SyncellError:
        problems = [Problem(problem.where, problem.message) for problem in failed.problems]
        if failed.kind == "manifest":
            return ManifestError(str(self.definition.folder), problems)
        if failed.kind == "options":
            return OptionsError(self.name, problems)
        if failed.kind == "sandbox":
            return SandboxUnavailable(
                f"{self.name}: this machine cannot give a protection that the policy requires. {failed.message}. "
                'To run with less: Policy(sandbox="best-effort")'
            )
        if failed.kind == "version":
            return ProtocolError(f"{self.name}: no common version of the protocol: {failed.message}")
        if failed.kind == "cancelled":
            return Cancelled(f"{self.name}: the call was cancelled")
        missing = failed.name == "ModuleNotFoundError"
        error = SyncerError(
            self.name,
            failed.name,
            failed.message,
            traceback=failed.traceback,
            attributes=failed.attributes,
            hint="; add what provides it to the requirements in MANIFEST.json" if missing else "",
        )
        explained = self._explained(error, failed.refused)
        if explained is not error:
            explained.__cause__ = error
        return explained

    def _explained(self, error: SyncerError, refused: str) -> SyncellError:
        """The same error, or a more telling one where the sandbox or a limit is behind it."""
        if error.type == "MemoryError" and isinstance(self.limits.memory, int):
            allowed = self.limits.memory
            return LimitExceeded(self.name, "memory", allowed=allowed, reached=allowed)
        if not self.jail:
            return error
        if refused == "program" and not self.policy.subprocess:
            return AccessDenied.programs(self.name)
        path = error.attributes.get("filename")
        if path is None:
            return self._unconnected(error, refused) or error
        if error.attributes.get("errno") not in (errno.EACCES, errno.EPERM) or not isinstance(path, str):
            return error
        where = os.path.realpath(path)
        may_read, may_write = self.grants.covers("read", where), self.grants.covers("write", where)
        if may_write and self.grants.missed(where):
            return AccessDenied.missing(self.name, where)
        if may_read and may_write:
            return error
        action = "write" if may_read or not Path(where).exists() else "read"
        return AccessDenied.path(self.name, action, where)

    def _unconnected(self, error: SyncerError, refused: str) -> AccessDenied | None:
        """What of the network was refused, if that is behind the error."""
        door = self.cell.door
        if door is not None and (connection := denials.connection(error, list(door.denials))) is not None:
            return connection
        if (kind := denials.kind(error, refused, connects=door is not None)) is not None:
            return kind
        if door is None and (refused == "socket" or denials.network(error)):
            return AccessDenied.network(self.name)
        return None

    def _raise_failure(self) -> None:
        if self.cell.failure is not None:
            raise self.cell.failure

    def _decoded(self, rows: wire.Rows) -> list[dict[str, Any]]:
        try:
            return values.decode(rows)
        except wire.RemoteProtocolError as error:
            said = self.cell.log.redactor.text(str(error))
        # Not from within: the error of the wire would stay with this one, secrets and all.
        self.cell.end()
        raise ProtocolError(f"{self.name}: {said}; the cell was ended")

    def _encoded(self, encoder: values.Encoder, batch: list[Any]) -> list[wire.Rows]:
        if not {dict}.issuperset(map(type, batch)):
            batch = [dict(row) if isinstance(row, Mapping) else row for row in batch]
        try:
            return encoder.encode(batch)
        except values.Unfaithful as error:
            raise DataError(f"{self.name}: {error}") from None


def _identifier(identifier: str) -> str:
    if not isinstance(identifier, str):
        raise TypeError(f"an identifier is text, not {type(identifier).__name__}")
    try:
        identifier.encode()
    except UnicodeEncodeError:
        raise SpecError("identifier", [Problem(repr(identifier), "expected text that has a form in UTF-8")]) from None
    return identifier
