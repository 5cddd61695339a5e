"""Packages that attack whoever installs them. Nothing of an environment may run outside a jail."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import uv

from environments.wheels import WheelFolder
from syncell.environments import EnvironmentStore, Lease, Recipe
from syncell.errors import EnvironmentBuildError
from syncell.manifest import Requirement

Acquire = Callable[..., Lease]

# Leaves a mark beside itself, where the jail of whoever ran it might allow that, and in a place of the test's choosing.
_PTH = """\
import os; open(os.path.join(sitedir, "marker"), "w").close()
import os; open({marker!r}, "w").close()
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def hostile(wheels: WheelFolder, marker: Path) -> WheelFolder:
    wheels.add("syncelltest_hostile", files={"syncelltest.pth": _PTH.format(marker=str(marker))})
    return wheels


def test_pth_file_of_a_wheel_runs_when_uv_compiles(hostile: WheelFolder, marker: Path, tmp_path: Path) -> None:
    """What the next test is about: without this, that one would prove nothing."""
    subprocess.run([sys.executable, "-m", "virtualenv", "-q", "--no-seed", str(tmp_path / "plain")], check=True)
    python = str(tmp_path / "plain/bin/python")
    wheel = str(next(hostile.path.glob("syncelltest_hostile-*.whl")))
    install = [uv.find_uv_bin(), "pip", "install", "-q", "--no-index", "--python", python, wheel]
    subprocess.run(install, check=True)
    assert not marker.exists()
    subprocess.run([*install, "--reinstall", "--compile-bytecode"], check=True)
    assert marker.exists()


def test_pth_file_of_a_wheel_never_runs_here(
    hostile: WheelFolder, marker: Path, store: EnvironmentStore, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_COMPILE_BYTECODE", "1")  # a user's own setting is no way around it
    lease = acquire("syncelltest_hostile")
    environment = lease.environment
    assert (environment.site_packages / "syncelltest.pth").exists()
    assert list(environment.site_packages.glob("__pycache__/syncelltest_hostile*.pyc")), "it was not even compiled"
    acquire("syncelltest_hostile", "syncelltest_acme")
    store.list()
    store.lock(Recipe(requirements=(Requirement("syncelltest_hostile"),)), syncer="acme")
    store.prune(timedelta(0))
    assert not marker.exists()
    assert not (environment.site_packages / "marker").exists()


def test_bytecode_that_a_wheel_brings_is_replaced_and_the_installers_cache_left_alone(
    wheels: WheelFolder, tmp_path: Path, acquire: Acquire
) -> None:
    name = f"syncelltest_brought.cpython-{sys.version_info.major}{sys.version_info.minor}.pyc"
    wheels.add("syncelltest_brought", files={f"__pycache__/{name}": "not what the source says"})
    environment = acquire("syncelltest_brought").environment
    (cached,) = (tmp_path / "uv-cache").rglob(name)
    assert cached.read_text() == "not what the source says"
    bytecode = (environment.site_packages / "__pycache__" / name).read_bytes()
    assert bytecode.startswith(importlib.util.MAGIC_NUMBER)


def test_installer_does_not_start_an_interpreter_that_has_wheels(
    hostile: WheelFolder, marker: Path, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_NO_CACHE", "1")  # so that uv would ask the interpreter anew
    environment = acquire("syncelltest_hostile", Requirement("syncelltest_acme", ("--no-deps",))).environment
    assert (environment.site_packages / "syncelltest.pth").exists()
    assert not (environment.site_packages / "marker").exists()
    assert not marker.exists()


def test_wheel_that_replaces_the_environments_configuration_is_refused(wheels: WheelFolder, acquire: Acquire) -> None:
    wheels.add(
        "syncelltest_greedy",
        files={"syncelltest_greedy-1.0.data/data/pyvenv.cfg": "include-system-site-packages = true\n"},
    )
    with pytest.raises(EnvironmentBuildError, match=r"acme: .*replaces pyvenv\.cfg"):
        acquire("syncelltest_greedy")


def test_wheel_that_replaces_the_interpreter_is_refused(wheels: WheelFolder, acquire: Acquire) -> None:
    interpreter = Path(sys.executable).resolve()
    before = interpreter.stat()
    wheels.add("syncelltest_greedy", files={"syncelltest_greedy-1.0.data/data/bin/python": "#!/bin/sh\n"})
    with pytest.raises(EnvironmentBuildError, match="python"):
        acquire("syncelltest_greedy")
    assert interpreter.stat().st_size == before.st_size


def test_nothing_can_be_added_to_a_published_environment(wheels: WheelFolder, acquire: Acquire) -> None:
    environment = acquire("syncelltest_acme").environment
    folders = [Path(folder) for folder, _, _ in os.walk(environment.path.parent)]
    assert len(folders) > 5
    assert [folder for folder in folders if stat.S_IMODE(folder.stat().st_mode) != 0o555] == []


def test_source_distribution_is_refused_and_nothing_of_it_runs(
    wheels: WheelFolder, marker: Path, acquire: Acquire
) -> None:
    wheels.add_source("syncelltest_sourced", f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(EnvironmentBuildError, match=r"acme: .*sourced.*\n.*source_builds=True"):
        acquire("syncelltest_sourced")
    assert not marker.exists()


# A build backend that tries what it should not, and ships what it found out as a module.
_CURIOUS_BACKEND = """
import os, zipfile

def attempt(action):
    try:
        return repr(action())
    except OSError as error:
        return type(error).__name__

def build_wheel(folder, config_settings=None, metadata_directory=None):
    found = {{
        "read": attempt(lambda: open({secret!r}).read()),
        "write": attempt(lambda: open({marker!r}, "w").close()),
        "cache": attempt(lambda: open(os.path.join({cache!r}, "poison"), "w").close()),
        "home": os.path.expanduser("~"),
    }}
    name = "syncelltest_sourced-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("syncelltest_sourced.py", f"found = {{found!r}}")
        wheel.writestr("syncelltest_sourced-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\n"
                       "Name: syncelltest_sourced\\nVersion: 1.0\\n")
        wheel.writestr("syncelltest_sourced-1.0.dist-info/WHEEL",
                       "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("syncelltest_sourced-1.0.dist-info/RECORD", "")
    return name
"""


def test_source_build_that_the_host_allows_runs_in_a_jail(
    wheels: WheelFolder, marker: Path, tmp_path: Path, acquire: Acquire
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    uv_cache = tmp_path / "uv-cache"
    uv_cache.mkdir()
    wheels.add_source(
        "syncelltest_sourced", _CURIOUS_BACKEND.format(secret=str(secret), marker=str(marker), cache=str(uv_cache))
    )
    environment = acquire("syncelltest_sourced", source_builds=True).environment
    # The module says what the build could do; it is read, not imported.
    said: dict[str, dict[str, str]] = {}
    exec((environment.site_packages / "syncelltest_sourced.py").read_text(), said)
    found = said["found"]
    assert found["read"] == found["write"] == found["cache"] == "PermissionError"
    assert found["home"] != str(Path.home())
    assert not marker.exists()
    assert [path.name for path in environment.path.parent.iterdir() if path.name == "work"] == []


def test_links_of_an_environment_are_not_followed_when_it_is_removed(
    wheels: WheelFolder, tmp_path: Path, store: EnvironmentStore, acquire: Acquire
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x" * 1_000_000)
    lease = acquire("syncelltest_acme")
    folder = lease.environment.site_packages
    folder.chmod(0o755)
    (folder / "way-out").symlink_to(outside)
    lease.close()
    (removed,) = store.prune(timedelta(0))
    assert removed.environment.size < 1_000_000
    assert not folder.exists()
    assert (outside / "precious").exists()
    assert stat.S_IMODE(outside.stat().st_mode) != 0o555
