"""What honest syncers do. All of it goes on in the jail."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pathlib
import shutil
import socket
import sqlite3
import stat
import tempfile
import threading
from typing import Any

World = dict[str, Any]


def threads(world: World) -> int:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(len, ["x"] * 100)) == 100
    return threading.active_count()


def event_loop(world: World) -> str:
    async def work() -> str:
        reader, writer = await asyncio.open_connection(sock=one)
        writer.write(b"x")
        await writer.drain()
        writer.close()
        return await asyncio.to_thread(lambda: "ran") + repr(reader is None)

    one, other = socket.socketpair()
    said = asyncio.run(work())
    assert other.recv(1) == b"x"
    return said


def pairs_of_sockets(world: World) -> bytes:
    one, other = socket.socketpair()
    one.sendall(b"x")
    return other.recv(1)


def children(world: World) -> int:
    child = os.fork()
    if child == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def signals_to_children(world: World) -> int:
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(there)
        os.read(here, 1)
        os._exit(0)
    os.kill(child, 15)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def copies_of_files(world: World) -> str:
    source, target = pathlib.Path(world["granted"], "source"), pathlib.Path(world["granted"], "target")
    source.write_text("x")
    source.chmod(0o640)
    os.utime(source, (1000, 1000))
    shutil.copy2(source, target)
    assert target.stat().st_mtime == 1000
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    shutil.move(target, pathlib.Path(tempfile.mkdtemp(), "moved"))
    source.touch()
    assert source.stat().st_mtime > 1000
    return "copied"


def links_left_alone(world: World) -> bool:
    """`follow_symlinks=False`, which `shutil` uses for links."""
    link = pathlib.Path(world["granted"], "dangling")
    link.unlink(missing_ok=True)
    link.symlink_to("nowhere")
    shutil.copystat(link, link, follow_symlinks=False)
    return link.is_symlink()


def database(world: World) -> list[tuple[int]]:
    connection = sqlite3.connect(f"{world['granted']}/data.db")
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table if not exists t (a)")
    connection.execute("insert into t values (1)")
    connection.commit()
    found = connection.execute("select 1").fetchall()
    connection.close()
    return found


def own_priority(world: World) -> int:
    os.setpriority(os.PRIO_PROCESS, 0, 5)
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    return os.getpriority(os.PRIO_PROCESS, 0)


def memory_files(world: World) -> int:
    return os.write(os.memfd_create("buffer"), b"x")
