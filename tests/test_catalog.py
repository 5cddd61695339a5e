"""The catalog: built-in syncers, folders, and installed distributions whose code is never run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from syncell import catalog
from syncell.catalog import BrokenSyncer, FoundSyncer, available, find
from syncell.errors import ManifestError, SpecError

MANIFEST = {"name": "acme", "syncer_class": "Acme"}
Install = Callable[..., Path]


def write_syncer(folder: Path, **manifest: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MANIFEST.json").write_text(json.dumps({**MANIFEST, **manifest}), "utf-8")
    # No test of this file imports a syncer, and neither may the catalog.
    (folder / "syncer.py").write_text("raise SystemExit('imported')", "utf-8")
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lays out an installed distribution as an installer does; its package ends the process that imports it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(distribution: str, entry_points: str, *, metadata_only: bool = False) -> Path:
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[syncell.syncers]\n{entry_points}\n", "utf-8")
        if not metadata_only:
            write_package(site / distribution.replace("-", "_"))
        return site

    return install


def write_package(folder: Path) -> None:
    write_syncer(folder / "orders")
    (folder / "__init__.py").write_text("raise SystemExit('imported')", "utf-8")


def problems_of(reference: str | Path, error: type[ManifestError] | type[SpecError]) -> list[str]:
    with pytest.raises(error) as caught:
        find(reference)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["csv", "json", "sqlite"])
def test_built_in_syncer_is_found_by_its_name(name: str) -> None:
    found = find(name)
    assert (found.name, found.manifest.name, found.origin) == (name, name, "built in")
    assert (found.folder / "syncer.py").is_file()


def test_built_in_syncers_inside_an_installed_package_come_first(tmp_path: Path) -> None:
    package = Path(catalog.__file__).parent
    shutil.copytree(package, tmp_path / "syncell", ignore=shutil.ignore_patterns("__pycache__"))
    write_syncer(tmp_path / "syncell" / "syncers" / "acme")
    printed = subprocess.run(
        [sys.executable, "-c", "from syncell import catalog; print(catalog.find('acme').folder)"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert printed.stdout.strip() == str(tmp_path / "syncell" / "syncers" / "acme")


@pytest.mark.parametrize(
    "reference", ["./acme", "acme/", "../in/acme", "./acme/MANIFEST.json", "~/in/acme", Path("acme")]
)
def test_folder_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str | Path) -> None:
    folder = write_syncer(tmp_path / "in" / "acme")
    monkeypatch.chdir(tmp_path / "in")
    monkeypatch.setenv("HOME", str(tmp_path))
    found = find(reference)
    assert (found.name, found.folder, found.origin) == ("acme", folder, "path")


def test_syncer_of_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_syncer(tmp_path / "acme")
    monkeypatch.chdir(folder)
    assert find(".").folder == find("MANIFEST.json").folder == folder


def test_links_to_a_folder_are_resolved(tmp_path: Path) -> None:
    folder = write_syncer(tmp_path / "acme-1.2")
    (tmp_path / "acme").symlink_to(folder)
    assert find(tmp_path / "acme").folder == folder


@pytest.mark.parametrize("name", ["acme", "acme\0", "/nowhere/acme"])
def test_missing_folder_is_a_manifest_error(tmp_path: Path, name: str) -> None:
    (problem,) = problems_of(tmp_path / name, ManifestError)
    assert problem == "folder: expected a readable folder with MANIFEST.json and syncer.py, found none"


def test_file_is_no_folder(tmp_path: Path) -> None:
    folder = write_syncer(tmp_path / "acme")
    assert "expected a readable folder" in problems_of(folder / "syncer.py", ManifestError)[0]


def test_folder_that_lacks_both_files_reports_both(tmp_path: Path) -> None:
    assert problems_of(tmp_path, ManifestError) == [
        "MANIFEST.json: cannot be read: No such file or directory",
        "syncer.py: expected a file with the syncer's class, found none",
    ]


def test_problems_of_the_manifest_are_reported_beside_the_missing_code(tmp_path: Path) -> None:
    folder = write_syncer(tmp_path / "acme", syncer_class=1, python="x")
    (folder / "syncer.py").unlink()
    (folder / "syncer.py").mkdir()
    assert len(problems_of(folder, ManifestError)) == 3


def test_unknown_name_says_what_is_near_and_how_to_name_a_folder() -> None:
    (problem,) = problems_of("cvs", SpecError)
    assert problem.startswith("name: no syncer has this name; did you mean csv? A folder is named by its path")
    (problem,) = problems_of("\0", SpecError)
    assert "known are csv, json, sqlite" in problem


def test_unknown_name_that_is_a_folder_here_says_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_syncer(tmp_path / "acme")
    monkeypatch.chdir(tmp_path)
    assert problems_of("acme", SpecError)[0].endswith("a folder here has: write ./acme")


@pytest.mark.parametrize("module", ["acme_syncers.orders", "acme_syncers.orders.syncer", "acme_syncers.orders:Acme"])
def test_installed_syncer_is_found_without_importing_anything_of_it(install: Install, module: str) -> None:
    site = install("acme-syncers", f"orders = {module}")
    found = find("orders")
    assert (found.name, found.folder) == ("orders", site / "acme_syncers" / "orders")
    assert (found.manifest.name, found.origin) == ("acme", "acme-syncers 1.2")
    assert not any(name.startswith("acme_syncers") for name in sys.modules)


def test_editable_install_is_found_where_its_package_lies(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-syncers", "orders = acme_syncers.orders", metadata_only=True)
    write_package(tmp_path / "source" / "acme_syncers")
    monkeypatch.syspath_prepend(tmp_path / "source")
    assert find("orders").folder == tmp_path / "source" / "acme_syncers" / "orders"
    assert not any(name.startswith("acme_syncers") for name in sys.modules)


@pytest.mark.parametrize("module", ["nowhere", "acme_syncers.nowhere", "../etc", ""])
def test_entry_point_that_leads_nowhere_names_its_distribution(install: Install, module: str) -> None:
    install("acme-syncers", f"orders = {module}")
    (problem,) = problems_of("orders", SpecError)
    assert f"acme-syncers 1.2 declares it in {module}" in problem


def test_module_of_this_process_that_no_file_backs_is_no_syncer(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-syncers", "orders = acme_syncers.orders", metadata_only=True)
    monkeypatch.setitem(sys.modules, "acme_syncers", types.ModuleType("acme_syncers"))
    assert "acme-syncers 1.2 declares it in acme_syncers.orders" in problems_of("orders", SpecError)[0]


def test_near_miss_of_an_installed_syncer_is_suggested(install: Install) -> None:
    install("acme-syncers", "orders = acme_syncers.orders")
    assert "did you mean orders?" in problems_of("order", SpecError)[0]


def test_name_that_two_distributions_declare_is_refused_and_names_both(install: Install) -> None:
    install("acme-syncers", "orders = acme_syncers.orders")
    install("other-syncers", "orders = other_syncers.orders")
    (problem,) = problems_of("orders", SpecError)
    assert "acme-syncers 1.2" in problem
    assert "other-syncers 1.2" in problem


def test_older_copy_of_a_distribution_further_down_the_path_is_no_clash(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install("acme-syncers", "orders = acme_syncers.orders")
    shutil.copytree(site, tmp_path / "older")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "older")])
    assert find("orders").folder == site / "acme_syncers" / "orders"


def test_built_in_syncer_wins_over_an_installed_one_that_is_listed_as_hidden(install: Install) -> None:
    install("acme-syncers", "csv = acme_syncers.orders")
    assert find("csv").origin == "built in"
    hidden = [listed for listed in available() if isinstance(listed, BrokenSyncer)]
    assert [(listed.name, listed.origin) for listed in hidden] == [("csv", "acme-syncers 1.2")]
    assert "hidden by the built-in syncer" in str(hidden[0].error)


def test_broken_syncers_do_not_hide_the_others(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_syncer(tmp_path / "built in" / "good")
    write_syncer(tmp_path / "built in" / "bad", syncer_class=1)
    (tmp_path / "built in" / "__pycache__").mkdir()
    monkeypatch.setattr(catalog, "BUILT_IN", tmp_path / "built in")
    install("acme-syncers", "orders = acme_syncers.orders\nlost = acme_syncers.lost")
    listed = available()
    assert [(syncer.name, type(syncer)) for syncer in listed] == [
        ("bad", BrokenSyncer),
        ("good", FoundSyncer),
        ("lost", BrokenSyncer),
        ("orders", FoundSyncer),
    ]
    assert isinstance(listed[0], BrokenSyncer)
    assert isinstance(listed[0].error, ManifestError)


@pytest.mark.parametrize("broken", [b"[syncell.syncers]\norders\n", b"[syncell.syncers]\n\xff = a\n"])
def test_distribution_with_malformed_entry_points_is_left_out_and_logged(
    install: Install, caplog: pytest.LogCaptureFixture, broken: bytes
) -> None:
    install("acme-syncers", "orders = acme_syncers.orders")
    site = install("other-syncers", "")
    (site / "other_syncers-1.2.dist-info" / "entry_points.txt").write_bytes(broken)
    with caplog.at_level(logging.WARNING, logger="syncell.catalog"):
        assert find("orders").origin == "acme-syncers 1.2"
    assert "entry points of other-syncers cannot be read" in caplog.text
