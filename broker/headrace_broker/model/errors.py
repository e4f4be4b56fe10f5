"""What can go wrong, as callers see it. Each class has one status and reason on the wire; `rpc/errors.py` holds that table."""


class BrokerError(Exception):
    """Base of everything a call may be refused with. The text says what was wanted, what was found and what to do."""


class InvalidField(BrokerError):
    """A value of a request is missing, malformed or out of bounds."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class TooLarge(InvalidField):
    """A payload, result or text is longer than the broker takes."""


class PayloadRefused(InvalidField):
    """A payload does not meet its type's JSON Schema; the field ends with the JSON pointer of the place."""


class BadPageToken(InvalidField):
    """A page token was not made by this call with these filters."""


class NotFound(BrokerError):
    """Base of the errors about things that are not there."""


class JobNotFound(NotFound):
    """No such job in this domain, or it was deleted."""

    def __init__(self, job_id: int, field: str | None = None) -> None:
        super().__init__(f"no job {job_id} in this domain; it may have been deleted")
        self.job_id = job_id
        self.field = field


class TypeNotFound(NotFound):
    """No such job type in this domain."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no job type {name!r} in this domain; a type is made by its first job, its first agent or `headrace types set`")


class AgentNotFound(NotFound):
    """No connected agent of that name or incarnation."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no agent {name!r} is connected; `headrace agents list` shows those that are")


class ScheduleNotFound(NotFound):
    """No such schedule in this domain."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no schedule {name!r} in this domain; `headrace schedules list` shows those that are")


class OperationNotFound(NotFound):
    """No such bulk operation in this domain, or it was forgotten."""

    def __init__(self, operation_id: int) -> None:
        super().__init__(f"no operation {operation_id} in this domain; `headrace operations list` shows those that are")


class AlertPartNotFound(NotFound):
    """No such channel, rule or silence in this domain; or the silence has ended."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no alert {kind} {name!r} in this domain; `headrace alerts {kind}s list` shows those that are")


class FilterNotFound(NotFound):
    """Neither the caller nor the domain has a saved filter of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no saved filter {name!r}, neither of yours nor shared with this domain; `headrace filters list` shows those that are")


class FilterChanged(BrokerError):
    """The saved filter is not the one that was to be replaced, or there is one where there was to be none."""

    def __init__(self, name: str, version: int, saved_by: str) -> None:
        super().__init__(f"the saved filter {name!r} is there in version {version}, saved by {saved_by}: look at it, then replace that version, or choose another name")


class TokenNotFound(NotFound):
    """No valid token of that name in this domain."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no token {name!r} is valid here; `headrace tokens list` shows those that are, and --all-domains those of all domains")


class TokenNameTaken(BrokerError):
    """A valid token of that name is there already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a token {name!r} is valid already; rotate it for a new secret, revoke it first, or choose another name")


class GrantNotFound(NotFound):
    """No such grant is in force in this domain."""

    def __init__(self, grant_id: int) -> None:
        super().__init__(f"no grant {grant_id} is in force here; `headrace access list` shows those that are")


class UserNotFound(NotFound):
    """No user of that name in this domain."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no user {name!r} here; `headrace users list` shows those that are, and --all-domains those of all domains")


class UserNameTaken(BrokerError):
    """Somebody of another domain has the name: names of users are theirs in all domains."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the name {name!r} is taken by a user of another domain, or of all; choose another one")


class TokenMissing(BrokerError):
    """The call carries no token, and this broker wants one."""

    def __init__(self) -> None:
        super().__init__(
            "this broker wants a token: send it as metadata `authorization: Bearer SECRET` (HEADRACE_TOKEN, --token or token=),"
            " or show a certificate that says who you are"
        )


class TokenInvalid(BrokerError):
    """The token is unknown, was revoked, or has expired."""


class CertificateInvalid(BrokerError):
    """The certificate of the connection was revoked, has expired, or names its holder wrongly."""


class TokenEnded(BrokerError):
    """The token, or the certificate, was revoked or expired while the call lasted: what it had asked for may have been done."""


class RoleDenied(BrokerError):
    """The token's role does not allow this."""


class RightDenied(BrokerError):
    """The call may not do itself what it would give, take or take over."""


class TypeDenied(BrokerError):
    """The caller may do this to other job types only."""

    def __init__(self, act: str, name: str, field: str | None = None) -> None:
        what = "all job types" if name == "*" else f"job type {name!r}"
        super().__init__(f"the right {act} is needed for {what}, and was not granted for it; `headrace access check` says what was")
        self.field = field


class DomainDenied(BrokerError):
    """The token is for another domain."""


class IdempotencyConflict(BrokerError):
    """The idempotency key belongs to a job that was submitted with another body."""

    def __init__(self, key: str, job_id: int) -> None:
        super().__init__(f"idempotency key {key!r} was used for job {job_id} with another body; submit the same body, or use a new key")
        self.job_id = job_id


class UniqueKeyTaken(BrokerError):
    """A live job of the domain holds the unique key. `differs`: what keeps it from being replaced."""

    def __init__(self, key: str, job_id: int, differs: str = "") -> None:
        kept = f" and cannot be replaced, since it has another {differs}" if differs else ""
        super().__init__(f"job {job_id} holds the unique key {key!r} until it has settled{kept}; wait for it, abort it, or ask to be given it instead")
        self.job_id = job_id


class InvalidState(BrokerError):
    """The job's state does not allow what was asked."""


class Busy(BrokerError):
    """The broker has as much in hand as it can hold; nothing was stored."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaExceeded(BrokerError):
    """The token, or the domain, has brought as much as it may for now; nothing was stored."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFull(BrokerError):
    """As many jobs wait as the depth limit of the type, or of the domain, allows; nothing of this was stored. `room`: so many would have been."""

    def __init__(self, what: str, limit: int, room: int, retry_after_s: float) -> None:
        super().__init__(f"{what} may have {limit} waiting jobs and has room for {room}; try again later, or raise its depth limit")
        self.room = room
        self.retry_after_s = retry_after_s


class Unavailable(BrokerError):
    """Base of the errors that pass by themselves."""

    retry_after_s = 0.5


class DatabaseUnavailable(Unavailable):
    """Postgres cannot be reached; nothing was stored."""


class ResultUnknown(Unavailable):
    """The connection to Postgres broke in the middle of a commit: the change may have been stored."""


class NotOwner(Unavailable):
    """This broker stands by while another one owns the queue; nothing was stored."""


class Draining(Unavailable):
    """The broker is shutting down; nothing was stored."""


class SessionError(BrokerError):
    """An agent broke the rules of its session."""
