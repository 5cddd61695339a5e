"""Programs: those of the system, those that were written or are only in memory."""

from __future__ import annotations

import ctypes
import os
import pathlib
import shutil
import sys
from typing import Any

import raw

World = dict[str, Any]
TRUE = "/bin/true"


def _run(path: str | int, *arguments: str) -> str:
    """Become the program in a child of one's own; what it exited with, or why it could not."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.execve(path, [str(path), *arguments], {})
        except OSError as error:
            os.write(there, bytes([error.errno or 0]))
        os._exit(127)
    os.close(there)
    refused = os.read(here, 1)
    os.close(here)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if refused:
        raise OSError(refused[0], os.strerror(refused[0]))
    assert code == 0, code
    return "ran"


def program(world: World) -> str:
    return _run(TRUE)


def spawned_program(world: World) -> str:
    child = os.posix_spawn(TRUE, [TRUE], {})
    assert os.waitpid(child, 0)[1] == 0
    return "ran"


def written_program(world: World) -> str:
    path = pathlib.Path(world["granted"], "program")
    shutil.copyfile(TRUE, path)
    os.chmod(path, 0o700)
    return _run(str(path))


def program_in_memory(world: World) -> str:
    memory = os.memfd_create("program", 0)
    os.write(memory, pathlib.Path(TRUE).read_bytes())
    return _run(memory)


def program_in_memory_by_link(world: World) -> str:
    memory = os.memfd_create("program", 0)
    os.write(memory, pathlib.Path(TRUE).read_bytes())
    return _run(f"/proc/{os.getpid()}/fd/{memory}")


def program_by_descriptor(world: World) -> str:
    return _run(os.open(TRUE, os.O_RDONLY))


def program_by_call(world: World) -> str:
    return raw.reach((322, 281), -100, ctypes.c_char_p(b"/nowhere"), None, None, 0)


def program_by_loader(world: World) -> str:
    """The dynamic loader runs any file that it can read."""
    loaders = [*pathlib.Path("/lib64").glob("ld-linux*"), *pathlib.Path("/lib").glob("ld-linux*")]
    path = pathlib.Path(world["granted"], "loaded")
    shutil.copyfile(TRUE, path)
    return _run(str(loaders[0]), str(path))


def own_interpreter(world: World) -> str:
    return _run(os.path.realpath(sys.executable), "-c", "pass")
