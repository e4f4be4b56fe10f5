"""The client of headrace: submit jobs, wait for them, administer them. Needs grpcio and protobuf only.

async with Client("broker:7233") as client:
    submitted = await client.submit("mail.send", {"to": "ada@example.org"}, key="welcome-ada")
    job = await client.wait(submitted.job_id)
"""

from headrace_client.admin import AdminClient
from headrace_client.alerts import AlertChannel, AlertGroup, AlertRule, AlertSilence, EmailChannel, WebhookChannel
from headrace_client.client import Client
from headrace_client.codecs import AesGcm, Zstd
from headrace_client.credentials import TokenFile
from headrace_client.errors import (
    BrokerFault,
    Busy,
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
from headrace_client.operations import Action, Operation, OperationState
from headrace_client.schedules import Schedule, ScheduleSpec
from headrace_client.sync import SyncBatch, SyncClient
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
    "Batch",
    "BatchStatus",
    "BrokerFault",
    "Busy",
    "Client",
    "ClientClosed",
    "CodecError",
    "CodecMissing",
    "Conflict",
    "Dependency",
    "Edge",
    "EmailChannel",
    "ForkError",
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
    "WaitTimeout",
    "WebhookChannel",
    "Zstd",
]
