"""Environments: an immutable, shared virtualenv for each set of requirements, and the worker's kit beside them.

Nothing of an environment ever runs outside a jail, from the first wheel on: a wheel may bring a `.pth` file, which runs
at every start of an interpreter that processes it. So installing, compiling, verifying, listing and removing all go
without starting an environment's interpreter or importing from it. That rule must not be broken.

May import: errors, manifest, sandbox, `syncell_worker.wire`.
"""

from syncell.environments.build import Environment
from syncell.environments.interpreters import Interpreter
from syncell.environments.recipe import Recipe
from syncell.environments.store import EnvironmentStore, Lease, Listed

__all__ = ["Environment", "EnvironmentStore", "Interpreter", "Lease", "Listed", "Recipe"]
