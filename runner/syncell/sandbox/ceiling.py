"""A ceiling: the policy beyond which a tenant's own policies and options may not go.

Compared is what two policies allow, not how they are written: a folder covers what is beneath it, a wildcard the names
below it, a network its addresses. Nothing is changed in here. Values of variables and addresses of indexes may hold
secrets, so no problem quotes one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from syncell.errors import PolicyExceeded, Problem
from syncell.sandbox.egress import Egress, parse
from syncell.sandbox.grants import Action, Grant
from syncell.sandbox.policy import Limits, Policy

_STRICTNESS = ("off", "best-effort", "required")


def under(policy: Policy | None, ceiling: Policy, *, tenant: str) -> Policy:
    """The policy of an open under a ceiling: the ceiling itself when there is no other. Raises `PolicyExceeded`."""
    if policy is None:
        return ceiling
    if problems := excess(policy, ceiling):
        raise PolicyExceeded(tenant, problems)
    return policy


def excess(policy: Policy, ceiling: Policy) -> list[Problem]:
    """Every way in which `policy` allows more than `ceiling`; none when it lies within."""
    return [
        *_beyond("read", policy.read, ceiling),
        *_beyond("write", policy.write, ceiling),
        *_beyond("connect", policy.connect, ceiling),
        *(
            Problem("policy.env", f"{name} with this value is not among the variables that are allowed")
            for name, value in policy.env.items()
            if ceiling.env.get(name) != value
        ),
        *(
            Problem(f"policy.indexes[{position}]", "is none of the indexes that are allowed")
            for position, index in enumerate(policy.indexes)
            if index.rstrip("/") not in {allowed.rstrip("/") for allowed in ceiling.indexes}
        ),
        *(
            Problem(f"policy.{name}", "True, where only False is allowed")
            for name in ("source_builds", "subprocess")
            if getattr(policy, name) and not getattr(ceiling, name)
        ),
        *_less_strict(policy, ceiling),
        *_larger(policy.limits, ceiling.limits),
    ]


def beyond(granted: Iterable[Grant], ceiling: Policy) -> list[Problem]:
    """Every grant that lies outside the ceiling: what options name, and what links of a policy's paths lead to now.

    Ask this of what a cell is started with (`Drawing.granted`): its paths are resolved, and are not resolved again.
    """
    return [
        Problem(grant.origin, _outside(grant.action, grant.place, ceiling))
        for grant in granted
        if not _covered(grant.action, grant.place, ceiling)
    ]


def _beyond(action: Action, places: Iterable[str], ceiling: Policy) -> Iterator[Problem]:
    for place in places:
        if not _covered(action, place, ceiling):
            yield Problem(f"policy.{action}", _outside(action, place, ceiling))


def _covered(action: Action, place: str, ceiling: Policy) -> bool:
    if action == "connect":
        return Egress.of(ceiling.connect).covers(parse(place))
    real = Path(os.path.realpath(place))
    return any(real.is_relative_to(os.path.realpath(allowed)) for allowed in getattr(ceiling, action))


def _outside(action: Action, place: str, ceiling: Policy) -> str:
    allowed = ", ".join(getattr(ceiling, action)) or "nothing"
    return f"{place} lies outside of what is allowed to {action}{' to' if action == 'connect' else ''}: {allowed}"


def _less_strict(policy: Policy, ceiling: Policy) -> Iterator[Problem]:
    if _STRICTNESS.index(policy.sandbox) < _STRICTNESS.index(ceiling.sandbox):
        yield Problem("policy.sandbox", f'"{policy.sandbox}", where no less than "{ceiling.sandbox}" is allowed')


def _larger(limits: Limits, ceiling: Limits) -> Iterator[Problem]:
    for field in dataclasses.fields(Limits):
        limit, most = getattr(limits, field.name), getattr(ceiling, field.name)
        if most is not None and (limit is None or limit > most):
            shown = "no limit" if limit is None else f"{limit:,}"
            yield Problem(f"policy.limits.{field.name}", f"{shown}, where {most:,} is the most that is allowed")
