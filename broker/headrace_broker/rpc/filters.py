"""Filters of jobs as they come over the wire, checked field by field."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto.v1 import jobs_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.rpc import convert


def job_filter(field: str, message: jobs_pb2.JobFilter) -> JobFilter:
    """The filter of a message; `field` is where it stands in its request."""
    return JobFilter(
        types=tuple(convert.type_names(f"{field}.types", message.types)),
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


def message(wanted: JobFilter) -> jobs_pb2.JobFilter:
    """The filter as it came over the wire."""
    states: Any = sorted(wanted.states)  # enum numbers
    found = jobs_pb2.JobFilter(
        types=wanted.types, states=states, instance_id=wanted.instance_id or "", agent=wanted.agent or "", error_fingerprint=wanted.fingerprint or "",
        labels=dict(wanted.labels), log_text=wanted.log_text or "",
    )  # fmt: skip
    periods: dict[str, Period] = {"created": wanted.created, "started": wanted.started, "settled": wanted.settled}
    for name, period in periods.items():
        for end, at_s in (("from", period.from_s), ("to", period.to_s)):
            if at_s is not None:
                bound: Timestamp = getattr(found, f"{name}_{end}")
                bound.CopyFrom(to_timestamp(at_s))
    return found


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
