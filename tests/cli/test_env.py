"""`syncell env`: environments are built ahead, listed, locked and pruned."""

from __future__ import annotations

import json
import signal
import tomllib
from pathlib import Path

import pytest

from cli.command import MakeSyncer, Run, Start
from environments.wheels import WheelFolder

ECHO = """
    class Acme:
        name = "acme"

        def load(self, identifier):
            import idna
            return [{"idna": idna.__version__}]

        dump = None
"""


SOURCED = """
    import os, zipfile

    def build_wheel(folder, config_settings=None, metadata_directory=None):
        name = "syncelltest_sourced-1.0-py3-none-any.whl"
        info = "syncelltest_sourced-1.0.dist-info"
        with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
            wheel.writestr("syncelltest_sourced.py", "built = True")
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: syncelltest_sourced\\nVersion: 1.0\\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
            wheel.writestr(f"{info}/RECORD", "")
        return name
"""


@pytest.fixture
def own_cache(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Variables that lead to a cache which holds nothing yet."""
    return environ | {"SYNCELL_CACHE_DIR": str(tmp_path / "cache")}


def test_an_environment_is_built_listed_and_pruned(
    syncell: Run, make_syncer: MakeSyncer, own_cache: dict[str, str]
) -> None:
    folder = make_syncer(ECHO, requirements=["idna"])
    built = syncell("env", "build", str(folder), "--constraint", "idna<3.10", "--json", environ=own_cache)
    assert built.returncode == 0
    assert "syncell: acme: building its environment" in built.stderr
    ((key, path),) = [(it["key"], it["path"]) for it in json.loads(built.stdout) if it["syncer"] == "acme"]

    (listed,) = json.loads(syncell("env", "list", "--json", environ=own_cache).stdout)
    assert listed["key"] == key
    assert listed["path"] == path
    assert listed["users"] == ["acme"]
    assert listed["in_use"] is False
    assert listed["size"] > 100_000
    assert {"idna", "pydantic", "sqlalchemy"} <= set(listed["versions"])
    assert listed["created"] <= listed["last_used"]

    table = syncell("env", "list", environ=own_cache).stdout.splitlines()
    assert table[0].split() == ["key", "python", "size", "age", "used", "by", "versions"]
    assert table[2].startswith(key)
    assert f"idna=={listed['versions']['idna']}" in table[2]

    # What was built is what a load uses: with the same constraint there is nothing left to build.
    loaded = syncell("load", f"{folder}#x", "--constraint", "idna<3.10", environ=own_cache)
    assert json.loads(loaded.stdout)["idna"].startswith("3.")
    assert loaded.stderr == ""

    young = syncell("env", "prune", "--unused-for", "1h", "--json", environ=own_cache)
    assert json.loads(young.stdout) == []
    dry = syncell("env", "prune", "--all", "--dry-run", "--json", environ=own_cache)
    assert [it["key"] for it in json.loads(dry.stdout)] == [key]
    assert Path(path).exists()
    pruned = syncell("env", "prune", "--all", environ=own_cache)
    assert key in pruned.stdout
    assert pruned.stderr.startswith("syncell: freed ")
    assert not Path(path).exists()
    assert json.loads(syncell("env", "list", "--json", environ=own_cache).stdout) == []


def test_a_build_that_fails_keeps_no_other_from_being_built(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(ECHO, requirements=["no-such-package-of-acme"])
    done = syncell("env", "build", str(folder), "nosuch", "csv", "--json")
    assert done.returncode == 3
    assert [it["syncer"] for it in json.loads(done.stdout)] == ["csv"]
    assert "no-such-package-of-acme" in done.stderr
    assert "no syncer has this name" in done.stderr
    assert "--verbose shows all that the installer said" in done.stderr


def test_ctrl_c_during_a_build_leaves_no_environment(start: Start, syncell: Run, own_cache: dict[str, str]) -> None:
    process = start("env", "build", "csv", environ=own_cache)
    assert process.stderr is not None
    assert b"building its environment" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.stderr.read().endswith(b"syncell: interrupted\n")
    assert process.wait() == 130
    assert json.loads(syncell("env", "list", "--json", environ=own_cache).stdout) == []


def test_a_lock_is_printed_and_one_that_is_written_decides_what_is_installed(
    syncell: Run, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(ECHO, requirements=["idna"])
    printed = syncell("env", "lock", str(folder), "--constraint", "idna<3.10")
    assert printed.returncode == 0
    (idna,) = [it for it in tomllib.loads(printed.stdout)["packages"] if it["name"] == "idna"]
    assert tuple(map(int, idna["version"].split("."))) < (3, 10)
    assert all("sha256" in wheel["hashes"] for wheel in idna["wheels"])

    lock = folder / "pylock.toml"
    assert syncell("env", "lock", str(folder), "-c", "idna<3.10", "-o", str(lock)).stdout == ""
    assert tomllib.loads(lock.read_text()) == tomllib.loads(printed.stdout)
    assert [path.name for path in folder.iterdir() if "pylock" in path.name] == ["pylock.toml"]
    done = syncell("load", f"{folder}#x", "--quiet")
    assert json.loads(done.stdout) == {"idna": idna["version"]}


def test_builds_from_source_and_other_places_of_packages_are_allowed_by_flags(
    syncell: Run, make_syncer: MakeSyncer, own_cache: dict[str, str], tmp_path: Path
) -> None:
    packages = WheelFolder(tmp_path / "packages")
    packages.add_source("syncelltest_sourced", SOURCED)
    source = """
        class Acme:
            name = "acme"

            def load(self, identifier):
                import syncelltest_sourced
                return [{"built": syncelltest_sourced.built}]

            dump = None
    """
    folder = make_syncer(source, requirements=[["syncelltest-sourced", "--find-links", str(packages.path)]])
    refused = syncell("env", "build", str(folder), environ=own_cache)
    assert refused.returncode == 3
    index = f"--allow-index {packages.path}"
    assert f"or {index}" in refused.stderr
    for verb in (("env", "build"), ("env", "lock"), ("show",)):
        refused = syncell(*verb, str(folder), *index.split(), environ=own_cache)
        assert refused.returncode == 3
        assert "or --allow-source-builds" in refused.stderr
    allowed = (*index.split(), "--allow-source-builds")
    built = syncell("env", "build", str(folder), *allowed, environ=own_cache)
    assert (built.returncode, "building its environment" in built.stderr) == (0, True)
    loaded = syncell("load", f"{folder}#x", *allowed, environ=own_cache)
    assert (json.loads(loaded.stdout), loaded.stderr) == ({"built": True}, "")
