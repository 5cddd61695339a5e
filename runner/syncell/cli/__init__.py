"""The command line: one file a verb, each thin over the public names of `syncell` and over nothing else of it.

Rows and results go to standard output, everything else to standard error; `exits` turns errors into one message and an
exit code, in one place for all verbs. `options` holds what several verbs take, `console` what a person sees besides the
results, `rows` the formats of rows. Rich is imported where something is drawn, so that the start stays short.
"""

import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import syncell
from syncell.cli import console, copy, doctor, dump, env, exits, load, show
from syncell.cli import list as list_
from syncell.cli.options import acting

__all__ = ["main"]

app = typer.Typer(
    cls=exits.ReportingGroup,
    help="Move rows between data stores through syncers, each in its own virtualenv and its own sandboxed process.",
    epilog=exits.EPILOG,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("copy")(copy.copy)
app.command("load")(load.load)
app.command("dump")(dump.dump)
app.command("list")(list_.list_syncers)
app.command("show")(show.show)
app.command("doctor")(doctor.doctor)
app.add_typer(env.app, name="env")


@app.callback()
def _syncell(
    version: Annotated[  # noqa: ARG001 - its callback has seen it
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _version() if asked else None,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
    tenants: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="SYNCELL_TENANTS", help="A TOML file that defines tenants."),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="ID", envvar="SYNCELL_TENANT", help="Copy, load and dump in this tenant's name, within its policy."
        ),
    ] = None,
) -> None:
    acting.tenants, acting.tenant = tenants, tenant


def _version() -> NoReturn:
    console.put_line(f"syncell {syncell.__version__}")
    raise typer.Exit


def main() -> None:
    """Run the command `syncell` with the arguments of this process, and exit."""
    warnings.showwarning = console.show_warning
    # What cannot be written in the terminal's encoding is escaped, not an error in the middle of a result.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) == signal.SIG_DFL:  # `nohup` ignores SIGHUP, and so do we then
            signal.signal(ending, exits.end_cleanly)
    app(prog_name="syncell")
