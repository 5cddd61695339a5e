"""A syncer that attacks: each resource that it "loads" is one attempt, made in a child so that it may be killed for it.

A row says how it ended: `done` (what came of it), `denied` (the error's name) or `killed` (the signal's).
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import exec_attempts
import file_attempts
import kernel_attempts
import network_attempts
import ordinary
import process_attempts

ROOMS = (exec_attempts, file_attempts, kernel_attempts, network_attempts, ordinary, process_attempts)


class Attacker:
    name = "attacker"

    def __init__(self, world: dict[str, Any]) -> None:
        self.world = world

    def load(self, identifier: str) -> Iterator[dict[str, str]]:
        attempt = next(getattr(room, identifier) for room in ROOMS if hasattr(room, identifier))
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(here)
            os.write(there, json.dumps(_outcome(attempt, self.world)).encode())
            os._exit(0)
        os.close(there)
        with open(here, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        yield {"killed": signal.Signals(os.WTERMSIG(status)).name} if os.WIFSIGNALED(status) else json.loads(said)

    def dump(self, identifier: str, *, data: object) -> None: ...


def _outcome(attempt: Callable[[dict[str, Any]], object], world: dict[str, Any]) -> dict[str, str]:
    try:
        return {"done": repr(attempt(world))}
    except OSError as error:
        return {"denied": errno.errorcode.get(error.errno or 0, repr(error))}
    except BaseException as error:
        return {"raised": repr(error)}
