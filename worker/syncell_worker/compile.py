"""Compile the bytecode of one folder inside a jail, before any cell reads it: no cell may ever write `__pycache__`.

Started by the host as `BASE_INTERPRETER -I -S -B compile.py PLAN`. The interpreter is the base one and `site` does not
run, so nothing of the folder is executed; compiling only parses it. The jail stands before the first of its files is
opened, since a source file may still be made to break a parser. Standard library only.

PLAN is JSON: `parent`, `jail` and `required` (see `confine`), `folder` (what is compiled) and `recorded` (the
path of the folder that tracebacks will show, since it is compiled before it is published).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import marshal
import os
import stat
import sys
import warnings

# Run as a file by an isolated interpreter, whose path does not lead here.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - no import yet

from syncell_worker import confine

WORKERS = 2
"""Compiling is bound by the processor: a second process takes a third off the time of a build. Further ones would take
little more, from the rest of the machine."""

# Hash-based bytecode whose source is never looked at again (PEP 552): neither changes once it is published.
_HEADER = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little")

# A source that may not be read, or something else than a file where its bytecode belongs.
_NO_PLACE = (PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


def sources(folder: str) -> list[str]:
    """Every Python source file beneath `folder`, the largest first, so that the workers' shares come out even."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(parent, name)  # noqa: PTH118 - thousands of them
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode):
                    found.append((status.st_size, path))
    return [path for _, path in sorted(found, reverse=True)]


def compile_file(path: str, recorded: str) -> None:
    """Write the bytecode of one file. What does not compile is left without: packages ship templates and the like.

    Raises OSError. Written by hand, since `py_compile` takes a file cut short by a full disk for written.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        source = file.read()
    try:
        code = marshal.dumps(compile(source, recorded, "exec", dont_inherit=True))
    except Exception:  # whatever a parser may meet: wrong syntax, too deep, too large
        return
    bytecode = importlib.util.cache_from_source(path)
    os.makedirs(os.path.dirname(bytecode), exist_ok=True)  # noqa: PTH103, PTH120 - as above
    with contextlib.suppress(FileNotFoundError):
        os.unlink(bytecode)  # noqa: PTH108 - a wheel's own, which may be a link into the installer's cache
    with open(bytecode, "xb") as file:  # noqa: PTH123 - as above
        file.write(_HEADER + importlib.util.source_hash(source) + code)


def compile_share(paths: list[str], folder: str, recorded: str) -> int:
    """Compile some of a folder's files; the exit code of the worker that does it."""
    warnings.simplefilter("ignore")
    try:
        for path in paths:
            with contextlib.suppress(*_NO_PLACE):
                compile_file(path, recorded + path[len(folder) :])
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def main() -> int:
    """Run the plan in argv; the exit code says how it ended."""
    plan = json.loads(sys.argv[1])
    if not confine.enter(plan):
        return confine.JAIL_UNAVAILABLE
    paths = sources(plan["folder"])
    count = min(WORKERS, len(os.sched_getaffinity(0)))
    parent = os.getpid()
    workers = []
    for share in range(count):
        pid = os.fork()
        if pid == 0:
            confine.die_with(parent)
            os._exit(compile_share(paths[share::count], plan["folder"], plan["recorded"]))
        workers.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    for code in codes:
        if code < 0:
            sys.stderr.write(f"the compiler was killed by signal {-code}\n")
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
