"""Bulk operations: one deed to all jobs that match a filter. The calls of AdminClient about them, and what they give."""

import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from headrace_proto.v1 import jobs_pb2, operations_pb2
from headrace_proto.wire import name_of, to_datetime

from headrace_client import decode
from headrace_client.base import Base
from headrace_client.codecs import encoded_aside
from headrace_client.encode import build, duration, filter_message, new_payload
from headrace_client.errors import InvalidRequest
from headrace_client.models import Job, JobFilter, State

WAIT_S = 20.0
"""Of one call that waits; the next one follows."""


class Action(StrEnum):
    """What is done to each job. UNKNOWN cannot be asked for: a newer broker does something that this release has no name for."""

    REQUEUE = "requeue"
    ABORT = "abort"
    PURGE = "purge"
    PRIORITY = "priority"
    HOLD = "hold"
    RELEASE = "release"
    UNKNOWN = "unknown"


class OperationState(StrEnum):
    """Whether it goes on. UNKNOWN: a newer broker has a state that this release has no name for."""

    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"
    UNKNOWN = "unknown"


ACTIONS, STATES = tuple(Action)[:-1], tuple(OperationState)[:-1]
"""Those that have a number on the wire, in the order of these, from 1 on."""
_ACTIONS, _STATES = dict(enumerate(ACTIONS, 1)), dict(enumerate(STATES, 1))


@dataclass(frozen=True, slots=True)
class Preview:
    """What an operation would concern, as of `as_of`: jobs that match, and those of them in a state that takes the action. `sample`: some that match, newest first.

    `complete`: the numbers are exact; else there are at least so many, and all created after `searched_until` were counted.
    """

    matched: int
    acted_on: int
    types: dict[str, dict[State, int]]
    as_of: datetime
    complete: bool
    searched_until: datetime
    sample: list[Job]


@dataclass(frozen=True, slots=True)
class Operation:
    """A bulk operation as it stands.

    `expected`: how many jobs matched when it started, exact if `expected_complete`, else at least so many. `matched` of them were found so far: `done`, `skipped` (their
    state or a rule forbids it, or they were so already), `failed` (possible later), and a few that are about to be decided. All jobs created before `searched_until` have
    been looked at; none with an id above `frozen_id` is touched. `rate`: jobs a second, at most; 0: no limit. `where`: its filter. `payload_bytes`: size of the input
    that it gives to new runs; 0: they have their own.
    """

    operation_id: int
    action: Action
    state: OperationState
    matched: int
    done: int
    skipped: int
    failed: int
    expected: int
    expected_complete: bool
    rate: float
    reason: str
    actor: str
    on_behalf_of: str
    request_id: str
    created_at: datetime
    finished_at: datetime | None
    stopped_at: datetime | None
    stopped_by: str
    stopped_reason: str
    searched_until: datetime | None
    frozen_id: int
    where: JobFilter
    all_jobs: bool
    include_completed: bool
    grace_s: float | None
    force: bool
    priority: int | None
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class SkippedJob:
    """A job that an operation did not change. `failed`: it may be possible later. `code`: INVALID_STATE, STATE_CHANGED (it matched, and then moved), UNCHANGED, ..."""

    job_id: int
    failed: bool
    code: str
    reason: str


class OperationCalls(Base):
    """The part of AdminClient that is about bulk operations."""

    async def preview_operation(
        self, action: Action | str, where: JobFilter, *, all_jobs: bool = False, include_completed: bool = False, sample: int = 10
    ) -> Preview:  # fmt: skip
        """Counts and shows what an operation would concern, and changes nothing. An empty filter is refused without `all_jobs`.

        Counts of anything but types and states have to look at jobs: this asks on until all were looked at.
        """
        spec = _spec(action, where, all_jobs, include_completed, priority=0 if action == Action.PRIORITY else None)
        found: Preview | None = None
        token = ""
        while True:
            request = build(operations_pb2.PreviewOperationRequest, spec=spec, sample=1 if found is not None else sample, page_token=token)
            answer = await self._call(lambda stubs: stubs.operations.PreviewOperation, request)
            found = _preview(answer, found)
            token = answer.next_page_token
            if not token:
                return found

    async def start_operation(
        self, action: Action | str, where: JobFilter, *, reason: str = "", all_jobs: bool = False, rate: float = 0.0, include_completed: bool = False,
        grace_s: float | None = None, force: bool = False, priority: int | None = None, data: Any = None, payload: bytes | None = None, content_type: str = "",
        request_id: str = "",
    ) -> Operation:  # fmt: skip
        """Starts an operation on the jobs that are there now and match; it is durable when this answers, and goes on by itself. Jobs submitted later are never touched.

        Args:
            where: which jobs; an empty filter is refused without `all_jobs`.
            rate: jobs a second, at most; 0: no limit.
            include_completed: of requeue. grace_s, force: of abort. priority: of priority, which needs it.
            data, payload: of requeue: input of the new runs, as in `submit`, at most 64 KiB; without them each has its own again. With codecs `where` names one type.
            request_id: calls with the same one start one operation; each call has its own by default.
        """
        payload, content_type = await self._kept(await self._encoded(where, new_payload(data, payload)), content_type)
        request = build(
            operations_pb2.StartOperationRequest, reason=reason, rate=rate, request_id=request_id or uuid.uuid4().hex,
            spec=_spec(
                action, where, all_jobs, include_completed, grace_s=grace_s, force=force, priority=priority, content_type=content_type, payload=payload
            ),
        )  # fmt: skip
        return operation_of((await self._call(lambda stubs: stubs.operations.StartOperation, request)).operation)

    async def _encoded(self, where: JobFilter, payload: bytes | None) -> bytes | None:
        """A payload for all jobs that match, as it is stored."""
        if payload is None or self._codecs is None:
            return payload
        if len(where.types) != 1:
            raise InvalidRequest("codecs encode a payload for the type of its jobs: name one type in the filter", details={"field": "types"})
        return await encoded_aside(self._codecs, payload, where.types[0], "payload")

    async def get_operation(self, operation_id: int, *, wait_s: float = 0.0) -> Operation:
        """An operation as it stands; with `wait_s` once it is not running any more, or after that time. Raises NotFound."""
        request = build(operations_pb2.GetOperationRequest, operation_id=operation_id, wait=duration("wait_s", wait_s))
        return operation_of((await self._call(lambda stubs: stubs.operations.GetOperation, request, timeout_s=self._timeout_s + wait_s)).operation)

    async def wait_operation(self, operation_id: int) -> Operation:
        """The operation once it has finished, or somebody stopped it. Raises NotFound."""
        while True:
            operation = await self.get_operation(operation_id, wait_s=WAIT_S)
            if operation.state is not OperationState.RUNNING:
                return operation

    async def list_operations(self, *, page_size: int = 50, page_token: str = "") -> tuple[list[Operation], str]:
        """(operations of the domain, newest first; token of the next page or empty)."""
        answer = await self._call(lambda stubs: stubs.operations.ListOperations, build(operations_pb2.ListOperationsRequest, page_size=page_size, page_token=page_token))
        return [operation_of(item) for item in answer.operations], answer.next_page_token

    async def skipped_jobs(self, operation_id: int, *, page_size: int = 1000) -> AsyncGenerator[SkippedJob, None]:
        """Jobs that an operation did not change, each with the reason, by id. Raises NotFound."""
        token = ""
        while True:
            request = build(operations_pb2.ListSkippedJobsRequest, operation_id=operation_id, page_size=page_size, page_token=token)
            answer = await self._call(lambda stubs: stubs.operations.ListSkippedJobs, request)
            for item in answer.jobs:
                yield SkippedJob(item.job_id, item.failed, item.code, item.reason)
            token = answer.next_page_token
            if not token:
                return

    async def set_operation_rate(self, operation_id: int, rate: float, *, reason: str = "") -> Operation:
        """Changes how many jobs a second an operation does; 0: no limit. Raises NotFound, InvalidState (it has finished)."""
        request = build(operations_pb2.SetOperationRateRequest, operation_id=operation_id, rate=rate, reason=reason)
        return operation_of((await self._call(lambda stubs: stubs.operations.SetOperationRate, request)).operation)

    async def stop_operation(self, operation_id: int, *, reason: str = "") -> Operation:
        """Stops an operation: once this answers nothing more is done, until it is resumed. Raises NotFound, InvalidState (it has finished)."""
        request = build(operations_pb2.StopOperationRequest, operation_id=operation_id, reason=reason)
        return operation_of((await self._call(lambda stubs: stubs.operations.StopOperation, request)).operation)

    async def resume_operation(self, operation_id: int, *, reason: str = "") -> Operation:
        """Goes on with an operation where it was stopped. Raises NotFound, InvalidState (it has finished)."""
        request = build(operations_pb2.ResumeOperationRequest, operation_id=operation_id, reason=reason)
        return operation_of((await self._call(lambda stubs: stubs.operations.ResumeOperation, request)).operation)


def _spec(
    action: Action | str, where: JobFilter, all_jobs: bool, include_completed: bool, *, grace_s: float | None = None, force: bool = False, priority: int | None = None,
    payload: bytes | None = None, content_type: str = "",
) -> operations_pb2.OperationSpec:  # fmt: skip
    if action not in ACTIONS:
        raise InvalidRequest(f"an action is one of {', '.join(ACTIONS)}, found {str(action)!r}", details={"field": "action"})
    number: Any = ACTIONS.index(Action(action)) + 1
    return build(
        operations_pb2.OperationSpec, filter=filter_message(where), all_jobs=all_jobs, action=number, include_completed=include_completed,
        grace=duration("grace_s", grace_s), force=force, priority=priority, payload=payload, content_type=content_type,
    )  # fmt: skip


def _preview(answer: operations_pb2.PreviewOperationResponse, before: Preview | None) -> Preview:
    """An answer, added to what was counted before."""
    types: dict[str, dict[State, int]] = before.types if before is not None else {}
    for item in answer.types:
        by_state = types.setdefault(item.type, {})
        for count in item.counts:
            state = decode.state(count.state)
            by_state[state] = by_state.get(state, 0) + count.count
    matched, acted_on = (before.matched, before.acted_on) if before is not None else (0, 0)
    sample = before.sample if before is not None else [decode.job(item) for item in answer.sample]
    until = to_datetime(answer.searched_until)
    return Preview(matched + answer.matched, acted_on + answer.acted_on, types, to_datetime(answer.as_of), answer.complete, until, sample)


def operation_of(message: operations_pb2.Operation) -> Operation:
    """An operation from its message."""
    spec = message.spec
    return Operation(
        message.operation_id, Action(name_of(spec.action, _ACTIONS)), OperationState(name_of(message.state, _STATES)), message.matched, message.done, message.skipped,
        message.failed, message.expected, message.expected_complete, message.rate, message.reason, message.actor, message.on_behalf_of, message.request_id,
        to_datetime(message.created_at), decode.time_of(message, "finished_at"), decode.time_of(message, "stopped_at"), message.stopped_by, message.stopped_reason,
        decode.time_of(message, "searched_until"), message.frozen_id, _where(spec.filter), spec.all_jobs, spec.include_completed, decode.seconds_of(spec, "grace"),
        spec.force, spec.priority if spec.HasField("priority") else None, spec.payload_bytes,
    )  # fmt: skip


def _where(message: jobs_pb2.JobFilter) -> JobFilter:
    times: dict[str, Any] = {name: decode.time_of(message, name) for name in ("created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to")}
    return JobFilter(
        tuple(message.types), tuple(map(decode.state, message.states)), message.instance_id, **times, agent=message.agent,
        fingerprint=message.error_fingerprint, labels=dict(message.labels), log_text=message.log_text,
    )  # fmt: skip
