"""A build that ends before its time: killed, interrupted, out of disk, or beaten to it by another process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from environments.elsewhere import Opener
from environments.wheels import WheelFolder
from syncell.environments import EnvironmentStore
from syncell.environments.shelf import KEY_NAME, Shelf

OpenElsewhere = Callable[..., Opener]


def leftovers(cache: Path) -> list[str]:
    """Everything in the store besides published folders, locks and the record of users."""
    names = [path.name for path in (cache / "environments").iterdir()]
    return [name for name in names if "-" in name]


@pytest.fixture
def silent_index(monkeypatch: pytest.MonkeyPatch, wheels: WheelFolder) -> Iterator[socket.socket]:
    """A package index that takes connections and never answers, as the only place packages come from."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("UV_HTTP_TIMEOUT", "3600")  # the installer does not give up by itself
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        yield server


def until_hung_up(connection: socket.socket) -> None:
    """Wait until the other side is gone."""
    connection.settimeout(60)
    while connection.recv(4096):
        pass


def test_killed_build_leaves_nothing_that_counts_as_built(
    wheels: WheelFolder, cache: Path, store: EnvironmentStore, open_elsewhere: OpenElsewhere
) -> None:
    killed = open_elsewhere("syncelltest-acme", pause="compiling")
    killed.wait_for("compiling")
    killed.end(signal.SIGKILL)
    (leftover,) = leftovers(cache)
    # Even if it had been killed in the last moment before it was published.
    (cache / "environments" / leftover / KEY_NAME).write_text("{}")
    (cache / "environments" / leftover / "environment.json").write_text("{}")
    assert store.list() == ()
    assert Shelf(cache / "environments").digests() == []

    again = open_elsewhere("syncelltest-acme", pause="compiling")
    again.wait_for("compiling")
    assert len(leftovers(cache)) == 1, "what the killed build left is gone before the next one needs the space"
    again.go_on()
    again.wait_for("leased")
    assert leftovers(cache) == []


def test_pruning_sweeps_what_a_killed_build_left(
    wheels: WheelFolder, cache: Path, store: EnvironmentStore, open_elsewhere: OpenElsewhere
) -> None:
    killed = open_elsewhere("syncelltest-acme", pause="compiling")
    killed.wait_for("compiling")
    killed.end(signal.SIGKILL)
    store.prune(timedelta(days=1))
    assert list((cache / "environments").iterdir()) == []


def test_pruning_does_not_sweep_a_build_under_way(
    wheels: WheelFolder, store: EnvironmentStore, open_elsewhere: OpenElsewhere
) -> None:
    building = open_elsewhere("syncelltest-acme", pause="compiling")
    building.wait_for("compiling")
    store.prune(timedelta(0))
    building.go_on()
    building.wait_for("leased")
    assert len(store.list()) == 1


def test_killed_host_takes_its_installer_with_it(silent_index: socket.socket, open_elsewhere: OpenElsewhere) -> None:
    host = open_elsewhere("syncelltest-acme")
    connection, _ = silent_index.accept()  # the installer is at work
    with connection:
        host.end(signal.SIGKILL)
        until_hung_up(connection)


def test_ctrl_c_during_a_build_ends_it_and_leaves_nothing(
    silent_index: socket.socket, cache: Path, open_elsewhere: OpenElsewhere
) -> None:
    host = open_elsewhere("syncelltest-acme")
    connection, _ = silent_index.accept()
    with connection:
        code, _, error = host.end(signal.SIGINT)
        until_hung_up(connection)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in error
    assert leftovers(cache) == []


def test_two_processes_build_the_same_environment_once(
    wheels: WheelFolder, store: EnvironmentStore, open_elsewhere: OpenElsewhere
) -> None:
    first = open_elsewhere("syncelltest-acme", pause="compiling")
    first.wait_for("compiling")
    second = open_elsewhere("syncelltest-acme")
    second.wait_for("waiting for another process")
    first.go_on()
    leased = first.wait_for("leased")[-1]
    assert second.wait_for("leased") == [leased]
    (listed,) = store.list()
    assert listed.in_use


def test_second_process_builds_when_the_first_is_killed(wheels: WheelFolder, open_elsewhere: OpenElsewhere) -> None:
    first = open_elsewhere("syncelltest-acme", pause="compiling")
    first.wait_for("compiling")
    second = open_elsewhere("syncelltest-acme")
    second.wait_for("waiting for another process")
    first.end(signal.SIGKILL)
    assert any("building" in line for line in second.wait_for("leased"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """A command that runs another in its own mount namespace, where `tmp_path / "small"` is a disk of some size."""
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("a disk of a given size needs mount namespaces, and this user may not have one")

    def command(size: str) -> tuple[str, ...]:
        mount = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
        return (*namespace, "sh", "-c", mount, str(mount_point))

    return command


@pytest.mark.parametrize(
    ("size", "files"),
    [
        pytest.param("1m", {"large.txt": "x" * 4_000_000}, id="installing"),
        # Little source whose constants the compiler folds into much bytecode.
        pytest.param("3m", {"large.py": "\n".join(f"a{n} = 'text{n}' * 500" for n in range(2_000))}, id="compiling"),
    ],
)
def test_full_disk_while_building_is_said_and_leaves_nothing(
    size: str,
    files: dict[str, str],
    wheels: WheelFolder,
    tmp_path: Path,
    open_elsewhere: OpenElsewhere,
    small_disk: Callable[[str], tuple[str, ...]],
) -> None:
    wheels.add("syncelltest_bulky", files=files)
    # What is left is listed from inside, where the disk is mounted.
    listing = ("sh", "-c", '"$@"; ls -A "$0"', str(tmp_path / "small/cache/environments"))
    opener = open_elsewhere("syncelltest_bulky", at=tmp_path / "small/cache", wrapper=(*small_disk(size), *listing))
    _, output, error = opener.end()
    assert "EnvironmentBuildError: acme: the disk is full" in error
    (lock,) = [line for line in output.splitlines() if not line.startswith("acme:")]
    assert lock.endswith(".lock")
