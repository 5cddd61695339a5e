"""From a reference to a syncer that stands ready; and what becomes of cells when their host does not end well."""

from __future__ import annotations

import datetime as dt
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path

import pytest

from conftest import MakeSyncer
from syncell import EnvironmentBuildError, Policy, Runner, SandboxUnavailable, SpecError

TELLING = """
    import sys

    class Acme:
        name = "acme"

        def __init__(self, module: str = "msgspec"):
            self.module = module

        def load(self, identifier):
            module = __import__(self.module)
            import datetime
            return [{
                "file": module.__file__,
                "version": getattr(module, "__version__", ""),
                "python": list(sys.version_info[:2]),
                "executable": sys.executable,
                "prefix": sys.prefix,
                "path": sys.path,
                "works": module.json.encode({"a": 1}) if self.module == "msgspec" else b"",
                "when": datetime.datetime(2024, 1, 2),
            }]

        def dump(self, identifier, *, data): ...
"""


@pytest.mark.parametrize("form", ["folder", "Path", "manifest", "spec", "definition"])
def test_every_form_of_reference_opens_the_same_syncer(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, form: str
) -> None:
    folder = make_syncer(TELLING)
    definition = tmp_path / "acme.toml"
    definition.write_text(f'manifest = "{folder}/MANIFEST.json"\n[configuration]\nmodule = "json"\n')
    references: dict[str, str | Path] = {
        "folder": str(folder),
        "Path": folder,
        "manifest": str(folder / "MANIFEST.json"),
        "spec": f"{folder}://module=json#orders",
        "definition": f"acme://{definition}#orders",
    }
    with runner.open(references[form], {"module": "json"}) as acme:
        assert acme.name == "acme"
        assert "json" in acme.load("orders")[0]["file"]


def test_a_relative_path_without_a_separator_is_still_a_path(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_syncer(TELLING, name="csv")  # the name of a built-in one
    monkeypatch.chdir(tmp_path)
    assert runner.find(Path("csv")).folder == tmp_path / "csv"
    assert runner.find("csv").origin == "built in"


def test_an_unknown_name_says_what_there_is(runner: Runner) -> None:
    with pytest.raises(SpecError, match="csv"):
        runner.open("cvs")


@pytest.mark.parametrize("version", ["==0.18.6", ">=0.19"])
def test_the_environments_own_msgspec_of_any_version_is_untouched(
    runner: Runner, make_syncer: MakeSyncer, version: str
) -> None:
    folder = make_syncer(TELLING, requirements=[f"msgspec{version}"])
    with runner.open(folder) as acme:
        (seen,) = acme.load("orders")
        site_packages = acme.environment.site_packages
        assert seen["version"] == acme.environment.versions["msgspec"]
    assert Path(seen["file"]).is_relative_to(site_packages)
    assert seen["works"] == b'{"a":1}'
    assert str(site_packages) in seen["path"]
    assert not any("kits" in entry for entry in seen["path"])
    assert seen["prefix"] == str(Path(seen["executable"]).parents[1])


def test_the_worker_and_its_kit_cannot_be_imported_by_accident(runner: Runner, make_syncer: MakeSyncer) -> None:
    with runner.open(make_syncer(TELLING)) as acme, pytest.raises(Exception, match="No module named 'msgspec'"):
        acme.load("orders")


def other_pythons() -> list[str]:
    """The versions of Python on this machine, besides our own, that a worker runs on."""
    roots = [Path("/usr/bin"), Path("/usr/local/bin"), *Path.home().glob(".pyenv/versions/*/bin")]
    found = set()
    for minor in range(9, 16):
        for root in roots:
            binary = root / f"python3.{minor}"
            if minor != sys.version_info[1] and os.access(binary, os.X_OK):
                found.add(f"3.{minor}")
    return sorted(found)


def test_a_syncer_runs_on_the_python_that_its_manifest_asks_for(runner: Runner, make_syncer: MakeSyncer) -> None:
    own = ".".join(map(str, sys.version_info[:2]))
    for version in [own, *other_pythons()]:
        folder = make_syncer(TELLING, name=f"on-{version}", python=f"=={version}.*")
        with runner.open(folder, {"module": "pydantic"}) as acme:
            (seen,) = acme.load("orders")
        assert ".".join(map(str, seen["python"])) == version


def test_a_python_that_nobody_has_is_an_error_that_names_those_found(runner: Runner, make_syncer: MakeSyncer) -> None:
    with pytest.raises(EnvironmentBuildError, match=f"{sys.version_info[0]}.{sys.version_info[1]}"):
        runner.open(make_syncer(TELLING, python="==3.4.*"))


def test_the_baseline_is_there_and_a_constraint_chooses_its_version(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(TELLING)
    with runner.open(folder, {"module": "sqlalchemy"}, constraints=["sqlalchemy<2"]) as acme:
        assert acme.load("orders")[0]["version"].startswith("1.4")
    with runner.open(folder, {"module": "sqlalchemy"}) as acme:
        assert acme.load("orders")[0]["version"].startswith("2.")


def test_a_lock_file_beside_the_manifest_is_installed_exactly(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    folder = make_syncer(TELLING, requirements=["iniconfig"])
    lock = runner.environments.lock(runner.recipe(runner.find(folder), ["iniconfig<2"]), syncer="acme")
    (folder / "pylock.toml").write_text(lock)
    with runner.open(folder, {"module": "iniconfig"}) as acme:
        assert acme.environment.versions["iniconfig"].startswith("1.")


def test_options_of_every_type_reach_the_constructor_as_they_are(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def __init__(self, **options):
                self.options = {key: [type(value).__name__, str(value)] for key, value in options.items()}

            def load(self, identifier):
                return [self.options]

            def dump(self, identifier, *, data): ...
        """
    )
    options = {
        "text": "x",
        "path": tmp_path / "data",
        "when": dt.datetime(2024, 1, 2),
        "price": Decimal("1.50"),
        "huge": 2**80,
        "nothing": None,
        "many": [1, {"a": dt.date(2024, 1, 2)}],
    }
    with runner.open(folder, options) as acme:
        (seen,) = acme.load("orders")
    expected = {key: [type(value).__name__, str(value)] for key, value in options.items()}
    assert seen == {**expected, "path": ["PosixPath", str(tmp_path / "data")]}


def test_references_are_resolved_by_the_host(
    runner: Runner, make_syncer: MakeSyncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHICH_MODULE", "json")
    with runner.open(f"{make_syncer(TELLING)}://module=${{env:WHICH_MODULE}}") as acme:
        assert "json" in acme.load("orders")[0]["file"]


def test_a_machine_without_landlock_refuses_unless_told_otherwise(
    runner: Runner, make_syncer: MakeSyncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel cannot be changed here; the answer of its probe can, in the worker's copy of the module.
    folder = make_syncer(TELLING)
    with runner.open(folder) as acme:
        kit = runner.environments.kit(acme.environment.interpreter)
    patched = runner.state_dir / "kit"
    shutil.copytree(kit, patched)
    jail = patched / "syncell_worker" / "jail.py"
    for path in (jail.parent, jail.parent / "__pycache__", jail):
        path.chmod(0o755)
    jail.write_text(jail.read_text().replace("return max(int(version), 0)", "return 0"))
    shutil.rmtree(jail.parent / "__pycache__")
    monkeypatch.setattr(type(runner.environments), "kit", lambda self, interpreter, required: patched)
    with pytest.raises(SandboxUnavailable, match="no Landlock"):
        runner.open(folder)
    with runner.open(folder, {"module": "json"}, policy=Policy(sandbox="best-effort")) as acme:
        assert acme.load("orders")
        assert "Landlock" in acme.lacking[0]


def test_a_host_that_is_killed_leaves_no_worker_and_its_folders_are_swept(
    cache_dir: Path, tmp_path: Path, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(
        """
        import time

        class Acme:
            name = "acme"
            def load(self, identifier):
                time.sleep(600)
            def dump(self, identifier, *, data): ...
        """
    )
    state = tmp_path / "state"
    script = f"""
        from syncell import Runner
        runner = Runner(cache_dir={str(cache_dir)!r}, state_dir={str(state)!r})
        acme = runner.open({str(folder)!r})
        print(acme.cell.pid, flush=True)
        acme.load("orders")
    """
    host = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    with host:
        worker = os.pidfd_open(int(host.stdout.readline()))
        host.kill()
    try:
        assert select.select([worker], [], [], 30)[0], "the worker outlived its host"
    finally:
        os.close(worker)
    assert list((state / "cells").iterdir()) != []
    Runner(cache_dir=cache_dir, state_dir=state).close()
    assert list((state / "cells").iterdir()) == []


def test_a_runner_closes_what_was_left_open(cache_dir: Path, state_dir: Path, make_syncer: MakeSyncer) -> None:
    with Runner(cache_dir=cache_dir, state_dir=state_dir) as runner:
        acme = runner.open(make_syncer(TELLING))
        pid = acme.cell.pid
    assert not Path(f"/proc/{pid}").exists()


def test_whatever_a_syncer_leaves_in_its_home_is_removed(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        import os, pathlib

        class Acme:
            name = "acme"
            def load(self, identifier):
                deep = pathlib.Path.home() / "a" / "b"
                deep.mkdir(parents=True)
                (deep / "file").touch()
                (deep / "link").symlink_to("/")
                os.chmod(deep, 0)
                os.chmod(deep.parent, 0)
                return []
            def dump(self, identifier, *, data): ...
        """
    )
    with runner.open(folder) as acme:
        acme.load("orders")


def test_a_stopped_worker_is_ended_by_a_signal(runner: Runner, make_syncer: MakeSyncer) -> None:
    with runner.open(make_syncer(TELLING)) as acme:
        os.kill(acme.cell.pid, signal.SIGTERM)
        with pytest.raises(Exception, match="SIGTERM"):
            acme.load("orders")


def test_a_manifest_that_asks_for_more_than_the_policy_allows_is_refused_at_once(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    folder = make_syncer(TELLING, permissions={"read": [str(tmp_path / "data")], "subprocess": False})
    with pytest.raises(Exception, match="--allow-read") as caught:
        runner.open(folder)
    assert str(tmp_path / "data") in str(caught.value)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    (folder / "MANIFEST.json").write_text(json.dumps({**manifest, "permissions": {"subprocess": True}}))
    with pytest.raises(Exception, match="--allow-subprocess"):
        runner.open(folder)
