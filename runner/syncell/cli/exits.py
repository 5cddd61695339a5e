"""How a command ends: one table of exit codes, and one place where errors become messages."""

from __future__ import annotations

import dataclasses
import logging
import signal
from types import FrameType
from typing import Any, NoReturn

import typer.core

from syncell import (
    AccessDenied,
    DataError,
    EnvironmentBuildError,
    LimitExceeded,
    ManifestError,
    OptionsError,
    PolicyExceeded,
    QuotaExceeded,
    SandboxUnavailable,
    SpecError,
    SyncellError,
    SyncerError,
    TenantsError,
)
from syncell.cli import console

log = logging.getLogger("syncell")


@dataclasses.dataclass(frozen=True)
class Exit:
    """An exit code, what it means, and the errors that end a command with it."""

    code: int
    meaning: str
    errors: tuple[type[Exception], ...] = ()


INTERRUPTED = Exit(128 + signal.SIGINT, "interrupted by Ctrl-C; so are 143 and 129 by SIGTERM and SIGHUP")
NOBODY_READS = Exit(128 + signal.SIGPIPE, "what read the output has gone, as in `| head`")

SANDBOX = Exit(
    4, "the sandbox refused something, or is not available", (AccessDenied, PolicyExceeded, SandboxUnavailable)
)

EXITS = (
    Exit(0, "done"),
    # Looked up from top to bottom: the last one takes every error that is none of the others.
    Exit(
        2,
        "wrong command line, spec, manifest, options, tenants file or input",
        (SpecError, ManifestError, OptionsError, TenantsError, DataError),
    ),
    Exit(3, "an environment could not be built", (EnvironmentBuildError,)),
    SANDBOX,
    Exit(5, "a limit, a quota or the time-out was reached", (LimitExceeded, QuotaExceeded)),
    Exit(1, "a syncer or its process failed, or a file could not be read or written", (SyncellError, OSError)),
    INTERRUPTED,
    NOBODY_READS,
)

EPILOG = "\n".join(["Exit codes:\n", *(f"- {it.code}: {it.meaning}" for it in sorted(EXITS, key=lambda it: it.code))])
"""The table for the help, in Markdown."""


class ReportingGroup(typer.core.TyperGroup):
    """The verbs together: whichever runs, its errors are printed once and become an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.say("syncell: interrupted")
            raise SystemExit(INTERRUPTED.code) from None
        except BrokenPipeError:
            raise SystemExit(NOBODY_READS.code) from None
        except (SyncellError, OSError) as error:
            report(error)
            raise SystemExit(code_of(error)) from None


def code_of(error: Exception) -> int:
    """The exit code of an error."""
    return next(it.code for it in EXITS if isinstance(error, it.errors))


def report(error: Exception) -> None:
    """Print an error: what happened and the next step, and with --verbose all that is known of it."""
    verbose = log.isEnabledFor(logging.INFO)
    console.say(f"syncell: {error}", style="red")
    remote = error if isinstance(error, SyncerError) else error.__cause__
    if isinstance(remote, SyncerError) and remote.traceback:
        if verbose:
            console.say(remote.traceback.rstrip())
        elif where := _last_frame(remote.traceback):
            console.say(f"  {where}; --verbose shows the whole traceback")
    if isinstance(error, EnvironmentBuildError) and error.log:
        console.say(error.log.rstrip() if verbose else "  --verbose shows all that the installer said")


def _last_frame(traceback: str) -> str:
    """Where the syncer raised: `File "syncer.py", line 8, in load`."""
    frames = [line.strip() for line in traceback.splitlines() if line.startswith('  File "')]
    return frames[-1] if frames else ""


def end_cleanly(number: int, _: FrameType | None) -> NoReturn:
    """A signal handler: leave as an error would, so that everything which is open is closed on the way."""
    raise SystemExit(128 + number)
