"""`syncell doctor`: what this machine can enforce."""

from __future__ import annotations

import dataclasses

import typer

from syncell.cli import console, exits
from syncell.cli.options import AsJSON, Session, spread


@spread
def doctor(session: Session, as_json: AsJSON = False) -> None:
    """Try what a sandbox must refuse, and say what was refused here, and what would help where it was not.

    Each line was tried in a process of its own. The exit code is 4 when a protection is missing: syncers are then not
    opened, unless `--sandbox best-effort` says to go on without.
    """
    with session.runner() as runner:
        findings = runner.doctor()
    complete = all(finding.ok for finding in findings)
    if as_json:
        console.put_json({"ok": complete, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        for protection in dict.fromkeys(finding.protection for finding in findings):
            tried = [finding for finding in findings if finding.protection == protection]
            whole = all(finding.ok for finding in tried)
            console.put_line(f"{protection}: {'protected' if whole else 'NOT PROTECTED'}")
            for finding in tried:
                console.put_line(f"  {'ok    ' if finding.ok else 'FAILED'} {finding.deed}: {finding.why}")
            if not whole:
                remedy = next(finding.remedy for finding in tried if not finding.ok)
                console.put_line(f"  what would help: {remedy}")
    if not complete:
        raise typer.Exit(exits.SANDBOX.code)
