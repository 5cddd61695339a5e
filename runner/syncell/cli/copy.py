"""`syncell copy`: rows of one syncer's resource into another's."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from syncell.cli import console
from syncell.cli.explain import explain
from syncell.cli.options import Access, AsJSON, Constraints, Session, in_name_of, spread


@spread
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Where rows come from: csv://directory=in#orders")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Where they go: sqlite://database_path=out.db#orders")
    ],
    *,
    access: Access,
    constraints: Constraints,
    session: Session,
    as_json: AsJSON = False,
) -> None:
    """Copy the rows of one syncer's resource into another's, and report how many.

    The built-in targets hold all rows at the end, or are as they were.
    """
    if access.explain:
        with session.runner() as runner:
            explain(runner, [source, target], access, as_json=as_json)
        return
    with session.runner() as runner, console.progress(quiet=session.quiet) as progress:
        opener = in_name_of(runner)
        report = opener.copy(
            source,
            target,
            policy=access.policy(opener.policy),
            constraints=constraints.requirements(),
            progress=progress.step,
            moved=progress.moved,
        )
    if as_json:
        console.put_json(dataclasses.asdict(report) | {"rows_per_second": report.rows_per_second})
    elif not session.quiet:
        moved = console.amount(report.rows, report.bytes, report.seconds)
        console.put_line(f"{report.source} -> {report.target}: {moved}")
