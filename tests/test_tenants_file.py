"""The tenants file: what an operator may write, and every mistake told at once and where it is."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from syncell import Limits, Policy, TenantDefinition, TenantsError, read_tenants, tenants_file
from syncell.secrets import resolve_references

SECRET = "hunter2"

WHOLE = """
[tenants.acme]
max_cells = 4
memory = "2GiB"
max_queued = 100
allow_env = ["REGION"]
allow_files = ["shared", "/srv/acme"]

[tenants.acme.policy]
read = ["in", "~/in", "/srv/acme/"]
write = ["out/"]
connect = ["API.acme.com:443", "*.s3.example:443"]
env = {TZ = "UTC"}
subprocess = true
source_builds = true
indexes = ["https://index.acme.com/simple", "wheels"]
sandbox = "best-effort"

[tenants.acme.policy.limits]
memory = "512MiB"
wall_seconds = 600
processes = "unlimited"
rows = 1000

[tenants.acme.secrets]
TOKEN = "${env:ACME_TOKEN}"
KEY = "${file:keys/acme}"
API = "${secret:acme-api}"

[tenants.empty-1]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tenants.toml"


def problems_of(file: Path, content: str) -> list[str]:
    file.write_text(content, "utf-8")
    with pytest.raises(TenantsError) as caught:
        read_tenants(file)
    assert SECRET not in str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_a_file_says_all_that_a_tenant_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(WHOLE)
    folder = file.parent
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir("/")
    found = read_tenants(file)
    assert found == {
        "acme": TenantDefinition(
            id="acme",
            policy=Policy(
                read=[folder / "in", "/home/me/in", "/srv/acme/"],
                write=[f"{folder}/out/"],
                connect=["api.acme.com:443", "*.s3.example:443"],
                env={"TZ": "UTC"},
                subprocess=True,
                source_builds=True,
                indexes=["https://index.acme.com/simple", f"{folder}/wheels"],
                sandbox="best-effort",
                limits=Limits(memory="512MiB", wall_seconds=600, processes=None, rows=1000),
            ),
            max_cells=4,
            memory=2 * 1024**3,
            max_queued=100,
            secrets={"TOKEN": "${env:ACME_TOKEN}", "KEY": f"${{file:{folder}/keys/acme}}", "API": "${secret:acme-api}"},
            allow_env=("REGION",),
            allow_files=(f"{folder}/shared", "/srv/acme"),
        ),
        "empty-1": TenantDefinition(id="empty-1"),
    }
    assert read_tenants(os.path.relpath(file)) == found


def test_what_a_file_leaves_out_is_as_policies_and_limits_have_it(file: Path) -> None:
    file.write_text("[tenants.acme.policy]\nlimits = {rows = 1}")
    assert read_tenants(file)["acme"].policy == Policy(limits=Limits(rows=1))


def test_everything_that_policies_limits_and_tenants_have_can_be_written() -> None:
    pairs = ((tenants_file._Limits, Limits), (tenants_file._Policy, Policy), (tenants_file._Tenant, TenantDefinition))
    for table, data in pairs:
        assert set(table.model_fields) == {field.name for field in dataclasses.fields(data)} - {"id"}


def test_secrets_of_a_file_are_resolved_for_its_tenant_alone(file: Path) -> None:
    file.write_text(WHOLE)
    (file.parent / "keys").mkdir()
    (file.parent / "keys/acme").write_text(f"{SECRET}\n")
    scope = read_tenants(file)["acme"].scope
    options = {"a": "${secret:KEY}", "b": "${secret:TOKEN}", "c": "${env:REGION}"}
    environ = {"ACME_TOKEN": "t", "REGION": "eu"}
    assert resolve_references(options, environ, syncer="csv", scope=scope)[0] == {"a": SECRET, "b": "t", "c": "eu"}
    assert SECRET not in repr(read_tenants(file))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "tenants: no tenants are defined; a tenant begins with the line [tenants.NAME]"),
        ("tenants = 1", "tenants: expected a table"),
        ("[tenants]\nacme = 1", "tenants.acme: expected a table"),
        ("[tenants.Acme]", "tenants.Acme: not a tenant's id: 'Acme'; expected 1 to 63 of a-z"),
        ("[tenants.'../x']", "tenants.../x: not a tenant's id"),
        (f"[tenants.{'a' * 64}]", f"tenants.{'a' * 64}: not a tenant's id"),
        ("[tenants.a]\nmax_cell = 1", "tenants.a.max_cell: unknown; did you mean max_cells?"),
        ("[tenants.a]\nsecrets.A = '${env:A}'\nx = 1", "tenants.a.x: unknown"),
        ("[tenants.a.policy]\nreads = []", "tenants.a.policy.reads: unknown; did you mean read?"),
        (
            "[tenants.a.policy.limits]\nrow = 1",
            "tenants.a.policy.limits.row: unknown; did you mean rows?",
        ),
        ("[tenants.a]\nmax_cells = 0", "tenants.a.max_cells: it must be more than zero"),
        ("[tenants.a]\nmax_cells = '4'", "tenants.a.max_cells: expected a whole number"),
        ("[tenants.a]\nmax_cells = true", "tenants.a.max_cells: expected a whole number"),
        ("[tenants.a]\nmemory = '1 parsec'", "tenants.a.memory: not a size: '1 parsec'"),
        ("[tenants.a]\nmemory = [1]", "tenants.a.memory: expected a size: bytes, or text such as"),
        ("[tenants.a.policy]\nread = 'x'", "tenants.a.policy.read: expected a list"),
        ("[tenants.a.policy]\nread = ['x', 1]", "tenants.a.policy.read[1]: expected text"),
        ("[tenants.a.policy]\nread = ['']", "tenants.a.policy.read[0]: expected a path"),
        ("[tenants.a.policy]\nconnect = ['x']", "tenants.a.policy.connect[0]: not a place to connect to"),
        ("[tenants.a.policy]\nsubprocess = 1", "tenants.a.policy.subprocess: expected true or false"),
        (
            "[tenants.a.policy]\nsandbox = 'no'",
            "tenants.a.policy.sandbox: expected 'required', 'best-effor",
        ),
        (
            "[tenants.a.policy]\nenv = {A = '${env:A}'}",
            "tenants.a.policy.env.A: a reference is not looked up",
        ),
        (
            "[tenants.a.policy.limits]\nwall_seconds = nan",
            "tenants.a.policy.limits.wall_seconds: it must be",
        ),
        (
            f"[tenants.a.secrets]\nA = '{SECRET}'",
            "tenants.a.secrets.A: expected one reference, ${env:NAME}",
        ),
        (f"[tenants.a.secrets]\nA = '{SECRET}${{env:A}}'", "tenants.a.secrets.A: expected one reference"),
        ("[tenants.a.secrets]\nA = '${env:}'", "tenants.a.secrets.A: expected one reference"),
        ("[tenants.a.secrets]\nA = '${vault:A}'", "tenants.a.secrets.A: expected one reference"),
        (f"[tenants.a.secrets]\nA = ['{SECRET}']", "tenants.a.secrets.A: expected text"),
        ("[tenants.a.secrets]\n'a b' = '${env:A}'", "tenants.a.secrets.a b: expected a name of letters"),
        (f"[tenants.a]\nsecrets = '{SECRET}'", "tenants.a.secrets: expected a table"),
        ("[tenants.a]\nallow_env = ['A=1']", "tenants.a.allow_env[0]: expected the name of a variable"),
        ("[tenants.a", "is not TOML: "),
        ("a = " + "[" * 5000, "is nested too deeply"),
    ],
)
def test_a_mistake_is_told_by_its_place_and_what_was_expected(file: Path, content: str, expected: str) -> None:
    (problem,) = problems_of(file, content)
    assert problem.startswith(f"tenants.toml: {expected}")


def test_all_mistakes_of_a_file_are_told_at_once(file: Path) -> None:
    content = f"""
    [tenant.x]
    [tenants.A]
    max_cells = 0
    [tenants.b.policy]
    read = [1]
    limits = {{row = 1, memory = "x"}}
    [tenants.b.secrets]
    A = "{SECRET}"
    """
    assert len(problems_of(file, content)) == 7


def test_a_file_that_is_not_there_or_no_text_is_an_error(file: Path) -> None:
    with pytest.raises(TenantsError, match=r"tenants.toml: cannot be read: No such file"):
        read_tenants(file)
    file.write_bytes(b"\xff")
    with pytest.raises(TenantsError, match="is not UTF-8 text"):
        read_tenants(file)


def test_a_folder_whose_name_cannot_stand_in_a_reference_is_refused(tmp_path: Path) -> None:
    (tmp_path / "{x}").mkdir()
    (problem,) = problems_of(tmp_path / "{x}/tenants.toml", "[tenants.a.secrets]\nA = '${file:key}'")
    assert "has a brace in its name" in problem
