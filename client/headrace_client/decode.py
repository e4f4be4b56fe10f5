"""Values that callers get, from the messages they came in."""

import base64
import json
from collections import Counter
from datetime import datetime
from typing import Any

from headrace_proto.encoding import ENCODED_ERROR
from headrace_proto.v1 import admin_pb2, doors_pb2, jobs_pb2, stats_pb2, types_pb2
from headrace_proto.wire import LEVEL_NAMES, LEVEL_NUMBERS, STATE_NAMES, UNKNOWN, WAIT_REASONS, name_of, to_datetime, to_seconds

from headrace_client import job_settings, limits
from headrace_client.codecs import Codecs
from headrace_client.errors import CodecError
from headrace_client.models import (
    AbortRequest,
    AgentInfo,
    AgentType,
    Alert,
    Attempt,
    Blocker,
    Door,
    Event,
    Explanation,
    Job,
    JobChange,
    JobError,
    JobResult,
    JobType,
    LogLine,
    Overview,
    State,
)


def job(message: types_pb2.Job) -> Job:
    """A job from its message."""
    return Job(
        message.job_id, message.domain, message.type, message.instance_id, state(message.state), WAIT_REASONS.get(message.wait_reason, UNKNOWN),
        message.run, message.attempt, message.losses, message.lease_epoch, message.priority, message.score, to_datetime(message.created_at),
        time_of(message, "available_at"), time_of(message, "started_at"), time_of(message, "settled_at"), time_of(message, "delete_at"),
        message.idempotency_key, dict(message.labels), message.trace_context,
        (message.progress.percent, message.progress.text) if message.HasField("progress") else None,
        error(message), message.agent,
        abort(message.abort) if message.HasField("abort") else None,
        message.payload_bytes, message.content_type, message.payload, message.result,
        message.unique_key, tuple(message.depends_on), message.parent_id, message.batch_id, message.hold, seconds_of(message, "delete_after"), message.payload_version,
        message.encoding, message.result_encoding, message.limit_key, message.fairness_key, dict(message.required_labels),
        message.data_withheld, message.secrets_masked,
    )  # fmt: skip


def abort(message: types_pb2.AbortRequest) -> AbortRequest:
    """A request and what became of it, from its message."""
    return AbortRequest(
        message.actor, message.reason, to_datetime(message.requested_at), to_seconds(message.grace), message.lease_epoch, message.force, message.requeue,
        time_of(message, "delivered_at"), message.agent, time_of(message, "ignored_at"), time_of(message, "ended_at"), message.ending,
    )  # fmt: skip


def error(message: Any) -> JobError | None:
    """The `error` field of a message; None when it is not set."""
    if not message.HasField("error"):
        return None
    stored = message.error
    return JobError(stored.code, stored.message, stored.fingerprint, stored.traceback)


def read_error(stored: JobError, codecs: Codecs) -> JobError:
    """An error as its agent meant it, when that had it encoded. Raises CodecError."""
    if not stored.traceback.startswith(ENCODED_ERROR):
        return stored
    try:
        data = base64.b64decode(stored.traceback.removeprefix(ENCODED_ERROR), validate=True)
    except ValueError as error:
        raise CodecError("the error cannot be read: it is not what an agent wrote") from error
    fields = json.loads(codecs.decode(data, "", "error"))
    return JobError(stored.code, str(fields["message"]), stored.fingerprint, str(fields["traceback"]))


def explanation(message: jobs_pb2.ExplainJobResponse) -> Explanation:
    """An explanation from its message."""
    return Explanation(
        state(message.state), WAIT_REASONS.get(message.wait_reason, UNKNOWN), message.text, message.ahead, message.agents, message.slots, message.slots_free,
        message.score, message.type_priority, message.instance_priority, message.job_priority, message.age_points,
        [Blocker(item.job_id, item.type, state(item.state), item.why) for item in message.blockers], message.blockers_total, message.limit_key,
        message.paused, message.paused_by, message.paused_reason, time_of(message, "paused_at"), time_of(message, "not_before"), time_of(message, "rate_limited_until"),
        time_of(message, "estimated_start"), message.estimate_basis, _breaker(message),
    )  # fmt: skip


def counts(messages: Any) -> dict[State, int]:
    """State counts. Those of several states that have no name here are one."""
    found: Counter[State] = Counter()
    for message in messages:
        found[state(message.state)] += message.count
    return dict(found)


def change(message: jobs_pb2.WatchJobsResponse) -> JobChange:
    """A change from its message."""
    return JobChange(message.job_id, message.type, state_of(message.state), message.seq, message.kind, message.gap)


def attempt(message: jobs_pb2.Attempt) -> Attempt:
    """An attempt from its message."""
    return Attempt(
        message.run, message.attempt, message.lease_epoch, message.agent, to_datetime(message.started_at), time_of(message, "ended_at"), message.ending,
        error(message), message.late_outcome, message.payload_version,
    )  # fmt: skip


def event(message: jobs_pb2.Event) -> Event:
    """An event from its message."""
    return Event(
        message.seq, message.kind, message.note, to_datetime(message.at), state_of(message.state), message.run, message.attempt, message.actor, message.reason,
        message.agent, time_of(message, "available_at"), error(message), message.detail,
    )  # fmt: skip


def log_line(message: jobs_pb2.LogLine) -> LogLine:
    """A log line from its message."""
    level = name_of(message.level or LEVEL_NUMBERS["info"], LEVEL_NAMES)
    return LogLine(to_datetime(message.at), level, message.text, message.run, message.attempt, message.lease_epoch, message.line_no)


def result(message: admin_pb2.JobResult) -> JobResult:
    """A job's result from its message."""
    return JobResult(message.job_id, message.ok, state_of(message.state), message.reason, message.message)


def job_type(message: types_pb2.JobType) -> JobType:
    """A job type from its message."""
    parts = (job_settings.read(message.effective), job_settings.read(message.declared), job_settings.read(message.overrides))
    return JobType(message.name, *parts, counts(message.counts), message.agents, message.running, _pause(message), _breaker(message))


def agent(message: admin_pb2.AgentInfo) -> AgentInfo:
    """An agent from its message."""
    return AgentInfo(
        message.name, message.incarnation_id, message.host, message.pid, message.build, message.sdk, dict(message.labels),
        [AgentType(item.type, item.slots, item.executor) for item in message.types], message.slots, message.slots_in_use, message.connected, message.draining,
        to_datetime(message.connected_at), to_seconds(message.silent_for), _pause(message),
    )  # fmt: skip


def alert(message: admin_pb2.Alert) -> Alert:
    """An alert from its message."""
    return Alert(message.alert_id, to_datetime(message.at), message.kind, message.job_id, message.type, message.instance_id, error(message))


def door(message: doors_pb2.Door) -> Door:
    """An open door from its message."""
    return Door(
        message.job_id, message.type, message.pid, time_of(message, "opened_at"), to_seconds(message.open_for), message.application, message.state, message.settling
    )


def overview(message: stats_pb2.GetOverviewResponse) -> Overview:
    """The overview from its message."""
    return Overview(
        message.version, message.broker_id, to_seconds(message.uptime), to_datetime(message.server_time), counts(message.counts), message.agents, message.slots,
        message.slots_in_use, message.postgres_version,
    )  # fmt: skip


def _pause(message: Any) -> limits.Pause | None:
    return limits.pause(message.pause) if message.HasField("pause") else None


def _breaker(message: Any) -> limits.Breaker | None:
    return limits.breaker(message.breaker) if message.HasField("breaker") else None


def state(number: int) -> State:
    """A state by its number on the wire."""
    return State(name_of(number, STATE_NAMES))


def state_of(number: int) -> State | None:
    """The same; None: it is not set."""
    return state(number) if number else None


def seconds_of(message: Any, name: str) -> float | None:
    """A field that holds a duration; None when it is not set."""
    return to_seconds(getattr(message, name)) if message.HasField(name) else None


def time_of(message: Any, name: str) -> datetime | None:
    """A field that holds a time; None when it is not set."""
    return to_datetime(getattr(message, name)) if message.HasField(name) else None
