"""`--tenants FILE --tenant ID` before a verb: it is done in that tenant's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.command import Run

TENANTS = """
[tenants.acme.policy]
read = ["in", "out"]
write = ["out/"]

[tenants.acme.policy.limits]
wall_seconds = 60
"""
ACME = ("--tenants", "tenants.toml", "--tenant", "acme")
COPY = ("copy", "csv://directory=in#orders", "json://directory=out/#orders")


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_text(TENANTS)
    for name in ("in", "elsewhere", "out"):
        (tmp_path / name).mkdir()
    for name in ("in", "elsewhere"):
        (tmp_path / name / "orders.csv").write_text("a\n1\n2\n")


def test_rows_are_copied_in_a_tenants_name(syncell: Run, tmp_path: Path) -> None:
    done = syncell(*ACME, *COPY)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/orders.json").read_text()) == [{"a": "1"}, {"a": "2"}]


def test_what_lies_beyond_the_tenants_policy_is_refused(syncell: Run, tmp_path: Path) -> None:
    for more in (
        ("load", "csv://directory=elsewhere#orders"),
        ("load", "csv://directory=in#orders", "--timeout", "2h"),
        ("dump", "json://directory=elsewhere#orders"),
        ("load", "csv://directory=elsewhere#orders", "--explain"),
    ):
        done = syncell(*ACME, *more)
        assert done.returncode == 4, done.stderr
        assert "tenant acme is not allowed this" in done.stdout + done.stderr
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["orders.csv"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--tenants", "tenants.toml"), "--tenant ID"),
        (("--tenant", "acme"), "--tenants FILE"),
        (("--tenants", "tenants.toml", "--tenant", "acne"), "defines no tenant 'acne', but: acme"),
        (("--tenants", "missing.toml", "--tenant", "acme"), "missing.toml"),
    ],
)
def test_half_a_tenant_or_an_unknown_one_is_a_usage_error(syncell: Run, given: tuple[str, ...], said: str) -> None:
    done = syncell(*given, *COPY)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
