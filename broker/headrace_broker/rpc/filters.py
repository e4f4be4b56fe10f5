"""Filters of jobs as they come over the wire, checked field by field."""

from headrace_proto.v1 import jobs_pb2

from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.rpc import convert


def job_filter(field: str, message: jobs_pb2.JobFilter) -> JobFilter:
    """The filter of a message; `field` is where it stands in its request."""
    return JobFilter(
        types=tuple(convert.type_name(f"{field}.types[{i}]", name) for i, name in enumerate(message.types)),
        states=frozenset(convert.states(f"{field}.states", message.states)),
        instance_id=convert.text(f"{field}.instance_id", message.instance_id) or None,
        created=_period(field, "created", message),
        started=_period(field, "started", message),
        settled=_period(field, "settled", message),
        agent=convert.text(f"{field}.agent", message.agent) or None,
        fingerprint=convert.text(f"{field}.error_fingerprint", message.error_fingerprint, 64) or None,
        labels=tuple(sorted(convert.labels(f"{field}.labels", message.labels).items())),
        log_text=convert.text(f"{field}.log_text", message.log_text) or None,
    )


def order(value: int) -> Order:
    """The order of a list."""
    if value not in range(4):
        raise InvalidField("order", f"an order is 1 to 3, found {value}")
    return Order(value or 1)


def digest(message: jobs_pb2.JobFilter, *others: object) -> str:
    """What a page token belongs to."""
    return "/".join((message.SerializeToString(deterministic=True).hex(), *map(str, others)))


def _period(field: str, name: str, message: jobs_pb2.JobFilter) -> Period:
    def bound(end: str) -> float | None:
        key = f"{name}_{end}"
        return convert.unix_s(f"{field}.{key}", getattr(message, key)) if message.HasField(key) else None

    return Period(bound("from"), bound("to"))
