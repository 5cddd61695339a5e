"""A tenant's definition is checked where it is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncell import TenantDefinition


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"id": "Acme"}, ValueError),
        ({"id": ""}, ValueError),
        ({"id": "a\n"}, ValueError),
        ({"id": "a", "max_cells": 0}, ValueError),
        ({"id": "a", "max_queued": -1}, ValueError),
        ({"id": "a", "memory": "x"}, ValueError),
        ({"id": "a", "allow_env": "HOME"}, TypeError),
        ({"id": "a", "allow_files": Path("/srv")}, TypeError),
    ],
)
def test_a_definition_made_by_code_is_checked_too(wrong: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        TenantDefinition(**wrong)  # type: ignore[arg-type]


def test_folders_of_a_definition_mean_what_they_mean_to_the_host_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    acme = TenantDefinition("acme", memory="1KiB", allow_files=["in"], allow_env=["A"])  # type: ignore[arg-type]
    assert (acme.memory, acme.allow_files, acme.allow_env) == (1024, (f"{tmp_path}/in",), ("A",))
