"""What a cell may do, and how it is started so that it can do no more.

`policy` is what a host says, `grants` what follows from it for one syncer and its options, `plan` how a worker process
is started with them, `gate` the thread that makes the connections of those cells that may have some. Nothing in this
room starts or stops a process, and nothing outside it decides what is allowed.
May import: errors, manifest, `syncell_worker.wire`.
"""

from syncell.sandbox.gate import Gate
from syncell.sandbox.grants import Grants
from syncell.sandbox.plan import LaunchPlan
from syncell.sandbox.policy import Limits, Policy

__all__ = ["Gate", "Grants", "LaunchPlan", "Limits", "Policy"]
