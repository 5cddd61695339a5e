"""Every attack of the table succeeds without the jail, and is denied in it; what honest syncers do goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hostile.cases import CASES, MAY_BE_MISSING, ORDINARY, Case
from hostile.conftest import Attempt

as_root = os.geteuid() == 0


@pytest.mark.parametrize("case", [case for case in CASES if as_root or not case.root], ids=str)
def test_without_a_jail_it_succeeds(case: Case, unconfined: Attempt) -> None:
    said = unconfined(case.name)
    if "done" not in said and case.name in MAY_BE_MISSING:
        pytest.skip(f"this machine does not have {case}: {said}")
    assert "done" in said, said


@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_the_jail_it_is_denied(case: Case, confined: Attempt) -> None:
    said = confined(case.name)
    assert said.get("denied", said.get("killed")) in case.ends, said


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("sandbox", ["unconfined", "confined", "confined_with_programs"])
def test_what_honest_syncers_do_goes_on(name: str, sandbox: str, request: pytest.FixtureRequest) -> None:
    attempt: Attempt = request.getfixturevalue(sandbox)
    assert "done" in (said := attempt(name)), said


def test_files_in_memory_are_left_to_those_who_start_no_programs(
    confined: Attempt, confined_with_programs: Attempt
) -> None:
    """Where programs may be started, one that is only in memory could be. Libraries use a temporary file instead."""
    assert "done" in confined("memory_files")
    assert confined_with_programs("memory_files") == {"denied": "ENOSYS"}


def test_nothing_outside_was_changed(confined: Attempt, world: dict[str, Any]) -> None:
    """Whatever the attempts answered."""
    before = _state(Path(world["outside"]))
    for case in CASES:
        if case.protection == "files":
            confined(case.name)
    assert _state(Path(world["outside"])) == before


def _state(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    return {
        path.name: ((status := path.stat()).st_mode, status.st_mtime_ns, status.st_gid, path.read_bytes())
        for path in folder.iterdir()
    }


PROGRAMS_ALLOWED = ("program", "spawned_program")
# Read and mapped by the loader, a file needs no right to be executed; it runs in the same jail.
RUN_BY_THE_LOADER = ("program_by_loader", "own_interpreter")


@pytest.mark.parametrize("name", [*PROGRAMS_ALLOWED, *RUN_BY_THE_LOADER])
def test_allowed_programs_run(name: str, confined_with_programs: Attempt) -> None:
    assert confined_with_programs(name) == {"done": "'ran'"}


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.name not in (*PROGRAMS_ALLOWED, *RUN_BY_THE_LOADER, "leave_session", "leave_group")
    ],
    ids=str,
)
def test_to_allow_programs_allows_nothing_else(case: Case, confined_with_programs: Attempt) -> None:
    said = confined_with_programs(case.name)
    assert said.get("denied", said.get("killed")) in case.ends, said
