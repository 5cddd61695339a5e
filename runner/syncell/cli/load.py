"""`syncell load`: the rows of a syncer's resource on standard output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from syncell.cli import console, rows
from syncell.cli.explain import explain
from syncell.cli.options import Access, Constraints, Session, identifier_in, in_name_of, spread

TABLE_ROWS = 50
"""Rows of a table when nothing else is asked for: it is held in memory to be laid out, and read by a person."""


@spread
def load(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="Where rows come from: csv://directory=in#orders")],
    *,
    access: Access,
    constraints: Constraints,
    session: Session,
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["jsonl", "csv", "table"] | None,
        typer.Option(show_default="table on a terminal, else jsonl", help="JSON lines, CSV, or a table to look at."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="ROWS", show_default=f"all; {TABLE_ROWS} of a table", help="Stop after so many rows."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines, and with --explain the explanation as JSON.")
    ] = False,
) -> None:
    """Print the rows of a syncer's resource.

    JSON lines hold what JSON has no form for as text: dates and times and durations in ISO 8601, decimals and UUIDs as
    they are written, bytes in base64; nan and the infinities are null. CSV holds the same without quotes, and nothing
    for null.
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
        with contextlib.closing(syncer.stream(identifier)) as stream:
            if format == "table" or (format is None and not as_json and sys.stdout.isatty()):
                _print_table(stream, limit or TABLE_ROWS, quiet=session.quiet)
            else:
                pieces = rows.csv_lines if format == "csv" else rows.json_lines
                for piece in pieces(_first(stream, limit) if limit else stream):
                    console.put(piece)


def _print_table(batches: rows.Batches, limit: int, *, quiet: bool) -> None:
    shown = [row for batch in _first(batches, limit) for row in batch]
    rows.print_table(shown)
    if not quiet and not shown:
        console.say("syncell: no rows")
    elif not quiet and len(shown) == limit:
        console.say(f"syncell: the first {limit:,} rows; --limit shows more, --format jsonl or csv all")


def _first(batches: rows.Batches, limit: int) -> Iterator[list[rows.Row]]:
    """The first rows; the stream is then left, and so cancelled."""
    for batch in batches:
        yield batch[:limit]
        limit -= len(batch)
        if limit <= 0:
            return
