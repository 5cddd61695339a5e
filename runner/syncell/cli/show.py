"""`syncell show`: what a syncer says of itself, and whether its environment is ready."""

from __future__ import annotations

from syncell.cli import console
from syncell.cli.options import AsJSON, Constraints, Session, SyncerArgument, spread


@spread
def show(
    syncer: SyncerArgument,
    constraints: Constraints,
    session: Session,
    as_json: AsJSON = False,
) -> None:
    """Show a syncer's manifest, what it asks for, and its environment. Nothing of the syncer runs."""
    with session.runner() as runner:
        found = runner.find(syncer)
        recipe = runner.recipe(found, constraints.requirements())
        key = runner.environments.key(recipe, syncer=found.name)
        ready = {listed.environment.key: listed.environment for listed in runner.environments.list()}.get(key)
    manifest = found.manifest
    if as_json:
        console.put_json(
            {
                "name": found.name,
                "origin": found.origin,
                "folder": str(found.folder),
                "class": manifest.syncer_class,
                "requirements": [[it.text, *it.arguments] for it in manifest.requirements],
                "python": manifest.python,
                "permissions": manifest.permissions.model_dump(mode="json"),
                "locked": recipe.pylock is not None,
                "environment": {"key": key, "ready": ready is not None, "path": str(ready.path) if ready else None},
            }
        )
        return
    permissions = manifest.permissions
    asked = [f"{kind} {template}" for kind in ("read", "write", "connect") for template in getattr(permissions, kind)]
    lines = {
        "name": found.name,
        "origin": found.origin,
        "folder": str(found.folder),
        "class": manifest.syncer_class,
        "requirements": ", ".join(" ".join([it.text, *it.arguments]) for it in manifest.requirements) or "none",
        "python": manifest.python or "any",
        "permissions": ", ".join([*asked, *(["subprocess"] if permissions.subprocess else [])]) or "none",
        "locked": f"by {recipe.pylock}" if recipe.pylock else "no",
        "environment": f"{key}, {f'ready in {ready.path}' if ready else 'built when the syncer is first opened'}",
    }
    for name, value in lines.items():
        console.put_line(f"{name + ':':13} {value}")
