"""A tenant: in whose name cells run, what it is allowed at most, and what its specs may refer to.

May import: errors, spec, secrets, sandbox.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from syncell.sandbox import Policy
from syncell.sandbox.policy import parse_size
from syncell.secrets import Scope
from syncell.spec import expand_user


@dataclasses.dataclass(frozen=True)
class TenantDefinition:
    """What a tenant is.

    - `id`: lower-case letters, digits, `_` and `-`, at most 63, a letter or digit first.
    - `policy`: the most that its syncers are allowed; `None` for the runner's own.
    - `max_cells`, `memory` (a size), `max_queued`: how many cells it may have at once, what they may use together, and
      how many jobs may wait; `None` for no bound of its own.
    - `secrets`: what `${secret:NAME}` stands for in its specs; values may hold references of the host's.
    - `allow_env`, `allow_files`: variables and folders of the host that its specs may refer to.

    Raises ValueError for an id, a number or a size that is none, TypeError for one name where a list is expected.
    """

    id: str
    policy: Policy | None = None
    max_cells: int | None = None
    memory: int | str | None = None
    max_queued: int | None = None
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    allow_env: tuple[str, ...] = ()
    allow_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_id(self.id)
        for name in ("max_cells", "max_queued"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"TenantDefinition({name}={value!r}): it must be at least one")
        for name in ("allow_env", "allow_files"):
            if isinstance(getattr(self, name), (str, bytes, os.PathLike)):
                raise TypeError(f"TenantDefinition({name}=...) takes a list, not one name")
        folders = tuple(os.path.abspath(expand_user(os.fspath(folder))) for folder in self.allow_files)  # noqa: PTH100
        object.__setattr__(self, "memory", None if self.memory is None else parse_size(self.memory))
        object.__setattr__(self, "allow_env", tuple(self.allow_env))
        object.__setattr__(self, "allow_files", folders)

    @property
    def scope(self) -> Scope:
        """What the references that this tenant writes may lead to."""
        return Scope(tenant=self.id, secrets=self.secrets, env=self.allow_env, files=self.allow_files)


def checked_id(text: str) -> str:
    """The id of a tenant. Raises ValueError when it is none."""
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,62}", text):
        raise ValueError(
            f"not a tenant's id: {text!r:.80}; expected 1 to 63 of a-z, 0-9, '_' and '-', a letter or digit first"
        )
    return text
