"""syncell runs third-party data syncers, each in its own virtualenv and its own sandboxed worker process.

These are the public names: an application needs no others, and the command line uses no others.
"""

from typing import TYPE_CHECKING, Any

from syncell.cancellation import Cancellation
from syncell.catalog import BrokenSyncer, FoundSyncer
from syncell.doctor import Finding
from syncell.environments import Environment, Listed
from syncell.errors import (
    AccessDenied,
    CallTimeout,
    Cancelled,
    CellUnusable,
    DataError,
    EnvironmentBuildError,
    LimitExceeded,
    ManifestError,
    OptionsError,
    PolicyExceeded,
    Problem,
    ProblemsError,
    ProtocolError,
    QuotaExceeded,
    RemoteTraceback,
    SandboxUnavailable,
    SpecError,
    SyncellError,
    SyncerError,
    TenantsError,
    WorkerCrashed,
)
from syncell.manifest import Manifest, ManifestWarning
from syncell.runner import Explanation, Inspection, Runner, Tenant
from syncell.sandbox import Grant, Limits, Policy
from syncell.spec import Spec
from syncell.syncer import Syncer
from syncell.tenants import TenantDefinition
from syncell.transfer import CopyReport

if TYPE_CHECKING:
    from syncell.tenants_file import read_tenants

__version__ = "0.1.0"

__all__ = [
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
]


def __getattr__(name: str) -> Any:
    """What few hosts need is imported when it is first asked for."""
    if name == "read_tenants":
        from syncell.tenants_file import read_tenants

        return read_tenants
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
