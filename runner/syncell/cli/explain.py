"""`--explain`: what the syncers of a command would be allowed, and who said so. Nothing is run."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import typer

from syncell import Explanation, Limits, Policy, Runner
from syncell.cli import console, exits
from syncell.cli.options import Access, in_name_of

_DEFAULTS = Limits()
_FLAGS = {"connect": "net"}
_SIZES = ("memory", "disk", "row_bytes", "log")


def explain(runner: Runner, specs: list[str], access: Access, *, as_json: bool) -> None:
    """Print an explanation of each spec; the exit code is that of the first thing refused, if any."""
    opener = in_name_of(runner)
    policy = access.policy(opener.policy)
    explanations = [opener.explain(spec, policy=policy) for spec in specs]
    if as_json:
        console.put_json([_plain(explanation) for explanation in explanations])
    else:
        for explanation in explanations:
            _print(explanation)
    for explanation in explanations:
        for error in explanation.refused:
            raise typer.Exit(exits.code_of(error))


def _origin(origin: str, action: str) -> str:
    """On the command line, every policy was said by a flag."""
    return f"--allow-{_FLAGS.get(action, action)}" if origin == "policy" else origin


def _limits(limits: Limits) -> list[tuple[str, Any, str]]:
    flags = {"wall_seconds": "--timeout", "rows": "--max-rows"}
    return [
        (name, value, "default" if value == getattr(_DEFAULTS, name) else flags.get(name, f"--{name}"))
        for name, value in dataclasses.asdict(limits).items()
    ]


def _indexes(policy: Policy) -> list[str]:
    """Without the user names and passwords in them."""
    return [re.sub(r"(?<=://)[^/@]+@", "", place) for place in policy.indexes]


def _plain(it: Explanation) -> dict[str, Any]:
    made = {grant.place for grant in it.made}
    return {
        "syncer": it.syncer,
        "folder": str(it.folder),
        "sandbox": it.policy.sandbox,
        "grants": [
            {
                "action": grant.action,
                "place": grant.place,
                "origin": _origin(grant.origin, grant.action),
                "missing": grant.missing,
                "made": grant.place in made,
            }
            for grant in it.granted
        ],
        "subprocess": it.policy.subprocess,
        "indexes": _indexes(it.policy),
        "source_builds": it.policy.source_builds,
        "limits": {name: {"value": value, "origin": origin} for name, value, origin in _limits(it.policy.limits)},
        "refused": [str(error) for error in it.refused],
    }


def _print(it: Explanation) -> None:
    console.put_line(f"{it.syncer} ({it.folder})")
    made = {grant.place for grant in it.made}
    lines: list[tuple[str, str]] = [("sandbox", it.policy.sandbox)]
    for grant in it.granted:
        there = ""
        if grant.missing:
            there = " (does not exist and would be made)" if grant.place in made else " (does not exist)"
        lines.append((grant.action, f"{grant.place}{there}: {_origin(grant.origin, grant.action)}"))
    actions = {grant.action for grant in it.granted}
    if not actions & {"read", "write"}:
        lines.append(("files", "none beyond its own"))
    if "connect" not in actions:
        lines.append(("network", "none"))
    lines.append(("programs", "in the same sandbox: --allow-subprocess" if it.policy.subprocess else "none"))
    lines += [("index", f"{place}: --allow-index") for place in _indexes(it.policy)]
    lines.append(
        (
            "builds",
            "from source, in a sandbox: --allow-source-builds" if it.policy.source_builds else "none, wheels only",
        )
    )
    lines += [
        ("limit", f"{name} {console.bytes_text(value) if name in _SIZES else f'{value:g}'}: {origin}")
        for name, value, origin in _limits(it.policy.limits)
        if value is not None
    ]
    lines += [("refused", str(error)) for error in it.refused]
    for name, text in lines:
        console.put_line(f"  {name:9} {text}")
