"""Priorities of business cases: the values that the administrator's client gives."""

from dataclasses import dataclass
from datetime import datetime

from headrace_proto.v1 import instances_pb2
from headrace_proto.wire import to_datetime

from headrace_client.decode import time_of


@dataclass(frozen=True, slots=True)
class InstancePriority:
    """An instance that has a priority."""

    instance_id: str
    priority: int
    changed_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rescore:
    """How far waiting jobs have followed a changed priority. `kind`: type or instance; `state`: waiting, reading, moving or done; `total` is known once it is moving."""

    number: int
    kind: str
    name: str
    priority: int
    state: str
    done: int
    total: int
    started_at: datetime
    ended_at: datetime | None


def instance_priority(message: instances_pb2.InstancePriority) -> InstancePriority:
    """An instance's priority from its message."""
    return InstancePriority(message.instance_id, message.priority, to_datetime(message.changed_at), message.actor, message.reason)


def rescore(message: instances_pb2.Rescore) -> Rescore:
    """A change of a priority from its message."""
    return Rescore(
        message.number, message.kind, message.name, message.priority, message.state, message.done, message.total, to_datetime(message.started_at),
        time_of(message, "ended_at"),
    )  # fmt: skip
