"""What both sides of the wire must spell alike: metadata keys, error reasons, names of states, times and durations."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

DEFAULT_PORT = 7233
DEFAULT_DOMAIN = "default"
DOMAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
IDENTITY_NAME = re.compile(r"[A-Za-z0-9._@:/-]{1,100}", re.ASCII)
IDENTITY_SCHEME = "headrace://"
IDENTITY_URI = re.compile(r"headrace://(\*|[A-Za-z0-9._-]{1,100})/([a-z]+)/([A-Za-z0-9._@:/-]{1,100})", re.ASCII)
"""Who the holder of a certificate is, as the one such URI among its subject alternative names: domain (* for all), role, name."""

# Metadata of a call
TOKEN_KEY = "authorization"  # noqa: S105  # "Bearer SECRET" (RFC 6750, section 2.1)
DOMAIN_KEY = "headrace-domain"
ACTOR_KEY = "headrace-actor"
ON_BEHALF_OF_KEY = "headrace-on-behalf-of"  # whose wish a change is, when the caller acts for somebody
REQUEST_ID_KEY = "headrace-request-id"  # names one change in the audit; made by the broker unless given; comes back in trailing metadata
# Trailing metadata of a refused call; the same facts as in google.rpc.Status, for those who do not parse it
REASON_KEY = "headrace-reason"
FIELD_KEY = "headrace-field"
RETRY_AFTER_KEY = "headrace-retry-after-ms"
JOB_ID_KEY = "headrace-job-id"  # the job that stands in the way, or that is not there


class Reason(StrEnum):
    """Why a call was refused; stable, for programs."""

    INVALID_FIELD = "INVALID_FIELD"
    TOO_LARGE = "TOO_LARGE"
    PAYLOAD_SCHEMA = "PAYLOAD_SCHEMA"
    PAGE_TOKEN = "PAGE_TOKEN"  # noqa: S105  # a reason, not a password
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    TYPE_NOT_FOUND = "TYPE_NOT_FOUND"
    AGENT_NOT_FOUND = "AGENT_NOT_FOUND"
    SCHEDULE_NOT_FOUND = "SCHEDULE_NOT_FOUND"
    OPERATION_NOT_FOUND = "OPERATION_NOT_FOUND"
    ALERT_PART_NOT_FOUND = "ALERT_PART_NOT_FOUND"
    FILTER_NOT_FOUND = "FILTER_NOT_FOUND"
    FILTER_CHANGED = "FILTER_CHANGED"
    TOKEN_NOT_FOUND = "TOKEN_NOT_FOUND"  # noqa: S105
    TOKEN_NAME_TAKEN = "TOKEN_NAME_TAKEN"  # noqa: S105
    USER_NOT_FOUND = "USER_NOT_FOUND"
    GRANT_NOT_FOUND = "GRANT_NOT_FOUND"
    USER_NAME_TAKEN = "USER_NAME_TAKEN"
    TOKEN_MISSING = "TOKEN_MISSING"  # noqa: S105
    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105
    TOKEN_ENDED = "TOKEN_ENDED"  # noqa: S105
    CERTIFICATE_INVALID = "CERTIFICATE_INVALID"
    ROLE_DENIED = "ROLE_DENIED"
    RIGHT_DENIED = "RIGHT_DENIED"
    TYPE_DENIED = "TYPE_DENIED"
    DOMAIN_DENIED = "DOMAIN_DENIED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    UNIQUE_KEY_TAKEN = "UNIQUE_KEY_TAKEN"
    INVALID_STATE = "INVALID_STATE"
    SESSION = "SESSION"
    BUSY = "BUSY"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    QUEUE_FULL = "QUEUE_FULL"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    RESULT_UNKNOWN = "RESULT_UNKNOWN"
    NOT_OWNER = "NOT_OWNER"
    DRAINING = "DRAINING"
    INTERNAL = "INTERNAL"


NOTHING_STORED = frozenset({Reason.DATABASE_UNAVAILABLE, Reason.NOT_OWNER, Reason.DRAINING, Reason.BUSY, Reason.QUOTA_EXCEEDED})
"""Refusals that surely left nothing behind: the call may be made again, here or at another broker, without a key."""

STATUS_OF = {
    Reason.INVALID_FIELD: "INVALID_ARGUMENT",
    Reason.TOO_LARGE: "INVALID_ARGUMENT",
    Reason.PAYLOAD_SCHEMA: "INVALID_ARGUMENT",
    Reason.PAGE_TOKEN: "INVALID_ARGUMENT",
    Reason.JOB_NOT_FOUND: "NOT_FOUND",
    Reason.TYPE_NOT_FOUND: "NOT_FOUND",
    Reason.AGENT_NOT_FOUND: "NOT_FOUND",
    Reason.SCHEDULE_NOT_FOUND: "NOT_FOUND",
    Reason.OPERATION_NOT_FOUND: "NOT_FOUND",
    Reason.ALERT_PART_NOT_FOUND: "NOT_FOUND",
    Reason.FILTER_NOT_FOUND: "NOT_FOUND",
    Reason.FILTER_CHANGED: "ALREADY_EXISTS",
    Reason.TOKEN_NOT_FOUND: "NOT_FOUND",
    Reason.TOKEN_NAME_TAKEN: "ALREADY_EXISTS",
    Reason.USER_NOT_FOUND: "NOT_FOUND",
    Reason.GRANT_NOT_FOUND: "NOT_FOUND",
    Reason.USER_NAME_TAKEN: "ALREADY_EXISTS",
    Reason.TOKEN_MISSING: "UNAUTHENTICATED",
    Reason.TOKEN_INVALID: "UNAUTHENTICATED",
    Reason.TOKEN_ENDED: "UNAUTHENTICATED",
    Reason.CERTIFICATE_INVALID: "UNAUTHENTICATED",
    Reason.ROLE_DENIED: "PERMISSION_DENIED",
    Reason.RIGHT_DENIED: "PERMISSION_DENIED",
    Reason.TYPE_DENIED: "PERMISSION_DENIED",
    Reason.DOMAIN_DENIED: "PERMISSION_DENIED",
    Reason.IDEMPOTENCY_CONFLICT: "ALREADY_EXISTS",
    Reason.UNIQUE_KEY_TAKEN: "ALREADY_EXISTS",
    Reason.INVALID_STATE: "FAILED_PRECONDITION",
    Reason.SESSION: "FAILED_PRECONDITION",
    Reason.BUSY: "RESOURCE_EXHAUSTED",
    Reason.QUOTA_EXCEEDED: "RESOURCE_EXHAUSTED",
    Reason.QUEUE_FULL: "RESOURCE_EXHAUSTED",
    Reason.DATABASE_UNAVAILABLE: "UNAVAILABLE",
    Reason.RESULT_UNKNOWN: "UNAVAILABLE",
    Reason.NOT_OWNER: "UNAVAILABLE",
    Reason.DRAINING: "UNAVAILABLE",
    Reason.INTERNAL: "INTERNAL",
}
"""The gRPC status, by name, that goes with each reason."""

UNKNOWN = "unknown"
"""How a number of an enum is called that has no name in this release, since a newer one made it."""
ROLE_NAMES = {1: "viewer", 2: "submitter", 3: "agent", 4: "operator", 5: "admin", 6: "guest"}
ROLE_NUMBERS = {name: number for number, name in ROLE_NAMES.items()}
STATE_NAMES = {1: "waiting", 2: "processing", 3: "completed", 4: "error", 5: "aborted"}
STATE_NUMBERS = {name: number for number, name in STATE_NAMES.items()}
WAIT_REASONS = {
    0: None, 1: "ready", 2: "scheduled", 3: "retry", 4: "paused", 5: "no_agent", 6: "capped", 7: "no_matching_agent", 8: "rate_limited", 9: "dependency",
    10: "breaker",
}  # fmt: skip
DEPENDENCY_POLICIES = {1: "abort", 2: "error", 3: "wait"}
DEPENDENCY_POLICY_NUMBERS = {name: number for number, name in DEPENDENCY_POLICIES.items()}
LEVEL_NAMES = {1: "debug", 2: "info", 3: "warning", 4: "error"}
LEVEL_NUMBERS = {name: number for number, name in LEVEL_NAMES.items()}


def name_of(number: int, names: Mapping[int, str]) -> str:
    """What a number of an enum is called; UNKNOWN where this release has no name for it."""
    return names.get(number, UNKNOWN)


def to_duration(seconds: float) -> Duration:
    """Seconds as a protobuf Duration, to the microsecond. Raises ValueError for what is not finite."""
    if not math.isfinite(seconds):
        raise ValueError(f"a duration must be finite, found {seconds}")
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def to_seconds(duration: Duration) -> float:
    """A protobuf Duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)


def to_timestamp(at: datetime | float) -> Timestamp:
    """An aware time, or seconds since 1970, as a protobuf Timestamp to the microsecond."""
    timestamp = Timestamp()
    timestamp.FromMicroseconds((at - EPOCH) // MICROSECOND if isinstance(at, datetime) else round(at * 1e6))
    return timestamp


def to_datetime(timestamp: Timestamp) -> datetime:
    """A protobuf Timestamp as an aware time in UTC."""
    return EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)
