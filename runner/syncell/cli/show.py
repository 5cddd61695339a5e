"""`syncell show`: what a syncer says of itself, what it takes, and whether its environment is ready."""

from __future__ import annotations

import json
from typing import Any

from syncell import FoundSyncer, Inspection
from syncell.cli import console, rows
from syncell.cli.options import AsJSON, Builds, Constraints, Session, SyncerArgument, spread


@spread
def show(
    syncer: SyncerArgument,
    builds: Builds,
    constraints: Constraints,
    session: Session,
    as_json: AsJSON = False,
) -> None:
    """Show a syncer's manifest, what it asks for, its environment, and the options that its class takes.

    The class is imported for that, in a cell that is granted nothing; its environment is built if need be.
    """
    with session.runner(builds.policy()) as runner, console.progress(quiet=session.quiet) as progress:
        found = runner.find(syncer)
        bounds = constraints.requirements()
        key = runner.environments.key(runner.recipe(found, bounds), syncer=found.name)
        ready = key in {listed.environment.key for listed in runner.environments.list()}
        if not as_json:
            _print_manifest(found, f"{key}, {'ready' if ready else 'built just now'}")
        inspection = runner.inspect(syncer, constraints=bounds, progress=progress.step)
    if as_json:
        manifest = found.manifest
        console.put_json(
            {
                "name": found.name,
                "origin": found.origin,
                "folder": str(found.folder),
                "class": manifest.syncer_class,
                "requirements": [[it.text, *it.arguments] for it in manifest.requirements],
                "python": manifest.python,
                "permissions": manifest.permissions.model_dump(mode="json"),
                "locked": (found.folder / "pylock.toml").exists(),
                "environment": {"key": key, "ready": ready},
                "options": inspection.options,
                "members": list(inspection.members),
            }
        )
    else:
        _print_inspection(inspection)


def _print_manifest(found: FoundSyncer, environment: str) -> None:
    manifest, permissions = found.manifest, found.manifest.permissions
    asked = [f"{kind} {template}" for kind in ("read", "write", "connect") for template in getattr(permissions, kind)]
    lines = {
        "name": found.name,
        "origin": found.origin,
        "folder": str(found.folder),
        "class": manifest.syncer_class,
        "requirements": ", ".join(" ".join([it.text, *it.arguments]) for it in manifest.requirements) or "none",
        "python": manifest.python or "any",
        "permissions": ", ".join([*asked, *(["subprocess"] if permissions.subprocess else [])]) or "none",
        "locked": "by pylock.toml" if (found.folder / "pylock.toml").exists() else "no",
        "environment": environment,
    }
    for name, value in lines.items():
        console.put_line(f"{name + ':':13} {value}")


def _print_inspection(inspection: Inspection) -> None:
    console.put_line(f"{'members:':13} {', '.join(['load', 'dump', *inspection.members])}")
    required = inspection.options.get("required", [])
    table = [
        {
            "option": name,
            "type": _type_of(schema),
            "default": "(required)"
            if name in required
            else json.dumps(schema["default"])
            if "default" in schema
            else "",
            "meaning": str(schema.get("description", "")),
        }
        for name, schema in inspection.options.get("properties", {}).items()
    ]
    if table:
        rows.print_table(table if any(row["meaning"] for row in table) else [_without_meaning(row) for row in table])


def _without_meaning(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if key != "meaning"}


def _type_of(schema: dict[str, Any]) -> str:
    """A JSON Schema's type in a few words."""
    for several in ("anyOf", "allOf", "oneOf"):
        if several in schema:
            kinds = dict.fromkeys(_type_of(choice) for choice in schema[several])
            return " or ".join(kind for kind in kinds if kind != "null")
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return str(schema.get("format") or schema.get("type") or "any")
