"""The one table between the broker's errors and what goes over the wire; its mirror is in the client's `errors.py`, and a test walks both."""

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from headrace_proto.wire import FIELD_KEY, JOB_ID_KEY, REASON_KEY, RETRY_AFTER_KEY, STATUS_OF, Reason, to_duration

from headrace_broker.model import errors

MAX_FIELD = 200
REASONS: dict[type[errors.BrokerError], Reason] = {
    errors.InvalidField: Reason.INVALID_FIELD,
    errors.TooLarge: Reason.TOO_LARGE,
    errors.PayloadRefused: Reason.PAYLOAD_SCHEMA,
    errors.BadPageToken: Reason.PAGE_TOKEN,
    errors.JobNotFound: Reason.JOB_NOT_FOUND,
    errors.TypeNotFound: Reason.TYPE_NOT_FOUND,
    errors.AgentNotFound: Reason.AGENT_NOT_FOUND,
    errors.ScheduleNotFound: Reason.SCHEDULE_NOT_FOUND,
    errors.OperationNotFound: Reason.OPERATION_NOT_FOUND,
    errors.AlertPartNotFound: Reason.ALERT_PART_NOT_FOUND,
    errors.FilterNotFound: Reason.FILTER_NOT_FOUND,
    errors.FilterChanged: Reason.FILTER_CHANGED,
    errors.TokenNotFound: Reason.TOKEN_NOT_FOUND,
    errors.TokenNameTaken: Reason.TOKEN_NAME_TAKEN,
    errors.UserNotFound: Reason.USER_NOT_FOUND,
    errors.GrantNotFound: Reason.GRANT_NOT_FOUND,
    errors.UserNameTaken: Reason.USER_NAME_TAKEN,
    errors.TokenMissing: Reason.TOKEN_MISSING,
    errors.TokenInvalid: Reason.TOKEN_INVALID,
    errors.CertificateInvalid: Reason.CERTIFICATE_INVALID,
    errors.TokenEnded: Reason.TOKEN_ENDED,
    errors.RoleDenied: Reason.ROLE_DENIED,
    errors.RightDenied: Reason.RIGHT_DENIED,
    errors.TypeDenied: Reason.TYPE_DENIED,
    errors.DomainDenied: Reason.DOMAIN_DENIED,
    errors.IdempotencyConflict: Reason.IDEMPOTENCY_CONFLICT,
    errors.UniqueKeyTaken: Reason.UNIQUE_KEY_TAKEN,
    errors.InvalidState: Reason.INVALID_STATE,
    errors.SessionError: Reason.SESSION,
    errors.Busy: Reason.BUSY,
    errors.QuotaExceeded: Reason.QUOTA_EXCEEDED,
    errors.QueueFull: Reason.QUEUE_FULL,
    errors.DatabaseUnavailable: Reason.DATABASE_UNAVAILABLE,
    errors.ResultUnknown: Reason.RESULT_UNKNOWN,
    errors.NotOwner: Reason.NOT_OWNER,
    errors.Draining: Reason.DRAINING,
}


def status_code(reason: Reason) -> grpc.StatusCode:
    """The gRPC status of a reason."""
    return grpc.StatusCode[STATUS_OF[reason]]


def reason_of(error: errors.BrokerError) -> Reason:
    """The reason of an error: that of its own class."""
    return REASONS[type(error)]


def trailing_metadata(error: errors.BrokerError) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata of a refused call: google.rpc.Status, and the same facts in plain keys."""
    reason = reason_of(error)
    field = getattr(error, "field", None)
    retry_after_s = getattr(error, "retry_after_s", None)
    holder = getattr(error, "job_id", None)
    details: list[ErrorInfo | BadRequest | RetryInfo] = [ErrorInfo(reason=reason, domain="headrace", metadata={} if holder is None else {"job_id": str(holder)})]
    metadata: list[tuple[str, str | bytes]] = [(REASON_KEY, str(reason))]
    if holder is not None:
        metadata.append((JOB_ID_KEY, str(holder)))
    if field is not None:
        details.append(BadRequest(field_violations=[BadRequest.FieldViolation(field=field, description=str(error))]))
        metadata.append((FIELD_KEY, _header(field)))
    if retry_after_s is not None:
        details.append(RetryInfo(retry_delay=to_duration(retry_after_s)))
        metadata.append((RETRY_AFTER_KEY, str(round(retry_after_s * 1000))))
    status = Status(code=status_code(reason).value[0], message=str(error))
    for detail in details:
        status.details.append(_packed(detail))
    metadata.append(("grpc-status-details-bin", status.SerializeToString()))
    return tuple(metadata)


def _header(text: str) -> str:
    """What of a text may stand in a header. A field's name may hold what a caller sent, such as a label; gRPC sends no other characters, nor the answer then."""
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in text[:MAX_FIELD])


def _packed(message: ErrorInfo | BadRequest | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
