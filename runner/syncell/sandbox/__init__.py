"""What a cell may do, and how it is started so that it can do no more.

`policy` is what a host says, `grants` what follows from it for one syncer and its options, `plan` how a worker process
is started with them; `private` and `places` are its files. Two threads serve running cells: the `warden` watches what
they use, by what `processes`, `memory` and `disk` measure, and the `gate` makes the connections of those that may have
some. Nothing in this room starts a process or waits for one, only the warden kills, and nothing outside it decides what
is allowed.
May import: errors, manifest, `syncell_worker.wire`.
"""

from syncell.sandbox.gate import Gate
from syncell.sandbox.grants import Grant, Grants
from syncell.sandbox.plan import LaunchPlan
from syncell.sandbox.policy import Limits, Policy

__all__ = ["Gate", "Grant", "Grants", "LaunchPlan", "Limits", "Policy"]
