"""`syncell dump`: rows from standard input into a syncer's resource."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Literal

import typer

from syncell.cli import console, rows
from syncell.cli.explain import explain
from syncell.cli.options import Access, AsJSON, Constraints, Session, identifier_in, in_name_of, spread


@spread
def dump(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="Where rows go: sqlite://database_path=out.db#orders")],
    *,
    access: Access,
    constraints: Constraints,
    session: Session,
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["jsonl", "csv"], typer.Option(help="What standard input holds: JSON lines, or CSV with a header.")
    ] = "jsonl",
    as_json: AsJSON = False,
) -> None:
    """Write rows from standard input to a syncer's resource, and report how many.

    Every value of CSV is text. A line that cannot be read is an error, and the built-in syncers are then as they were.
    """
    if access.explain:
        with session.runner() as runner:
            explain(runner, [spec], access, as_json=as_json)
        return
    with session.runner() as runner:
        identifier = identifier_in(runner.spec(spec))
        with console.progress(quiet=session.quiet) as progress:
            opener = in_name_of(runner)
            syncer = opener.open(
                spec,
                policy=access.policy(opener.policy),
                constraints=constraints.requirements(),
                progress=progress.step,
            )
        if sys.stdin.isatty() and not session.quiet:
            console.say(f"syncell: reading {format} from the terminal; Ctrl-D on a line of its own ends it")
        read = rows.Counted(rows.read_json_lines() if format == "jsonl" else rows.read_csv())
        started = time.monotonic()
        syncer.dump(identifier, data=read)
        seconds = time.monotonic() - started
        target = f"{syncer.name}#{identifier}"
    if as_json:
        console.put_json({"target": target, "rows": read.count, "seconds": seconds})
    elif not session.quiet:
        console.put_line(f"{target}: {read.count:,} rows in {seconds:.1f} s")
