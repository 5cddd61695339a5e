"""What the warden sees: trees of processes, what they hold, and folders whose owner does not want them counted."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from syncell import Limits
from syncell.sandbox import disk, memory, processes
from syncell.sandbox.warden import Warden

MIB = 1024**2
PATIENCE_SECONDS = 60.0


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def count(counting: Generator[None, None, int]) -> int:
    while True:
        try:
            next(counting)
        except StopIteration as counted:
            return int(counted.value)


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a program that leads a session of its own, and wait for its first line; its session ends with the test."""
    with contextlib.ExitStack() as ending:

        def start(program: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            ending.callback(end, process)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process

        yield start


def end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_tree_holds_children_orphans_and_those_that_left_the_session(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = start(
        """
import os, signal, time
if os.fork() == 0:  # a child
    if os.fork() == 0:  # a grandchild, soon an orphan
        time.sleep(600)
    os._exit(0)
os.wait()
if os.fork() == 0:
    os.setsid()
    print("ready", flush=True)
    time.sleep(600)
time.sleep(600)
"""
    )
    census = processes.Census()
    members = census.take({process.pid: []})[process.pid]
    assert len([member for member in members if not member.zombie]) == 3
    (away,) = [member for member in members if member.session != process.pid]
    census.forget()
    end(process)  # its parent is gone now too, and yet it is known
    wait_until(
        lambda: [it.pid for it in census.take({process.pid: members})[process.pid] if not it.zombie] == [away.pid]
    )
    processes.kill(away)
    wait_until(lambda: (it := processes.read(away.pid)) is None or it.zombie)


def test_a_later_process_with_the_same_id_is_not_killed(start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start("import time; print('ready', flush=True); time.sleep(600)")
    now = processes.read(process.pid)
    assert now is not None
    earlier = processes.Process(
        now.pid, now.parent, now.group, now.session, False, False, now.threads, now.started - 1, now.cpu, 0
    )
    processes.kill(earlier)
    assert process.poll() is None


def test_memory_of_every_kind_counts_once(start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start(
        f"""
import mmap, os, time
anonymous = bytearray(b"x") * (20 * {MIB})
shared = mmap.mmap(-1, 30 * {MIB})
shared[:] = b"x" * (30 * {MIB})
file = os.memfd_create("unmapped")
os.write(file, b"x" * (40 * {MIB}))
both = os.memfd_create("mapped too")
os.write(both, b"x" * (50 * {MIB}))
mapped = mmap.mmap(both, 50 * {MIB})
sum(mapped[::4096])
for _ in range(2):
    if os.fork() == 0:
        sum(shared[::4096])
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""
    )
    pids = [member.pid for member in processes.Census().take({process.pid: []})[process.pid]]
    assert len(pids) == 3

    def used() -> int:
        return memory.exact(pids, memory.held(pids, "/nowhere"))

    wait_until(lambda: 140 * MIB <= used() <= 190 * MIB)
    assert memory.held(pids, "/nowhere").memory == 90 * MIB
    assert memory.upper_bound(pids) >= used() - 90 * MIB


def test_pages_of_a_file_on_disk_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (64 * MIB))
    held = memory.Held()
    with (tmp_path / "big").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = memory.exact([os.getpid()], held)
        assert sum(mapped[::4096]) > 0
        assert memory.exact([os.getpid()], held) < before + 32 * MIB


def test_a_folder_is_counted_once_and_never_left(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "big").write_bytes(b"x" * (8 * MIB))
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_bytes(b"x" * MIB)
    (folder / "again").hardlink_to(folder / "a" / "b" / "file")
    (folder / "link").symlink_to(tmp_path / "outside")
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(1000 * MIB)
    assert MIB <= count(disk.usage(str(folder))) < 2 * MIB


def test_a_count_is_interrupted_in_the_middle_of_a_folder(tmp_path: Path) -> None:
    for number in range(3 * disk.STEP):
        (tmp_path / str(number)).touch()
    counting = disk.usage(str(tmp_path))
    assert [next(counting) for _ in range(3)] == [None, None, None]
    assert count(counting) >= 3 * disk.STEP * disk.ENTRY_BYTES


def test_folders_too_deep_to_count_are_an_error(tmp_path: Path) -> None:
    tmp_path.joinpath(*["d"] * (disk.DEPTH + 1)).mkdir(parents=True)
    with pytest.raises(disk.UncountableError, match="nested"):
        count(disk.usage(str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser enters every folder")
def test_folders_closed_to_the_host_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(disk.UncountableError, match="closed"):
        count(disk.usage(str(tmp_path)))
    (tmp_path / "closed").chmod(0o700)


def test_the_warden_runs_only_while_there_is_something_to_watch(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    before = threading.active_count()
    warden = Warden()
    process = start("import time; print('ready', flush=True); time.sleep(600)")
    nothing = Limits(processes=None, disk=None)
    assert not nothing.watched
    warden.watch(process.pid, str(tmp_path), nothing)
    assert threading.active_count() == before
    watch = warden.watch(process.pid, str(tmp_path), Limits())
    assert threading.active_count() == before + 1
    watch.stop()
    wait_until(lambda: threading.active_count() == before)
    warden.watch(process.pid, str(tmp_path), Limits())
    assert threading.active_count() == before + 1
    warden.close()
    assert threading.active_count() == before
    assert process.poll() is None


def test_a_process_that_goes_on_without_its_first_thread_is_ended(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start(
        """
import ctypes, threading, time
def go_on():
    print("ready", flush=True)
    time.sleep(600)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall(60 if __import__("platform").machine() == "x86_64" else 93, 0)  # exit, of this thread alone
"""
    )
    warden = Warden()
    watch = warden.watch(process.pid, str(tmp_path), Limits(memory="1GiB"))
    try:
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        assert watch.reached is not None
        assert watch.reached.limit == "memory"
    finally:
        watch.stop()
        warden.close()
