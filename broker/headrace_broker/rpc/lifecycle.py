"""The Lifecycle service: updates of jobs, their runs, and how long they are kept."""

from typing import Any

from headrace_proto.v1 import lifecycle_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.actions import changing, descents, reach, retention
from headrace_broker.actions.reads import JobRead, JobReads
from headrace_broker.actions.retention import Curve, StatePreview
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import InvalidField, TypeNotFound
from headrace_broker.model.ids import MAX_ID, created_at_s
from headrace_broker.model.job import MAX_RUN, State
from headrace_broker.model.permissions import Act
from headrace_broker.model.settings import Value
from headrace_broker.rpc import convert
from headrace_broker.rpc.admin import results
from headrace_broker.rpc.callers import caller_of
from headrace_broker.rpc.jobs import full_view, job_message
from headrace_broker.shards.intents import Verb
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.graph import GraphReads
from headrace_broker.store.reads import PayloadRow, Reads, RunRow

RETENTION = ("delete_completed_after", "delete_aborted_after", "delete_error_after")
MAX_VERSION = 2**31 - 1


class LifecycleService:
    """See the module."""

    def __init__(self, ownership: Ownership, reads: Reads, graph: GraphReads, payload_limit: int) -> None:
        self._ownership = ownership
        self._stored = reads
        self._graph = graph
        self._payload_limit = payload_limit

    @property
    def _reads(self) -> JobReads:
        return JobReads(self._ownership.owner, self._stored)

    async def UpdateJobs(self, request: lifecycle_pb2.UpdateJobsRequest, context: Any) -> lifecycle_pb2.UpdateJobsResponse:  # noqa: N802
        done = await changing.change(
            self._ownership.owner, self._ownership.heads, Verb.UPDATE, convert.job_ids("job_ids", request.job_ids), caller=caller_of(context),
            reason=convert.text("reason", request.reason, convert.MAX_REASON), update=_update(request, self._payload_limit),
        )  # fmt: skip
        return lifecycle_pb2.UpdateJobsResponse(results=results(done))

    async def RequeueDescendants(self, request: lifecycle_pb2.RequeueDescendantsRequest, context: Any) -> lifecycle_pb2.RequeueDescendantsResponse:  # noqa: N802
        done = await descents.requeue(
            self._ownership.owner, self._ownership.heads, self._graph, convert.job_id("job_id", request.job_id), caller=caller_of(context),
            reason=convert.text("reason", request.reason, convert.MAX_REASON), include_completed=request.include_completed,
            payload=convert.new_payload(request, self._payload_limit), content_type=convert.text("content_type", request.content_type, 100),
        )  # fmt: skip
        return lifecycle_pb2.RequeueDescendantsResponse(results=results(done))

    async def ListRuns(self, request: lifecycle_pb2.ListRunsRequest, context: Any) -> lifecycle_pb2.ListRunsResponse:  # noqa: N802
        job_id = convert.job_id("job_id", request.job_id)
        limit = convert.page_size(request.page_size, 20, 100)
        below = min(request.before_run or MAX_RUN + 1, MAX_RUN + 1)
        job, rows = await self._reads.runs(job_id, convert.domain_of(context), full=full_view(request.view), below=below, limit=limit)
        runs = [_run(row, job) for row in rows]
        if job.row.run == 1 and not rows and below > 1:
            runs = [_first_run(job)]
        return lifecycle_pb2.ListRunsResponse(runs=runs, more=bool(runs) and runs[0].run > 1, type=job.type)

    async def ListPayloads(self, request: lifecycle_pb2.ListPayloadsRequest, context: Any) -> lifecycle_pb2.ListPayloadsResponse:  # noqa: N802
        job_id, limit = convert.job_id("job_id", request.job_id), convert.page_size(request.page_size, 50, 1000)
        below = min(request.before_version or MAX_VERSION, MAX_VERSION)
        _, rows = await self._reads.payloads(job_id, convert.domain_of(context), version=None, below=below, limit=limit)
        return lifecycle_pb2.ListPayloadsResponse(versions=[_version(row, job_id) for row in rows], more=bool(rows) and rows[-1].version > 0)

    async def GetPayload(self, request: lifecycle_pb2.GetPayloadRequest, context: Any) -> lifecycle_pb2.GetPayloadResponse:  # noqa: N802
        job_id, version = convert.job_id("job_id", request.job_id), min(request.version, MAX_VERSION)
        job, rows = await self._reads.payloads(job_id, convert.domain_of(context), version=version, below=MAX_VERSION, limit=1)
        if not rows:
            raise InvalidField("version", f"job {job_id} has no payload of version {request.version}; ListPayloads names those that it has")
        return lifecycle_pb2.GetPayloadResponse(version=_version(rows[0], job_id), payload=rows[0].payload or b"", type=job.type)

    async def PreviewRetention(self, request: lifecycle_pb2.PreviewRetentionRequest, context: Any) -> lifecycle_pb2.PreviewRetentionResponse:  # noqa: N802
        entry = self._entry(request.type, context, Act.OVERSEE)
        values, clear = _retention(request)
        sample = convert.page_size(request.sample, 0, 100)
        owner = self._ownership.owner
        then = retention.changed_settings(entry, values, clear)
        jobs = await retention.sample(owner, self._reads, entry, then, sample) if sample and reach.types_for(Act.VIEW).allow(entry.name) else []
        return lifecycle_pb2.PreviewRetentionResponse(
            as_of=to_timestamp(owner.clock.now_s()), states=[_state(state) for state in retention.preview(owner, entry, then)], sample=[job_message(job) for job in jobs]
        )

    async def ApplyRetention(self, request: lifecycle_pb2.ApplyRetentionRequest, context: Any) -> lifecycle_pb2.ApplyRetentionResponse:  # noqa: N802
        entry = self._entry(request.type, context, Act.EDIT_SETTINGS)
        limit = convert.page_size(request.page_size, 1000, 1000)
        filters = f"retention/{entry.type_id}"
        [above] = convert.page_token(request.page_token, filters, MAX_ID) or [0]
        looked_at, changed, last = await retention.apply(
            self._ownership.owner, self._ownership.heads, self._reads, entry, above=above, limit=limit, caller=caller_of(context),
            reason=convert.text("reason", request.reason, convert.MAX_REASON),
        )  # fmt: skip
        token = convert.make_token(filters, last) if last else ""
        return lifecycle_pb2.ApplyRetentionResponse(looked_at=looked_at, changed=changed, next_page_token=token)

    def _entry(self, name: str, context: Any, act: Act) -> TypeEntry:
        """The type, which the call may do this to. Raises TypeNotFound, also for one that it may not see; TypeDenied."""
        entry = self._ownership.owner.types.find(convert.domain_of(context), convert.type_name("type", name))
        if entry is None or not any(reach.types_for(one).allow(name) for one in (Act.OVERSEE, act)):
            raise TypeNotFound(name)
        reach.require(act, name, "type")
        return entry


def _update(request: lifecycle_pb2.UpdateJobsRequest, payload_limit: int) -> Update:
    payload = convert.new_payload(request, payload_limit)
    ways = [name for name in ("delete_after", "delete_at") if request.HasField(name)] + ["delete_by_type"] * request.delete_by_type
    if len(ways) > 1:
        raise InvalidField(ways[1], f"{' and '.join(ways)} are set; set one of them")
    update = Update(
        priority=convert.priority(request) if request.HasField("priority") else None,
        payload=payload,
        content_type=convert.text("content_type", request.content_type, 100),
        hold=request.hold if request.HasField("hold") else None,
        delete_after_s=convert.seconds("delete_after", request.delete_after) if request.HasField("delete_after") else None,
        delete_at_s=convert.unix_s("delete_at", request.delete_at) if request.HasField("delete_at") else None,
        default_delete=request.delete_by_type,
        set_labels=convert.labels("set_labels", request.set_labels) if request.set_labels else None,
        remove_labels=tuple(convert.text(f"remove_labels[{index}]", key) for index, key in enumerate(convert.bounded("remove_labels", request.remove_labels, 1000))),
    )
    if update == Update():
        raise InvalidField("job_ids", "nothing is to be changed: set priority, payload, hold, delete_after, delete_at, delete_by_type, set_labels or remove_labels")
    return update


def _retention(request: lifecycle_pb2.PreviewRetentionRequest) -> tuple[dict[str, Value], list[str]]:
    values = convert.settings_values("settings", request.settings)
    for name in values:
        if name.removesuffix("_s") not in RETENTION:
            raise InvalidField(f"settings.{name.removesuffix('_s')}", f"a preview tries {', '.join(RETENTION)}")
    for index, name in enumerate(request.clear):
        if name not in RETENTION:
            raise InvalidField(f"clear[{index}]", f"a preview tries {', '.join(RETENTION)}")
    return values, [f"{name}_s" for name in request.clear]


def _run(row: RunRow, job: JobRead) -> lifecycle_pb2.Run:
    message = lifecycle_pb2.Run(
        run=row.run, began_at=to_timestamp(row.began_at if row.began_at is not None else created_at_s(job.row.job_id)), actor=row.actor, reason=row.reason,
        state=int(row.state) if row.state is not State.GONE else 0,  # type: ignore[arg-type]  # enum numbers
        ending=row.kind.name.lower(), ended_at=to_timestamp(row.at), attempts=row.attempt, losses=row.losses, agent=row.agent, error=convert.error_message(row.error),
        payload_version=row.payload_seq, payload_bytes=row.payload_bytes, payload=row.payload or b"", result_bytes=row.result_bytes, result=row.result or b"",
        data_withheld=job.withheld, secrets_masked=job.masked,
    )  # fmt: skip
    if row.started_at is not None:
        message.started_at.CopyFrom(to_timestamp(row.started_at))
    return message


def _version(row: PayloadRow, job_id: int) -> lifecycle_pb2.PayloadVersion:
    at = to_timestamp(row.at if row.at is not None else created_at_s(job_id))
    return lifecycle_pb2.PayloadVersion(version=row.version, at=at, actor=row.actor, content_type=row.content_type, payload_bytes=row.payload_bytes)


def _first_run(job: JobRead) -> lifecycle_pb2.Run:
    """A first run to which nothing has happened."""
    row = job.row
    return lifecycle_pb2.Run(
        run=1, began_at=to_timestamp(created_at_s(row.job_id)), state=int(row.state), payload_version=row.payload_seq,  # type: ignore[arg-type]  # enum numbers
        payload_bytes=row.payload_bytes, payload=row.payload or b"", data_withheld=job.withheld, secrets_masked=job.masked,
    )  # fmt: skip


def _state(preview: StatePreview) -> lifecycle_pb2.RetentionOfState:
    message = lifecycle_pb2.RetentionOfState(
        state=int(preview.state), jobs=preview.jobs, undated=preview.undated, due=_due(preview.due), due_then=_due(preview.due_then),  # type: ignore[arg-type]  # enum numbers
        gone_at_once=preview.gone_at_once,
    )  # fmt: skip
    if preview.keep_s is not None:
        message.keep.CopyFrom(to_duration(preview.keep_s))
    if preview.keep_then_s is not None:
        message.keep_then.CopyFrom(to_duration(preview.keep_then_s))
    return message


def _due(curve: Curve) -> list[lifecycle_pb2.DueJobs]:
    return [lifecycle_pb2.DueJobs(by=to_timestamp(minute * 60.0), jobs=jobs) for minute, jobs in curve]
