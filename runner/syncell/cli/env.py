"""`syncell env`: build, list, lock and prune the environments of syncers."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from syncell import Listed, SyncellError
from syncell.cli import console, exits, rows
from syncell.cli.options import AsJSON, Builds, Constraints, Session, SyncerArgument, duration, spread

UNUSED_FOR = dt.timedelta(days=30)
"""What is pruned when nothing else is asked for: nobody used it for a month, and building it again takes seconds."""

app = typer.Typer(help="Build, list, lock and prune the environments of syncers.", no_args_is_help=True)


@app.command()
@spread
def build(
    syncers: Annotated[list[str], typer.Argument(metavar="SYNCER...", help="Names, folders, MANIFEST.jsons or specs.")],
    builds: Builds,
    constraints: Constraints,
    session: Session,
    as_json: AsJSON = False,
) -> None:
    """Build what is needed to open syncers, so that opening them later installs nothing."""
    built = []
    failed = 0
    with session.runner(builds.policy()) as runner, console.progress(quiet=session.quiet) as progress:
        for reference in syncers:
            try:
                found = runner.find(reference)
                recipe = runner.recipe(found, constraints.requirements())
                with runner.environments.acquire(recipe, syncer=found.name, progress=progress.step) as lease:
                    runner.environments.kit(lease.environment.interpreter)
                built.append({"syncer": found.name, "key": lease.environment.key, "path": str(lease.environment.path)})
            except SyncellError as error:  # the others are worth building all the same
                exits.report(error)
                failed = failed or exits.code_of(error)
    if as_json:
        console.put_json(built)
    elif not session.quiet:
        rows.print_table([{"syncer": it["syncer"], "key": it["key"]} for it in built])
    if failed:
        raise typer.Exit(failed)


@app.command("list")
@spread
def list_environments(session: Session, as_json: AsJSON = False) -> None:
    """List the environments, the last used first."""
    with session.runner() as runner:
        listed = runner.environments.list()
    _print(listed, as_json=as_json)


@app.command()
@spread
def lock(
    syncer: SyncerArgument,
    builds: Builds,
    constraints: Constraints,
    session: Session,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it, instead of printing it.")
    ] = None,
) -> None:
    """Resolve a syncer's requirements and print them as a pylock.toml, with hashes.

    Beside the MANIFEST.json, under that name, it decides what is installed: `-o ./acme/pylock.toml`.
    """
    with session.runner(builds.policy()) as runner:
        found = runner.find(syncer)
        text = runner.environments.lock(runner.recipe(found, constraints.requirements()), syncer=found.name)
    if output is None:
        console.put(text)
    else:
        _replace(output, text)


@app.command()
@spread
def prune(
    session: Session,
    unused_for: Annotated[
        dt.timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            show_default=f"{UNUSED_FOR.days}d",
            help="Remove what nobody used for so long, as in 12h or 30d.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of them, however lately used.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, and list what would be.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Remove environments that nobody used for a while, and list them. Those in use stay."""
    unused_for = dt.timedelta(0) if everything else UNUSED_FOR if unused_for is None else unused_for
    with session.runner() as runner:
        if dry_run:
            before = time.time() - unused_for.total_seconds()
            listed = tuple(it for it in runner.environments.list() if it.last_used <= before and not it.in_use)
        else:
            listed = runner.environments.prune(unused_for)
    _print(listed, as_json=as_json)
    if not session.quiet:
        size = console.bytes_text(sum(it.environment.size for it in listed))
        console.say(f"syncell: {'would free' if dry_run else 'freed'} {size}")


def _print(listed: tuple[Listed, ...], *, as_json: bool) -> None:
    if as_json:
        console.put_json(
            [
                {
                    "key": it.environment.key,
                    "python": it.environment.interpreter.version,
                    "size": it.environment.size,
                    "created": _iso(it.environment.created),
                    "last_used": _iso(it.last_used),
                    "in_use": it.in_use,
                    "users": list(it.users),
                    "versions": dict(it.environment.versions),
                    "path": str(it.environment.path),
                }
                for it in listed
            ]
        )
        return
    rows.print_table(
        [
            {
                "key": it.environment.key,
                "python": it.environment.interpreter.version,
                "size": console.bytes_text(it.environment.size),
                "age": _ago(it.environment.created),
                "used": "now" if it.in_use else f"{_ago(it.last_used)} ago",
                "by": ", ".join(it.users),
                "versions": " ".join(f"{name}=={version}" for name, version in it.environment.versions.items()),
            }
            for it in listed
        ]
    )


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _ago(seconds: float) -> str:
    passed = time.time() - seconds
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= length:
            return f"{passed / length:.0f} {unit}"
    return f"{max(passed, 0):.0f} s"


def _replace(path: Path, text: str) -> None:
    """Write a file whole, or leave it as it was."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
