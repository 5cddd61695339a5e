"""One tree of errors: everything that syncell raises on purpose is a `SyncellError`.

An error is for the person who reads it: what happened, to which syncer, and the next step. The type says whose fault
it is. This module imports nothing of the project, so that every room can raise from it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing wrong with something a person wrote.

    `where` locates it (`MANIFEST.json: requirements[2]`, `option port`); `message` says what was expected and found.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class SyncellError(Exception):
    """The root of the tree. Never raised itself."""


class ProblemsError(SyncellError):
    """Something a person wrote is wrong; `problems` lists everything found, not only the first. Never raised itself."""

    def __init__(self, subject: str, problems: Iterable[Problem]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        super().__init__(
            f"{subject}: {lines[0]}"
            if len(lines) == 1
            else "\n".join([f"{subject}:", *(f"  - {line}" for line in lines)])
        )


class ManifestError(ProblemsError):
    """A syncer's folder, MANIFEST.json or class is not what the contract asks for."""


class SpecError(ProblemsError):
    """A spec, a definition file or a reference in them cannot be read, or names no syncer that can be found."""


class OptionsError(ProblemsError):
    """A syncer refused its options: one problem per field. Values are never quoted, since they may be secrets."""


class TenantsError(ProblemsError):
    """A file that defines tenants cannot be read, or is not as `docs/operating.md` says."""


class PolicyExceeded(ProblemsError):
    """A tenant asked for more than it is allowed: one problem for each thing. `tenant` is its id."""

    def __init__(self, tenant: str, problems: Iterable[Problem]) -> None:
        self.tenant = tenant
        super().__init__(
            f"tenant {tenant} is not allowed this; ask for less, or have whoever operates this host allow it in the "
            "tenant's policy",
            problems,
        )


class QuotaExceeded(SyncellError):
    """A tenant has no room for another cell now. `quota` is `max_cells` or `memory` (bytes); it may be free later."""

    def __init__(self, tenant: str, quota: str, *, allowed: float, reached: float) -> None:
        self.tenant = tenant
        self.quota = quota
        self.allowed = allowed
        self.reached = reached
        unbounded = "a cell of it without Limits(memory=...) could take any; give it one"
        step = unbounded if math.isinf(reached) else "close a syncer of it, or wait until one is closed"
        super().__init__(
            f"tenant {tenant}: {quota}={allowed:g} are all it may use at once, and this needs {reached:g}: {step}"
        )


class DataError(SyncellError, TypeError):
    """Rows handed to `dump` that cannot cross to a syncer: names the column, the row and the type."""


class EnvironmentBuildError(SyncellError):
    """A syncer's environment could not be built. `log` holds what the installer said, whole; the message its core."""

    def __init__(self, message: str, *, log: str = "") -> None:
        self.log = log
        super().__init__(message)


class SandboxUnavailable(SyncellError):
    """This machine cannot give a protection that the policy requires."""


class SyncerError(SyncellError):
    """What a syncer raised.

    `type` is the exception's qualified name in the cell, `message` its text, `attributes` those of its attributes that
    are plain data, `traceback` the text of the remote traceback from the syncer's first frame on, causes included.
    The same traceback is shown when this error is printed, as its `__cause__`.
    """

    def __init__(
        self,
        syncer: str,
        type: str,  # noqa: A002 - the public name of the attribute
        message: str,
        *,
        traceback: str = "",
        attributes: Mapping[str, Any] | None = None,
        hint: str = "",
    ) -> None:
        self.syncer = syncer
        self.type = type
        self.message = message
        self.traceback = traceback
        self.attributes = dict(attributes or {})
        super().__init__(": ".join(filter(None, (syncer, type, message))) + hint)
        if traceback:
            self.__cause__ = RemoteTraceback(traceback)


class RemoteTraceback(Exception):
    """Carries the text of a traceback from a cell, so that Python prints it above the error it caused."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class AccessDenied(SyncellError):
    """The sandbox refused something to a syncer.

    `what` is what was refused (a path, a place to connect to), `allow` the policy entry that would allow it, `flag` the
    same on the command line; both are empty where no policy would. The syncer's own exception is its `__cause__`.
    """

    def __init__(
        self,
        syncer: str,
        what: str,
        *,
        action: str = "access",
        because: str = "",
        allow: str = "",
        flag: str = "",
        advice: str = "",
    ) -> None:
        self.syncer = syncer
        self.what = what
        self.allow = allow
        self.flag = flag
        advice = advice or f"to allow it: {allow} or {flag}"
        super().__init__(f"{syncer}: the sandbox refused to {action} {what}{because}; {advice}")

    @classmethod
    def path(cls, syncer: str, action: str, path: str) -> Self:
        """The error for a path; `action` is `"read"` or `"write"`."""
        return cls(syncer, path, action=action, allow=f"Policy({action}=[{path!r}])", flag=f"--allow-{action} {path}")

    @classmethod
    def connection(cls, syncer: str, what: str, rule: str) -> Self:
        """The error for a connection; `rule` is what would allow it."""
        return cls(syncer, what, action="connect to", allow=f"Policy(connect=[{rule!r}])", flag=f"--allow-net {rule}")

    @classmethod
    def programs(cls, syncer: str) -> Self:
        """The error for starting programs."""
        return cls(syncer, "programs", action="start", allow="Policy(subprocess=True)", flag="--allow-subprocess")

    @classmethod
    def network(cls, syncer: str) -> Self:
        """The error for a cell that may connect to nothing."""
        return cls(
            syncer, "the network", action="use", allow='Policy(connect=["HOST:PORT"])', flag="--allow-net HOST:PORT"
        )

    @classmethod
    def socket(cls, syncer: str, what: str, *, connects: bool) -> Self:
        """The error for a kind of socket that no policy allows; `connects`: whether the syncer may connect anywhere."""
        allow, flag = ("", "") if connects else ('Policy(connect=["HOST:PORT"])', "--allow-net HOST:PORT")
        advice = "no policy allows it: connect by TCP, and have names looked up by the system's resolver"
        if not connects:
            advice += f", both of which need {allow} or {flag}"
        return cls(syncer, what, action="make", allow=allow, flag=flag, advice=advice)

    @classmethod
    def listening(cls, syncer: str, what: str) -> Self:
        """The error for a port of the syncer's own."""
        advice = "no policy allows it: a syncer connects to others, from a port of the system's choice (0)"
        return cls(syncer, what, action="listen on", advice=advice)

    @classmethod
    def missing(cls, syncer: str, path: str) -> Self:
        """The error for a path that was granted and not there to be allowed."""
        return cls(
            syncer,
            path,
            action="write",
            because=", which is granted but did not exist when the syncer was opened",
            allow=f"create it, or write a slash at its end to have the folder made; a file is made by "
            f"Policy(write=[{path!r}])",
            flag=f"--allow-write {path}",
        )


class LimitExceeded(SyncellError):
    """A cell reached one of its limits and was ended. `limit` names it; `allowed` and `reached` are in its unit."""

    def __init__(self, syncer: str, limit: str, *, allowed: float, reached: float, hint: str = "") -> None:
        self.syncer = syncer
        self.limit = limit
        self.allowed = allowed
        self.reached = reached
        super().__init__(f"{syncer}: limit {limit}={allowed:g} exceeded ({reached:g} reached){hint}")


class CallTimeout(LimitExceeded, TimeoutError):
    """A call took longer than `Limits.wall_seconds`, or a cell did not start in time; the cell was ended."""


class Cancelled(SyncellError):
    """A call was cancelled before it ended."""


class WorkerCrashed(SyncellError):
    """A worker process ended in the middle of a call.

    `exit_code` and `signal` (a name such as `SIGSEGV`) say how, whichever applies; `stderr` holds its last lines.
    """

    def __init__(
        self, syncer: str, what: str, *, exit_code: int | None = None, signal: str | None = None, stderr: str = ""
    ) -> None:
        self.syncer = syncer
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr
        tail = f"; its last words:\n{stderr}" if stderr else ""
        super().__init__(f"{syncer}: {what}{tail}")


class ProtocolError(SyncellError):
    """A worker sent something that the protocol does not allow; the cell was ended."""


class CellUnusable(SyncellError):
    """A syncer was used after it was closed or its cell ended, or from two threads at once."""
