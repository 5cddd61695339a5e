"""Where everything is printed: results on standard output; messages, log lines and progress on standard error.

Much of a message comes from third parties. So it goes through `visible`, which leaves nothing in it that could drive a
terminal, and is never read as markup.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_PROGRESS_SECONDS = 10.0
"""Between two lines of progress where no terminal redraws them: often enough to see life, seldom enough for a log."""


def visible(text: str, keep: str = "\n\t") -> str:
    """The text with what could drive a terminal, or hide in one, written as escapes; characters in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def put(text: str | bytes) -> None:
    """Write to standard output, at once. Raises OSError, and of those BrokenPipeError when nobody reads it any more."""
    try:
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered goes nowhere: else the interpreter would stumble over it at its own end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise OSError(error.errno, error.strerror, "standard output") from None


def put_line(text: str) -> None:
    """Write a result for a person."""
    put(f"{visible(text)}\n")


def put_json(value: Any) -> None:
    """Write a result for a machine, on one line."""
    put(json.dumps(value) + "\n")


@functools.cache
def stderr() -> Console:
    """Where messages go; colours only on a terminal, and not with NO_COLOR."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)


def say(text: str, style: str | None = None) -> None:
    """Print one message."""
    stderr().print(visible(text), style=style)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a Python warning for a person: without the place in the code that gave it."""
    say(f"syncell: warning: {message}", style="yellow")


def configure_logging(*, quiet: bool, verbose: bool) -> None:
    """Show the records of syncell and of syncers: warnings by default, all with `verbose`, errors with `quiet`."""
    log = logging.getLogger("syncell")
    log.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    log.propagate = False
    log.addHandler(_Handler())


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        say(f"{record.name.removeprefix('syncell.syncer.')}: {level}{self.format(record)}")


class Progress(Protocol):
    """What goes on, told as it happens."""

    def step(self, line: str) -> None:
        """Take a line about the build of an environment."""

    def moved(self, rows: int, size: int) -> None:
        """Take the rows and bytes copied so far."""


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Show progress during the block: redrawn on a terminal, as lines elsewhere, not at all with `quiet`."""
    if quiet:
        yield _Silence()
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        from rich import progress

        columns = progress.SpinnerColumn(), progress.TextColumn("{task.description}", markup=False)
        with progress.Progress(*columns, progress.TimeElapsedColumn(), console=stderr(), transient=True) as bar:
            yield _Live(bar)


class _Silence:
    def step(self, line: str) -> None:
        pass

    def moved(self, rows: int, size: int) -> None:
        pass


class _Lines:
    def __init__(self) -> None:
        self._started = self._said = time.monotonic()

    def step(self, line: str) -> None:
        say(f"syncell: {line}")

    def moved(self, rows: int, size: int) -> None:
        now = time.monotonic()
        if now - self._said >= PLAIN_PROGRESS_SECONDS:
            self._said = now
            say(f"syncell: {amount(rows, size, now - self._started)}")


class _Live:
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("opening", total=None)
        self._started: float | None = None

    def step(self, line: str) -> None:
        self._bar.update(self._task, description=visible(line))

    def moved(self, rows: int, size: int) -> None:
        now = time.monotonic()
        self._started = self._started or now
        self._bar.update(self._task, description=amount(rows, size, now - self._started))


def amount(rows: int, size: int, seconds: float) -> str:
    """`336,776 rows, 58.3 MiB in 3.1 s (108,637 rows/s)`."""
    rate = f" ({rows / seconds:,.0f} rows/s)" if seconds else ""
    return f"{rows:,} rows, {bytes_text(size)} in {seconds:.1f} s{rate}"


def bytes_text(size: float) -> str:
    """A number of bytes for a person: `58.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
