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


class IdempotencyConflict(BrokerError):
    """The idempotency key belongs to a job that was submitted with another body."""

    def __init__(self, key: str, job_id: int) -> None:
        super().__init__(f"idempotency key {key!r} was used for job {job_id} with another body; submit the same body, or use a new key")
        self.job_id = job_id


class UniqueKeyTaken(BrokerError):
    """A live job of the domain holds the unique key."""

    def __init__(self, key: str, job_id: int) -> None:
        super().__init__(f"job {job_id} holds the unique key {key!r} until it has settled; wait for it, abort it, or ask to be given it instead")
        self.job_id = job_id


class InvalidState(BrokerError):
    """The job's state does not allow what was asked."""


class Busy(BrokerError):
    """The broker has as much in hand as it can hold; nothing was stored."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
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
