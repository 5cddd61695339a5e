"""Boot a cell: claim the wire, take the kit, stand in the jail, say hello, serve.

Started by the host as `BASE_INTERPRETER -I -S -B __main__.py`, so that nothing of any environment runs yet. The order
of the steps is the safety of the whole: the wire is out of reach before anything could print on it, the jail stands
before the first byte of a syncer or of its environment is read, and every module that this worker will ever need is
imported from the kit before the environment's own can be found. Standard library and the kit only.
"""

from __future__ import annotations

import fcntl
import gc
import os
import sys

# The wire moves to descriptors that no program expects to be open; 0, 1 and 2 become an ordinary process's.
_FIRST_WIRE_FD = 32


def claim_wire() -> tuple[int, int]:
    """Move the wire off the standard descriptors: 0 becomes /dev/null, 1 becomes 2. Returns (input, output)."""
    wire_in = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _FIRST_WIRE_FD)
    wire_out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _FIRST_WIRE_FD)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return wire_in, wire_out


def take_kit() -> None:
    """Import this worker and its msgspec from the kit, then hide msgspec: the environment may have one of its own."""
    kit = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - before any import
    sys.path.insert(0, kit)
    import msgspec.msgpack  # noqa: F401

    import syncell_worker.serve  # noqa: F401 - and with it everything else

    sys.path.remove(kit)
    for name in [name for name in sys.modules if name.partition(".")[0] == "msgspec"]:
        del sys.modules[name]
    # The folder of this file is no place to import from either.
    sys.modules["syncell_worker"].__path__ = []


def main() -> None:
    """Run one cell from boot to exit."""
    # What is imported stays, the syncer's modules included: looking for garbage among it only takes time.
    gc.disable()
    wire_in, wire_out = claim_wire()
    take_kit()
    from syncell_worker import serve

    serve.run(wire_in, wire_out)


if __name__ == "__main__":
    main()
