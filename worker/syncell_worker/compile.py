"""Compile the bytecode of one folder inside a jail, before any cell reads it: no cell may ever write `__pycache__`.

Started by the host as `BASE_INTERPRETER -I -S -B compile.py PLAN`. The interpreter is the base one and `site` does not
run, so nothing of the folder is executed; compiling only parses it. The jail stands before the first of its files is
opened, since a source file may still be made to break a parser. Standard library only.

PLAN is JSON: `parent` (the host's process id), `jail` (what `jail.enter` takes), `folder` (what is compiled) and
`recorded` (the path of the folder that tracebacks will show, since it is compiled before it is published).
"""

from __future__ import annotations

import contextlib
import json
import os
import py_compile
import sys
import warnings

# Run as a file by an isolated interpreter, whose path does not lead here.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - no import yet

from syncell_worker import confine

# A link that leads out of the jail or nowhere, or bytecode that is something else than a file.
_UNREADABLE = (PermissionError, FileNotFoundError, FileExistsError, IsADirectoryError)

WORKERS = 2
"""Compiling is bound by the processor: a second process takes a third off the time of a build. Further ones would take
little more, from the rest of the machine."""


def sources(folder: str) -> list[str]:
    """Every Python source file beneath `folder`, the largest first, so that the workers' shares come out even."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(parent, name)  # noqa: PTH118 - thousands of them
                found.append((os.lstat(path).st_size, path))
    return [path for _, path in sorted(found, reverse=True)]


def compile_all(paths: list[str], folder: str, recorded: str) -> None:
    """Write the bytecode of `paths`. What does not compile is left without: packages ship templates and the like.

    The bytecode is never checked against its source again, since neither changes once it is published.
    """
    warnings.simplefilter("ignore")
    for path in paths:
        with contextlib.suppress(py_compile.PyCompileError, *_UNREADABLE):
            py_compile.compile(
                path,
                dfile=recorded + path[len(folder) :],
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )


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
            code = 1
            try:
                confine.die_with(parent)
                compile_all(paths[share::count], plan["folder"], plan["recorded"])
                code = 0
            except OSError as error:
                sys.stderr.write(f"{error}\n")
            finally:
                os._exit(code)
        workers.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    for code in codes:
        if code < 0:
            sys.stderr.write(f"the compiler was killed by signal {-code}\n")
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
