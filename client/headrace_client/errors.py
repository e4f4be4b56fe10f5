"""What can go wrong, as callers see it, and the one place that turns a gRPC status into it."""

from typing import Any

import grpc
from headrace_proto.wire import FIELD_KEY, JOB_ID_KEY, NOTHING_STORED, REASON_KEY, RETRY_AFTER_KEY, Reason


class HeadraceError(Exception):
    """Base of all errors of this library. `reason` is the broker's stable reason, or empty."""

    def __init__(self, message: str, *, reason: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.details = details or {}


class InvalidRequest(HeadraceError):
    """A value of the request is missing, malformed or too large; `field` names it."""

    @property
    def field(self) -> str:
        """The field at fault; may be empty."""
        return str(self.details.get("field", ""))


class NotFound(HeadraceError):
    """No such job, type, agent, schedule or operation in this domain."""


class Unauthenticated(HeadraceError):
    """The broker wants a token or a certificate, and got none, or one that is not valid (any more)."""


class PermissionDenied(HeadraceError):
    """The token's role does not allow the call, or the token is for another domain."""


class Conflict(HeadraceError):
    """The idempotency key was used with another body; or a name is taken, or what was to be replaced has been changed meanwhile."""


class UniqueKeyTaken(Conflict):
    """A waiting or processing job has the unique key; `job_id` is that job."""

    @property
    def job_id(self) -> int:
        """The job that has the key."""
        return int(self.details.get("job_id", 0))


class InvalidState(HeadraceError):
    """The job's state does not allow what was asked."""


class Unavailable(HeadraceError):
    """No broker could serve the call in time. Nothing was stored, unless it is a ResultUnknown."""


class ResultUnknown(Unavailable):
    """The connection broke, or the time was over, after the call was sent: it may have been carried out. Repeat it with an idempotency key to be sure."""


class Busy(Unavailable):
    """The broker has as much in hand as it can hold; nothing was stored."""

    @property
    def retry_after_s(self) -> float:
        """When to try again."""
        return float(self.details.get("retry_after_s", 1.0))


class QuotaExceeded(Busy):
    """The token, or the domain, has brought as much as it may for now; nothing was stored."""


class QueueFull(HeadraceError):
    """As many jobs wait as the depth limit of the type, or of the domain, allows; nothing was stored."""

    @property
    def retry_after_s(self) -> float:
        """When to try again."""
        return float(self.details.get("retry_after_s", 1.0))


class CodecError(HeadraceError):
    """Bytes cannot be encoded, or cannot be read: the text says what is missing or wrong."""


class CodecMissing(CodecError):
    """They went through a codec, or were encrypted with a key, that is not here; another reader may have it."""


class ClaimError(HeadraceError):
    """What is kept outside the broker cannot be read: the text says what is missing or wrong."""


class ClaimUnavailable(ClaimError, Unavailable):
    """The store of claims is away, or does not have it (yet): try again. Where it was to be kept for a job, nothing was submitted."""


class WaitTimeout(HeadraceError):
    """The job did not settle within the time the caller gave."""


class ForkError(HeadraceError):
    """The client was made before this process was forked: gRPC does not survive that. Make a new client in the child."""


class ClientClosed(HeadraceError):
    """The client was closed, or is used in another event loop than the one it is bound to."""


class BrokerFault(HeadraceError):
    """The broker failed in a way it should not; its log has more under the id in the message."""


CLASSES: dict[Reason, type[HeadraceError]] = {
    Reason.INVALID_FIELD: InvalidRequest,
    Reason.TOO_LARGE: InvalidRequest,
    Reason.PAYLOAD_SCHEMA: InvalidRequest,
    Reason.PAGE_TOKEN: InvalidRequest,
    Reason.JOB_NOT_FOUND: NotFound,
    Reason.TYPE_NOT_FOUND: NotFound,
    Reason.AGENT_NOT_FOUND: NotFound,
    Reason.SCHEDULE_NOT_FOUND: NotFound,
    Reason.OPERATION_NOT_FOUND: NotFound,
    Reason.ALERT_PART_NOT_FOUND: NotFound,
    Reason.FILTER_NOT_FOUND: NotFound,
    Reason.FILTER_CHANGED: Conflict,
    Reason.TOKEN_NOT_FOUND: NotFound,
    Reason.TOKEN_NAME_TAKEN: Conflict,
    Reason.USER_NOT_FOUND: NotFound,
    Reason.GRANT_NOT_FOUND: NotFound,
    Reason.USER_NAME_TAKEN: Conflict,
    Reason.TOKEN_MISSING: Unauthenticated,
    Reason.TOKEN_INVALID: Unauthenticated,
    Reason.TOKEN_ENDED: Unauthenticated,
    Reason.CERTIFICATE_INVALID: Unauthenticated,
    Reason.ROLE_DENIED: PermissionDenied,
    Reason.RIGHT_DENIED: PermissionDenied,
    Reason.TYPE_DENIED: PermissionDenied,
    Reason.DOMAIN_DENIED: PermissionDenied,
    Reason.IDEMPOTENCY_CONFLICT: Conflict,
    Reason.UNIQUE_KEY_TAKEN: UniqueKeyTaken,
    Reason.INVALID_STATE: InvalidState,
    Reason.SESSION: InvalidState,
    Reason.BUSY: Busy,
    Reason.QUOTA_EXCEEDED: QuotaExceeded,
    Reason.QUEUE_FULL: QueueFull,
    Reason.DATABASE_UNAVAILABLE: Unavailable,
    Reason.RESULT_UNKNOWN: ResultUnknown,
    Reason.NOT_OWNER: Unavailable,
    Reason.DRAINING: Unavailable,
    Reason.INTERNAL: BrokerFault,
}
"""The mirror of the broker's table; a test walks both."""

_BY_STATUS: dict[str, type[HeadraceError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "ALREADY_EXISTS": Conflict,
    "FAILED_PRECONDITION": InvalidState,
    "UNAVAILABLE": ResultUnknown,
    "DEADLINE_EXCEEDED": ResultUnknown,
    "CANCELLED": ResultUnknown,
    "INTERNAL": ResultUnknown,  # of gRPC itself, when a connection breaks at a bad moment; a broker gives its reason with it
    "UNKNOWN": ResultUnknown,
}


def from_rpc(error: grpc.aio.AioRpcError) -> HeadraceError:
    """The library's error for a failed call."""
    trailing = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    reason = trailing.get(REASON_KEY, "")
    details: dict[str, Any] = {}
    if FIELD_KEY in trailing:
        details["field"] = trailing[FIELD_KEY]
    if RETRY_AFTER_KEY in trailing:
        details["retry_after_s"] = _number(trailing[RETRY_AFTER_KEY]) / 1000
    if JOB_ID_KEY in trailing:
        details["job_id"] = _number(trailing[JOB_ID_KEY])
    return make(reason, error.code().name, error.details() or error.code().name, details)


def _number(text: str) -> int:
    """What a broker, or a proxy before it, put into metadata; what is no number there is 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def make(reason: str, status: str, message: str, details: dict[str, Any] | None = None) -> HeadraceError:
    """The library's error for a reason, or without one for a gRPC status."""
    if not reason and status == "RESOURCE_EXHAUSTED":  # gRPC's own: more calls than its server takes up, or a message that is larger than a broker takes
        reason = Reason.BUSY if "pending requests" in message else Reason.TOO_LARGE
    class_ = CLASSES[Reason(reason)] if reason in Reason.__members__ else _BY_STATUS.get(status, BrokerFault)
    return class_(message, reason=reason, details=details)


def left_nothing(error: HeadraceError) -> bool:
    """Whether a call that failed so has surely changed nothing, and may be made again anywhere."""
    return error.reason in NOTHING_STORED


def connect_problem(error: grpc.aio.AioRpcError) -> str:
    """What to look at when there was no connection because of TLS; empty: it was something else."""
    details = error.details() or ""
    if _unknown_host(details.lower()):
        return "; there is no host of that name"
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details:
        return "; its certificate does not come from the CA that was named, has expired, or is for another host name"
    if "WRONG_VERSION_NUMBER" in details:
        return "; it does not speak TLS: leave out the CA"
    return "; the TLS handshake failed" if "handshake" in details.lower() else ""


def never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Whether there was no connection to send anything on: gRPC says so in words only."""
    said = (error.details() or "").lower()
    return error.code() is grpc.StatusCode.UNAVAILABLE and ("failed to connect" in said or _unknown_host(said))


def _unknown_host(said: str) -> bool:
    return "errors resolving" in said or "dns resolution failed" in said
