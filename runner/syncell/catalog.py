"""Where syncers are found: built in, on a path, and in installed distributions that declare them.

A distribution declares its syncers as entry points of the group `syncell.syncers`, each naming the module or package
that is the syncer's folder (`orders = "acme_syncers.orders"`) or lies in it.

What must not be broken: nothing of a syncer, nor of the distribution that brings it, is ever imported here. Folders are
looked at, and manifests are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.metadata
import importlib.util
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

from syncell.errors import ManifestError, Problem, SpecError
from syncell.manifest import Manifest, read_manifest
from syncell.spec import MANIFEST_NAME, expand_user, is_path

ENTRY_POINT_GROUP = "syncell.syncers"
CODE_NAME = "syncer.py"

_log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL, _IN_CHECKOUT = _PACKAGE / "syncers", _PACKAGE.parents[1] / "syncers"
BUILT_IN = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT
"""The folder of the built-in syncers: inside an installed package, or at the top of a checkout."""


@dataclasses.dataclass(frozen=True)
class FoundSyncer:
    """A syncer's folder, with its manifest read and checked. Nothing of it has run.

    `name` is what finds it, or the manifest's own name when a path did; `folder` is absolute, links resolved; `origin`
    says where it was found: `built in`, `path` or `acme-syncers 1.2`.
    """

    name: str
    folder: Path
    manifest: Manifest
    origin: str


@dataclasses.dataclass(frozen=True)
class BrokenSyncer:
    """A syncer that would be on the list, and why it cannot be opened."""

    name: str
    origin: str
    error: ManifestError | SpecError


def find(reference: str | Path) -> FoundSyncer:
    """The syncer of this name, or in this folder, or with this MANIFEST.json.

    A name is looked for among the built-in syncers, then among those of installed distributions. Raises SpecError when
    no syncer or more than one has the name, ManifestError with all problems when its folder is not a syncer's.
    """
    if isinstance(reference, Path) or is_path(reference):
        return _open(expand_user(str(reference)), origin="path")
    built_in = _built_in()
    if reference in built_in:
        return _open(BUILT_IN / reference, origin="built in", name=reference)
    declared = _declared()
    if reference in declared:
        return _open_declared(reference, declared[reference])
    raise SpecError(f"syncer {reference!r}", [Problem("name", _advice(reference, [*built_in, *sorted(declared)]))])


def available() -> list[FoundSyncer | BrokenSyncer]:
    """Every syncer that has a name, built-in ones first. One that is broken is on the list, with its error."""
    listed: list[FoundSyncer | BrokenSyncer] = []

    @contextlib.contextmanager
    def listing(name: str, origin: str) -> Iterator[None]:
        try:
            yield
        except (ManifestError, SpecError) as error:
            listed.append(BrokenSyncer(name, origin, error))

    built_in = _built_in()
    for name in built_in:
        with listing(name, "built in"):
            listed.append(_open(BUILT_IN / name, origin="built in", name=name))
    for name, declarations in sorted(_declared().items()):
        with listing(name, " and ".join(declaration.origin for declaration in declarations)):
            if name in built_in:
                hidden = "hidden by the built-in syncer of this name; name its folder by the path"
                raise SpecError(f"syncer {name!r}", [Problem("name", hidden)])
            listed.append(_open_declared(name, declarations))
    return listed


@dataclasses.dataclass(frozen=True)
class _Declaration:
    """An entry point: the module in the syncer's folder, and the distribution that installed it."""

    module: str
    distribution: importlib.metadata.Distribution

    @property
    def origin(self) -> str:
        return f"{self.distribution.name} {self.distribution.version}"


def _built_in() -> list[str]:
    return sorted(folder.name for folder in BUILT_IN.iterdir() if (folder / MANIFEST_NAME).exists())


def _declared() -> dict[str, list[_Declaration]]:
    """Names of syncers, each with who declares it. Not `entry_points()`, which one malformed file makes fail."""
    declared: dict[str, list[_Declaration]] = {}
    seen = set()
    for distribution in importlib.metadata.distributions():
        try:
            if ENTRY_POINT_GROUP not in (distribution.read_text("entry_points.txt") or ""):
                continue
            points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except (TypeError, ValueError) as error:
            _log.warning("entry points of %s cannot be read, its syncers are left out: %s", distribution.name, error)
            continue
        if distribution.name in seen:
            continue  # an older copy, further down sys.path
        seen.add(distribution.name)
        for point in points:
            module = point.value.partition(":")[0].strip()
            declared.setdefault(point.name, []).append(_Declaration(module, distribution))
    return declared


def _open_declared(name: str, declarations: list[_Declaration]) -> FoundSyncer:
    if len(declarations) > 1:
        origins = " and ".join(declaration.origin for declaration in declarations)
        clash = f"{origins} both declare it; uninstall one, or name the folder by its path"
        raise SpecError(f"syncer {name!r}", [Problem("name", clash)])
    declaration = declarations[0]
    folder = _locate(declaration)
    if folder is None:
        missing = f"{declaration.origin} declares it in {declaration.module}, and installed no folder of that name"
        raise SpecError(f"syncer {name!r}", [Problem("name", missing)])
    return _open(folder, origin=declaration.origin, name=name)


def _locate(declaration: _Declaration) -> Path | None:
    """The folder of a module, or the module as a folder, found without importing it or a parent of it."""
    top, *rest = parts = declaration.module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for package in _top_folders(declaration.distribution, top):
        folder = package.joinpath(*rest)
        if _is(stat.S_IFDIR, folder):
            return folder
        if rest and _is(stat.S_IFREG, folder.with_name(f"{folder.name}.py")):
            return folder.parent
    return None


def _top_folders(distribution: importlib.metadata.Distribution, top: str) -> Iterator[Path]:
    yield Path(str(distribution.locate_file(top)))
    # An editable install lies elsewhere. A name without a dot has no parent that looking for it would import.
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module of this process that has no spec, such as __main__
        return
    yield from map(Path, (spec and spec.submodule_search_locations) or ())


def _open(path: Path, *, origin: str, name: str | None = None) -> FoundSyncer:
    folder = path.parent if path.name == MANIFEST_NAME else path
    problems: list[Problem] = []
    if not _is(stat.S_IFDIR, folder):
        found_none = f"expected a readable folder with {MANIFEST_NAME} and {CODE_NAME}, found none"
        raise ManifestError(f"syncer {folder}", [Problem("folder", found_none)])
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
    except ManifestError as error:
        problems.extend(error.problems)
    if not _is(stat.S_IFREG, folder / CODE_NAME):
        problems.append(Problem(CODE_NAME, "expected a file with the syncer's class, found none"))
    if problems:
        raise ManifestError(f"syncer {folder}", problems)
    return FoundSyncer(name or manifest.name, folder.resolve(), manifest, origin)


def _is(kind: int, path: Path) -> bool:
    """Whether the path leads to such a file. Where nothing can be seen, nothing is: closed folders raise no error."""
    try:
        return stat.S_IFMT(path.stat().st_mode) == kind
    except (OSError, ValueError):
        return False


def _advice(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known)
    if _is(stat.S_IFDIR, Path(name)):
        return f"no syncer has this name, but a folder here has: write ./{name}"
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}."
    return f"no syncer has this name; {hint} A folder is named by its path, such as ./{name}"
