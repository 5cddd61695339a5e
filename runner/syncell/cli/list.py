"""`syncell list`: the syncers that have a name here."""

from __future__ import annotations

from syncell import BrokenSyncer
from syncell.cli import console, rows
from syncell.cli.options import AsJSON, Session, spread


@spread
def list_syncers(session: Session, as_json: AsJSON = False) -> None:
    """List the built-in syncers and those of installed packages. One that is broken is named, and fails nothing."""
    with session.runner() as runner:
        available = runner.available()
    if as_json:
        described = [
            {"name": it.name, "origin": it.origin, "error": str(it.error)}
            if isinstance(it, BrokenSyncer)
            else {"name": it.name, "origin": it.origin, "class": it.manifest.syncer_class, "folder": str(it.folder)}
            for it in available
        ]
        console.put_json(described)
        return
    rows.print_table(
        [
            {"name": it.name, "origin": it.origin, "class": it.manifest.syncer_class, "folder": str(it.folder)}
            for it in available
            if not isinstance(it, BrokenSyncer)
        ]
    )
    for it in available:
        if isinstance(it, BrokenSyncer):
            console.say(f"syncell: {it.name} ({it.origin}) cannot be opened: {it.error}", style="yellow")
