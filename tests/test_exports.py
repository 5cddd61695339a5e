"""The public names are a promise: whoever adds or removes one says so here."""

from __future__ import annotations

import tomllib
from pathlib import Path

import syncell

PUBLIC = {
    "AccessDenied",
    "BrokenSyncer",
    "CallTimeout",
    "Cancellation",
    "Cancelled",
    "CellUnusable",
    "CopyReport",
    "DataError",
    "Environment",
    "EnvironmentBuildError",
    "Explanation",
    "Finding",
    "FoundSyncer",
    "Grant",
    "Inspection",
    "LimitExceeded",
    "Limits",
    "Listed",
    "Manifest",
    "ManifestError",
    "ManifestWarning",
    "OptionsError",
    "Policy",
    "PolicyExceeded",
    "Problem",
    "ProblemsError",
    "ProtocolError",
    "QuotaExceeded",
    "RemoteTraceback",
    "Runner",
    "SandboxUnavailable",
    "Spec",
    "SpecError",
    "SyncellError",
    "Syncer",
    "SyncerError",
    "Tenant",
    "TenantDefinition",
    "TenantsError",
    "WorkerCrashed",
    "__version__",
    "read_tenants",
}


def test_the_public_names_are_these_and_no_others() -> None:
    assert set(syncell.__all__) == PUBLIC
    assert list(syncell.__all__) == sorted(syncell.__all__)
    assert all(hasattr(syncell, name) for name in PUBLIC)


def test_every_error_of_the_tree_is_public() -> None:
    from syncell import errors

    raised = {name for name, it in vars(errors).items() if isinstance(it, type) and issubclass(it, Exception)}
    assert raised <= PUBLIC


def test_the_version_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert syncell.__version__ == project["version"]
