"""Import `syncer.py` and find its class.

Duck typing is the contract: no base class, three members. The module is imported as a package whose search location is
the syncer's folder, so `from . import sibling` works; the folder also stands last on `sys.path`, so that a sibling
never shadows an installed package.
"""

from __future__ import annotations

import difflib
import importlib.util
import pathlib
import re
import sys
from types import ModuleType
from typing import Any

from syncell_worker import wire

_MEMBERS = ("load", "dump")
_OPTIONAL_MEMBERS = ("load_batches", "dump_batches", "describe", "close")


class ManifestProblems(Exception):
    """What the manifest promises is not in the module."""

    def __init__(self, *problems: wire.Problem) -> None:
        self.problems = list(problems)
        super().__init__()


def import_syncer(folder: str, name: str) -> ModuleType:
    """Run `syncer.py` of this folder; what it raises is the syncer's."""
    module_name = "syncer_" + re.sub(r"\W", "_", name)
    path = pathlib.Path(folder, "syncer.py")
    sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(module_name, path, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def find_class(module: ModuleType, class_name: str) -> type:
    """The syncer's class, with its members checked. Raises `ManifestProblems`."""
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        near = difflib.get_close_matches(class_name, classes, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ManifestProblems(wire.Problem("syncer_class", f"syncer.py has no class {class_name}{hint}"))
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if missing:
        raise ManifestProblems(
            *(wire.Problem("syncer_class", f"class {class_name} has no {member}, and needs it") for member in missing)
        )
    return found


def members(syncer: Any) -> list[str]:
    """The optional members that this syncer offers."""
    return [member for member in _OPTIONAL_MEMBERS if callable(getattr(syncer, member, None))]
