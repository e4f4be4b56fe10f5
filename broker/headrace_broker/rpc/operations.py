"""The Operations service: one deed to all jobs that match a filter."""

from typing import Any

from headrace_proto.v1 import jobs_pb2, operations_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.actions.operations import Operations
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter
from headrace_broker.model.ids import MAX_ID, created_at_s
from headrace_broker.model.operation import MAX_PAYLOAD_BYTES, Action, Deed, Operation, OperationState, refuse_empty
from headrace_broker.rpc import convert, filters
from headrace_broker.rpc.admin import DEFAULT_GRACE_S, MAX_GRACE_S
from headrace_broker.rpc.callers import caller_of
from headrace_broker.rpc.jobs import MAX_WAIT_S, job_message, position, state_counts
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder

ACTIONS = tuple(Action)
STATES = tuple(OperationState)
ANSWER_S = 0.2
"""Left for the answer of a call that waits."""


class OperationsService:
    """See the module."""

    def __init__(self, ownership: Ownership, reads: Reads, finder: Finder) -> None:
        self._operations = Operations(ownership, reads, finder)

    async def PreviewOperation(self, request: operations_pb2.PreviewOperationRequest, context: Any) -> operations_pb2.PreviewOperationResponse:  # noqa: N802
        wanted, deed = _spec(request.spec)
        sample = convert.page_size(request.sample, 10, 100, field="sample")
        digest = filters.digest(request.spec.filter, "preview", deed.action)
        after = position(request.page_token, digest)
        found = await self._operations.preview(convert.domain_of(context), wanted, deed, all_jobs=request.spec.all_jobs, sample=sample, after=after)
        count = found.count
        return operations_pb2.PreviewOperationResponse(
            matched=found.matched, acted_on=found.acted_on, as_of=to_timestamp(count.as_of_s), complete=found.complete,
            searched_until=to_timestamp(count.searched_until_s),
            types=[jobs_pb2.TypeCount(type=name, counts=state_counts(by_state)) for name, by_state in sorted(count.types.items())],
            next_page_token=convert.make_token(digest, *count.next) if count.next else "", sample=[job_message(job) for job in found.sample],
        )  # fmt: skip

    async def StartOperation(self, request: operations_pb2.StartOperationRequest, context: Any) -> operations_pb2.StartOperationResponse:  # noqa: N802
        wanted, deed = _spec(request.spec)
        operation = await self._operations.start(
            wanted, deed, caller=caller_of(context), reason=_reason(request), rate=request.rate, all_jobs=request.spec.all_jobs,
            request_id=convert.text("request_id", request.request_id),
        )  # fmt: skip
        return operations_pb2.StartOperationResponse(operation=_operation(operation))

    async def GetOperation(self, request: operations_pb2.GetOperationRequest, context: Any) -> operations_pb2.GetOperationResponse:  # noqa: N802
        operation_id, wait_s, left_s = _id(request), convert.seconds("wait", request.wait, MAX_WAIT_S), context.time_remaining()
        if left_s is not None:
            wait_s = min(wait_s, left_s - ANSWER_S)
        return operations_pb2.GetOperationResponse(operation=_operation(await self._operations.get(convert.domain_of(context), operation_id, wait_s=wait_s)))

    async def ListOperations(self, request: operations_pb2.ListOperationsRequest, context: Any) -> operations_pb2.ListOperationsResponse:  # noqa: N802
        domain, limit = convert.domain_of(context), convert.page_size(request.page_size, 50, 1000)
        belongs_to = f"operations {domain}"
        [below] = convert.page_token(request.page_token, belongs_to, MAX_ID) or [MAX_ID]
        found = await self._operations.list(domain, below=below, limit=limit)
        more = convert.make_token(belongs_to, found[-1].operation_id) if len(found) == limit else ""
        return operations_pb2.ListOperationsResponse(operations=[_operation(operation) for operation in found], next_page_token=more)

    async def ListSkippedJobs(self, request: operations_pb2.ListSkippedJobsRequest, context: Any) -> operations_pb2.ListSkippedJobsResponse:  # noqa: N802
        operation_id, limit = _id(request), convert.page_size(request.page_size, 100, 10_000)
        belongs_to = f"skipped {operation_id}"
        [after] = convert.page_token(request.page_token, belongs_to, MAX_ID) or [0]
        found = await self._operations.skipped(convert.domain_of(context), operation_id, after=after, limit=limit)
        more = convert.make_token(belongs_to, found[-1].job_id) if len(found) == limit else ""
        jobs = [operations_pb2.SkippedJob(job_id=skip.job_id, failed=skip.failed, code=skip.code, reason=skip.reason) for skip in found]
        return operations_pb2.ListSkippedJobsResponse(jobs=jobs, next_page_token=more)

    async def SetOperationRate(self, request: operations_pb2.SetOperationRateRequest, context: Any) -> operations_pb2.SetOperationRateResponse:  # noqa: N802
        operation = await self._operations.set_rate(_id(request), request.rate, caller=caller_of(context), reason=_reason(request))
        return operations_pb2.SetOperationRateResponse(operation=_operation(operation))

    async def StopOperation(self, request: operations_pb2.StopOperationRequest, context: Any) -> operations_pb2.StopOperationResponse:  # noqa: N802
        operation = await self._operations.stop(_id(request), caller=caller_of(context), reason=_reason(request))
        return operations_pb2.StopOperationResponse(operation=_operation(operation))

    async def ResumeOperation(self, request: operations_pb2.ResumeOperationRequest, context: Any) -> operations_pb2.ResumeOperationResponse:  # noqa: N802
        operation = await self._operations.resume(_id(request), caller=caller_of(context), reason=_reason(request))
        return operations_pb2.ResumeOperationResponse(operation=_operation(operation))


def _id(request: Any) -> int:
    return convert.job_id("operation_id", request.operation_id, "an operation id")


def _reason(request: Any) -> str:
    return convert.text("reason", request.reason, convert.MAX_REASON)


def _spec(message: operations_pb2.OperationSpec) -> tuple[JobFilter, Deed]:
    """A checked spec."""
    if message.action not in range(1, len(ACTIONS) + 1):
        raise InvalidField("spec.action", f"one of 1 to {len(ACTIONS)}, found {message.action}")
    action = ACTIONS[message.action - 1]
    of = {"include_completed": Action.REQUEUE, "payload": Action.REQUEUE, "grace": Action.ABORT, "force": Action.ABORT, "priority": Action.PRIORITY}
    for name, owner in of.items():
        given = message.HasField(name) if name in ("grace", "priority", "payload") else getattr(message, name)
        if given and action is not owner:
            raise InvalidField(f"spec.{name}", f"it belongs to the action {owner}, not to {action}")
    if action is Action.PRIORITY and not message.HasField("priority"):
        raise InvalidField("spec.priority", "the action priority needs it")
    if not -convert.MAX_PRIORITY <= message.priority <= convert.MAX_PRIORITY:
        raise InvalidField("spec.priority", f"between -{convert.MAX_PRIORITY:,} and {convert.MAX_PRIORITY:,}, found {message.priority}")
    if message.content_type and not message.HasField("payload"):
        raise InvalidField("spec.content_type", "it is that of a payload; set both")
    if len(message.payload) > MAX_PAYLOAD_BYTES:
        raise InvalidField("spec.payload", f"at most {MAX_PAYLOAD_BYTES} bytes, since each job gets it; found {len(message.payload)}")
    payload, content_type = message.payload if message.HasField("payload") else None, convert.text("spec.content_type", message.content_type, 100)
    grace_s = convert.seconds("spec.grace", message.grace, MAX_GRACE_S) if message.HasField("grace") else DEFAULT_GRACE_S
    wanted = filters.job_filter("spec.filter", message.filter)
    try:
        refuse_empty(wanted, all_jobs=message.all_jobs)
    except InvalidField as error:
        raise InvalidField(f"spec.{error.field}", str(error).split(": ", 1)[1]) from error
    deed = Deed(action, message.include_completed, grace_s, message.force, message.priority if action is Action.PRIORITY else None, payload, content_type)
    return wanted, deed


def _operation(operation: Operation) -> operations_pb2.Operation:
    plan, caller, at = operation.plan, operation.caller, operation.progress
    message = operations_pb2.Operation(
        operation_id=operation.operation_id, spec=_spec_message(plan.wanted, plan.deed, all_jobs=plan.all_jobs), actor=caller.actor, on_behalf_of=caller.on_behalf_of,
        request_id=caller.request_id, reason=plan.reason, frozen_id=operation.frozen_id, expected=operation.expected, expected_complete=operation.expected_complete,
        rate=plan.rate, state=STATES.index(operation.state) + 1,  # type: ignore[arg-type]  # enum numbers
        created_at=to_timestamp(operation.created_at), stopped_by=operation.stopped_by, stopped_reason=operation.stopped_reason,
        matched=at.matched, done=at.done, skipped=at.skipped, failed=at.failed,
    )  # fmt: skip
    for name, time in (("finished_at", operation.finished_at), ("stopped_at", operation.stopped_at)):
        if time is not None:
            getattr(message, name).CopyFrom(to_timestamp(time))
    if at.after:
        message.searched_until.CopyFrom(to_timestamp(created_at_s(at.after)))
    return message


def _spec_message(wanted: JobFilter, deed: Deed, *, all_jobs: bool) -> operations_pb2.OperationSpec:
    message = operations_pb2.OperationSpec(
        filter=filters.message(wanted), all_jobs=all_jobs, action=ACTIONS.index(deed.action) + 1,  # type: ignore[arg-type]  # enum numbers
        include_completed=deed.include_completed, force=deed.force, priority=deed.priority, content_type=deed.content_type, payload_bytes=len(deed.payload or b""),
    )  # fmt: skip
    if deed.action is Action.ABORT:
        message.grace.CopyFrom(to_duration(deed.grace_s))
    return message
