"""What callers get of the lifecycle: the runs of a job, and what other settings would delete."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace_proto.v1 import lifecycle_pb2
from headrace_proto.wire import to_datetime

from headrace_client import decode
from headrace_client.models import Job, JobError, State, read_json


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job. `ending`: the event that it ended or stands with; `payload_version`: that of its newest payload, 0 is that of the submission.

    `payload` and `result` only when they were asked for; `data_withheld`: they are not for this caller to see.
    """

    run: int
    began_at: datetime
    actor: str
    reason: str
    state: State | None
    ending: str
    ended_at: datetime | None
    attempts: int
    losses: int
    started_at: datetime | None
    agent: str
    error: JobError | None
    payload_version: int
    payload_bytes: int
    payload: bytes
    result_bytes: int
    result: bytes
    data_withheld: bool = False
    secrets_masked: bool = False

    def json_result(self) -> Any:
        """The result decoded as JSON; None when there is none. Raises as `Job.json_result`."""
        return read_json(self.result)


@dataclass(frozen=True, slots=True)
class PayloadVersion:
    """A version of a job's payload: 0 is that of the submission, the others are the events that brought them. `payload` only where one was asked for."""

    version: int
    at: datetime
    actor: str
    content_type: str
    payload_bytes: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class DueJobs:
    """How many jobs are gone by a time."""

    by: datetime
    jobs: int


@dataclass(frozen=True, slots=True)
class RetentionOfState:
    """Settled jobs of one state, and when they are deleted: `due` with the dates that they have, `due_then` if the settings were changed and applied. Cumulative.

    `keep_s` None: for ever. `undated`: jobs without a date, of which `due_then` knows nothing.
    """

    state: State
    keep_s: float | None
    keep_then_s: float | None
    jobs: int
    undated: int
    due: list[DueJobs]
    due_then: list[DueJobs]
    gone_at_once: int


@dataclass(frozen=True, slots=True)
class RetentionPreview:
    """What other settings would delete, exact as of `as_of`; `sample`: some of the oldest jobs that would be gone at once."""

    as_of: datetime
    states: list[RetentionOfState]
    sample: list[Job]


def run_of(message: lifecycle_pb2.Run) -> Run:
    """A run from its message."""
    return Run(
        message.run, to_datetime(message.began_at), message.actor, message.reason, decode.state_of(message.state), message.ending, decode.time_of(message, "ended_at"),
        message.attempts,
        message.losses, decode.time_of(message, "started_at"), message.agent, decode.error(message), message.payload_version, message.payload_bytes, message.payload,
        message.result_bytes, message.result, message.data_withheld, message.secrets_masked,
    )  # fmt: skip


def payload_version(message: lifecycle_pb2.PayloadVersion, payload: bytes = b"") -> PayloadVersion:
    """A version of a payload from its message."""
    return PayloadVersion(message.version, to_datetime(message.at), message.actor, message.content_type, message.payload_bytes, payload)


def retention_preview(message: lifecycle_pb2.PreviewRetentionResponse) -> RetentionPreview:
    """A preview from its message."""
    states = [
        RetentionOfState(
            decode.state(item.state), decode.seconds_of(item, "keep"), decode.seconds_of(item, "keep_then"), item.jobs, item.undated,
            [DueJobs(to_datetime(point.by), point.jobs) for point in item.due], [DueJobs(to_datetime(point.by), point.jobs) for point in item.due_then],
            item.gone_at_once,
        )
        for item in message.states
    ]  # fmt: skip
    return RetentionPreview(to_datetime(message.as_of), states, [decode.job(item) for item in message.sample])
