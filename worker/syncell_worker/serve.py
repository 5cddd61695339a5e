"""The request loop: one host, one syncer, one call at a time.

Everything a syncer raises, `SystemExit` and `KeyboardInterrupt` included, is an answer and not the end of the loop. The
process ends when the host says so or is gone.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import logging
import os
import pathlib
import site
import sys
from collections.abc import Iterator
from typing import Any

from syncell_worker import (
    failure,
    gate,
    inspection,
    jail,
    lifecycle,
    loader,
    modes,
    options,
    programs,
    rows,
    tables,
    values,
    wire,
)
from syncell_worker.pipe import HostGone, Pipe

_MAX_LOG_TEXT = 8 * 1024  # characters of one record


class CallCancelled(BaseException):
    """The host no longer wants the result of this call."""


def run(wire_in: int, wire_out: int) -> None:
    """Serve one host from hello to close."""
    pipe = Pipe(wire_in, wire_out)
    with contextlib.suppress(HostGone):
        if _greet(pipe):
            pipe.watch_for_hangup()
            _, request = pipe.receive()
            if isinstance(request, wire.Inspect):
                _inspect(pipe, request)
            cell = _open(pipe, request) if isinstance(request, wire.Open) else None
            if cell is not None:
                try:
                    cell.serve()
                finally:
                    cell.close()
                pipe.send(wire.Closed())
    _exit()


def _exit() -> None:
    """End the process without the interpreter's own clean-up, which waits for a syncer's threads for ever."""
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    logging.shutdown()
    os._exit(0)


def _greet(pipe: Pipe) -> bool:
    _, offer = pipe.receive()
    version = wire.pick_version(offer.versions)
    if version is None:
        spoken = ", ".join(map(str, wire.VERSIONS))
        pipe.send(wire.Failed(kind="version", message=f"this worker speaks version {spoken} of the protocol"))
        return False
    layers: list[str] = []
    lacking: list[str] = []
    if offer.jail != "off":
        try:
            layers = jail.enter(
                offer.read,
                offer.write,
                offer.execute,
                offer.rlimits,
                network=offer.network,
                gate=functools.partial(gate.enter, offer.door),
                lacking=lacking if offer.jail == "best-effort" else None,
            )
        except jail.Unavailable as error:
            pipe.send(wire.Failed(kind="sandbox", message=str(error)))
            return False
        if "seccomp" in layers:
            modes.by_descriptor()
            if not offer.execute:
                programs.refuse()
    python = ".".join(map(str, sys.version_info[:3]))
    pipe.send(wire.Hello(version=version, layers=layers, lacking=lacking, pid=os.getpid(), python=python))
    return True


def _open(pipe: Pipe, opening: wire.Open) -> Cell | None:
    _log_to(pipe, opening.log_level)
    with _answering(pipe):
        syncer_class = _find_class(opening)
        syncer = lifecycle.build(syncer_class, _options(opening))
        try:
            if opening.tables:
                tables.create(syncer, opening.tables)
            opened = wire.Opened(name=str(syncer.name), members=loader.members(syncer))
        except BaseException:
            lifecycle.close(syncer)
            raise
        pipe.send(opened)
        return Cell(pipe, syncer)
    return None


def _inspect(pipe: Pipe, request: wire.Inspect) -> None:
    with _answering(pipe):
        syncer_class = _find_class(request)
        schema = inspection.options_schema(syncer_class)
        pipe.send(wire.Inspected(schema=schema, members=loader.members(syncer_class)))


@contextlib.contextmanager
def _answering(pipe: Pipe) -> Iterator[None]:
    """Tell the host what the block raises, whatever it is."""
    try:
        yield
    except HostGone:
        raise
    except loader.ManifestProblems as error:
        pipe.send(wire.Failed(kind="manifest", problems=error.problems))
    except options.OptionProblems as error:
        pipe.send(wire.Failed(kind="options", problems=error.problems))
    except BaseException as error:
        pipe.send(failure.describe(error))


def _find_class(request: wire.Open | wire.Inspect) -> type:
    _enter_environment(request.environment)
    module = loader.import_syncer(request.folder, request.name)
    # Boot turned the collector off. From here on there may be garbage, but not among what was imported.
    gc.freeze()
    gc.enable()
    return loader.find_class(module, request.syncer_class)


def _log_to(pipe: Pipe, level: int) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a line printed is a line logged, as on a terminal
        sys.stdout.reconfigure(line_buffering=True)
    logging.getLogger().addHandler(_WireHandler(pipe))
    logging.getLogger().setLevel(level)


def _enter_environment(environment: str) -> None:
    """Become an interpreter of the environment: its site-packages, its .pth files, its prefix."""
    sys.executable = str(pathlib.Path(environment, "bin", "python"))
    sys.prefix = sys.exec_prefix = environment
    site.main()


def _options(opening: wire.Open) -> dict[str, Any]:
    (given,) = values.decode(wire.Rows(1, opening.option_columns, opening.option_types, b"", bytes(opening.options)))
    return {name: pathlib.Path(value) if name in opening.paths else value for name, value in given.items()}


class Cell:
    """The opened syncer and the loop that answers for it."""

    def __init__(self, pipe: Pipe, syncer: Any) -> None:
        self._pipe = pipe
        self._syncer = syncer
        self._encoder = values.Encoder()  # kept from call to call, with what it knows of the rows

    def serve(self) -> None:
        """Answer calls until the host closes. Raises `HostGone`."""
        while True:
            call, request = self._pipe.receive()
            if isinstance(request, wire.Close):
                return
            answer: wire.Message
            try:
                answer = wire.Done(rows=self._answer(call, request))
            except HostGone:
                raise
            except CallCancelled:
                answer = wire.Failed(kind="cancelled")
            except BaseException as error:
                answer = failure.describe(error)
            self._pipe.send(answer, call)

    def close(self) -> None:
        """Close the syncer, whatever its calls came to."""
        lifecycle.close(self._syncer)

    def _answer(self, call: int, request: wire.Message) -> int:
        if isinstance(request, wire.Load):
            return self._load(call, request.identifier)
        assert isinstance(request, wire.Dump)
        return self._dump(request.identifier)

    def _load(self, call: int, identifier: str) -> int:
        if hasattr(self._syncer, "load_batches"):
            source = rows.rebatch(self._syncer.load_batches(identifier))
        else:
            source = rows.batches(self._syncer.load(identifier))
        self._encoder.start()
        sent = 0
        with contextlib.closing(source):
            for batch, more in source:
                for frame in self._encoder.encode(batch):
                    self._pipe.send(frame, call, hold=not more)
                sent += len(batch)
                if more and self._pipe.pending():
                    self._pipe.receive()  # during a load, nothing but Cancel is allowed
                    raise CallCancelled
        return sent

    def _dump(self, identifier: str) -> int:
        incoming = _Incoming(self._pipe)
        if hasattr(self._syncer, "dump_batches"):
            self._syncer.dump_batches(identifier, batches=iter(incoming))
            incoming.finish()
        else:
            data = [row for batch in incoming for row in batch]
            self._syncer.dump(identifier, data=data)
        return incoming.rows


class _Incoming:
    """The batches that the host sends for one dump."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._open = True
        self._cancelled = False
        self.rows = 0

    def __iter__(self) -> Iterator[values.Batch]:
        while self._open:
            event = self._next()
            if event is not None:
                yield values.decode(event)

    def finish(self) -> None:
        """Check that the syncer took every row; what it swallowed of a cancellation counts all the same."""
        left = 0
        while self._open:
            event = self._next()
            left += event.count if event is not None else 0
        if self._cancelled:
            raise CallCancelled
        if left:
            raise RuntimeError(f"dump_batches returned after {self.rows - left} of {self.rows} rows")

    def _next(self) -> wire.Rows | None:
        _, event = self._pipe.receive()
        if isinstance(event, wire.Rows):
            self.rows += event.count
            return event
        self._open = False
        if isinstance(event, wire.Cancel):
            self._cancelled = True
            raise CallCancelled
        return None


class _WireHandler(logging.Handler):
    """Sends the syncer's log records to the host."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)[:_MAX_LOG_TEXT].encode("utf-8", "backslashreplace").decode()
            self._pipe.send(wire.Log(level=record.levelno, logger=record.name[:200], message=message))
        except Exception:
            self.handleError(record)
