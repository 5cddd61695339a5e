"""syncell runs third-party data syncers, each in its own virtualenv and its own sandboxed worker process.

These are the public names: an application needs no others, and the command line uses no others.
"""

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
    Problem,
    ProblemsError,
    ProtocolError,
    RemoteTraceback,
    SandboxUnavailable,
    SpecError,
    SyncellError,
    SyncerError,
    WorkerCrashed,
)
from syncell.manifest import Manifest, ManifestWarning
from syncell.runner import Explanation, Inspection, Runner
from syncell.sandbox import Grant, Limits, Policy
from syncell.spec import Spec
from syncell.syncer import Syncer
from syncell.transfer import CopyReport

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
    "Problem",
    "ProblemsError",
    "ProtocolError",
    "RemoteTraceback",
    "Runner",
    "SandboxUnavailable",
    "Spec",
    "SpecError",
    "SyncellError",
    "Syncer",
    "SyncerError",
    "WorkerCrashed",
    "__version__",
]
