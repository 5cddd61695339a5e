"""Builds from source, which run a stranger's code: where they may connect to, and what is left of their jail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uv

from environments.index import Index, serving
from environments.wheels import WheelFolder
from syncell.environments import Environment, EnvironmentStore, Lease, Recipe, process
from syncell.errors import EnvironmentBuildError, SandboxUnavailable
from syncell.manifest import Requirement

Acquire = Callable[..., Lease]
SOURCED = "syncelltest-sourced"

# A build backend that tries to connect to some ports, and ships what came of it as a module.
_CONNECTING_BACKEND = """
import os, socket, subprocess, sys, zipfile

def connect(host, port):
    try:
        socket.create_connection((host, port), timeout=20).close()
    except OSError as error:
        return type(error).__name__
    return "connected"

def connect_by_a_program(host, port):
    program = f"import socket; socket.create_connection(({{host!r}}, {{port}}), timeout=20)"
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    return done.stderr.strip().rpartition("\\n")[2].partition(":")[0] or "connected"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    found = {{"index": connect("127.0.0.1", {index})}}
    for host in ("127.0.0.1", "localhost"):
        found[host] = connect(host, {other})
    found["program"] = connect_by_a_program("127.0.0.1", {other})
    try:
        import syncelltest_needed
        found["needed"] = syncelltest_needed.version
    except ImportError:
        pass
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


@pytest.fixture
def index(wheels: WheelFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The one place that packages come from; no settings name it yet."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")  # what is refused once is refused for good
    with serving(wheels.path) as index:
        yield index


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Index]:
    """A server of this machine that no settings ever name."""
    with serving(tmp_path) as other:
        yield other


@pytest.fixture
def sourced(wheels: WheelFolder, index: Index, other: Index) -> Path:
    """A package that is there as its source only."""
    backend = _CONNECTING_BACKEND.format(index=index.server_port, other=other.server_port)
    return wheels.add_source("syncelltest_sourced", backend)


def found(module: Path) -> Any:
    """What a build found out; its module is read, not imported."""
    said: dict[str, Any] = {}
    exec(module.read_text(), said)
    return said["found"]


def found_by(environment: Environment) -> Any:
    return found(environment.site_packages / "syncelltest_sourced.py")


def test_outside_of_a_jail_a_build_connects_to_anything(sourced: Path, tmp_path: Path) -> None:
    """What the next tests are about: without this, they would prove nothing."""
    target = tmp_path / "target"
    install = [uv.find_uv_bin(), "pip", "install", "-q", "--no-index", "--python", sys.executable, "--target"]
    subprocess.run([*install, str(target), str(sourced)], check=True)
    connected = dict.fromkeys(("index", "127.0.0.1", "localhost", "program"), "connected")
    assert found(target / "syncelltest_sourced.py") == connected


def test_build_connects_to_the_index_and_nowhere_else(
    sourced: Path, index: Index, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"ours={index.url}")
    said = found_by(acquire(SOURCED, source_builds=True).environment)
    assert said["index"] == "connected"
    assert said["127.0.0.1"] == said["localhost"] == said["program"] == "PermissionError"


def test_index_of_pips_settings_is_reached_by_name_and_what_a_build_needs_is_found_there(
    wheels: WheelFolder, index: Index, other: Index, acquire: Acquire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels.add("syncelltest_needed", "3.0")
    backend = _CONNECTING_BACKEND.format(index=index.server_port, other=other.server_port)
    wheels.add_source("syncelltest_sourced", backend, requires=("syncelltest-needed",))
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nindex-url = http://localhost:{index.server_port}/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    said = found_by(acquire(SOURCED, source_builds=True).environment)
    assert said["needed"] == "3.0"
    assert said["index"] == "connected"
    assert said["127.0.0.1"] == "PermissionError"


def test_index_that_a_requirement_names_and_the_host_allows_is_reached(
    sourced: Path, index: Index, acquire: Acquire
) -> None:
    requirement = Requirement(SOURCED, ("--index-url", index.url))
    said = found_by(acquire(requirement, indexes=(index.url,), source_builds=True).environment)
    assert said["index"] == "connected"
    assert said["127.0.0.1"] == "PermissionError"


def test_host_that_an_index_keeps_its_files_on_is_refused_with_what_would_allow_it(
    sourced: Path, index: Index, wheels: WheelFolder, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(wheels.path, files=f"http://{index.host}") as front:
        monkeypatch.setenv("UV_DEFAULT_INDEX", front.url)
        with pytest.raises(EnvironmentBuildError) as refused:
            acquire(SOURCED, source_builds=True)
        allowing = f"https://{index.host}"
        assert f"a connection to {index.host} was refused" in str(refused.value)
        assert f"Policy(indexes=['{allowing}']) or --allow-index {allowing}" in str(refused.value)
        assert found_by(acquire(SOURCED, source_builds=True, indexes=(allowing,)).environment)["index"] == "connected"


def test_requirement_that_is_an_address_is_built_when_the_host_names_its_place(
    sourced: Path, wheels: WheelFolder, index: Index, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    with serving(wheels.path) as elsewhere:
        requirement = f"{SOURCED} @ http://{elsewhere.host}/files/{sourced.name}"
        with pytest.raises(EnvironmentBuildError, match=f"a connection to {elsewhere.host} was refused"):
            acquire(requirement, source_builds=True)
        allowed = acquire(requirement, source_builds=True, indexes=(f"http://{elsewhere.host}",))
        assert found_by(allowed.environment)["index"] == "connected"


def test_name_that_a_build_may_not_connect_to_is_said(
    wheels: WheelFolder, index: Index, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels.add_source("syncelltest_sourced", "import socket; socket.create_connection(('files.syncell.invalid', 80))\n")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    with pytest.raises(EnvironmentBuildError, match=r"a connection to files\.syncell\.invalid was refused") as refused:
        acquire(SOURCED, source_builds=True)
    assert "--allow-index https://files.syncell.invalid" in str(refused.value)


def test_what_a_build_asked_for_and_is_no_host_is_not_repeated(
    wheels: WheelFolder, index: Index, acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = """
        import socket, struct
        name = b"x;reboot"
        question = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + bytes([len(name)]) + name + struct.pack(">x2H", 1, 1)
        with socket.create_connection(("192.0.2.1", 53)) as server:
            server.sendall(struct.pack(">H", len(question)) + question)
            server.recv(512)
        raise SystemExit("it gave up")
    """
    wheels.add_source("syncelltest_sourced", backend)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    with pytest.raises(EnvironmentBuildError) as refused:
        acquire(SOURCED, source_builds=True)
    assert "it gave up" in refused.value.log
    assert "reboot" not in str(refused.value)


def test_where_a_layer_is_missing_a_build_that_may_go_on_keeps_the_others(
    sourced: Path,
    index: Index,
    acquire: Acquire,
    store: EnvironmentStore,
    without_landlock: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(process, "GUEST", without_landlock)
        with pytest.raises(SandboxUnavailable, match="no Landlock"):
            acquire(SOURCED, source_builds=True)
        loose = acquire(SOURCED, source_builds=True, required=False).environment
    said = found_by(loose)
    assert said["index"] == "connected"
    assert said["127.0.0.1"] == said["program"] == "PermissionError"
    assert not loose.confined
    strict = acquire(SOURCED, source_builds=True).environment
    assert strict.confined
    assert strict.key != loose.key
    recipe = Recipe(requirements=(Requirement(SOURCED),), source_builds=True, required=False)
    assert store.key(recipe, syncer="acme") == strict.key


def test_build_without_the_gate_has_no_network_at_all(
    sourced: Path,
    index: Index,
    acquire: Acquire,
    guest_where: Callable[[str, str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standing = "    with socket.socket(fileno=door) as host:"
    missing = f'    raise jail.Unavailable("network: no egress gate")\n{standing}'
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    monkeypatch.setattr(process, "GUEST", guest_where("gate.py", standing, missing))
    with pytest.raises(SandboxUnavailable, match="network: no egress gate"):
        acquire(SOURCED, source_builds=True)
    with pytest.raises(EnvironmentBuildError) as raised:
        acquire(SOURCED, source_builds=True, required=False)
    assert "runs without a protection: network" in raised.value.log
    assert os.strerror(13) in raised.value.log
