"""The client of headrace: submit jobs, wait for them, administer them. Needs grpcio and protobuf only.

async with Client("broker:7233") as client:
    submitted = await client.submit("mail.send", {"to": "ada@example.org"}, key="welcome-ada")
    job = await client.wait(submitted.job_id)
"""

import importlib
from typing import TYPE_CHECKING, Any

from headrace_client.claims import ClaimCheck, ClaimStore
from headrace_client.client import Client
from headrace_client.codecs import AesGcm, Zstd
from headrace_client.credentials import TokenFile
from headrace_client.errors import (
    BrokerFault,
    Busy,
    ClaimError,
    ClaimUnavailable,
    ClientClosed,
    CodecError,
    CodecMissing,
    Conflict,
    ForkError,
    HeadraceError,
    InvalidRequest,
    InvalidState,
    NotFound,
    PermissionDenied,
    QueueFull,
    ResultUnknown,
    Unauthenticated,
    Unavailable,
    UniqueKeyTaken,
    WaitTimeout,
)
from headrace_client.graph import Batch, BatchStatus, Dependency, Edge, JobGraph
from headrace_client.limits import RateLimit
from headrace_client.models import Job, JobFilter, JobSpec, Order, State, Submitted
from headrace_client.sync import SyncBatch, SyncClient

if TYPE_CHECKING:
    from headrace_client.admin import AdminClient
    from headrace_client.alerts import AlertChannel, AlertGroup, AlertRule, AlertSilence, AppriseChannel, EmailChannel, UnknownChannel, WebhookChannel
    from headrace_client.claim_stores import DirectoryStore, FsspecStore, open_store
    from headrace_client.filters import SavedFilter
    from headrace_client.operations import Action, Operation, OperationState
    from headrace_client.schedules import Schedule, ScheduleSpec
    from headrace_client.sync_admin import SyncAdminClient

__version__ = "0.1.0"
__all__ = [
    "Action",
    "AdminClient",
    "AesGcm",
    "AlertChannel",
    "AlertGroup",
    "AlertRule",
    "AlertSilence",
    "AppriseChannel",
    "Batch",
    "BatchStatus",
    "BrokerFault",
    "Busy",
    "ClaimCheck",
    "ClaimError",
    "ClaimStore",
    "ClaimUnavailable",
    "Client",
    "ClientClosed",
    "CodecError",
    "CodecMissing",
    "Conflict",
    "Dependency",
    "DirectoryStore",
    "Edge",
    "EmailChannel",
    "ForkError",
    "FsspecStore",
    "HeadraceError",
    "InvalidRequest",
    "InvalidState",
    "Job",
    "JobFilter",
    "JobGraph",
    "JobSpec",
    "NotFound",
    "Operation",
    "OperationState",
    "Order",
    "PermissionDenied",
    "QueueFull",
    "RateLimit",
    "ResultUnknown",
    "SavedFilter",
    "Schedule",
    "ScheduleSpec",
    "State",
    "Submitted",
    "SyncAdminClient",
    "SyncBatch",
    "SyncClient",
    "TokenFile",
    "Unauthenticated",
    "Unavailable",
    "UniqueKeyTaken",
    "UnknownChannel",
    "WaitTimeout",
    "WebhookChannel",
    "Zstd",
    "open_store",
]

_LATER = {
    **dict.fromkeys(("AdminClient",), "admin"),
    **dict.fromkeys(("AlertChannel", "AlertGroup", "AlertRule", "AlertSilence", "AppriseChannel", "EmailChannel", "UnknownChannel", "WebhookChannel"), "alerts"),
    **dict.fromkeys(("SavedFilter",), "filters"),
    **dict.fromkeys(("DirectoryStore", "FsspecStore", "open_store"), "claim_stores"),
    **dict.fromkeys(("Action", "Operation", "OperationState"), "operations"),
    **dict.fromkeys(("Schedule", "ScheduleSpec"), "schedules"),
    **dict.fromkeys(("SyncAdminClient",), "sync_admin"),
}
"""What administrators use, and few others: imported when it is first asked for (PEP 562), a fifth of the time that programs need to start which submit, or run jobs."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
